"""What can be typed? The verbs and their options; each verb names the function that does it, imported only then."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from reactord.cli.exits import USAGE

EPILOG = """exit status: 0 all is well, 1 error, 2 wrong usage, 3 the daemon is not running, 4 degraded, 5 job failed

environment: JARVIS_HOME (the default of --home), NO_COLOR, and every knob that README.md lists"""


class _Parser(argparse.ArgumentParser):
    """argparse with errors that end with what to do next."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}. See: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line. `function` of the result is "module:name"; it takes (home, options)."""
    top = _Parser(
        prog="reactord",
        description="Turns what an assistant did today into a better model tomorrow.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--home", metavar="DIR", help="the bus directory (default: $JARVIS_HOME, else ~/.jarvis)")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)

    def verb(name: str, function: str, says: str, *options: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=says, description=says, allow_abbrev=False)
        made.set_defaults(function=function)
        # suppressed: a verb without --home must not hide one that stands before the verb
        made.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help="the bus directory")
        for option in options:
            made.add_argument(*_OPTIONS[option][0], **_OPTIONS[option][1])
        return made

    run = verb("run", "reactord.cli.run:command", "run the daemon in the foreground")
    run.add_argument("--port", type=_port, metavar="N", help="the port to serve on (default: 8090; 0: any free one)")
    verb("status", "reactord.cli.status:command", "how is it going? (exit status: its health)", "json", "watch")
    jobs = verb("jobs", "reactord.cli.jobs:command", "the jobs, newest first, or everything about one", "json", "lines")
    jobs.add_argument("id", nargs="?", metavar="ID", help="show everything about this job")
    verb("events", "reactord.cli.follow:events", "what happened, one line an event", "json", "follow", "lines")
    verb("logs", "reactord.cli.follow:logs", "the daemon's log as text", "follow", "lines")
    train = verb("train", "reactord.cli.train:train", "start a training job now", "json")
    train.add_argument("--recipe", metavar="R", help="how to learn: dpo or sft (default: the settings')")
    train.add_argument(
        "--needs", type=_positive, metavar="N", help="wait in the queue until N new experiences are there"
    )
    train.add_argument("--after", metavar="ID", help="wait for this dataset, or for the one that this job makes")
    train.add_argument("--wait", action="store_true", help="stay until the job ended; exit 5 if it did not end well")
    cancel = verb("cancel", "reactord.cli.train:cancel", "stop a job; what it learned so far is kept")
    cancel.add_argument("id", metavar="ID", help="the job, as `reactord jobs` lists it")
    plan = verb("plan", "reactord.cli.plan:command", "would a job start now, how, and where? (exit 4: nowhere)", "json")
    plan.add_argument("id", nargs="?", metavar="ID", help="this job, as far as it is (default: one that is new)")
    plan.add_argument("--recipe", metavar="R", help="how to learn: dpo or sft (default: the settings')")
    plan.add_argument("--deadline", type=_positive, metavar="H", help="it must be done in H hours")
    verb("models", "reactord.cli.models:models", "the versions: fate, size, scores, place", "json")
    dlq = verb("dlq", "reactord.cli.dlq:command", "commands that could not be done: look, bring back, remove", "json")
    dlq.add_argument("action", choices=("list", "show", "replay", "drop"), help="what to do")
    dlq.add_argument("id", nargs="?", metavar="ID", help="the dead letter, as `reactord dlq list` shows it")
    dlq.add_argument("--all", action="store_true", help="drop every one")
    verb("ledger", "reactord.cli.models:ledger", "is every record accounted for? (exit 4 if not)", "json")
    says = "which format is a file, and what is wrong with it?"
    check = verb("check-file", "reactord.cli.check_file:command", says, "json")
    check.add_argument("path", nargs="?", metavar="PATH", help="the file; it is only read")
    check.add_argument("--format", metavar="NAME", help="take it for this format (docs/formats.md), do not guess")
    check.add_argument("--schemas", metavar="DIR", help="write the JSON Schema of every format there instead")
    _demo(verb("demo", "reactord.demo.run:command", "run the whole loop once, in a home of its own"))
    verb("doctor", "reactord.cli.doctor:command", "is this machine ready? one line and one cure each", "json")
    verb("version", "reactord.cli.boundary:version", "print the version")
    return top


def _demo(demo: argparse.ArgumentParser) -> None:
    demo.add_argument("--telemetry", metavar="FILE", help="learn from these interactions (JSON lines), not the sample")
    demo.add_argument("--report", metavar="FILE", help="write the figures as JSON (default: $REACTOR_DEMO_REPORT)")
    demo.add_argument("--port", type=_port, metavar="N", default=0, help="the daemon's port (default: a free one)")
    demo.add_argument("--keep", action="store_true", help="keep the job's intermediate files (several hundred MB)")
    demo.add_argument("--deadline", type=_positive, metavar="S", default=1200, help="give up after S seconds (1200)")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


_OPTIONS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "json": (("--json",), {"action": "store_true", "help": "print JSON with a schema_version"}),
    "watch": (("-w", "--watch"), {"action": "store_true", "help": "look again every second, until ^C"}),
    "follow": (("-f", "--follow"), {"action": "store_true", "help": "go on with what is new, until ^C"}),
    "lines": (("-n", "--lines"), {"type": _positive, "metavar": "N", "default": 100, "help": "at most N (100)"}),
}  # fmt: skip
