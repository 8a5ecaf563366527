"""Does the server do what its own document says? Asked by schemathesis, which knows nothing else of us.

The document is taken as it is, so a route is covered from the day that it stands in the table.
"""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from support.http_daemon import House, served

from reactord.home import Home
from reactord.http import guards
from reactord.http.table import ROUTES

#: of each operation in the phases that throw dice; the phase that covers every constraint has as many as it needs
EXAMPLES = 10
PHASES = "examples,coverage,fuzzing,stateful"
DEADLINE_S = 280.0
#: what never ends cannot be checked whole; tests/contract/test_http_events.py does
ENDLESS = "/api/v1/events/stream"
#: what a valid body may still be refused for, because it depends on the house and no schema can say it
DEPENDS = {
    "POST /api/training/start": "one source of experiences, and a file that must lie in the drop-box",
    "POST /api/models/deploy": "a version that is kept and not served yet",
    "POST /api/models/rollback": "a version that there was before",
    "POST /api/v1/scheduler/schedule": "a cron expression",
    "POST /scheduler/schedule": "the same",
    "POST /api/v1/corrections/stream": "one of two forms",
    "GET /ws": "a client that speaks WebSocket",
    "GET /ws/trinity": "the same",
}
RULE = """
[[operations]]
include-name = "{name}"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "426", "429", "5xx"]
"""
#: GET works here, too, where `register` is a name that there is not: the document tells it of /api/v1/models/{model_id}
SHADOWED = """
[[operations]]
include-path = "/api/v1/models/register"
[operations.checks.allow_header_conformance]
enabled = false
"""


class HastyHouse(House):
    """Every job fails at once, for a stream of one that waits for a worker would never end; and nobody leaves."""

    def submit(self, request, cause, facts=None):
        job, is_new = super().submit(request, cause, facts)
        return (self.fire(job.id, "fail") if is_new else job), is_new

    def drain(self, why):
        return "drained"


def test_what_depends_on_the_house_is_still_there():
    assert set(DEPENDS) <= {f"{route.method} {route.path}" for route in ROUTES}


@pytest.mark.timeout(DEADLINE_S + 20)
async def test_the_server_does_what_its_document_says(tmp_path, fast_dir, monkeypatch):
    monkeypatch.setattr(guards, "BURST", 10**9)  # otherwise most of it is 429
    config = tmp_path / "schemathesis.toml"
    config.write_text("".join(RULE.format(name=name) for name in DEPENDS) + SHADOWED)
    file = tmp_path / "openapi.json"  # where it reads the document it asks nothing: that route would be left out
    with HastyHouse(Home(fast_dir / "jarvis")) as house:
        async with served(house) as at:
            file.write_text(json.dumps((await at.get("/openapi.json"))[1]))
            asking = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
                "--config-file", str(config), "run", str(file), "--url", at.base, "--phases", PHASES,
                "--exclude-path", ENDLESS,
                "--max-examples", str(EXAMPLES), "--generation-deterministic",
                "--continue-on-failure", "--request-timeout", "20", "--no-color",
                cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            try:
                said, _ = await asyncio.wait_for(asking.communicate(), DEADLINE_S)
            finally:
                if asking.returncode is None:
                    asking.kill()
                    await asking.wait()
    words = said.decode()
    assert asking.returncode == 0, words
    assert f"Tested: {len(ROUTES) - 1}\n" in words, words
    for phase in ("Coverage", "Fuzzing", "Stateful"):
        assert f"✅  {phase}" in words, words
