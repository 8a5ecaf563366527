"""What Python's own writers do and JSON forbids: is it read, told, and kept as it was sent?"""

from __future__ import annotations

import json
import os

import pytest
from support.ledgers import check

from reactord.cli import main
from reactord.formats import FORMATS, Mended
from reactord.ipc.inbox import Inbox

BOM = b"\xef\xbb\xbf"
ODD = [
    (b'[{"id": "a", "x": NaN}]', ["NaN"]),
    (b'[{"id": "a", "x": -Infinity, "y": NaN}]', ["Infinity", "NaN"]),
    (b'[{"id": "a", "x": "\\ud83d"}]', ["lone surrogate"]),
    (b'[{"id": "a", "\\udc00": 1}]', ["lone surrogate"]),
    (BOM + b'[{"id": "a"}]', ["byte order mark"]),
    (b'[{"id": "a", "x": "\\ud83d\\ude00 NaN \\\\ud83d"}]', []),
]


@pytest.fixture
def inbox(home):
    made = Inbox(home)
    yield made
    made.close()


@pytest.mark.parametrize(("raw", "what"), ODD)
def test_a_document_says_what_was_mended_in_it(raw, what):
    assert FORMATS["experiences"].said(raw, "f.json")[1:] == [Mended(kind) for kind in what]


@pytest.mark.parametrize(("raw", "what"), ODD)
def test_the_ledger_counts_what_was_mended_and_the_journal_has_the_bytes(inbox, home, raw, what):
    (home.events / "experiences_odd.json").write_bytes(raw)

    inbox.turn()

    counts = inbox.index.counts()
    assert (counts.received, counts.pending, counts.mended) == (1, 1, dict.fromkeys(what, 1))
    assert raw in (home.journal / "000001.log").read_bytes()
    check(home)


def test_lines_are_counted_one_by_one(inbox, home):
    odd = b'{"event_type": "x", "a": %s}\n'
    plain, infinite = odd % b"1", odd % b"Infinity"
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(BOM + plain + infinite + plain + infinite)

    inbox.turn()

    assert inbox.index.counts().mended == {"Infinity": 2, "byte order mark": 1}


def test_a_name_that_is_no_text_is_counted(inbox, home):
    path = os.fsencode(home.events) + b"/experiences_caf\xe9.json"
    with open(path, "wb") as file:  # noqa: PTH123 - a name that pathlib would have to decode
        file.write(b'[{"id": "a"}]')

    inbox.turn()

    assert inbox.index.counts().mended == {"file name": 1}


def test_a_person_is_told(inbox, home, capsys):
    (home.events / "experiences_odd.json").write_bytes(b'[{"id": "a", "x": NaN}]')
    inbox.turn()

    assert main(["ledger", "--home", str(home.root)]) == 0
    assert "        1  documents were mended: NaN\n" in capsys.readouterr().out
    assert main(["ledger", "--json", "--home", str(home.root)]) == 0
    assert json.loads(capsys.readouterr().out)["mended"] == {"NaN": 1}
