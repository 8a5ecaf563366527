"""How do we say it in a terminal? Tables, bars, curves and durations, each within a width.

What was read from outside (prompts, replies, causes, file names) passes through `safe` before it is printed: bytes that
steer a terminal are shown, never sent.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import orjson

NOTHING = "-"
#: a pipe has no width: leave lines whole, but not without bound
PIPE_WIDTH = 200
#: a terminal that does not know its own size
UNKNOWN_WIDTH = 80
BLOCKS = " ▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
STATE_STYLES = {
    "queued": "dim", "reserving": "yellow", "training": "cyan", "exporting": "cyan", "deploying": "cyan",
    "completed": "green", "rejected": "yellow", "rolled_back": "yellow", "failed": "red", "cancelled": "dim",
    "skipped": "dim",
    "deployed": "green", "superseded": "dim", "candidate": "cyan",
}  # fmt: skip


class Paint:
    """Colours text, or leaves it alone when nobody would see it."""

    def __init__(self, *, on: bool) -> None:
        self.on = on

    @classmethod
    def on_stream(cls, stream: TextIO) -> Paint:
        """Colour only on a terminal, and not where NO_COLOR or TERM=dumb says so."""
        return cls(on=stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self.on and style and text else text

    def state(self, text: str) -> str:
        """A state or fate in its colour, padding included."""
        return self(STATE_STYLES.get(text.strip(), ""), text)


# -- what may be printed ---------------------------------------------------------------------------------------------
def safe(value: object) -> str:
    """`value` as one harmless line: line ends as `↵`, other space as a blank, everything unprintable as its escape."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _shown(c) for c in text)


def _shown(character: str) -> str:
    if character == "\n":
        return "↵"
    return " " if character.isspace() else character.encode("unicode_escape").decode()


def plain_path(path: Path | str) -> str:
    """A file name as text that can be encoded, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def path_text(path: Path | str) -> str:
    """A file name as it may be printed."""
    return safe(plain_path(path))


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes: wide characters two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if character.isascii():
        return 1
    from unicodedata import category, east_asian_width

    if category(character) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def clip(text: str, width: int) -> str:
    """`text` in at most `width` columns; a cut is marked."""
    if cells(text) <= width and len(text) <= 4 * width:  # marks have no width: bound their number too
        return text
    kept, left = [], width - 1
    for character in text[: 4 * width]:
        left -= _cells(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "…" if width > 0 else ""


def pad(text: str, width: int) -> str:
    """`text` filled with blanks to `width` columns."""
    return text + " " * (width - cells(text))


def screen_width(stream: TextIO) -> int:
    """Columns to fill: the terminal's, what COLUMNS says, or plenty for a pipe."""
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said) > 0:
        return max(20, int(said))
    try:
        return max(20, os.get_terminal_size(stream.fileno()).columns or UNKNOWN_WIDTH)
    except (OSError, ValueError):
        return PIPE_WIDTH


# -- shapes ----------------------------------------------------------------------------------------------------------
def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    colours: Mapping[int, Callable[[str], str]] | None = None,
) -> list[str]:
    """Lines of aligned columns, none wider than `width`; the last column gives way first. Cells are made safe."""
    body = [[safe(cell) for cell in row] for row in rows]
    grid = [list(header), *body]
    widths = [max(cells(row[i]) for row in grid) for i in range(len(header))]
    room = width
    for i, wanted in enumerate(widths):
        widths[i] = max(1, min(wanted, room))
        room -= widths[i] + 2
    lines = []
    for number, row in enumerate(grid):
        room, parts = width, []
        for i, cell in enumerate(row):
            if room <= 0:
                break
            text = pad(clip(cell, widths[i]), widths[i]) if i + 1 < len(row) else clip(cell, widths[i])
            colour = (colours or {}).get(i) if number else None
            parts.append(colour(text) if colour else text)
            room -= widths[i] + 2
        lines.append("  ".join(parts).rstrip())
    return lines


def bar(fraction: float, width: int) -> str:
    """A filled bar of `width` columns."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width, "░")


def chart(values: Sequence[float], width: int, height: int = 1, bounds: tuple[float, float] | None = None) -> list[str]:
    """`values` over time as `height` lines of blocks, between `bounds` or their own lowest and highest."""
    if not values:
        return []
    columns = _resampled(values, width)
    low, high = bounds or (min(values), max(values))
    levels = [1 + (v - low) / (high - low) * (height * 8 - 1) if high > low else 1 for v in columns]
    return [
        "".join(BLOCKS[min(8, max(0, round(level) - 8 * row))] for level in levels) for row in reversed(range(height))
    ]


def _resampled(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


# -- quantities ------------------------------------------------------------------------------------------------------
def duration(seconds: float | None) -> str:
    """A length of time in the two units that matter."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days} d {h:02d} h"
    if hours:
        return f"{hours} h {m:02d} min"
    return f"{minutes} min {s:02d} s" if minutes else f"{s} s"


def size(size_bytes: float | None) -> str:
    """Bytes in the unit that fits."""
    if size_bytes is None:
        return NOTHING
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def number(value: object, digits: int = 2) -> str:
    """A measured number, or `-` where nothing was measured."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING
    if isinstance(value, int) or (value.is_integer() and abs(value) > 1):  # 21.0 tokens are 21, but 1.0 is a rate
        return str(int(value))
    small = 0 < abs(value) < 10**-digits  # a learning rate must not be rounded to nothing
    return f"{value:.2g}" if small else f"{value:.{digits}f}"


def clock(at: float | None, *, day: bool = True) -> str:
    """An epoch time as local time."""
    if at is None:
        return NOTHING
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return NOTHING


# -- writing ---------------------------------------------------------------------------------------------------------
class Block:
    """Lines at the end of a terminal that are drawn again in place."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.drawn = stream, 0

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the block. What is higher than the terminal is cut: it could not be reached again."""
        try:
            height = os.get_terminal_size(self.stream.fileno()).lines
        except (OSError, ValueError):
            height = 0
        shown = lines[: height - 1] if height > 1 else lines
        up = f"\x1b[{self.drawn}F" if self.drawn else ""
        self.stream.write(up + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
        self.stream.flush()
        self.drawn = len(shown)


def say(*lines: str) -> None:
    """Data, to standard output."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def tell(line: str) -> None:
    """A message, to standard error."""
    sys.stderr.write(f"{line}\n")


def json_text(value: Any, *, indent: bool = True) -> str:  # noqa: ANN401 - any JSON value or dataclass
    """JSON that is harmless on a terminal too: what would steer it is written as an escape."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0, default=str).decode()
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
