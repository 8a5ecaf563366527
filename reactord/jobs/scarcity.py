"""Does the kernel itself say that memory is short now?

    Linux   the part of the last ten seconds in which some task waited for memory, or in which all of them did (PSI)
    macOS   the level of its memory pressure: what Activity Monitor draws green, yellow and red

Numbers of free bytes do not say it. Linux's MemAvailable is what can be given without swapping, whatever lies in swap
already. psutil's `available` on a Mac counts inactive pages, of which many can only be compressed or swapped; so where
the Mac itself warns, they are not believed.

Where nobody says anything (an old kernel, a container), nothing is known, and the bytes decide alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

PRESSURE = Path("/proc/pressure/memory")
#: a tenth of the time; on a machine at ease it is nothing
STALLED_PERCENT = 10.0
#: the levels by the numbers that macOS gives to them; 1 is normal
WARNING, CRITICAL = 2, 4


@dataclass(frozen=True, slots=True)
class Scarcity:
    """Memory is short: nothing may start. `severe`: what runs must go."""

    words: str
    severe: bool


def scarcity() -> Scarcity | None:
    """What the kernel says now; None when memory is not short, or nobody knows."""
    if sys.platform == "darwin":
        return of_level(_level())
    try:
        return of_pressure(PRESSURE.read_text())
    except OSError:
        return None


def of_pressure(text: str) -> Scarcity | None:
    """What Linux says: two lines, `some avg10=0.00 avg60=...` and `full avg10=...`."""
    some, full = _percent(text, "some"), _percent(text, "full")
    if full >= STALLED_PERCENT:
        return Scarcity(f"everything waited for it {full:.0f} % of the last 10 s", severe=True)
    if some >= STALLED_PERCENT:
        return Scarcity(f"something waited for it {some:.0f} % of the last 10 s", severe=False)
    return None


def _percent(text: str, kind: str) -> float:
    """0 where it does not say."""
    for line in text.splitlines():
        if line.startswith(f"{kind} avg10="):
            number = line.split()[1].removeprefix("avg10=")
            return float(number) if number.replace(".", "", 1).isdecimal() else 0.0
    return 0.0


def of_level(level: int | None) -> Scarcity | None:
    """What macOS says."""
    if level == CRITICAL:
        return Scarcity("macOS calls its memory pressure critical", severe=True)
    return Scarcity("macOS warns of memory pressure", severe=False) if level == WARNING else None


def _level() -> int | None:
    import ctypes  # noqa: PLC0415 - only a Mac needs it

    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    name = b"kern.memorystatus_vm_pressure_level"
    failed = ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0)
    return None if failed else value.value
