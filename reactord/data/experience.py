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

from reactord.ledger.reading import StoredRecord

MAX_PROMPT_CHARS = 8_000
MAX_REPLY_CHARS = 16_000
MAX_ID_CHARS = 256

Kind = Literal["answer", "correction", "feedback"]
Outcome = Literal["success", "failure", "unknown"]

PROMPT = (
    "user_input", "prompt", "original_prompt", "query", "question", "text", "input_text", "instruction", "user_message",
    "message", "command", "input",
)  # fmt: skip
REPLY = ("assistant_output", "response", "completion", "output", "answer", "reply", "output_text")
ORIGINAL = ("original_response",)
CORRECTED = ("corrected_response", "correction_text")
SYSTEM = ("system_context", "system_prompt", "system")
MODEL = ("model_id", "model", "model_name", "model_version")
REFERENCE = ("interaction_id", "original_event_id", "refers_to", "response_id", "parent_event_id", "correlation_id")
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
_TURN = re.compile(r"(?m)^(System|User|Human|Assistant|AI): ?")


@dataclass(frozen=True, slots=True)
class Experience:
    """A normalised record. The reply of a correction is the original one; feedback has no prompt and no reply."""

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
    layers = _layers(record.body)
    rating, opinion = _rating(layers), _opinion(layers)
    original, corrected = _text(layers, ORIGINAL), _text(layers, CORRECTED)
    refers_to = _text(layers, REFERENCE)[:MAX_ID_CHARS] or None
    kind: Kind = "correction" if corrected else _kind(_text(layers, TYPE).casefold())
    spoken, prompt = _undialogued(_text(layers, PROMPT))
    system = _text(layers, SYSTEM) or spoken
    reply = original or _text(layers, REPLY) if kind == "correction" else _text(layers, REPLY)
    if kind == "feedback":
        _require(refers_to, "feedback_without_reference")
        _require(rating is not None or opinion, "feedback_without_opinion")
    else:
        _require(prompt, "no_prompt")
        _require(reply or (kind == "correction" and refers_to), "no_reply")
    _require(len(prompt) + len(system) <= MAX_PROMPT_CHARS, "prompt_too_long")
    _require(max(len(reply), len(corrected)) <= MAX_REPLY_CHARS, "reply_too_long")
    return Experience(
        identity=record.identity, seq=record.seq, arrived_at=record.arrived_at, kind=kind,
        event_id=_text(layers[:1], IDENTITY)[:MAX_ID_CHARS] or None, refers_to=refers_to,
        prompt=prompt, system=system or None, reply=reply, corrected=corrected,
        model=_text(layers, MODEL)[:MAX_ID_CHARS] or "unknown", outcome=_outcome(layers), rating=rating,
        opinion=opinion, complex=_text(layers, COMPLEXITY).casefold() not in ("", *SIMPLE),
    )  # fmt: skip


def _require(fact: object, reason: str) -> None:
    if not fact:
        raise _Unusable(reason)


def _kind(stated: str) -> Kind:
    """What a record without a corrected answer is."""
    _require(stated not in NOT_INTERACTIONS and not stated.startswith("autonomy:"), "not_an_interaction")
    # what Body's converter leaves of a correction: the texts are gone (body.md 3.1)
    _require(stated != "correction", "correction_without_answers")
    return "feedback" if stated == "feedback" else "answer"


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
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _Unusable("not_unicode") from None
            return value.strip()
    return ""


def _number(layers: list[dict[str, Any]], names: tuple[str, ...], low: float, high: float) -> float | None:
    for value in _values(layers, names):
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value) if math.isfinite(value) else None
    return None


def _outcome(layers: list[dict[str, Any]]) -> Outcome:
    stated = _text(layers, ("outcome",)).casefold()
    if stated in ("success", "failure"):
        return "success" if stated == "success" else "failure"
    flag = next((value for value in _values(layers, ("success",)) if isinstance(value, bool)), None)
    return "unknown" if stated or flag is None else "success" if flag else "failure"


def _rating(layers: list[dict[str, Any]]) -> float | None:
    return _number(layers, ("user_rating", "rating"), 1, 5)


def _opinion(layers: list[dict[str, Any]]) -> int:
    """Explicit feedback as a sign: a score of at least a half either way, or one plain word of praise or blame."""
    score = _number(layers, ("feedback_score",), -1, 1)
    if score is not None and abs(score) >= 0.5:
        return 1 if score > 0 else -1
    said = " ".join(_text(layers, FEEDBACK).casefold().strip(" .!").split())
    return 1 if _PRAISE.fullmatch(said) else -1 if _BLAME.fullmatch(said) else 0


def _undialogued(prompt: str) -> tuple[str, str]:
    """(system, question) of a prompt that Prime flattened into lines `System: ...`, `User: ...`, `Assistant:`.

    A dialogue of several user turns keeps them all: its last question alone would be another question.
    """
    turns = list(_TURN.finditer(prompt))
    if not turns or not prompt.endswith(("Assistant:", "AI:")):
        return "", prompt
    prompt = prompt[: turns[-1].start()].strip()
    asked = [turn for turn in turns if turn[1] in ("User", "Human")]
    if len(asked) != 1 or len(turns) > 3:
        return "", prompt
    system = prompt[: asked[0].start()].strip()
    return re.sub(r"^System: ?", "", system), prompt[asked[0].end() :].strip()
