"""How does an older version come before Prime again? As a job that has nothing to learn: it begins with its deployment.

The bytes are those that were judged; the version is a new one, because Prime offers nothing twice under one name
(contract/prime.md 7, row 12). Everything else (crashes, waiting, telling) is the deployment's own business.
"""

from __future__ import annotations

from typing import Any

from reactord.errors import BadRequest
from reactord.jobs.triggers import JobRequest, new_job_id
from reactord.jobs.versions import next_version
from reactord.ledger.state import Model, State

#: what a deployment needs to know of the job that made the model
COPIED = (
    "model_id",
    "chosen",
    "sha256",
    "size_bytes",
    "dataset",
    "counts",
    "base",
    "base_name",
    "candidate",
    "training",
)
#: versions that stood before Prime once; what was judged worse never does
SERVED = ("superseded", "rolled_back")


def restoring(store: State, version: str | None, born_of: Any, now: float) -> tuple[JobRequest, dict[str, Any]]:  # noqa: ANN401
    """The request and the facts of a job that puts `version` before Prime; None: the one before the deployed one.

    Asked again while such a job is live, it is that job. Raises BadRequest when there is no such version, or it is not
    to be served.
    """
    model = _before(store) if version is None else _named(store, version)
    live = (job for job in store.live_jobs() if job.facts.get("restores") == model.version)
    if known := next(live, None):
        return JobRequest.model_validate(known.request), known.facts
    made = store.job(model.job_id)
    if made is None:
        raise BadRequest(f"the job that made {model.version} is not known any more; deploy another version")
    facts: dict[str, Any] = {name: made.facts[name] for name in COPIED if name in made.facts}
    facts |= {
        "restores": model.version,
        "made_by": made.id,
        "version": next_version([known.version for known in store.models()]),
        "rolls_back": version is None,
    }
    return JobRequest(job_id=f"restore-{new_job_id(now)}", born_of=born_of), facts


def _named(store: State, version: str) -> Model:
    model = next((known for known in store.models() if known.version == version), None)
    if model is None:
        raise BadRequest(f"there is no version {version[:64]!a}; see: reactord models")
    if model.fate == "deployed":
        raise BadRequest(f"{version} is deployed already; see: reactord models")
    if model.fate not in SERVED:
        raise BadRequest(f"{version} was {model.fate}: only what was better once is served; see: reactord models")
    return model


def _before(store: State) -> Model:
    """What stood before Prime before the deployed one; what was taken back is not gone back to."""
    found = next((model for model in store.models() if model.fate == "superseded"), None)
    if found is None:
        raise BadRequest("there is no version to go back to; see: reactord models")
    return found
