"""What happens, as it happens? `reactord events` and `reactord logs`, to their end or for as long as you look."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from reactord.cli import text
from reactord.cli.exits import OK
from reactord.cli.text import Paint, safe
from reactord.cli.view import SCHEMA_VERSION, rows_of
from reactord.home import Home
from reactord.ledger.state import Event

POLL_S = 0.3
TAIL_BYTES = 1024 * 1024
LEVELS = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow", "DEBUG": "dim"}


# -- events ----------------------------------------------------------------------------------------------------------
def events(home: Home, options: argparse.Namespace) -> int:
    """One line an event; with -f the new ones too, until ^C."""
    paint, width = Paint.on_stream(sys.stdout), text.screen_width(sys.stdout)
    after: int | None = None
    while True:
        found, after = _events_after(home, after, options.lines)
        for event in found:
            if options.json:
                line = {"schema_version": SCHEMA_VERSION, "seq": event.seq, "at": event.at, "topic": event.topic,
                        "subject": event.subject, "data": event.data}  # fmt: skip
                text.say(text.json_text(line, indent=False))
            else:
                text.say(_event_line(event, width, paint))
        sys.stdout.flush()
        if not options.follow:
            return OK
        time.sleep(POLL_S)


def _events_after(home: Home, after: int | None, last: int) -> tuple[list[Event], int | None]:
    """(events newer than `after`, or the last few at the beginning; where to go on)."""
    with rows_of(home) as rows:
        if rows is None:  # no daemon has run here yet: from the very first event then
            return [], 0 if after is None else after
        start = max(0, rows.last_event() - last) if after is None else after
        found = rows.events(after=start)
        return found, found[-1].seq if found else start


def _event_line(event: Event, width: int, paint: Paint) -> str:
    data = event.data
    why = data.get("cause") or " ".join(f"{key}={_short(value)}" for key, value in data.items())
    topic = f"{safe(event.topic):<16}"
    line = f"{text.clock(event.at)}  {topic}  {safe(event.subject)}  {safe(why)}"
    state = event.topic.rpartition(".")[2]
    return text.clip(line, width).replace(topic, paint(text.STATE_STYLES.get(state, ""), topic), 1)


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)


# -- logs ------------------------------------------------------------------------------------------------------------
def logs(home: Home, options: argparse.Namespace) -> int:
    """The daemon's log as text; with -f what is added too, until ^C."""
    path, paint = home.logs / "reactord.jsonl", Paint.on_stream(sys.stdout)
    if not options.follow and not path.exists():
        text.tell(f"no log yet in {text.path_text(home.logs)}; start the daemon: reactord run")
        return OK
    for raw in _lines(path, options.lines, follow=options.follow):
        text.say(*_log_lines(raw, paint))
        sys.stdout.flush()
    return OK


def _lines(path: Path, last: int, *, follow: bool) -> Iterator[bytes]:
    """The last whole lines of a file, then, if followed, those that are added, across rotations."""
    file, rest, start = _opened(path), b"", 0
    try:
        if file is not None:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            *whole, rest = file.read().split(b"\n")
            whole = whole[1 if start else 0 :]  # the tail begins somewhere within a line
            yield from whole[max(0, len(whole) - last) :]
        while follow:
            time.sleep(POLL_S)
            rotated = file is None or _rotated(file, path)
            if file is not None:  # also what was written before a rotation
                *whole, rest = (rest + file.read()).split(b"\n")
                yield from whole
            if rotated:
                if file is not None:
                    file.close()
                file, rest = _opened(path), b""
    finally:
        if file is not None:
            file.close()


def _opened(path: Path) -> IO[bytes] | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _rotated(file: IO[bytes], path: Path) -> bool:
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return True
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or there.st_size < file.tell()


def _log_lines(raw: bytes, paint: Paint) -> list[str]:
    """One JSON line as text; a traceback below it. What is no JSON is shown as it is."""
    try:
        line = orjson.loads(raw)
        level, words = str(line["level"]), f"{safe(line['level']):<7} {safe(line['logger'])}: {safe(line['message'])}"
        shown = [f"{text.clock(line['at'])} {paint(LEVELS.get(level, ''), words)}"]
        return shown + [f"    {safe(part)}" for part in str(line.get("traceback", "")).splitlines()]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return [safe(raw.decode("utf-8", "backslashreplace"))] if raw.strip() else []
