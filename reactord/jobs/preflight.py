"""Is there room on the disk for all that this job will write?

Asked before memory is reserved: a night of training must not end at its first checkpoint, or at the export. Written are
the checkpoints (adapter, its gradients' moments, twice while one replaces another) and the export chain: the merged
model, its f16 file and the quantised ones, two f16 files and a bit more together.
"""

from __future__ import annotations

import shutil

from reactord.jobs.stages import Services
from reactord.jobs.surveying import hyper_of, newest_base
from reactord.jobspec import Hyper
from reactord.ledger.state import Job
from reactord.memory import Sizes
from reactord.workdir import WorkDir

#: logs, progress, the dataset; and what a base that is not converted yet needs is asked for by its conversion
FLOOR_BYTES = 64 * 1024 * 1024
#: of an f16 file: merged, f16, three quantised ones (0.28, 0.41, 0.53), the tool's own scratch
EXPORT_GROWTH = 4
#: of a number that learns: its value and two moments, in float32
BYTES_PER_TRAINED = 12


def needed_bytes(f16_bytes: int, trainable: int, hyper: Hyper, *, trained: bool) -> int:
    """What a job will write at most. Pure. `trained`: only the export is left."""
    checkpoint = trainable * BYTES_PER_TRAINED
    kept = 0 if trained else min((hyper.keep_checkpoints + 1) * checkpoint, _budget(hyper, checkpoint))
    return FLOOR_BYTES + EXPORT_GROWTH * f16_bytes + kept


def lacks_room(services: Services, job: Job) -> str | None:
    """Why this job must wait for the disk, or None."""
    hf, hyper = newest_base(services.home), hyper_of(services.settings, job.request)
    work, f16 = WorkDir(services.home.jobs / job.id), hf.parent / "base-f16.gguf"
    try:
        trainable = Sizes.of(hf, hyper.lora_rank).trainable
    except FileNotFoundError:
        trainable = 0
    f16_bytes = f16.stat().st_size if f16.exists() else 0
    needed = needed_bytes(f16_bytes, trainable, hyper, trained=work.outcome_path("train").exists())
    free = shutil.disk_usage(services.home.reactor).free
    if free >= needed:
        return None
    return (
        f"it will write {needed / 1e9:.1f} GB below {services.home.reactor}, and {free / 1e9:.1f} GB are free; make"
        " room, the job goes on by itself"
    )


def _budget(hyper: Hyper, checkpoint_bytes: int) -> int:
    """Two checkpoints are kept whatever the budget says, and a third while it is written."""
    return max(3 * checkpoint_bytes, hyper.checkpoint_budget_mb * 1024 * 1024)
