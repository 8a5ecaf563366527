"""Why is a job born next, or is not? What the daemon last said of it, in `reactor/births.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reactord.cli.presence import read_object
from reactord.cli.text import clock, number, safe
from reactord.home import Home


@dataclass(frozen=True, slots=True)
class Births:
    """What is in the file; nothing where there is none, or it is of another shape."""

    said: dict[str, Any] = field(default_factory=dict)

    def _part(self, name: str) -> dict[str, Any]:
        part = self.said.get(name)
        return part if isinstance(part, dict) else {}

    @property
    def _missed(self) -> dict[str, Any]:
        missed = self._part("schedule").get("last_missed")
        return missed if isinstance(missed, dict) else {}

    # -- the pause after failures ------------------------------------------------------------------------------------
    def is_paused(self, now: float) -> bool:
        """Whether no job is born by itself now."""
        until = _number(self._part("paused").get("until"))
        return until is not None and now < until

    @property
    def paused_by(self) -> str:
        """The id of the job that failed last."""
        return safe(str(self._part("paused").get("job_id")))

    @property
    def pause_words(self) -> str:
        """Why, and until when."""
        paused = self._part("paused")
        until = clock(_number(paused.get("until")))
        return (
            f"no job starts by itself after {paused.get('failures')} failures in a row; will try again at {until},"
            f" or start one yourself (the last one failed: {safe(str(paused.get('cause')))})"
        )

    # -- a night without its run -------------------------------------------------------------------------------------
    @property
    def missed_at(self) -> float | None:
        """When the night ended that had no run, unless it was made up."""
        return _number(self._missed.get("ended")) if self._part("schedule").get("owed") else None

    @property
    def missed_words(self) -> str:
        """Which, and why."""
        return f"{safe(str(self._missed.get('night')))} had no run: {safe(str(self._missed.get('why')))}"

    # -- shown -------------------------------------------------------------------------------------------------------
    def as_json(self, now: float) -> dict[str, Any]:
        """The stable form; null is what nobody knows."""
        score, schedule = self._part("score"), self._part("schedule")
        return {
            "score": _number(score.get("total")),
            "score_complete": score.get("complete"),
            "score_counts": score.get("counts"),
            "score_threshold": _number(self.said.get("score_threshold")),
            "schedule": schedule or None,
            "paused": self._part("paused") if self.is_paused(now) else None,
        }

    def words(self, now: float) -> list[str]:
        """What there is to say, in a few words each."""
        found = []
        total, most = _number(self._part("score").get("total")), _number(self.said.get("score_threshold"))
        if total is not None and most:
            at_least = "" if self._part("score").get("complete") else "at least "
            found.append(f"score {at_least}{number(total, 1)} of {number(most, 0)}")
        opens, closes = (_number(self._part("schedule").get(name)) for name in ("next", "open_until"))
        if closes is not None and now < closes:
            found.append(f"a night is open until {clock(closes)}")
        elif opens is not None:
            found.append(f"the next night begins at {clock(opens)}")
        if self.is_paused(now):
            found.append(f"paused until {clock(_number(self._part('paused').get('until')))}")
        return found


def look(home: Home) -> Births:
    """Read the file. Raises OSError when it may not be read."""
    return Births(read_object(home.births))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
