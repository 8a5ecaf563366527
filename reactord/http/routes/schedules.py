"""When is training to happen by itself? (the document in seeds/; nights as in jobs/nights.py)"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from reactord.http.bodies import Body, Said
from reactord.http.offering import written_down
from reactord.http.route import Ask, Route
from reactord.http.views_runs import local_iso
from reactord.jobs.timetable import asked


class Time(Body):
    """One time; the same name again is another time, and `enabled: false` ends it."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
    schedule_type: Literal["cron"] = "cron"
    cron_expression: Annotated[str, Field(max_length=256)] | None = None
    enabled: bool = True


class Scheduled(Said):
    """One time, and when it comes next of all."""

    name: str
    schedule_type: str
    cron_expression: str


class Times(BaseModel):
    """All of them, those of the settings too."""

    jobs: list[Scheduled]
    next_run: str | None


async def set_time(ask: Ask) -> dict[str, Any]:
    """Written down before it is answered."""
    body: Time = ask.body
    with written_down():
        ask.facade.ask_for(body.name, (body.cron_expression or "") if body.enabled else None)
    return await times(ask)


async def times(ask: Ask) -> dict[str, Any]:
    """With the next night."""
    facade = ask.facade
    found = {"night_shift": facade.settings.night_shift, "night_shift_cron": facade.settings.night_shift_cron}
    following = facade.schedule().look(facade.clock()).next if facade.schedule() else None
    named = {name: text for name, text in found.items() if text} | asked(facade.home)
    return {
        "jobs": [
            {"name": name, "schedule_type": "window" if name == "night_shift" else "cron", "cron_expression": text}
            for name, text in named.items()
        ],
        "next_run": following and local_iso(following.opens),
    }


ROUTES = (
    Route("POST", "/api/v1/scheduler/schedule", set_time, "Train at these times too.",
          takes=Time, gives=Times, costs=True),
    Route("POST", "/scheduler/schedule", set_time, "The same, as the README had it.",
          takes=Time, gives=Times, costs=True),
    Route("GET", "/api/v1/scheduler/jobs", times, "All times for training.", gives=Times),
)  # fmt: skip
