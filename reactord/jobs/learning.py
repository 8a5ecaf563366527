"""What did a run take, against what was foretold for it? Written down, so that the next prediction is better."""

from __future__ import annotations

from reactord.home import Home
from reactord.jobs.planning import kind_of, predicted
from reactord.jobs.surveying import work_of
from reactord.ledger import peaks
from reactord.ledger.peaks import Peak
from reactord.ledger.state import Store
from reactord.workdir import Stage, WorkDir


def learn_peak(  # noqa: PLR0913 - one row of the ledger
    home: Home, store: Store, workdir: WorkDir, stage: Stage, measured_bytes: int, *, now: float, killed: bool
) -> None:
    """Remember one run. Nothing is learned where nothing was foretold, or nothing measured."""
    if measured_bytes <= 0 or not workdir.spec_path.exists():
        return
    spec = workdir.spec()
    work = work_of(home, spec.recipe, spec.hyper, workdir)
    try:
        foretold = predicted(work)[stage]
    except FileNotFoundError:  # the base was not converted yet
        return
    kind = kind_of(stage, work)
    with store.transaction():
        peaks.remember(store.db, kind, Peak(foretold, measured_bytes, killed=killed), spec.job_id, now)
