"""What the sweep finds that no event told, and what it leaves alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from function_cloud import NOVEMBER, instance_states, launch, marker_event

from functions.sweep import handler
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Callable

    from function_cloud import Bucket, FakeLambda

THIS_MONTH = Month.parse(datetime.now(UTC).isoformat())
BY_HAND = {"month": str(THIS_MONTH), "force": False, "attempt": None}


@pytest.fixture(autouse=True)
def environment(bucket: Bucket, set_step: Callable[[str | None], None]) -> None:
    set_step(None)


def sweep(later: int = 0) -> dict[str, Any]:
    """A sweep ``later`` minutes from now."""
    return handler({"time": (datetime.now(UTC) + timedelta(minutes=later)).isoformat()}, None)


def mark(bucket: Bucket, step: str, **how: Any) -> None:
    bucket.mark(step, month=THIS_MONTH, **how)


def begin(bucket: Bucket, step: str, **how: Any) -> None:
    bucket.begin(step, month=THIS_MONTH, **how)


def test_an_empty_account_is_in_order(invocations: FakeLambda) -> None:
    assert sweep() == {"status": "done", "message": "All is in order."}


def test_a_step_that_its_marker_did_not_start_is_called(bucket: Bucket, invocations: FakeLambda) -> None:
    mark(bucket, "find_current_gbif", ago=20)
    assert sweep()["status"] == "started"
    assert invocations.requests == [("bison_test_s1_annotate_riis", BY_HAND)]


def test_an_event_may_be_a_little_late(bucket: Bucket, invocations: FakeLambda) -> None:
    mark(bucket, "find_current_gbif", ago=10)
    assert sweep()["status"] == "done"
    assert invocations.requests == []


@pytest.mark.parametrize(
    ("step", "before", "function"),
    [
        ("find_current_gbif", None, "bison_test_find_current_gbif"),
        ("annotate_riis", "find_current_gbif", "bison_test_s1_annotate_riis"),
        ("create_bison", "load_ancillary", "bison_test_s3_create_bison"),
        ("test_task", None, "bison_test_s0_test_task"),
    ],
)
def test_a_step_under_way_is_asked_after_itself(
    bucket: Bucket, invocations: FakeLambda, step: str, before: str | None, function: str
) -> None:
    """Its function then asks after the statement or the instance: see their tests."""
    if before:
        mark(bucket, before, ago=60)
    begin(bucket, step, after=1 if before else None, ago=20)
    sweep()
    assert (function, BY_HAND) in invocations.requests


def test_a_step_that_has_just_begun_is_left_alone(bucket: Bucket, invocations: FakeLambda) -> None:
    mark(bucket, "find_current_gbif", ago=60)
    begin(bucket, "annotate_riis", after=1, ago=10)
    sweep()
    assert invocations.requests == []


def test_a_failed_step_waits_for_a_person(bucket: Bucket, invocations: FakeLambda) -> None:
    mark(bucket, "find_current_gbif", ago=90)
    begin(bucket, "annotate_riis", after=1, ago=60)
    mark(bucket, "annotate_riis", ago=30, error="Broken.")
    assert sweep()["status"] == "done"
    assert invocations.requests == []


def test_a_step_whose_input_was_made_anew_is_called(bucket: Bucket, invocations: FakeLambda) -> None:
    mark(bucket, "find_current_gbif", attempt=2, ago=20)
    begin(bucket, "annotate_riis", after=1, ago=200)
    mark(bucket, "annotate_riis", ago=190)
    sweep()
    assert ("bison_test_s1_annotate_riis", BY_HAND) in invocations.requests


def test_a_finished_month_is_in_order_twice(bucket: Bucket, invocations: FakeLambda) -> None:
    from workflow.steps import month_steps

    for step in month_steps():
        begin(bucket, step.name, after=1 if step.after else None, ago=90)
        mark(bucket, step.name, ago=60)
    assert [sweep()["status"] for _ in range(2)] == ["done", "done"]
    assert invocations.requests == []


def test_an_older_month_that_is_not_complete_is_seen_to(bucket: Bucket, invocations: FakeLambda) -> None:
    """Any month can be run again at any time, also one of years ago."""
    old = Month(2019, 3)
    bucket.mark("load_ancillary", month=old, ago=60)
    bucket.begin("create_bison", month=old, after=1, ago=30)
    sweep()
    assert invocations.requests == [
        ("bison_test_s3_create_bison", {"month": "2019-03", "force": False, "attempt": None})
    ]


def test_an_older_month_that_is_complete_is_not_looked_at(bucket: Bucket, invocations: FakeLambda) -> None:
    old = Month(2019, 3)
    bucket.mark("load_ancillary", month=old, ago=60)
    bucket.begin("create_bison", month=old, after=1, ago=30)
    bucket.mark("calc_stats", month=old)
    sweep()
    assert invocations.requests == []


@pytest.mark.parametrize("error", [None, "Broken."])
def test_a_machine_whose_task_has_long_ended_is_ended(
    bucket: Bucket, invocations: FakeLambda, error: str | None
) -> None:
    begin(bucket, "test_task", ago=60)
    mark(bucket, "test_task", ago=20, error=error)
    instance_id = launch("test_task", month=THIS_MONTH)
    assert "its task has ended" in sweep()["message"]
    assert instance_states()[instance_id] in ("shutting-down", "terminated")
    assert sweep()["status"] == "done"


def test_a_machine_may_take_some_minutes_to_end_itself(bucket: Bucket, invocations: FakeLambda) -> None:
    begin(bucket, "test_task", ago=60)
    mark(bucket, "test_task", ago=5)
    instance_id = launch("test_task", month=THIS_MONTH)
    assert sweep()["status"] == "done"
    assert instance_states()[instance_id] == "running"


def test_a_machine_at_work_is_left_alone(bucket: Bucket, invocations: FakeLambda) -> None:
    begin(bucket, "test_task", ago=5)
    instance_id = launch("test_task", month=THIS_MONTH)
    sweep()
    assert instance_states()[instance_id] == "running"


def test_a_machine_of_an_attempt_that_was_followed_is_ended(bucket: Bucket, invocations: FakeLambda) -> None:
    begin(bucket, "test_task", attempt=2, first=1, ago=5)
    old, new = launch("test_task", 1, THIS_MONTH), launch("test_task", 2, THIS_MONTH)
    sweep()
    states = instance_states()
    assert (states[old] in ("shutting-down", "terminated"), states[new]) == (True, "running")


def test_a_machine_that_no_step_knows_is_ended_past_its_limit(bucket: Bucket, invocations: FakeLambda) -> None:
    instance_id = launch("test_task", month=Month(2019, 3))
    assert sweep(later=30)["status"] == "done"
    assert instance_states()[instance_id] == "running"
    assert "has run longer than 30 minutes" in sweep(later=46)["message"]
    assert instance_states()[instance_id] in ("shutting-down", "terminated")


def test_machines_of_other_stacks_are_left_alone(bucket: Bucket, invocations: FakeLambda) -> None:
    begin(bucket, "test_task", ago=60)
    mark(bucket, "test_task", ago=50)
    instance_id = launch("test_task", month=THIS_MONTH, stack="prod")
    assert sweep(later=600)["status"] == "done"
    assert instance_states()[instance_id] == "running"


def test_only_the_schedule_starts_it(invocations: FakeLambda) -> None:
    assert handler(marker_event("find_current_gbif", NOVEMBER), None)["status"] == "ignored"
