"""What became of a model we handed over? (contract/prime.md 2.6, contract/body.md 3.8)

Prime overwrites one `deployment_status.json`; Body's watcher writes a `deploy_<ts>_<model>.json` for each. Neither is
training data: it is news about our own work.
"""

from __future__ import annotations

from pydantic import RootModel

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Notice, load_object
from reactord.formats.schema import Document, Flag, Object, Text, require

TOPIC = "prime.deployment"


class DeploymentStatus(Document):
    """What Prime writes."""

    model_id: str
    deployment_status: str
    reactor_job_id: Text = None
    previous_model: Text = None
    health_check_passed: Flag = None
    error: Text = None
    probation: Object = None


class DeployReport(Document):
    """What Body's watcher writes."""

    model_name: str
    health_verified: Flag = None


class DeployPath(Document):
    """The same, where only the file is named."""

    model_path: str
    health_verified: Flag = None


class Deployment(RootModel[DeploymentStatus | DeployReport | DeployPath]):
    """News of a deployment."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it names no model."""
    del where
    body = load_object(raw)
    require(Deployment, body)
    names = (body.get(key) for key in ("reactor_job_id", "model_id", "model_name", "model_path"))
    return [Notice(TOPIC, next((name for name in names if isinstance(name, str) and name), "unknown"), body)]


FORMAT = Format(
    "deployment",
    parse,
    (
        Door("spool", "cross_repo", r"deployment_status\.json", ("JARVIS_CROSS_REPO_DIR",)),
        Door("spool", "reactor/feedback", r"deploy_[^/]*\.json|deployment_status\.json"),
    ),
    schema=Deployment,
)
