"""The functions of the SQL steps s2 to s6 (BISON_STEP): one statement after the other, as their events come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.answers import Answer, answering
from functions.publish import publish
from functions.sql_run import Plan, run_sql_step

if TYPE_CHECKING:
    from functions.attempts import Run
    from functions.events import Event
    from workflow.markers import Output


@answering
def handler(event: Event) -> Answer:
    """Takes the marker of the step before, a statement's end, or ``{"month": "2026-11"}``."""
    return run_sql_step(event, _finish)


def _finish(run: Run, _: Plan) -> tuple[dict[str, Any], tuple[Output, ...]]:
    return publish(run) if run.step.name == "aggregate_region" else ({}, ())
