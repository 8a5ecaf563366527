"""By how much must a prediction of memory be multiplied, given what such runs took before?

    nothing measured yet        FIRST_MARGIN: coefficients of another machine or model are only a guide
    some runs measured          the highest of the newest runs, so that none of them would have been refused its peak
    one run far above all       it counts as LEAP times the next, until a second run confirms it: a single outlier
                                (a machine that swapped, another version of torch) must not lock a job out for ever

A wrong prediction is safe either way: the grant is enforced (jobs/watching.py), and a run that was killed is remembered
as one that wanted more than it held.
"""

from __future__ import annotations

from collections.abc import Sequence

from reactord.ledger.peaks import Peak

FIRST_MARGIN = 1.25
#: on top of what was measured: peaks of equal runs differ by so much
SPREAD = 1.03
LEAP = 1.5
#: what a killed run would have taken is unknown; it is asked again with so much more than it held
KILLED = 1.25
#: fewer runs than this cannot promise that less than foretold is enough
SURE_AFTER = 3
LOWEST, HIGHEST = 0.25, 4.0


def factor(peaks: Sequence[Peak]) -> float:
    """The factor for the next run of this kind."""
    ratios = sorted((_ratio(peak) for peak in peaks if peak.predicted_bytes > 0), reverse=True)
    if not ratios:
        return FIRST_MARGIN
    second = ratios[1] if len(ratios) > 1 else FIRST_MARGIN
    found = min(ratios[0], LEAP * max(second, LOWEST)) * SPREAD
    if len(ratios) < SURE_AFTER:
        found = max(found, 1.0)
    return min(max(found, LOWEST), HIGHEST)


def _ratio(peak: Peak) -> float:
    return peak.measured_bytes * (KILLED if peak.killed else 1.0) / peak.predicted_bytes
