"""The one list of a month's steps. Everything that names, starts, watches or documents a step reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Kind(StrEnum):
    """Where a step's work runs. Not how it is started: every step but the first is started by a marker."""

    CHECK = "check"  # a Lambda function alone
    TASK = "task"  # Python in the task image, on a Spot instance
    SQL = "sql"  # statements of workflow/sql/<step>.sql, in Redshift Serverless


@dataclass(frozen=True)
class Step:
    """One step of a month.

    name: as in the present workflow. number: the ``s<number>`` of its function; None for the check.
    after: the steps whose success marker starts this one (any of them; each step has at most one today).
    title: what it does, for people. limit: how long it may take before the sweep ends it.
    """

    name: str
    number: int | None
    kind: Kind
    after: tuple[str, ...]
    title: str
    limit: timedelta

    @property
    def label(self) -> str:
        """``s3_create_bison``; ``find_current_gbif`` has no number."""
        return self.name if self.number is None else f"s{self.number}_{self.name}"

    @property
    def task_app(self) -> str:
        """The Python module that the task image runs for this step (its ``TASK_APP``)."""
        if self.kind is not Kind.TASK:
            raise ValueError(f"{self.name} is no task: it runs as {self.kind.value}.")
        return f"container.tasks.{self.name}"


STEPS: tuple[Step, ...] = (
    Step("test_task", 0, Kind.TASK, (), "Try the task machinery (by hand)", timedelta(minutes=30)),
    Step("find_current_gbif", None, Kind.CHECK, (), "Find the month's GBIF snapshot", timedelta(minutes=15)),
    Step(
        "annotate_riis",
        1,
        Kind.TASK,
        ("find_current_gbif",),
        "Resolve the RIIS register to GBIF's taxonomy",
        timedelta(hours=3),
    ),
    Step(
        "load_ancillary",
        2,
        Kind.SQL,
        ("annotate_riis",),
        "Load counties, tribal areas and the register",
        timedelta(hours=1),
    ),
    Step("create_bison", 3, Kind.SQL, ("load_ancillary",), "Cut the snapshot down to the US", timedelta(hours=4)),
    Step(
        "intersect_bison",
        4,
        Kind.SQL,
        ("create_bison",),
        "Find each point's county and tribal area",
        timedelta(hours=4),
    ),
    Step("assign_riis", 5, Kind.SQL, ("intersect_bison",), "Give each record its status", timedelta(hours=4)),
    Step(
        "aggregate_region",
        6,
        Kind.SQL,
        ("assign_riis",),
        "Count, compare with last month, export",
        timedelta(hours=4),
    ),
    Step(
        "delete_obsolete",
        7,
        Kind.SQL,
        ("aggregate_region",),
        "Delete what this month's results replace",
        timedelta(hours=1),
    ),
    Step(
        "calc_stats",
        8,
        Kind.TASK,
        ("delete_obsolete",),
        "Biodiversity statistics, manifest and report",
        timedelta(hours=2),
    ),
)

MAX_ATTEMPTS = 3
"""Attempts of a task that was interrupted or whose machine vanished. The second and third run on demand,
unless the stack's ``onDemandFallback`` is off."""

_BY_NAME = {step.name: step for step in STEPS}


def get_step(name: str) -> Step:
    """The step of that name. Raises ValueError that lists the names there are."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ValueError(f"{name!r} is no step: the steps are {', '.join(_BY_NAME)}.") from None


def steps_after(name: str) -> tuple[Step, ...]:
    """The steps that the success marker of ``name`` starts."""
    return tuple(step for step in STEPS if name in step.after)


def month_steps() -> tuple[Step, ...]:
    """The steps of every month, in order: all but the one that is run by hand."""
    return tuple(step for step in STEPS if step.after or step.kind is Kind.CHECK)


FIRST_STEP = "find_current_gbif"
LAST_STEP = "calc_stats"
