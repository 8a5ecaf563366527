"""Which versions are there, how good were they measured to be, and is every record accounted for?"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from reactord.cli import text
from reactord.cli.exits import DEGRADED, OK
from reactord.cli.status import counts_json
from reactord.cli.text import Paint, duration, number
from reactord.cli.view import SCHEMA_VERSION, SCORES, rows_of, scores_of
from reactord.home import Home
from reactord.ledger.counts import count
from reactord.ledger.state import Model


def models(home: Home, options: argparse.Namespace) -> int:
    """Every version, newest first: its fate, size, scores, place."""
    with rows_of(home) as rows:
        found = rows.models() if rows else []
    if options.json:
        text.say(text.json_text({"schema_version": SCHEMA_VERSION, "models": [_json(model) for model in found]}))
    elif not found:
        text.tell("no model version yet; make one: reactord train")
    else:
        header = ["VERSION", "FATE", "AGE", "SIZE", "PREF", "EXACT", "TOKENS", "EMPTY", "PPL", "WHERE"]
        paint, now = Paint.on_stream(sys.stdout), time.time()
        rows_ = [_row(model, now) for model in found]
        text.say(*text.table(header, rows_, text.screen_width(sys.stdout), colours={1: paint.state}))
    return OK


def _row(model: Model, now: float) -> list[str]:
    candidate, _ = scores_of(model)
    scores = [number(candidate.get(key)) for key in SCORES]
    size_bytes, gguf = model.facts.get("size_bytes"), model.facts.get("gguf")
    where = text.path_text(gguf) if gguf else f"reactord jobs {model.job_id}"
    return [model.version, model.fate, duration(now - model.created_at), text.size(size_bytes), *scores, where]


def _json(model: Model) -> dict[str, Any]:
    return {"version": model.version, "model_id": model.model_id, "fate": model.fate, "job_id": model.job_id,
            "created_at": model.created_at, **model.facts}  # fmt: skip


def ledger(home: Home, options: argparse.Namespace) -> int:
    """Both sides of the conservation law; exit 4 when they differ."""
    counts = count(home)
    if options.json:
        text.say(text.json_text({"schema_version": SCHEMA_VERSION, **counts_json(counts)}))
    else:
        rejected = sorted(counts.rejected.items(), key=lambda item: -item[1])
        accounted = [
            ("pending", counts.pending),
            ("in datasets", counts.in_datasets),
            ("held out", counts.held_out),
            ("rejected", sum(counts.rejected.values())),
            *((f"  {text.safe(reason)}", n) for reason, n in rejected),
            ("duplicates", counts.duplicates),
        ]
        text.say(f"{counts.received:>9}  received", *(f"{n:>9}  {name}" for name, n in accounted))
        text.say("balanced" if counts.balanced else "DOES NOT BALANCE: please report this output")
        text.say(*(f"{n:>9}  documents were mended: {text.safe(what)}" for what, n in counts.mended.items()))
    return OK if counts.balanced else DEGRADED
