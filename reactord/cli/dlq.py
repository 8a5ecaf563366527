"""Which commands could not be carried out, and what is to become of them? `reactord dlq list|show|replay|drop`.

Works on the files, with the daemon up or down.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import orjson

from reactord.cli import text
from reactord.cli.exits import OK, USAGE
from reactord.cli.text import duration, safe
from reactord.cli.view import SCHEMA_VERSION
from reactord.home import Home
from reactord.ipc.deadletter import DeadLetters, Letter

#: shown before the command itself, in this order
_FACTS = ("reason", "last_error", "attempts", "from", "command_id", "action", "size_bytes", "truncated")


def command(home: Home, options: argparse.Namespace) -> int:
    """Do what `options.action` says: list, show, replay or drop."""
    letters = DeadLetters(home, time.time)
    if options.action == "list":
        return _list(letters, as_json=options.json)
    if options.action == "drop" and options.all and options.id is None:
        return _say({"dropped": letters.drop_all()}, "{dropped} dropped", as_json=options.json)
    if options.id is None or options.all:
        wanted = "an ID, or --all" if options.action == "drop" else "one ID, and no --all"
        text.tell(f"reactord dlq {options.action}: give {wanted}. See: reactord dlq list")
        return USAGE
    if options.action == "show":
        return _show(letters, options.id, as_json=options.json)
    if options.action == "replay":
        said = {"id": options.id, "command_id": letters.replay(options.id)}
        return _say(said, "{id} is a command again: {command_id}", as_json=options.json)
    letters.drop(options.id)
    return _say({"id": options.id, "dropped": 1}, "{id} is dropped", as_json=options.json)


def _say(said: dict[str, Any], words: str, *, as_json: bool) -> int:
    text.say(text.json_text({"schema_version": SCHEMA_VERSION, **said}) if as_json else safe(words.format(**said)))
    return OK


def _list(letters: DeadLetters, *, as_json: bool) -> int:
    found, dropped = letters.all(), letters.dropped()
    if as_json:
        listed = [_facts(letter) for letter in found]
        text.say(text.json_text({"schema_version": SCHEMA_VERSION, "letters": listed, "dropped": dropped}))
        return OK
    if found:
        header = ["ID", "AGE", "TRIES", "ACTION", "FROM", "WHY"]
        text.say(*text.table(header, [_row(letter) for letter in found], text.screen_width(sys.stdout)))
    else:
        text.tell("no dead letters: every command could be read and done")
    if dropped["total"]:
        why = ", ".join(f"{safe(reason)} {n}" for reason, n in dropped["reasons"].items())
        text.tell(f"{dropped['total']} more were dropped: {why}")
    return OK


def _row(letter: Letter) -> list[str]:
    why = letter.why
    reason = "; ".join(str(why[key]) for key in ("reason", "last_error") if why.get(key))
    known = [str(why.get(key) or text.NOTHING) for key in ("attempts", "action", "from")]
    return [letter.identity, duration(time.time() - letter.at), *known, reason]


def _facts(letter: Letter) -> dict[str, Any]:
    return {"id": letter.identity, "at": letter.at, "size_bytes": letter.size_bytes, **letter.why}


def _show(letters: DeadLetters, identity: str, *, as_json: bool) -> int:
    letter, raw = letters.show(identity)
    if as_json:
        said = _facts(letter) | {"bytes": raw.decode("utf-8", "backslashreplace")}
        text.say(text.json_text({"schema_version": SCHEMA_VERSION, "letter": said}))
        return OK
    text.say(f"{letter.identity}  {text.clock(letter.at)}")
    text.say(*(f"  {key:<11} {safe(letter.why[key])}" for key in _FACTS if letter.why.get(key) not in (None, False)))
    text.say("", *(f"  {safe(line)}" for line in _readable(raw).split("\n")))
    return OK


def _readable(raw: bytes) -> str:
    """The command, indented if it is JSON."""
    try:
        return orjson.dumps(orjson.loads(raw), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return raw.decode("utf-8", "backslashreplace")
