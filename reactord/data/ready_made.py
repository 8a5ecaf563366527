"""What does a preference pair that somebody else made say, and by what measure? (contract/lifecycle.md 13)"""

from __future__ import annotations

import math
from typing import Any

#: its makers take no shorter answers
MIN_CHARS = 5


def claim(body: dict[str, Any]) -> str:
    """By what measure the chosen answer was found better, in words for the evidence."""
    method = body.get("generation_method")
    named = method.strip()[:64] if isinstance(method, str) and method.strip().isprintable() else ""
    chosen, rejected = _score(body.get("chosen_score")), _score(body.get("rejected_score"))
    scores = f"{chosen:.3g} against {rejected:.3g}" if chosen is not None and rejected is not None else "no scores"
    return f"{named or 'method not named'}: {scores}"


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
