"""What can go wrong, and what does the reader do about it?

    ReactordError
    +-- BadInput              the sender's mistake: 4xx, or quarantine with a reason
    |   +-- BadRecord         bytes on the bus that are not what their name says
    |   +-- BadRequest        a job nobody can run as it was asked for
    |   +-- NothingToLearn    no fault of anybody: the records so far make no dataset
    |   +-- TooLarge          http/intake.py: a body beyond its bound
    +-- EnvironmentTrouble    a state of the machine, left by itself when the cause is gone
    |   +-- DiskFull
    |   +-- MissingModel
    |   +-- MissingCompiler
    |   +-- AlreadyRunning
    |   +-- BadConfig
    |   +-- PortInUse         http/sockets.py
    |   +-- NotRunning        cli/presence.py: there is no daemon to ask
    +-- IllegalTransition     jobs/machine.py: the table has no such edge, or a newer run moved the job
    +-- WorkerLost            jobs/worker_process.py: a worker ended without an outcome
    +-- ColdOptimizer         worker/warm.py: a run was about to go on with an optimiser that has forgotten it
    +-- Apart                 worker/team.py: processes that train together no longer hold the same weights
    +-- Conservation          received != accounted for: a bug, and the job stops
    +-- Stopped               SIGTERM asked this worker to checkpoint and leave

Every message ends with what to do next.
"""

from __future__ import annotations


class ReactordError(Exception):
    """Something reactord can name. The message says what to do next."""

    #: which of the causes in jobs/attempts.py a worker reports for it
    cause = "bug"


class BadInput(ReactordError):
    """What was sent cannot be used as it is."""

    cause = "bad_data"


class BadRecord(BadInput):
    """These bytes are not what their place on the bus promises."""


class BadRequest(BadInput):
    """This job cannot be run as it was asked for."""


class NothingToLearn(BadInput):
    """The records so far make no dataset that could be learned from and judged by."""

    cause = "no_data"


class EnvironmentTrouble(ReactordError):
    """The machine is not in a state to do this now."""

    cause = "environment"


class DiskFull(EnvironmentTrouble):
    """There is no room left on the disk."""

    cause = "disk_full"


class MissingModel(EnvironmentTrouble):
    """The base model is not where the settings say."""

    cause = "missing_model"


class MissingCompiler(EnvironmentTrouble):
    """The C kernels are not built."""


class AlreadyRunning(EnvironmentTrouble):
    """Another daemon holds this home."""


class BadConfig(EnvironmentTrouble):
    """The settings cannot be read."""


class Conservation(ReactordError):
    """Records received and records accounted for differ."""


class Stopped(ReactordError):
    """The worker was asked to stop."""

    cause = "stopped"
