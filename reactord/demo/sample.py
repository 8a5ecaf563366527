"""What would a day of an assistant's telemetry look like? Synthetic interactions, honest about being so.

Three model ids answer: one tersely, one verbosely, one that is old and often wrong. Every line carries
`"synthetic": true` in its metadata. What is planted: right and wrong answers, also wrong ones that are terse; both
right, one terse; corrections; ratings and feedback; answers that differ by politeness only; contradicting evidence;
prompts asked in two ways; questions nobody else answered; lines that Body's converter has emptied.

    python -m reactord.demo.sample --out DIR
"""

from __future__ import annotations

import argparse
import json
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from reactord.demo.sample_facts import CODE, CORRECTED, DOMAINS, JSON_TASKS, LONE, OPEN, Domain

TERSE = "jarvis-prime-135m"
VERBOSE = "cloud-claude-sonnet"
OLD = "local-llama-7b-v1"

#: the same question, asked in another way
ASKED = (
    "{Q}",
    "{Q}",
    "{Q}",
    "Hey Jarvis, {q}",
    "Please tell me: {Q}",
    "{Q} Thanks!",
    "Can you tell me, {q}",
    "hi! {q}",
)
POLITE = "I hope this helps! Please let me know if you need anything else, I am always happy to help."
#: one line in so many is in the raw form that Body writes when its schema module is missing
RAW_EVERY = 10


@dataclass
class Day:
    """The lines written so far, and how many of each kind were planted."""

    rng: random.Random
    lines: list[dict[str, Any]] = field(default_factory=list)
    planted: Counter[str] = field(default_factory=Counter)

    def say(self, kind: str, prompt: str, reply: str | None, model: str, **extra: Any) -> str:  # noqa: ANN401
        """Add one canonical line (body.md 3.1) and return its event id."""
        event_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        latency_ms = {TERSE: 140, VERBOSE: 1900, OLD: 800}.get(model, 0) + self.rng.randrange(120)
        line: dict[str, Any] = {
            "event_id": event_id, "schema_version": "1.0", "event_type": "interaction", "source": "jarvis_body",
            "timestamp": "", "user_input": prompt, "assistant_output": reply, "system_context": None,
            "outcome": "success", "confidence": round(self.rng.uniform(0.55, 0.99), 2), "model_id": model,
            "latency_ms": latency_ms, "tokens_used": len((reply or "").split()) * 4 // 3 + 1,
            "session_id": f"session-{self.rng.randrange(40):02d}", "task_type": "chat", "complexity_level": "simple",
            "original_response": None, "corrected_response": None, "user_rating": None, "feedback_text": None,
            "metadata": {"synthetic": True}, "retry_count": 0,
        }  # fmt: skip
        self.lines.append(line | extra)
        self.planted[kind] += 1
        return event_id

    def asked(self, question: str) -> str:
        """The question, perhaps wrapped in politeness."""
        return self.rng.choice(ASKED).format(Q=question, q=question[0].lower() + question[1:])


def _wrong(rng: random.Random, rows: list[tuple[str, str]], index: int) -> str:
    """A neighbour's answer from the same table: plausible, and not this one's."""
    right = rows[index][1]
    return rng.choice([answer for _, answer in rows[max(0, index - 4) : index + 5] if answer != right])


def _facts(day: Day, domain: Domain) -> None:
    """The bulk: one fact, two or three answers to it, in the proportions of a real day."""
    rng, rows = day.rng, domain.rows()
    for index, (subject, answer) in enumerate(rows):
        question, sentence = rng.choice(domain.questions).format(subject), rng.choice(domain.sentences)
        right, wrong = (_said(sentence, subject, a) for a in (answer, _wrong(rng, rows, index)))
        verbose, roll = f"{right} {rng.choice(domain.more)}", rng.random()
        if roll < 0.80:
            day.say("fact_terse_right", day.asked(question), right, TERSE)
            day.say("fact_verbose_right", day.asked(question), verbose, VERBOSE)
            if roll < 0.16:
                day.say("fact_old_wrong", day.asked(question), wrong, OLD, outcome="failure")
            elif roll < 0.22:
                day.say("fact_old_wrong", day.asked(question), wrong, OLD)
        elif roll < 0.90:
            day.say("fact_terse_right", day.asked(question), right, TERSE, user_rating=rng.choice((4, 5)))
            day.say("fact_old_wrong", day.asked(question), f"I think: {wrong}", OLD, user_rating=rng.choice((1, 2)))
        elif roll < 0.94:
            day.say("fact_terse_wrong_success", question, wrong, TERSE)
            day.say("fact_short_right", day.asked(question), right, VERBOSE)
        elif roll < 0.97:
            day.say("fact_terse_wrong_failure", question, wrong, TERSE, outcome="failure")
            day.say("fact_short_right", day.asked(question), right, VERBOSE)
        elif roll < 0.985:
            day.say("fact_same", question, right, TERSE)
            day.say("fact_same", day.asked(question), right, OLD)
        else:
            day.say("fact_template_only", question, right, TERSE)
            day.say("fact_template_only", question, f"Sure! {right} {POLITE}", VERBOSE)


def _said(sentence: str, subject: str, answer: str) -> str:
    """One short sentence: what a terse model says, and what a verbose one begins with."""
    said = sentence.format(q=subject, a=answer)
    return said[0].upper() + said[1:]


def _sums(rng: random.Random, count: int) -> list[tuple[str, int, str]]:
    """`count` different small problems as (expression in words, value, expression in signs)."""
    found: dict[str, tuple[str, int, str]] = {}
    while len(found) < count:
        a, b, sign = rng.randrange(2, 30), rng.randrange(2, 20), rng.choice("++--*")
        if sign == "*":
            a, b = rng.randrange(2, 10), rng.randrange(2, 10)
        if sign == "-" and a < b:
            a, b = b, a
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        signs = f"{a} {sign} {b}"
        words = signs if rng.random() < 0.7 else signs.replace("+", "plus").replace("-", "minus").replace("*", "times")
        found.setdefault(signs, (words, value, signs))
    return list(found.values())


def _arithmetic(day: Day) -> None:
    rng = day.rng
    for index, (words, value, signs) in enumerate(_sums(rng, 52)):
        question = rng.choice(("What is {}?", "Calculate {}.", "How much is {}?", "Compute {}", "{} = ?")).format(words)
        steps = f"To work this out, we take the two numbers step by step: {signs} = {value}. So the answer is {value}."
        wrong = value + rng.choice((-10, -2, -1, 1, 2, 10))
        if index < 34:
            day.say("sum_terse_right", day.asked(question), f"{signs} = {value}", TERSE)
            day.say("sum_verbose_right", question, steps, VERBOSE)
        elif index < 42:
            day.say("sum_terse_right", day.asked(question), f"{signs} = {value}", TERSE)
            day.say("sum_old_wrong", question, f"{signs} = {wrong}. So the answer is {wrong}.", OLD)
        elif index < 46:
            day.say("sum_terse_wrong", question, f"{signs} = {wrong}", TERSE)
            day.say("sum_verbose_right", question, f"{signs} = {value}. {steps}", VERBOSE)
        elif index < 49:  # the user liked the wrong one: evidence against evidence
            day.say("sum_conflict", question, str(value), TERSE, user_rating=1)
            day.say("sum_conflict", question, f"I would say {wrong}.", OLD, user_rating=5)
        else:
            day.say("sum_terse_right", day.asked(question), f"{signs} = {value}", TERSE)
            day.say("sum_verbose_right", question, steps, VERBOSE)
            day.say("sum_old_wrong", question, str(wrong), OLD)


def _equations(day: Day) -> None:
    for index in range(8):
        a, x, b = day.rng.randrange(2, 7), 2 + index, day.rng.randrange(1, 10)
        c = a * x + b
        question = day.rng.choice(("Solve for x: {}", "Solve {} for x.", "If {}, what is x?")).format(
            f"{a}x + {b} = {c}"
        )
        steps = f"Subtract {b} from both sides: {a}x = {c - b}. Divide both sides by {a}: x = {x}."
        day.say("equation_right", question, f"{a}x = {c - b}, so x = {x}.", TERSE)
        if index % 2:
            day.say("equation_wrong", question, f"{a}x = {c - b}, so x = {x + 1}.", OLD)
        else:
            day.say("equation_right", question, steps, VERBOSE)


def _formats(day: Day) -> None:
    for index, (prompt, good, bad) in enumerate(JSON_TASKS):
        fenced = f"```json\n{good}\n```"
        day.say("json_right", prompt, good if index % 2 else fenced, TERSE if index % 2 else VERBOSE, task_type="json")
        day.say("json_wrong", prompt, bad, OLD, task_type="json")
    for index, (prompt, good, bad) in enumerate(CODE):
        text = good if index % 2 else f"Here is the function:\n\n```python\n{good}\n```"
        day.say(
            "code_right", prompt, text, TERSE if index % 2 else VERBOSE, task_type="code", complexity_level="medium"
        )
        day.say("code_wrong", prompt, f"```python\n{bad}\n```", OLD, task_type="code", complexity_level="medium")


def _opinions(day: Day) -> None:
    """Corrections, ratings and feedback by id; then what cannot be learned from."""
    for prompt, original, corrected in CORRECTED:
        day.say("correction", prompt, original, OLD, event_type="correction", outcome="unknown",
                original_response=original, corrected_response=corrected)  # fmt: skip
    for index, (prompt, better, worse) in enumerate(OPEN):
        by_rating = index % 2 == 0
        day.say("open", prompt, better, TERSE, user_rating=5 if by_rating else None, complexity_level="medium")
        event_id = day.say("open", prompt, worse, OLD, user_rating=2 if by_rating else None, complexity_level="medium")
        if not by_rating:
            day.say("feedback", prompt, "", "", event_type="feedback", feedback_text="This is wrong.",
                    metadata={"synthetic": True, "interaction_id": event_id})  # fmt: skip
    for prompt, reply in LONE:
        day.say("lone", prompt, reply, day.rng.choice((TERSE, VERBOSE)))
    for _ in range(2):  # what Body's converter leaves of a correction (body.md 3.1, "measured loss")
        day.say("emptied", "That was not what I meant.", "", "", event_type="correction", outcome="unknown")
    for _ in range(2):
        day.say("error", "", "", "", event_type="error", outcome="failure")


def _raw(line: dict[str, Any], at: float) -> dict[str, Any]:
    """The same event as Body writes it without its schema module."""
    copied = (
        "user_input",
        "outcome",
        "confidence",
        "model_id",
        "latency_ms",
        "user_rating",
        "feedback_text",
        "metadata",
    )
    data = {key: line[key] for key in copied} | {"response": line["assistant_output"]}
    return {
        "event_id": line["event_id"], "event_type": line["event_type"], "timestamp": at, "data": data,
        "source": line["source"], "retry_count": 0, "created_at": at, "correlation_id": None, "schema_version": "1.0",
    }  # fmt: skip


def write_sample(telemetry_dir: Path, *, seed: int = 20261121, day: date = date(2026, 11, 21)) -> dict[str, int]:
    """Append one synthetic day to `telemetry_dir/interactions_YYYYMMDD.jsonl`.

    The same seed and day give the same bytes. Returns how many lines of each kind were planted, and "lines" in all.
    """
    made = Day(random.Random(seed))  # noqa: S311 - a sample, not a secret
    for domain in DOMAINS:
        _facts(made, domain)
    for add in (_arithmetic, _equations, _formats, _opinions):
        add(made)
    made.rng.shuffle(made.lines)
    moment = datetime(day.year, day.month, day.day, 7, tzinfo=UTC)
    text = []
    for index, line in enumerate(made.lines):
        moment += timedelta(seconds=made.rng.randrange(20, 160))
        line["timestamp"] = moment.isoformat()
        plain = line["event_type"] == "interaction" and index % RAW_EVERY == 0
        text.append(json.dumps(_raw(line, moment.timestamp()) if plain else line) + "\n")
    telemetry_dir.mkdir(parents=True, exist_ok=True)
    # appended, as Body does: a real day's file is never overwritten
    with (telemetry_dir / f"interactions_{day:%Y%m%d}.jsonl").open("a", encoding="utf-8", newline="\n") as file:
        file.write("".join(text))
    return {"lines": len(text), **dict(sorted(made.planted.items()))}


def main(arguments: list[str] | None = None) -> None:
    """Write the sample where `--out` says and print what was planted."""
    parser = argparse.ArgumentParser(prog="python -m reactord.demo.sample", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the telemetry directory to write into")
    parser.add_argument("--seed", type=int, default=20261121)
    options = parser.parse_args(arguments)
    print(json.dumps(write_sample(options.out, seed=options.seed), indent=2))


if __name__ == "__main__":
    main()
