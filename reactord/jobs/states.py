"""In which states can a job be, and what moves it?

    queued --> reserving --> training --> exporting --> deploying --> completed
      ^            |            |             |             |
      |  no memory |   worker   |  judged     |  refused    |
      +--(requeue)-+   lost/    |  worse      |  by Prime   |
      +----------- preempted ---+             v             v
                                           rejected     rolled_back        failed, cancelled: from any live state

A job that puts an older version before Prime again goes from queued to deploying (restoring.py).
A job that finds nothing to learn from is `skipped`: nothing went wrong, and no record was decided on.

`transitions` runs the table; `machine.fire` is the only place where a state is written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class State(StrEnum):
    """A job's state. The first five are live: the job will move on by itself."""

    QUEUED = "queued"
    RESERVING = "reserving"  # waiting for memory and for the training slot
    TRAINING = "training"  # a worker chooses examples and learns
    EXPORTING = "exporting"  # a worker merges, quantises and judges
    DEPLOYING = "deploying"  # placing the model before Prime
    COMPLETED = "completed"  # a better model is placed
    REJECTED = "rejected"  # the candidate was not better; nothing was deployed
    ROLLED_BACK = "rolled_back"  # it was placed, refused, and the previous model stands again
    SKIPPED = "skipped"  # there was nothing to learn from yet; the next job looks at the same records again
    FAILED = "failed"  # something went wrong; the cause says what to do
    CANCELLED = "cancelled"  # somebody said so


LIVE = (State.QUEUED, State.RESERVING, State.TRAINING, State.EXPORTING, State.DEPLOYING)
TERMINAL = tuple(state for state in State if state not in LIVE)

#: the transition table
TRANSITIONS: list[dict[str, Any]] = [
    {"trigger": "admit", "source": "queued", "dest": "reserving"},
    {"trigger": "restore", "source": "queued", "dest": "deploying"},
    {"trigger": "requeue", "source": "reserving", "dest": "queued"},
    {"trigger": "start", "source": "reserving", "dest": "training"},
    {"trigger": "preempt", "source": ["training", "exporting"], "dest": "queued"},
    {"trigger": "skip", "source": "training", "dest": "skipped"},
    {"trigger": "export", "source": "training", "dest": "exporting"},
    {"trigger": "deploy", "source": "exporting", "dest": "deploying"},
    {"trigger": "reject", "source": "exporting", "dest": "rejected"},
    {"trigger": "complete", "source": "deploying", "dest": "completed"},
    {"trigger": "roll_back", "source": "deploying", "dest": "rolled_back"},
    {"trigger": "fail", "source": [str(state) for state in LIVE], "dest": "failed"},
    {"trigger": "cancel", "source": [str(state) for state in LIVE], "dest": "cancelled"},
]
