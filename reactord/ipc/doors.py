"""Which directories of this home do we look into, and for what? The doors that the formats declare, made absolute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from reactord.formats import FORMATS, Door, Format
from reactord.formats.door import Kind
from reactord.home import Home

#: `with one_file():` a file that cannot be read is shown as a trouble, and keeps no other one waiting
OneFile = Callable[[], AbstractContextManager[None]]
#: no directory is listed further than this at once: a million names would be 80 MB
NAMES_PER_LOOK = 20_000


@dataclass(frozen=True)
class Entrance:
    """One directory in which files of one format appear."""

    format: Format
    door: Door
    directory: Path

    @property
    def kind(self) -> Kind:
        return self.door.kind

    def admits(self, name: str) -> bool:
        return self.door.admits(name)


def entrances(home: Home) -> tuple[Entrance, ...]:
    """Every door of this home. What can vanish comes first: drops, then spools, then the files that stay."""
    found = [
        Entrance(form, door, directory)
        for form in FORMATS.values()
        for door in form.doors
        for directory in dict.fromkeys(_directories(home, door))
    ]
    order: tuple[Kind, ...] = ("drop", "spool", "rows", "tail")
    return tuple(sorted(found, key=lambda entrance: order.index(entrance.kind)))


@dataclass
class Reader:
    """What it takes to read what lies with somebody else. `stored` says how far, or in which state, a path was read."""

    doors: tuple[Entrance, ...]
    stored: Callable[[str], str | None]
    clock: Callable[[], float]
    one_file: OneFile


def listed(entrances: Iterable[Entrance], kind: Kind) -> Iterator[tuple[Entrance, str, str]]:
    """(entrance, path, name) of what lies in the doors of a kind now, by directory and name; each file once."""
    by_directory: dict[Path, list[Entrance]] = {}
    for entrance in entrances:
        if entrance.kind == kind:
            by_directory.setdefault(entrance.directory, []).append(entrance)
    for directory, doors in by_directory.items():
        for name in _names(directory, doors):
            for door in doors:
                if door.admits(name):
                    yield door, f"{directory}/{name}", name
                    break


def _names(directory: Path, doors: list[Entrance]) -> list[str]:
    try:
        with os.scandir(directory) as found:
            ours = (entry.name for entry in found if any(door.admits(entry.name) for door in doors))
            return sorted(islice(ours, NAMES_PER_LOOK))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _directories(home: Home, door: Door) -> Iterator[Path]:
    yield home.root / door.directory
    for name in door.env:
        variable, _, below = name.partition("/")
        if value := os.environ.get(variable, "").strip():
            yield Path(os.path.abspath(Path(value).expanduser())) / below  # noqa: PTH100 - as Home.find: links are kept
