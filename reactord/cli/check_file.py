"""Is this file what its reader expects? Its format, how many documents it holds, and what is wrong, line by line.

For whoever writes the files that reactord reads: the same parsers and schemas as the daemon's, on any file anywhere.
Nothing is taken in, and nothing is changed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reactord.cli import text
from reactord.cli.check_read import MAX_BYTES, Contents, Unreadable, read
from reactord.cli.exits import ERROR, OK
from reactord.cli.view import SCHEMA_VERSION
from reactord.data.experience import Experience, normalise
from reactord.errors import BadConfig, BadRecord
from reactord.formats import FORMATS, Format, Notice, Pointer, Record, Refusal
from reactord.formats import command as command_format
from reactord.formats.identify import identify
from reactord.formats.mended import mended
from reactord.formats.records import load
from reactord.formats.schema import Problem, problems
from reactord.formats.schemas import documents as schema_documents
from reactord.home import Home
from reactord.ledger.reading import StoredRecord

MAX_PROBLEMS = 100


@dataclass(slots=True)
class Report:
    """What was found in one file. A line of 0 means the file as a whole."""

    path: str
    format: str | None = None
    found_by: str = ""
    documents: int = 0
    fine: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    becomes: Counter[str] = field(default_factory=Counter)  # what the data room makes of it, by its own words
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    problems_in_all: int = 0
    whole: bool = True  # False: only the beginning was checked
    rows: int | None = None  # of a database: how many there are

    def add(self, line: int, *found: Problem) -> None:
        self.problems_in_all += len(found)
        self.problems += [(line, problem) for problem in found[: max(0, MAX_PROBLEMS - len(self.problems))]]


def command(home: Home, options: argparse.Namespace) -> int:
    """Check one file, or write the schemas; exit 1 when something is wrong."""
    del home
    if options.schemas:
        return _write_schemas(Path(options.schemas))
    if not options.path:
        raise BadConfig("there is no file to check; name one: reactord check-file PATH")
    report = check(Path(options.path), _named(options.format))
    if options.json:
        text.say(text.json_text(_json(report)))
    else:
        text.say(*_lines(report))
    return ERROR if report.problems_in_all else OK


def _named(name: str | None) -> Format | None:
    if name is None:
        return None
    if name not in FORMATS:
        raise BadConfig(f"there is no format {name!r}; take one of: {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


def _write_schemas(directory: Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    written = schema_documents(FORMATS.values())
    for name, content in written.items():
        (directory / name).write_bytes(content)
    text.say(f"{len(written)} schemas written to {text.path_text(directory)}")
    return OK


def check(path: Path, named: Format | None = None) -> Report:
    """Read a file as the daemon would, and say what it would say. Raises OSError for one that is not there."""
    report = Report(text.plain_path(path))
    try:
        contents = read(path)
    except Unreadable as reason:
        report.add(0, reason.problem)
        return report
    report.whole, report.rows = contents.whole, contents.rows
    form, report.found_by = (named, "you named it") if named else identify(path, contents.raw, FORMATS.values())
    if form is None:
        cure = f"name it: --format, one of {', '.join(sorted(FORMATS))}"
        report.add(0, Problem("", "is of no format that we know", cure))
        return report
    report.format = form.name
    for line, raw in _documents(form, contents, report):
        _check_document(form, path.name, line, raw, report)
    return report


def _documents(form: Format, contents: Contents, report: Report) -> list[tuple[int, bytes]]:
    """The documents of a file and the lines they begin in; what is wrong with the file itself goes into the report."""
    found, wrong = contents.documents(lines=form.lines)
    for line, problem in wrong:
        report.add(line, problem)
    return found


def _check_document(form: Format, name: str, line: int, raw: bytes, report: Report) -> None:
    report.documents += 1
    try:
        items = form.parse(raw, f"{name}@{line}")
    except BadRecord as bad:
        report.add(line, *_explained(form, raw, bad))
        return
    report.repaired.update(found.what for found in mended(raw))
    wrong = [_refused(item.reason, i, len(items)) for i, item in enumerate(items) if isinstance(item, Refusal)]
    report.becomes.update(_fate(form, item) for item in items if not isinstance(item, Refusal))
    report.becomes.update(["nothing for us"] if not items else [])
    report.add(line, *wrong)
    report.fine += not wrong


def _explained(form: Format, raw: bytes, bad: BadRecord) -> list[Problem]:
    """Every field that is wrong, when the document can be read at all; else the parser's own words."""
    try:
        found = problems(form.schema, load(raw)) if form.schema else []
    except BadRecord:
        found = []
    return found or [_in_words(str(bad))]


def _refused(reason: str, place: int, of: int) -> Problem:
    said = _in_words(reason)
    return said if of == 1 else Problem(f"item {place}", said.problem, said.cure)


def _in_words(reason: str) -> Problem:
    """A reason of the form `what is wrong: what to do`."""
    what, _, cure = reason.partition(": ")
    return Problem(
        "", what.replace("_", " ") if what.islower() and " " not in what else what, cure or "see docs/formats.md"
    )


def _fate(form: Format, item: Record | Pointer | Notice) -> str:
    if isinstance(item, Pointer):
        return "a file to read"
    if isinstance(item, Notice):
        return f"a command: {item.facts['action']}" if item.topic == command_format.TOPIC else f"news: {item.topic}"
    seen = normalise(StoredRecord(0, item.identity, form.name, 0.0, item.body))
    return f"experience: {seen.kind}" if isinstance(seen, Experience) else f"not learned from: {seen.reason}"


# -- how it is said --------------------------------------------------------------------------------------------------
def _json(report: Report) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION, "path": report.path, "format": report.format, "found_by": report.found_by,
        "documents": report.documents, "fine": report.fine, "repaired": dict(report.repaired),
        "becomes": dict(report.becomes), "whole": report.whole, "rows": report.rows,
        "problems_in_all": report.problems_in_all,
        "problems": [
            {"line": line, "field": problem.field, "problem": problem.problem, "write": problem.cure}
            for line, problem in report.problems
        ],
    }  # fmt: skip


def _partly(report: Report) -> str:
    if report.rows is None:
        return f"only the first {text.size(MAX_BYTES)} were checked; split the file to check all of it"
    checked = f"only the first {report.documents} of {report.rows} rows were checked"
    return f"{checked}; put the others into a database of their own to check them"


def _lines(report: Report) -> list[str]:
    known = f"{report.format} ({report.found_by})" if report.format else "unknown format"
    said = [f"{text.safe(report.path)}: {known}"]
    if report.format:
        said.append(f"{report.documents:>9}  documents, {report.fine} of them fine")
    said += [f"{n:>9}  repaired: {text.safe(name)}" for name, n in sorted(report.repaired.items())]
    said += [f"{n:>9}  {text.safe(name)}" for name, n in sorted(report.becomes.items())]
    if not report.whole:
        said.append(_partly(report))
    if report.problems:
        rows = [[str(n) if n else "-", p.field or "-", p.problem, p.cure] for n, p in report.problems]
        said += ["", *text.table(["LINE", "FIELD", "PROBLEM", "WHAT TO WRITE"], rows, text.screen_width(sys.stdout))]
    if more := report.problems_in_all - len(report.problems):
        said.append(f"and {more} more")
    return said
