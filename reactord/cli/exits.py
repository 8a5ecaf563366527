"""What does each exit status mean?"""

from __future__ import annotations

OK = 0
ERROR = 1
USAGE = 2
NOT_RUNNING = 3
DEGRADED = 4
JOB_FAILED = 5
#: 128 + the signal's number, as a shell writes it
INTERRUPTED = 130
BROKEN_PIPE = 141
# a managed `reactord run` that cannot start has those of managed.py
