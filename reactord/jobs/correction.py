"""By how much must a prediction of memory be multiplied, given what such runs took before?

    nothing measured yet        first_margin(): little where the coefficients are this platform's own, much elsewhere
    some runs of this size      the highest of the newest, so that none of them would have been refused its peak
    only runs of other sizes    the highest of those nearest in size, and never less than the first margin: what a small
                                run left over says nothing about a large one, what it took too much may
    one run far above all       it counts as LEAP times the next, until a second run confirms it: a single outlier
                                (a machine that swapped, another version of torch) must not lock a job out for ever

Of this size: what is foretold for both differs by less than LIKE. A factor learned from short examples is wrong for
long ones, because what is wrong with a prediction is rarely wrong with all its parts alike.

Less than was foretold is believed of SURE_AFTER runs of the size, not of one that was lucky. A wrong prediction is safe
either way: the grant is enforced (jobs/keeping.py), and a run that was killed is remembered as one that wanted more
than it held.
"""

from __future__ import annotations

from collections.abc import Sequence

from reactord import memory
from reactord.ledger.peaks import Peak

#: before the first run: what the coefficients miss where they were measured (long and short examples in turns leave
#: more holes than examples of one length do), and where they were not
MEASURED_MARGIN, UNKNOWN_MARGIN = 1.08, 1.25
#: on top of what was measured: peaks of equal runs differ by so much
SPREAD = 1.03
#: two predictions are of one size when the larger is at most so many times the smaller
LIKE = 1.4
LEAP = 1.5
#: what a killed run would have taken is unknown; it is asked again with so much more than it held
KILLED = 1.25
#: fewer runs than this cannot promise that less than foretold is enough
SURE_AFTER = 3
LOWEST, HIGHEST = 0.25, 4.0


def first_margin() -> float:
    """The factor of a run that nothing is known about."""
    return MEASURED_MARGIN if memory.is_measured() else UNKNOWN_MARGIN


def factor(foretold_bytes: int, peaks: Sequence[Peak]) -> float:
    """The factor for a run of which so much is foretold, after these of its kind."""
    margin = first_margin()
    known = [peak for peak in peaks if peak.predicted_bytes > 0]
    alike = [peak for peak in known if _distance(foretold_bytes, peak) <= LIKE]
    if not known:
        return margin
    if not alike:
        nearest = min(_distance(foretold_bytes, peak) for peak in known)
        alike = [peak for peak in known if _distance(foretold_bytes, peak) <= LIKE * nearest]
        return max(_highest(alike), margin)
    found = _highest(alike)
    return max(found, margin) if len(alike) < SURE_AFTER else found


def _distance(foretold_bytes: int, peak: Peak) -> float:
    """How many times the larger of the two predictions is the smaller."""
    low, high = sorted((max(1, foretold_bytes), peak.predicted_bytes))
    return high / low


def _highest(peaks: Sequence[Peak]) -> float:
    ratios = sorted(map(_ratio, peaks), reverse=True)
    second = ratios[1] if len(ratios) > 1 else UNKNOWN_MARGIN
    return min(max(min(ratios[0], LEAP * max(second, LOWEST)) * SPREAD, LOWEST), HIGHEST)


def _ratio(peak: Peak) -> float:
    return peak.measured_bytes * (KILLED if peak.killed else 1.0) / peak.predicted_bytes
