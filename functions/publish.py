"""The result tables on their way from where Redshift unloaded them to where people take them."""

from __future__ import annotations

from functions.attempts import Run, StepError
from workflow import names
from workflow.markers import Output

FORMATS = ("csv", "parquet")


def publish(run: Run) -> tuple[Output, ...]:
    """Copy ``summary/<month>/<table>/<format>/…`` to ``output/<month>/<table>.<format>`` for every result table.

    Redshift chooses the names of the unloaded objects, so each folder must hold just one. Nothing is copied before all
    are there. Raises StepError that names the folder otherwise. Gives all that the step left under ``output/``.
    """
    unloaded = {(table, form): _only_object(run, table, form) for table in names.RESULT_TABLES for form in FORMATS}
    outputs = []
    for (table, form), item in unloaded.items():
        key = names.output_key(run.month, f"{table}.{form}")
        copied = run.store.copy(item.key, key)
        outputs.append(Output(key, item.size, copied))
    return (*outputs, *run.store.objects(names.output_key(run.month, "occurrences/")))


def _only_object(run: Run, table: str, form: str) -> Output:
    folder = names.summary_key(run.month, f"{table}/{form}/")
    found = [item for item in run.store.objects(folder) if item.size > 0]
    if len(found) != 1:
        there = ", ".join(item.key.removeprefix(folder) for item in found) or "none"
        raise StepError(
            f"Redshift was to unload one file to s3://{run.store.bucket}/{folder}, there are {len(found)} ({there})."
        )
    return found[0]
