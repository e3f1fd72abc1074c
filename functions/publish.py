"""The result tables on their way from where Redshift unloaded them to where people take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.attempts import StepError
from workflow import names
from workflow.markers import Output

if TYPE_CHECKING:
    from functions.attempts import Run
    from functions.store import StoredObject

FORMATS = ("csv", "parquet")


def publish(run: Run) -> tuple[dict[str, Any], tuple[Output, ...]]:
    """Copy ``summary/<month>/<table>/<format>/…`` to ``output/<month>/<table>.<format>`` for every result table.

    Redshift chooses the names of the unloaded objects, so each folder must hold just one of this attempt. Nothing is
    copied before all are there. For a table without rows UNLOAD writes no file at all (since 2019): if it may be
    empty, it is named in the count ``empty_tables``, and calc_stats writes its files. Gives counts and all that the
    step left under ``output/``. Raises StepError that names the folder if one is not as it should be.
    """
    new = [item for item in run.store.objects(names.summary_key(run.month, "")) if _is_new(run, item)]
    unloaded: dict[str, StoredObject] = {}
    empty: list[str] = []
    for table in names.RESULT_TABLES:
        folders = {form: names.summary_key(run.month, f"{table}/{form}/") for form in FORMATS}
        found = {form: [item for item in new if item.key.startswith(folders[form])] for form in FORMATS}
        if table in names.MAY_BE_EMPTY and not any(found.values()):
            empty.append(table)
            continue
        for form, objects in found.items():
            if len(objects) != 1:
                there = ", ".join(item.key.rpartition("/")[2] for item in objects) or "none"
                raise StepError(
                    f"Redshift was to unload one file to s3://{run.store.bucket}/{folders[form]}, "
                    f"there are {len(objects)} ({there})."
                )
            unloaded[names.output_key(run.month, f"{table}.{form}")] = objects[0]
    outputs = [Output(key, item.size, run.store.copy(item.key, key)) for key, item in unloaded.items()]
    occurrences = list(run.store.objects(names.output_key(run.month, "occurrences/")))
    outputs += [Output(item.key, item.size, item.etag) for item in occurrences if _is_new(run, item)]
    # What an earlier attempt left of tables and of states that have no rows now.
    empty_keys = {names.output_key(run.month, f"{table}.{form}") for table in empty for form in FORMATS}
    published = [item.key for item in run.store.objects(names.output_key(run.month, "")) if item.key in empty_keys]
    run.store.delete(*published, *[item.key for item in occurrences if not _is_new(run, item)])
    return ({"empty_tables": empty} if empty else {}), tuple(outputs)


def _is_new(run: Run, item: StoredObject) -> bool:
    """Whether this attempt wrote it: CLEANPATH removes an older file only where there are rows to write."""
    return item.modified >= run.attempt.start_time
