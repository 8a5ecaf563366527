"""How is it going? `reactord status`: one screen, from the files, whether the daemon runs or not."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import Any

from reactord import __version__
from reactord.cli import parts, text
from reactord.cli.exits import DEGRADED, NOT_RUNNING, OK
from reactord.cli.text import Paint, clip, duration, number, safe
from reactord.cli.view import SCHEMA_VERSION, SCORES, Problem, Progress, View, look, scores_of
from reactord.home import Home
from reactord.jobs.states import State
from reactord.ledger.counts import Counts
from reactord.ledger.state import Job, Model

WATCH_EVERY_S = 1.0
BAR_WIDTH = 20
EXITS = {"healthy": OK, "degraded": DEGRADED, "down": NOT_RUNNING}
DOTS = {"healthy": ("green", "●"), "degraded": ("yellow", "●"), "down": ("red", "○")}
#: what a daemon that is not there was when it was last heard
DOWN = {
    "never started": "has never run here",
    "stopped": "is not running: it stopped",
    "lost": "is not running: it ended without goodbye, last heard",
    "unknown": "cannot be looked at",
}


def command(home: Home, options: argparse.Namespace) -> int:
    """Show the state; the exit status is its health."""
    if options.watch:
        return _watch(home)
    view = look(home, time.time())
    if options.json:
        text.say(text.json_text(as_json(view)))
    else:
        text.say(*screen(view, text.screen_width(sys.stdout), Paint.on_stream(sys.stdout)))
    return EXITS[view.health]


def _watch(home: Home) -> int:
    """Redraw in place on a terminal; elsewhere one line a second. Ends with ^C."""
    block = text.Block(sys.stdout) if sys.stdout.isatty() else None
    while True:
        view = look(home, time.time())
        if block:
            block.draw(screen(view, text.screen_width(sys.stdout), Paint.on_stream(sys.stdout)))
        else:
            text.say(one_line(view))
            sys.stdout.flush()
        time.sleep(WATCH_EVERY_S)


# -- JSON ------------------------------------------------------------------------------------------------------------
def as_json(view: View) -> dict[str, Any]:
    """The stable form; a key that nobody could measure is null."""
    daemon, job, model = view.daemon, view.job, view.deployed
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "home": text.plain_path(view.home.root),
        "health": view.health,
        "running": daemon.running,
        "state": daemon.state,
        "pid": daemon.pid,
        "port": daemon.port,
        "started_at": daemon.started_at,
        "uptime_s": _since(daemon.started_at, view.at),
        "heard_at": daemon.heard_at,
        "memory_bytes": daemon.memory_bytes,
        "ledger": view.counts and counts_json(view.counts),
        "job": job and {"id": job.id, "state": job.state, "cause": why(job), "attempt": job.attempt,
                        "created_at": job.created_at, "updated_at": job.updated_at,
                        "progress": view.progress and asdict(view.progress)},
        "queue": {"queued": view.queued, "fresh": view.fresh, "threshold": daemon.experience_threshold,
                  **view.births.as_json(view.at)},
        "model": model and {"model_id": model.model_id, "version": model.version, "job_id": model.job_id,
                            "deployed_at": model.facts.get("deployed_at"), "gguf": model.facts.get("gguf"),
                            "size_bytes": model.facts.get("size_bytes"),
                            "candidate": scores_of(model)[0], "base": scores_of(model)[1]},
        "problems": [asdict(problem) for problem in view.problems],
    }  # fmt: skip


def counts_json(counts: Counts) -> dict[str, Any]:
    """The two sides of the conservation law."""
    return {
        "received": counts.received, "pending": counts.pending, "in_datasets": counts.in_datasets,
        "held_out": counts.held_out, "rejected": counts.rejected, "duplicates": counts.duplicates,
        "balanced": counts.balanced, "mended": counts.mended,
    }  # fmt: skip


def _since(at: float | None, now: float) -> float | None:
    return None if at is None else max(0.0, now - at)


# -- the screen ------------------------------------------------------------------------------------------------------
def screen(view: View, width: int, paint: Paint) -> list[str]:
    """About a dozen lines, none wider than `width`."""
    problems = [line for problem in view.problems for line in _problem(problem, view.at)]
    blocks = {
        "home": [text.path_text(view.home.root)],
        "ledger": _ledger(view, width - 10),
        "job": _job(view),
        "queue": _queue(view, width - 10),
        "model": _model(view.deployed, view.at, width - 10),
        "problems": problems,
    }
    lines = [_headline(view, width, paint)]
    for label, content in blocks.items():
        for i, line in enumerate(content):
            shown = clip(line, width - 10)
            if label == "problems":
                shown = paint("dim" if line.startswith("→") else "yellow", shown)
            lines.append(_label("" if i else label, paint) + shown)
    return lines


def _label(label: str, paint: Paint) -> str:
    return paint("dim", f"{label:>8}") + "  "


def _headline(view: View, width: int, paint: Paint) -> str:
    daemon = view.daemon
    colour, dot = DOTS[view.health]
    if not daemon.running:
        when = f" {duration(view.at - daemon.heard_at)} ago" if daemon.heard_at is not None else ""
        words = f"reactord {DOWN.get(daemon.state, daemon.state)}{when}; start it: reactord run"
        return paint(colour, dot) + " " + paint("bold", clip(words, width - 2))
    state = "degraded" if view.health == "degraded" else safe(daemon.state)
    where = f"http://127.0.0.1:{daemon.port}" if daemon.port else "no port yet"
    facts = [f"up {duration(_since(daemon.started_at, view.at))}", f"pid {daemon.pid or text.NOTHING}", where]
    if daemon.memory_bytes is not None:
        facts.append(text.size(daemon.memory_bytes))
    line = clip(f"{dot} reactord {__version__} {state} · {' · '.join(facts)}", width)
    return line.replace(dot, paint(colour, dot), 1).replace(f" {state} ", f" {paint(colour, state)} ", 1)


def _ledger(view: View, width: int) -> list[str]:
    counts = view.counts
    if counts is None:
        return [text.NOTHING]
    fates = {
        "pending": counts.pending,
        "in datasets": counts.in_datasets,
        "held out": counts.held_out,
        "rejected": sum(counts.rejected.values()),
        "duplicates": counts.duplicates,
    }
    verdict = "balanced" if counts.balanced else "DOES NOT BALANCE"
    head = f"{counts.received} received, {verdict}: "
    return parts.wrapped(head, [f"{n} {name}" for name, n in fates.items()], width)


def _job(view: View) -> list[str]:
    job = view.job
    if job is None:
        last = view.jobs[0] if view.jobs else None
        if last is None:
            return ["none yet"]
        return [f"none at work; last: {last.id} {last.state} {duration(view.at - last.updated_at)} ago"]
    return [f"{job.id} {job.state}: {safe(why(job))}", *progress_lines(job, view.progress or Progress())]


def progress_lines(job: Job, progress: Progress) -> list[str]:
    """The bar and the numbers of a job at work; nothing where nothing was reported."""
    if progress.stage is None or job.state == "queued":
        return []
    words = f"{progress.stage} {progress.step}/{progress.total_steps}" if progress.step is not None else progress.stage
    if progress.text and progress.step is None:
        words += f": {safe(progress.text)}"
    fraction = progress.fraction
    lines = [f"{text.bar(fraction, BAR_WIDTH)} {fraction:4.0%}  {words}" if fraction is not None else words]
    if progress.step is not None:
        lines.append(
            f"loss {number(progress.loss, 4)} · reward accuracy {number(progress.reward_accuracy)}"
            f" · ETA {duration(progress.eta_s)} · worker {_megabytes(progress.rss_mb)}"
        )
    return lines


def _megabytes(rss_mb: float | None) -> str:
    return text.NOTHING if rss_mb is None else text.size(rss_mb * 1024**2)


def _queue(view: View, width: int) -> list[str]:
    items = [f"{view.queued} waiting"]
    threshold = view.daemon.experience_threshold
    if view.fresh is not None and threshold:
        items.append(f"{view.fresh} of {threshold} new experiences that start the next job")
    elif view.fresh is not None:
        items += [f"{view.fresh} new experiences since the last job", "start one: reactord train"]
    items += view.births.words(view.at)
    return parts.wrapped("", items, width)


def _model(model: Model | None, now: float, width: int) -> list[str]:
    if model is None:
        return ["none deployed yet"]
    candidate, base = scores_of(model)
    since = model.facts.get("deployed_at")
    age = duration(now - since) if isinstance(since, int | float) else text.NOTHING
    lines = [f"{safe(model.model_id)} {model.version}, since {age}, {text.size(model.facts.get('size_bytes'))}"]
    if candidate:
        names = ("preference", "exact", "reply tokens", "empty", "perplexity")
        scores = zip(SCORES, names, strict=True)
        items = [f"{name} {number(candidate.get(key))} (base {number(base.get(key))})" for key, name in scores]
        lines += parts.wrapped("", items, width)
    return lines


def _problem(problem: Problem, now: float) -> list[str]:
    when = f"{duration(now - problem.at)} ago: " if problem.at is not None else ""
    return [when + safe(problem.text), f"→ {problem.command}"]


def why(job: Job) -> str:
    """Why it is in its state; of one that waits for memory or the slot, what it waits for."""
    waits_for = job.facts.get("waits_for")
    return str(waits_for) if job.state == State.RESERVING and waits_for else job.cause


def one_line(view: View) -> str:
    """The state in one line, for a log."""
    counts, job = view.counts, view.job
    words = [text.clock(view.at, day=False), view.health, safe(view.daemon.state)]
    if counts is not None:
        words.append(f"pending {counts.pending} of {counts.received}")
    words.append(job_line(job, view.progress or Progress()) if job else "no job")
    return " · ".join(words)


def job_line(job: Job, progress: Progress) -> str:
    """A job and how far it is, in a few words."""
    words = f"{job.id} {job.state}"
    if progress.stage is not None and job.state != "queued":
        words += f" · {progress.stage}"
        if progress.step is not None:
            words += (
                f" {progress.step}/{progress.total_steps} · loss {number(progress.loss, 4)} · reward accuracy"
                f" {number(progress.reward_accuracy)} · ETA {duration(progress.eta_s)} · {_megabytes(progress.rss_mb)}"
            )
        else:
            words += f": {safe(progress.text)}" if progress.text else ""
            words += f" {progress.fraction:.0%}" if progress.fraction is not None else ""
    return words
