"""What does one line of a dataset say to the trainer and to the judge?

The lines are written by `reactord.data`; here they become conversations. Nothing else in this room knows their keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Example:
    """A question with an answer that is better than another, or just good."""

    prompt: str
    system: str | None
    chosen: str
    rejected: str | None
    simple: bool
    check: dict[str, Any] | None
    task_type: str

    @property
    def messages(self) -> list[Message]:
        """The conversation up to the answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


def load(path: Path) -> list[Example]:
    """Every example of train.jsonl or holdout.jsonl, in the file's order."""
    with path.open("rb") as file:
        return [_example(orjson.loads(line)) for line in file]


def _example(line: dict[str, Any]) -> Example:
    return Example(
        prompt=line["prompt"],
        system=line.get("system"),
        chosen=line["chosen"],
        rejected=line.get("rejected"),
        simple=bool(line.get("simple")),
        check=line.get("check"),
        task_type=str(line.get("task_type") or "unknown"),
    )


def assistant(text: str) -> list[Message]:
    """The answer as the turn that follows `Example.messages`."""
    return [{"role": "assistant", "content": text}]
