"""Which directories of this home do we look into, and for what? The doors that the formats declare, made absolute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path

from reactord import access
from reactord.errors import EnvironmentTrouble
from reactord.formats import FORMATS, Door, Format
from reactord.formats.door import Kind
from reactord.home import Home


class OneFile:
    """`with one_file:` what cannot be read is remembered as a trouble, and keeps nothing else waiting."""

    def __init__(self) -> None:
        self.trouble: OSError | EnvironmentTrouble | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, trouble: BaseException | None, trace: object) -> bool:
        if not isinstance(trouble, OSError | EnvironmentTrouble):
            return False
        self.trouble = trouble
        return True


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
    """Every door to the ledger. What can vanish comes first: drops, then spools, then the files that stay."""
    order: tuple[Kind, ...] = ("drop", "spool", "rows", "tail")
    found = [
        Entrance(form, door, directory)
        for form in FORMATS.values()
        for door in form.doors
        if door.kind in order
        for directory in dict.fromkeys(_directories(home, door))
    ]
    return tuple(sorted(found, key=lambda entrance: order.index(entrance.kind)))


@dataclass
class Reader:
    """What it takes to read what lies with somebody else. `stored` says how far, or in which state, a path was read."""

    doors: tuple[Entrance, ...]
    stored: Callable[[str], str | None]
    clock: Callable[[], float]
    one_file: OneFile


def listed(
    entrances: Iterable[Entrance], kind: Kind, one_file: OneFile, at_most: int | None = None
) -> Iterator[tuple[Entrance, str, str]]:
    """(entrance, path, name) of what lies in the doors of a kind now, by directory and name; each file once.

    A directory in which every user may write waits until it is closed. Of one with more than `at_most` files some are
    left for another time.
    """
    by_directory: dict[Path, list[Entrance]] = {}
    for entrance in entrances:
        if entrance.kind == kind:
            by_directory.setdefault(entrance.directory, []).append(entrance)
    for directory, doors in by_directory.items():
        inside: list[tuple[str, Entrance]] = []
        with one_file:
            access.refuse_open(directory)
            inside = sorted(islice(_inside(directory, doors), at_most), key=itemgetter(0))
        for name, door in inside:
            yield door, f"{directory}/{name}", name


def _inside(directory: Path, doors: list[Entrance]) -> Iterator[tuple[str, Entrance]]:
    """Names that some door admits, with the first that does."""
    admitting = [(door.door.admits, door) for door in doors]
    try:
        with os.scandir(directory) as found:
            for entry in found:
                name = entry.name
                for admits, door in admitting:
                    if admits(name):
                        yield name, door
                        break
    except (FileNotFoundError, NotADirectoryError):
        return


def _directories(home: Home, door: Door) -> Iterator[Path]:
    yield home.root / door.directory
    yield from door.elsewhere(os.environ)
