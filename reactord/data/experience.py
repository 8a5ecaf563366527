"""What does one stored record say, in our words?

Every producer has its own field names (contract: body.md 3.1, 3.4 and 1.3, prime.md 4), and any of them may send
anything. A record becomes an `Experience`, or is `Refused` with the reason that the ledger will count it under.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from reactord.data import ready_made, turns
from reactord.formats import autonomy
from reactord.formats.experience_lines import UPDATE
from reactord.formats.preference_pairs import is_pair
from reactord.ledger.reading import StoredRecord

MAX_PROMPT_CHARS = 8_000
MAX_REPLY_CHARS = 16_000
MAX_ID_CHARS = 256

Kind = Literal["answer", "correction", "feedback", "pair"]
Outcome = Literal["success", "failure", "unknown"]

PROMPT = (
    "user_input", "prompt", "original_prompt", "query", "question", "text", "input_text", "user_prompt", "user_message",
    "message", "command", "input",
)  # fmt: skip
REPLY = (
    "assistant_output", "response", "completion", "output", "answer", "reply", "output_text", "agent_response",
)  # fmt: skip
ORIGINAL = ("original_response",)
CORRECTED = ("corrected_response", "correction_text")
SYSTEM = ("system_context", "system_prompt", "system")
MODEL = ("model_id", "model", "model_name", "model_version")
REFERENCE = ("refers_to", "interaction_id", "original_event_id", "response_id", "parent_event_id", "correlation_id")
IDENTITY = ("event_id", "experience_id", "record_id", "id")
COMPLEXITY = ("complexity_level", "complexity")
TYPE = ("event_type", "type")
FEEDBACK = ("user_feedback", "feedback_text", "feedback_notes", "feedback")
SIMPLE = ("simple", "low", "trivial", "easy")
#: these record that something happened; nobody was asked and nobody answered
NOT_INTERACTIONS = ("error", "metric", "heartbeat")

#: the whole of a feedback text must be one of these: reading moods into prose is guessing
_PRAISE = re.compile(
    r"(?:thumbs[ _]up|positive|\+1|good|great|perfect|correct|right|helpful|yes)(?: answer| job| one)?"
)
_BLAME = re.compile(
    r"(?:(?:this|that|it) (?:is|was) |that's )?"
    r"(?:thumbs[ _]down|negative|-1|bad|wrong|incorrect|unhelpful|no|not (?:correct|right|helpful|true))(?: answer)?"
)


@dataclass(frozen=True, slots=True)
class Experience:
    """A normalised record.

    The reply of a correction is the original one, that of a pair the rejected one; `corrected` is the better one.
    Feedback has no prompt and no reply.
    """

    identity: str
    seq: int
    arrived_at: float
    kind: Kind
    event_id: str | None
    refers_to: str | None
    prompt: str
    system: str | None
    reply: str
    corrected: str
    model: str
    outcome: Outcome
    rating: float | None  # 1..5
    opinion: int  # -1 blame, 0 none, +1 praise
    complex: bool  # the sender says this is no simple question
    chosen_model: str = "unknown"  # of a pair: who gave the better answer
    claim: str = ""  # of a pair: by what measure it was found better
    confidence: float | None = None  # 0..1, the model's own


@dataclass(frozen=True, slots=True)
class Refused:
    """A record nothing can be learned from, and why."""

    identity: str
    reason: str


class _Unusable(ValueError):
    """Its message is the reason to count."""


def normalise(record: StoredRecord) -> Experience | Refused:
    """Read one record. Never raises for what a sender sent."""
    try:
        return _read(record)
    except _Unusable as error:
        return Refused(record.identity, str(error))


def _read(record: StoredRecord) -> Experience:
    if is_pair(record.body):
        return _pair(record)
    layers = _layers(record.body)
    stated = _text(layers, TYPE).casefold()
    _may_teach(layers, stated)
    rating, opinion, outcome = _rating(layers), _opinion(layers), _outcome(layers, stated)
    original, corrected = _text(layers, ORIGINAL), _text(layers, CORRECTED)
    refers_to = _text(layers, REFERENCE)[:MAX_ID_CHARS] or None
    kind: Kind = "correction" if corrected else _kind(stated)
    spoken, prompt, reply = _said(layers)
    system = _text(layers, SYSTEM) or spoken
    reply = original or reply if kind == "correction" else reply
    if kind == "feedback":
        _require(refers_to, "feedback_without_reference")
        _require(rating is not None or opinion or outcome != "unknown", "feedback_without_opinion")
    else:
        _require(prompt, "no_prompt")
        _require(reply or (kind == "correction" and refers_to), "no_reply")
    _require(len(prompt) + len(system) <= MAX_PROMPT_CHARS, "prompt_too_long")
    _require(max(len(reply), len(corrected)) <= MAX_REPLY_CHARS, "reply_too_long")
    return Experience(
        identity=record.identity, seq=record.seq, arrived_at=record.arrived_at, kind=kind,
        event_id=_text(layers[:1], IDENTITY)[:MAX_ID_CHARS] or None, refers_to=refers_to,
        prompt=prompt, system=system or None, reply=reply, corrected=corrected,
        model=_text(layers, MODEL)[:MAX_ID_CHARS] or "unknown", outcome=outcome, rating=rating,
        opinion=opinion, complex=_text(layers, COMPLEXITY).casefold() not in ("", *SIMPLE),
        confidence=_number(layers, ("confidence",), 0, 1),
    )  # fmt: skip


def _pair(record: StoredRecord) -> Experience:
    """A preference that somebody else found."""
    layers = [record.body]
    spoken, prompt = turns.undialogued(_text(layers, ("prompt",)))
    system = _text(layers, SYSTEM) or spoken
    rejected, chosen = _text(layers, ("rejected",)), _text(layers, ("chosen",))
    _require(prompt, "no_prompt")
    _require(min(len(chosen), len(rejected)) >= ready_made.MIN_CHARS, "pair_side_too_short")
    _require(chosen != rejected, "pair_sides_equal")
    _require(len(prompt) + len(system) <= MAX_PROMPT_CHARS, "prompt_too_long")
    _require(max(len(rejected), len(chosen)) <= MAX_REPLY_CHARS, "reply_too_long")
    return Experience(
        identity=record.identity, seq=record.seq, arrived_at=record.arrived_at, kind="pair", event_id=None,
        refers_to=None, prompt=prompt, system=system or None, reply=rejected, corrected=chosen,
        model=_text(layers, ("rejected_model",))[:MAX_ID_CHARS] or "unknown", outcome="unknown", rating=None,
        opinion=0, complex=False, chosen_model=_text(layers, ("chosen_model",))[:MAX_ID_CHARS] or "unknown",
        claim=ready_made.claim(record.body),
    )  # fmt: skip


def _may_teach(layers: list[dict[str, Any]], stated: str) -> None:
    """Raise _Unusable for what its sender, or the way it ended, keeps from training."""
    if stated.startswith(autonomy.PREFIX):
        ended = autonomy.classify(stated)
        _require(ended in ("success", "failure"), f"autonomy_{ended}")
    _require(next(_values(layers, ("should_train",)), None) is not False, "sender_says_not_to_train")
    _require(_text(layers[:1], ("quality",)).casefold() != "rejected", "sender_rejected_it")


def _require(fact: object, reason: str) -> None:
    if not fact:
        raise _Unusable(reason)


def _kind(stated: str) -> Kind:
    """What a record without a corrected answer is."""
    _require(stated not in NOT_INTERACTIONS, "not_an_interaction")
    # what Body's converter leaves of a correction: the texts are gone (body.md 3.1)
    _require(stated != "correction", "correction_without_answers")
    return "feedback" if stated in ("feedback", UPDATE) else "answer"


def _layers(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Where fields may be, nearest first: the record, its `data`, its inputs and outputs, its metadata."""
    layers = [body, *_parts(body, "data", "input", "input_data")]
    # the "text" of an output is the reply, any other "text" the prompt
    for part in _parts(body, "output", "output_data"):
        layers += [{"reply" if key == "text" else key: value for key, value in part.items()}]
    for holder in (body, *_parts(body, "data")):
        layers += _parts(holder, "metadata")
    return layers


def _parts(body: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    return [value for name in names if isinstance(value := body.get(name), dict)]


def _values(layers: list[dict[str, Any]], names: tuple[str, ...]) -> Iterator[Any]:
    for layer in layers:
        for name in names:
            value = layer.get(name)
            if value is not None:
                yield value


def _text(layers: list[dict[str, Any]], names: tuple[str, ...]) -> str:
    """The first non-blank string under these names. Raises _Unusable for one that is no Unicode text."""
    for value in _values(layers, names):
        if isinstance(value, str) and value.strip():
            _require(_is_unicode(value), "not_unicode")
            return value.strip()
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(layers: list[dict[str, Any]], names: tuple[str, ...], low: float, high: float) -> float | None:
    for value in _values(layers, names):
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value) if math.isfinite(value) else None
    return None


def _outcome(layers: list[dict[str, Any]], kind: str) -> Outcome:
    if kind == "feedback":
        return "unknown"  # that feedback was taken says nothing about what it is about
    stated = autonomy.classify(kind) if kind.startswith(autonomy.PREFIX) else _text(layers, ("outcome",)).casefold()
    if stated in ("success", "failure"):
        return "success" if stated == "success" else "failure"
    flag = next((value for value in _values(layers, ("success",)) if isinstance(value, bool)), None)
    return "unknown" if stated or flag is None else "success" if flag else "failure"


def _said(layers: list[dict[str, Any]]) -> tuple[str, str, str]:
    """(system, question, reply), from fields of their own, or else from a list of turns."""
    prompt, reply, spoken = _text(layers, PROMPT), _text(layers, REPLY), ""
    given = _text(layers, ("input",))
    if prompt == given and (instruction := _text(layers, ("instruction",))):
        prompt = f"{instruction}\n\n{given}" if given else instruction
    if not prompt and (found := turns.find(layers)):
        _require(all(map(_is_unicode, found)), "not_unicode")
        spoken, prompt, reply = found[0], found[1], found[2] or reply
    flat, prompt = turns.undialogued(prompt)
    return spoken or flat, prompt, reply


def _rating(layers: list[dict[str, Any]]) -> float | None:
    return _number(layers, ("user_rating", "rating"), 1, 5)


def _opinion(layers: list[dict[str, Any]]) -> int:
    """Explicit feedback as a sign: a score of at least a half either way, or one plain word of praise or blame."""
    score = _number(layers, ("feedback_score", "feedback", "user_feedback"), -1, 1)
    if score is not None and abs(score) >= 0.5:
        return 1 if score > 0 else -1
    said = " ".join(_text(layers, FEEDBACK).casefold().strip(" .!").split())
    return 1 if _PRAISE.fullmatch(said) else -1 if _BLAME.fullmatch(said) else 0
