"""What becomes of an error? One clear line that ends with what to do next, and an exit status; never a traceback.

A bug is not an error of this kind: it stays loud.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sqlite3
import sys
from collections.abc import Callable

import orjson

from reactord import __version__
from reactord.cli import exits, text
from reactord.cli.arguments import parser
from reactord.cli.presence import NotRunning
from reactord.errors import BadConfig, ReactordError
from reactord.home import Home

#: what does a verb: it gets the home and its options, and returns the exit status
Verb = Callable[[Home, argparse.Namespace], int]


def guarded(arguments: list[str] | None) -> int:
    """Parse, do, and translate what goes wrong."""
    _prepare_streams()
    try:
        options = parser().parse_args(arguments)
        module, _, name = options.function.partition(":")
        function: Verb = getattr(importlib.import_module(module), name)
        code = function(_home(options.home), options)
        sys.stdout.flush()
        return code
    except SystemExit as leave:  # argparse: --help and wrong usage
        return leave.code if isinstance(leave.code, int) else exits.OK
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except (ReactordError, OSError, sqlite3.Error, orjson.JSONDecodeError) as trouble:
        return _explained(trouble)


def _explained(trouble: Exception) -> int:
    """Say what went wrong and what to do; the exit status."""
    try:
        sys.stdout.flush()
    except OSError:  # nobody reads us, or their disk is full: the interpreter must not fail again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(trouble, BrokenPipeError):  # whoever read us has seen enough
        return exits.BROKEN_PIPE
    if isinstance(trouble, ReactordError):
        message = str(trouble)
    elif isinstance(trouble, OSError):
        where = f"{text.plain_path(trouble.filename)}: " if trouble.filename else ""
        message = f"{where}{trouble.strerror or trouble}. Check it with: reactord doctor"
    else:
        message = f"the ledger cannot be read: {trouble}. Check it with: reactord doctor"
    text.tell(f"reactord: {text.safe(message)}")
    return exits.NOT_RUNNING if isinstance(trouble, NotRunning) else exits.ERROR


def version(home: Home, options: argparse.Namespace) -> int:
    """The verb `version`."""
    del home, options
    text.say(f"reactord {__version__}")
    return exits.OK


def _prepare_streams() -> None:
    """A closed stream swallows what it is given; one that cannot show a character shows `?`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until we end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _home(argument: str | None) -> Home:
    try:
        return Home.find(argument)
    except RuntimeError as unknown:  # pathlib: this user has no home directory
        raise BadConfig(f"{unknown}. Name the bus directory: --home DIR") from None
