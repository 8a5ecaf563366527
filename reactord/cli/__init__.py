"""What does a person type? The command `reactord`; each verb is imported only when it is asked for."""

from __future__ import annotations

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns its exit status. Errors become one line on standard error, never a traceback."""
    from reactord.cli.boundary import guarded

    return guarded(arguments)
