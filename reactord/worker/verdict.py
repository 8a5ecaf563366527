"""Is the candidate better, and which of its files is as good as the f16 one? Pure functions from measurements.

The gate refuses by measured behaviour on held-out data, never by the training metrics: reward accuracy reaches 1.0 on
runs whose answers have collapsed (ML.md 3). Every refusal is a sentence with both numbers in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reactord.worker.measure import Measurement

# -- a quantised file against its own f16 form. Measured on the embedded model (nats per token, share of equal argmax):
# Q8_0 0.004, 0.97; Q6_K 0.011, 0.95; Q5_K_M 0.070, 0.83; Q4_K_M 0.059, 0.85 (ML.md 2).
MAX_KL = 0.03
MIN_TOP1 = 0.90
MIN_SAME_ANSWERS = 0.75
#: so many exact answers more or less are noise between two quantisations of one model (ML.md 9)
EXACT_NOISE = 2
#: share of code bytes that must have moved, and of the learned change that must be left
MIN_CODES_CHANGED = 0.001
MIN_KEPT_DELTA = 0.5

# -- the candidate against what is served now
MAX_PERPLEXITY_RATIO = 1.05
#: replies to simple questions may not grow by more than this factor
MAX_LENGTH_RATIO = 1.25
MAX_LOOPING_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Rung:
    """One file of the ladder compared with the f16 file; the last three are None when it failed before them."""

    name: str
    size_bytes: int
    codes_changed: float
    kept_delta: float
    kl: float
    top1: float
    same_answers: float | None = None
    exact_answer_rate: float | None = None
    f16_exact_answer_rate: float | None = None
    verifiable: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate may be served, and every reason against it."""

    verdict: Literal["pass", "worse"]
    reasons: list[str]


def erased(codes_changed: float, kept_delta: float) -> str | None:
    """Why nothing of the fine-tune is left in a file, or None."""
    if codes_changed < MIN_CODES_CHANGED:
        return f"erased: {codes_changed:.2%} of its codes differ from the base in the same format"
    if kept_delta < MIN_KEPT_DELTA:
        return f"erased: {kept_delta:.0%} of the learned change is left (at least {MIN_KEPT_DELTA:.0%})"
    return None


def differs_from_f16(rung: Rung) -> list[str]:
    """Every reason why a file is not as good as the f16 one; empty when it is, as far as it was measured."""
    gone = erased(rung.codes_changed, rung.kept_delta)
    reasons = [gone] if gone else []
    if rung.kl > MAX_KL:
        reasons.append(f"KL to f16 is {rung.kl:.4f} nats a token (at most {MAX_KL})")
    if rung.top1 < MIN_TOP1:
        reasons.append(f"its first choice is f16's for {rung.top1:.1%} of tokens (at least {MIN_TOP1:.0%})")
    if rung.same_answers is not None and rung.same_answers < MIN_SAME_ANSWERS:
        reasons.append(
            f"{rung.same_answers:.0%} of its answers to simple questions are f16's (at least {MIN_SAME_ANSWERS:.0%})"
        )
    exact, wanted = rung.exact_answer_rate, rung.f16_exact_answer_rate
    if exact is not None and wanted is not None and (wanted - exact) * rung.verifiable > EXACT_NOISE + 0.5:
        reasons.append(f"exact-answer rate {exact:.3f}, f16 has {wanted:.3f}")
    return reasons


def decide(candidate: Measurement, base: Measurement, incumbent: Measurement | None) -> Verdict:
    """Judge a candidate against the base, and against the incumbent when another model is served now."""
    reasons = _defects(candidate) + _against(candidate, base, "the base")
    if incumbent is not None:
        reasons += [reason for reason in _against(candidate, incumbent, "the incumbent") if reason not in reasons]
    if (unmoved := _not_preferred(candidate, base)) is not None:
        reasons.append(unmoved)
    if incumbent is not None and _clearly_less_preferred(candidate, incumbent):
        reasons.append(
            f"preference accuracy {candidate.preference_accuracy} is below the incumbent's"
            f" {incumbent.preference_accuracy} by more than one pair"
        )
    return Verdict("worse" if reasons else "pass", reasons)


def _defects(candidate: Measurement) -> list[str]:
    """What nobody should be served, whatever was served before."""
    reasons = []
    if not candidate.prompts:
        reasons.append("nothing was held out to judge it by")
    if candidate.empty_replies:
        reasons.append(f"{candidate.empty_replies} of {candidate.prompts} replies are empty")
    if candidate.looping_replies > MAX_LOOPING_SHARE * candidate.prompts:
        reasons.append(f"{candidate.looping_replies} of {candidate.prompts} replies loop")
    if candidate.hello_blank:
        reasons.append(
            f"after `Hello` it says nothing in {candidate.hello_blank} of {candidate.hello_seeds} tries;"
            " Prime would refuse to load it"
        )
    if candidate.preference_accuracy is not None and candidate.preference_accuracy < 0.5:
        reasons.append(f"preference accuracy {candidate.preference_accuracy:.3f} is below chance")
    return reasons


def _against(candidate: Measurement, other: Measurement, name: str) -> list[str]:
    reasons = []
    mine, theirs = candidate.exact_answer_rate, other.exact_answer_rate
    if mine is not None and theirs is not None and mine < theirs:
        what = "shorter but wrong" if _median(candidate) < _median(other) else "more often wrong"
        reasons.append(
            f"{what}: exact-answer rate {mine:.3f}, {name} has {theirs:.3f} ({candidate.verifiable} questions)"
        )
    if candidate.looping_replies > other.looping_replies:
        reasons.append(f"{candidate.looping_replies} replies loop, {name} has {other.looping_replies}")
    if candidate.neutral_perplexity > MAX_PERPLEXITY_RATIO * other.neutral_perplexity:
        ratio = candidate.neutral_perplexity / other.neutral_perplexity - 1
        reasons.append(
            f"neutral perplexity {candidate.neutral_perplexity:.2f} is {ratio:.1%} above {name}'s"
            f" {other.neutral_perplexity:.2f} (at most {MAX_PERPLEXITY_RATIO - 1:.0%})"
        )
    if _median(candidate) > MAX_LENGTH_RATIO * _median(other) + 1:
        reasons.append(
            f"replies to simple questions have grown: {_median(candidate):g} tokens, {name} says {_median(other):g}"
        )
    return reasons


def _median(measured: Measurement) -> float:
    return measured.median_reply_tokens_simple or 0.0


def _not_preferred(candidate: Measurement, base: Measurement) -> str | None:
    """Why the candidate has not learned what was liked: by pairs, or where there are none by the good answers alone."""
    if candidate.pairs:
        name, mine, theirs = "preference accuracy", candidate.preference_accuracy, base.preference_accuracy
    else:
        name, mine, theirs = (
            "log-likelihood of good answers",
            candidate.chosen_log_likelihood,
            base.chosen_log_likelihood,
        )
    if mine is not None and theirs is not None and (mine > theirs or mine == theirs == 1.0):
        return None
    return f"{name} {mine} is not better than the base's {theirs}"


def _clearly_less_preferred(candidate: Measurement, incumbent: Measurement) -> bool:
    """One pair more or less is noise between two models that learned from the same days."""
    if candidate.preference_accuracy is None or incumbent.preference_accuracy is None or not candidate.pairs:
        return False
    return candidate.preference_accuracy < incumbent.preference_accuracy - 1.01 / candidate.pairs


def smallest(rungs: Sequence[Rung]) -> Rung | None:
    """The smallest file that is as good as f16."""
    good = [rung for rung in rungs if not differs_from_f16(rung)]
    return min(good, key=lambda rung: rung.size_bytes) if good else None
