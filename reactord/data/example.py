"""What does a recipe consume? One example, and the evidence that its chosen answer is the better one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import orjson

EvidenceKind = Literal["correction", "verifier", "outcome", "rating", "feedback", "ready_made", "brevity", "standing"]


class Check(TypedDict):
    """How the judge scores a reply: `kind` is arithmetic, equation, json, code or contains."""

    kind: str
    expected: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason to prefer an answer. `weight` (0..1) orders reasons by how much they can be trusted."""

    kind: EvidenceKind
    detail: str
    weight: float


@dataclass(frozen=True, slots=True)
class Example:
    """A preference pair, or for `sft` a good answer (`rejected` is None)."""

    prompt: str
    system: str | None
    chosen: str
    rejected: str | None
    evidence: tuple[Evidence, ...]
    records: tuple[str, ...]  # identities of the records it was made from
    task_type: str
    simple: bool
    chosen_model: str
    rejected_model: str | None
    cluster: str  # near-duplicate prompts share it; it never crosses the split
    check: Check | None  # how the judge can score an answer to this prompt
    at: float  # epoch seconds: arrival of its newest record

    def line(self) -> bytes:
        """Its one line of train.jsonl or holdout.jsonl."""
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> Example:
    """Read what `Example.line` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    body: dict[str, Any] = orjson.loads(line)
    evidence = tuple(Evidence(**item) for item in body.pop("evidence"))
    return Example(evidence=evidence, records=tuple(body.pop("records")), **body)
