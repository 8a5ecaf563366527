"""Is the new model better? The stage that chooses a file, measures it against what is served, and gives the verdict.

Everything is measured on the GGUF files through llama.cpp, with the template inside them. The f16 file is the reference
for choosing the smallest rung of the ladder that is as good; only the chosen file is judged. judgement.json holds every
number, every reason, and each prompt with the replies before and after.

What this does not do: remove the files that were not chosen. The daemon drops the job's artifacts when the job ends.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from reactord import durable
from reactord.data.verify import check as passes
from reactord.worker import parity, verdict
from reactord.worker.base import Base, file_sha256, open_base
from reactord.worker.context import Context, Facts, peak_rss_mb
from reactord.worker.examples import Example, load
from reactord.worker.gguf_file import Array
from reactord.worker.llama import Llama
from reactord.worker.measure import (
    NEUTRAL,
    Answered,
    Measurement,
    Questions,
    answer_all,
    exact_rate,
    fits,
    measure,
)

#: a bound on the time this takes; above it an even sample is judged, and the counts say so
MAX_SCORED = 64
MAX_PROMPTS = 48
#: what files are compared on: so much of the neutral text, and so many held-out conversations
COMPARED_NEUTRAL_TOKENS = 256
COMPARED_TALKS = 6
#: a file this many times beyond the tolerance need not be compared further
FAR = 2
#: part of the cache key: raise it when a measurement changes its meaning
MEASURES = 1


@dataclass(frozen=True, slots=True)
class _Reference:
    """What the f16 file said: log-probabilities after every compared token, and its answers."""

    texts: list[list[int]]
    log_probabilities: list[Array]
    answers: list[Answered]


def run(context: Context) -> Facts:
    """Write judgement.json and return its summary."""
    work, spec = context.work, context.spec
    base = open_base(context.home, str((work.outcome("prepare") or {}).get("base")))
    files = {file["name"]: file for file in (work.outcome("export") or {})["files"] if file["name"] != "adapter"}
    holdout = load(work.dataset / "holdout.jsonl")
    f16 = work.artifacts / "f16.gguf"
    with Llama(f16, spec.threads) as model:
        questions, too_long = _questions(model, holdout)
        context.done("answers of the f16 file", 0, 1, "files")
        reference = _reference(model, questions)
    chosen, rungs, answers = _choose(context, files, questions, reference)
    path = work.artifacts / f"{chosen}.gguf"
    proof = parity.prove(base.hf, path, spec.threads)
    proof.pop("chat_template")
    with Llama(path, spec.threads) as model:
        candidate = measure(model, questions, answers, _reporter(context, f"{chosen}: scoring answers"))
    cache = _Cache(context, base, questions)
    before = cache.measured(base.f16, "base")
    served = spec.incumbent_gguf
    if served and not served.exists():
        context.note(f"the deployed file {served} is gone; judging against the base alone")
    incumbent = cache.measured(served, "incumbent") if served and served.exists() else None
    found = verdict.decide(candidate, before, incumbent)
    gone = verdict.erased(files[chosen]["codes_changed"], files[chosen]["kept_delta"])
    reasons = [*found.reasons, gone] if gone else found.reasons
    facts = {
        "chosen": path.name,
        "verdict": "worse" if reasons else "pass",
        "reasons": reasons,
        "size_bytes": files[chosen]["size_bytes"],
        "sha256": files[chosen]["sha256"],
        "base": before.summary(),
        "candidate": candidate.summary(),
        "incumbent": incumbent.summary() if incumbent else None,
        "token_parity": proof,
        "held_out": {"examples": len(holdout), "too_long": too_long},
    }
    document = {
        **facts,
        "rungs": [{**asdict(rung), "reasons": verdict.differs_from_f16(rung)} for rung in rungs],
        "answers": _side_by_side(questions.prompts, before.replies, candidate.replies),
    }
    durable.publish(work.judgement_path, orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return {**facts, "peak_rss_mb": peak_rss_mb()}


def _questions(model: Llama, holdout: Sequence[Example]) -> tuple[Questions, int]:
    """What is asked, and how many examples were too long for the judge's context."""
    usable = [example for example in holdout if fits(model, example)]
    prompts = {(example.system, example.prompt): example for example in usable}
    for example in usable:  # of two pairs with one prompt, keep the one that can be checked
        if example.check:
            prompts[example.system, example.prompt] = example
    scored = [example for example in usable if example.rejected] or usable
    sampled = Questions(_evenly(scored, MAX_SCORED), _evenly(list(prompts.values()), MAX_PROMPTS))
    return sampled, len(holdout) - len(usable)


def _evenly(items: Sequence[Example], most: int) -> list[Example]:
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def _reference(model: Llama, questions: Questions) -> _Reference:
    texts = [model.tokens(NEUTRAL.read_text())[:COMPARED_NEUTRAL_TOKENS]]
    for example in _evenly(questions.prompts, COMPARED_TALKS):
        talk = [*example.messages, {"role": "assistant", "content": example.chosen}]
        texts.append(model.chat_tokens(talk, open_turn=False))
    scores = [_log_softmax(model.scores(tokens)) for tokens in texts]
    return _Reference(texts, scores, answer_all(model, questions.prompts, passed))


def _log_softmax(scores: Array) -> Array:
    """float32 (tokens, vocabulary), in place."""
    scores -= scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores


def passed(example: Example, reply: str) -> bool:
    """Whether a reply passes the check that came with its held-out example; one that cannot be told is not exact."""
    assert example.check is not None
    return passes(example.prompt, reply, example.check) is True


def _choose(
    context: Context, files: dict[str, dict[str, Any]], questions: Questions, reference: _Reference
) -> tuple[str, list[verdict.Rung], list[Answered]]:
    """The smallest file as good as f16 (or f16 itself), every rung tried, and the answers of the chosen one."""
    rungs: list[verdict.Rung] = []
    order = sorted((file for name, file in files.items() if name != "f16"), key=lambda file: int(file["size_bytes"]))
    for i, file in enumerate(order):
        context.done(f"comparing {file['name']} with f16", i, len(order), "files")
        with Llama(context.work.artifacts / f"{file['name']}.gguf", context.spec.threads) as model:
            rung, answers = _compare(model, file, questions, reference)
        rungs.append(rung)
        reasons = verdict.differs_from_f16(rung)
        context.note(f"{rung.name}: {'; '.join(reasons) or 'as good as f16'}")
        if not reasons:
            return rung.name, rungs, answers
    return "f16", rungs, reference.answers


def _compare(
    model: Llama, file: dict[str, Any], questions: Questions, reference: _Reference
) -> tuple[verdict.Rung, list[Answered]]:
    """Compare outputs token by token; ask for answers only when those are close enough."""
    divergence, agreed, tokens = 0.0, 0, 0
    for text, wanted in zip(reference.texts, reference.log_probabilities, strict=True):
        found = _log_softmax(model.scores(text))
        divergence += float((np.exp(wanted) * (wanted - found)).sum())
        agreed += int((wanted.argmax(axis=1) == found.argmax(axis=1)).sum())
        tokens += len(text)
        if divergence / tokens > FAR * verdict.MAX_KL:
            break
    rung = verdict.Rung(
        name=file["name"],
        size_bytes=file["size_bytes"],
        codes_changed=file["codes_changed"],
        kept_delta=file["kept_delta"],
        kl=round(divergence / tokens, 5),
        top1=round(agreed / tokens, 4),
    )
    if verdict.differs_from_f16(rung):
        return rung, []
    answers = answer_all(model, questions.prompts, passed)
    # a long reply parts sooner or later, whatever the file: the simple questions tell
    same = [a.reply == b.reply for a, b in zip(answers, reference.answers, strict=True) if a.simple]
    asked = {
        "same_answers": round(sum(same) / len(same), 4) if same else None,
        "exact_answer_rate": exact_rate(answers),
        "f16_exact_answer_rate": exact_rate(reference.answers),
        "verifiable": sum(answer.exact is not None for answer in answers),
    }
    return verdict.Rung(**{**asdict(rung), **asked}), answers


class _Cache:
    """Measurements of files that do not change, kept beside the base: the same file, questions and text, once."""

    def __init__(self, context: Context, base: Base, questions: Questions) -> None:
        self._context, self._base, self._questions = context, base, questions
        asked = orjson.dumps([[asdict(e) for e in group] for group in (questions.scored, questions.prompts)])
        self._asked = hashlib.sha256(asked + NEUTRAL.read_bytes() + bytes([MEASURES])).hexdigest()

    def measured(self, path: Path, what: str) -> Measurement:
        name = hashlib.sha256(f"{file_sha256(path)} {self._asked}".encode()).hexdigest()[:32]
        kept = self._base.root / "measured" / f"{name}.json"
        if kept.exists():
            return Measurement.from_facts(orjson.loads(kept.read_bytes()))
        self._context.done(f"{what}: answering", 0, len(self._questions.prompts), "prompts")
        with Llama(path, self._context.spec.threads) as model:
            answers = answer_all(model, self._questions.prompts, passed)
            found = measure(model, self._questions, answers, _reporter(self._context, f"{what}: scoring answers"))
        kept.parent.mkdir(exist_ok=True, mode=0o700)
        durable.publish(kept, orjson.dumps(found.as_facts()))
        return found


def _reporter(context: Context, text: str) -> Callable[[int, int], None]:
    """Report every eighth answer: a line for each would drown the log."""

    def report(done: int, total: int) -> None:
        if done % 8 == 0 or done == total:
            context.done(text, done, total, "examples")

    return report


def _side_by_side(
    prompts: Sequence[Example], before: Sequence[Answered], after: Sequence[Answered]
) -> list[dict[str, Any]]:
    """Each prompt with both replies; kinds of tasks take turns, so that the first few show some of each."""
    seen: Counter[str] = Counter()
    rows = []
    for example, old, new in zip(prompts, before, after, strict=True):
        seen[example.task_type] += 1
        row = {
            "prompt": example.prompt,
            "task_type": example.task_type,
            "expected": (example.check or {}).get("expected") or example.chosen,
            "before": old.reply,
            "after": new.reply,
            "right_before": old.exact,
            "right_after": new.exact,
            "tokens_before": old.tokens,
            "tokens_after": new.tokens,
            "simple": example.simple,
        }
        rows.append((seen[example.task_type], row))
    return [row for _, row in sorted(rows, key=lambda item: item[0])]
