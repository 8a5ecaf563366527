"""How does the daemon start in the foreground? `reactord run`."""

from __future__ import annotations

import argparse

from reactord import daemon, managed, settings
from reactord.cli import text
from reactord.errors import BadConfig, EnvironmentTrouble
from reactord.home import Home


def command(home: Home, options: argparse.Namespace) -> int:
    """Run until SIGTERM or ^C. Raises BadConfig, AlreadyRunning and other EnvironmentTrouble in plain words.

    A supervisor that manages us reads the status instead: by it a restart is worth something, or not.
    """
    try:
        return daemon.run(home, settings.load(home, port=options.port))
    except EnvironmentTrouble as trouble:
        if not managed.is_root_managed():
            raise
        text.tell(f"reactord: {text.safe(str(trouble))}")
        return managed.EXIT_CONFIG_ERROR if isinstance(trouble, BadConfig) else managed.EXIT_DEPENDENCY_FAILURE
