"""Where does the daemon say what it does? JSON lines in `reactor/logs/reactord.jsonl`, and text on a terminal.

Nothing is ever written to a pipe: Body's supervisor does not drain ours, and a full pipe would block us.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE_NAME = "reactord.jsonl"
MAX_FILE_BYTES = 8 * 1024 * 1024
KEEP_FILES = 3


class JsonLines(logging.Formatter):
    """One JSON object a line: at (epoch seconds), level, logger, message, and the traceback of a bug."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": record.created, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line)  # not orjson: it refuses a file name that is not UTF-8, and the line would be lost


def set_up(directory: Path, level: str) -> None:
    """Send every logger of ours to the file, and to the terminal when there is one."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    logging.getLogger("reactord").setLevel(level)
    file = RotatingFileHandler(directory / FILE_NAME, maxBytes=MAX_FILE_BYTES, backupCount=KEEP_FILES, delay=True)
    file.setFormatter(JsonLines())
    root.addHandler(file)
    if sys.stderr is not None and sys.stderr.isatty():
        terminal = logging.StreamHandler()
        terminal.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(terminal)
    # a full disk must not turn every log line into a traceback on a pipe nobody reads
    logging.raiseExceptions = False
