"""The function of s7: once this month's results are there, what earlier months left for their own steps goes.

First the tables, by the step's SQL; then ``summary/<month>/`` and the annotated register of the same months. Outputs
and markers stay for ever, and a month that is newer, or is being made again, is not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.answers import Answer, answering
from functions.sql_context import annotated_registers
from functions.sql_run import Plan, run_sql_step
from workflow import names

if TYPE_CHECKING:
    from functions.attempts import Run
    from functions.events import Event
    from workflow.markers import Output


@answering
def handler(event: Event) -> Answer:
    """Takes aggregate_region's marker, a statement's end, or ``{"month": "2026-11"}``."""
    return run_sql_step(event, delete_files)


def delete_files(run: Run, plan: Plan) -> tuple[dict[str, Any], tuple[Output, ...]]:
    """Delete the files of the months whose tables the plan has dropped; gives the counts for the marker."""
    registers = [key for key, month in annotated_registers(run.store) if month in plan.obsolete_months]
    summaries = [item.key for month in plan.obsolete_months for item in run.store.objects(names.summary_key(month, ""))]
    # The summaries last: as long as one is there, the month counts as obsolete and is seen to next month.
    run.store.delete(*registers)
    run.store.delete(*summaries)
    counts = {
        "obsolete_months": len(plan.obsolete_months),
        "deleted_registers": len(registers),
        "deleted_summary_files": len(summaries),
    }
    return counts, ()
