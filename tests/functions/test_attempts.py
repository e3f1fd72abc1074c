"""When a step starts: the rules that make every event harmless the second time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from function_cloud import NOVEMBER, SETTINGS

from functions.answers import Answer, Status
from functions.attempts import Decision, Resume, Run, Start, StepState, all_after, begin, decide
from functions.events import BadEventError
from functions.store import Attempt, StoredAttempt
from workflow import names
from workflow.markers import Marker
from workflow.steps import get_step

if TYPE_CHECKING:
    from function_cloud import Bucket

STEP = get_step("create_bison")


def state(
    attempt: int = 0, after: int = 1, ended: str | None = None, before: int | None = 1, first: int = 1
) -> StepState:
    """create_bison in ``attempt`` (0: never started), built on attempt ``after`` of load_ancillary."""

    def marker(step: str, number: int, error: str | None = None) -> Marker:
        return Marker("2026_11_01", step, number, "2026-11-02T12:00:00Z", "2026-11-02T13:00:00Z", error=error)

    return StepState(
        NOVEMBER,
        STEP,
        StoredAttempt(Attempt(attempt, "2026-11-02T12:00:00Z", first, after), "etag") if attempt else None,
        marker("create_bison", attempt, "broken" if ended == "failure" else None) if ended else None,
        marker("load_ancillary", before) if before else None,
    )


NEVER = state()
UNDER_WAY = state(2, first=1)
SUCCEEDED = state(2, ended="success")
FAILED = state(2, ended="failure")
OUTDATED = state(2, ended="success", before=2)
OUTDATED_UNDER_WAY = state(2, before=2)
NOT_READY = state(before=None)


@pytest.mark.parametrize(
    ("step_state", "force", "attempt", "decision"),
    [
        (NEVER, False, None, Start(1, 1)),
        (NEVER, True, None, Start(1, 1)),
        (NEVER, False, 1, Start(1, 1)),
        (NOT_READY, False, None, Status.WAITING),
        (NOT_READY, True, None, Status.WAITING),
        (UNDER_WAY, False, None, Resume()),
        (UNDER_WAY, True, None, Resume()),
        (UNDER_WAY, False, 2, Resume()),
        (UNDER_WAY, False, 3, Start(3, 1)),
        (UNDER_WAY, False, 1, Status.IGNORED),
        (SUCCEEDED, False, None, Status.DONE),
        (SUCCEEDED, False, 2, Status.DONE),
        (SUCCEEDED, False, 3, Status.DONE),
        (SUCCEEDED, True, None, Start(3, 3)),
        (SUCCEEDED, True, 3, Start(3, 3)),
        (SUCCEEDED, True, 2, Status.DONE),
        (SUCCEEDED, True, 1, Status.IGNORED),
        (FAILED, False, None, Status.WAITING),
        (FAILED, False, 2, Status.WAITING),
        (FAILED, False, 3, Start(3, 3)),
        (FAILED, True, None, Start(3, 3)),
        (OUTDATED, False, None, Start(3, 3)),
        (OUTDATED, False, 3, Start(3, 3)),
        (OUTDATED, False, 2, Status.IGNORED),
        (OUTDATED_UNDER_WAY, False, None, Start(3, 3)),
        (state(2, ended="failure", before=2), False, None, Start(3, 3)),
    ],
)
def test_what_a_start_event_means(
    step_state: StepState, force: bool, attempt: int | None, decision: Decision | Status
) -> None:
    decided = decide(step_state, force, attempt)
    assert (decided.status if isinstance(decided, Answer) else decided) == decision


def test_an_attempt_that_leaves_some_out_is_refused() -> None:
    with pytest.raises(BadEventError, match="the next attempt is 3, not 4"):
        decide(FAILED, attempt=4)


def test_a_failure_says_what_to_type() -> None:
    answer = decide(FAILED)
    assert isinstance(answer, Answer)
    assert "bison retry 2026-11 create_bison" in answer.message


def test_all_that_builds_on_a_step() -> None:
    assert [step.name for step in all_after(get_step("assign_riis"))] == [
        "aggregate_region",
        "delete_obsolete",
        "calc_stats",
    ]


def read(bucket: Bucket, step: str) -> StepState:
    return StepState.read(bucket.store, NOVEMBER, get_step(step))


def start(bucket: Bucket, step: str, force: bool = False, attempt: int | None = None) -> Run | Answer:
    return begin(SETTINGS, bucket.store, read(bucket, step), force, attempt)


def finish(bucket: Bucket, step: str) -> None:
    run = start(bucket, step)
    assert isinstance(run, Run)
    run.succeed({})


def test_two_events_at_once_start_one_attempt(bucket: Bucket) -> None:
    """Both read that the step was never started; the second one must not start it again."""
    bucket.mark("annotate_riis")
    seen = read(bucket, "load_ancillary")
    first = begin(SETTINGS, bucket.store, seen)
    second = begin(SETTINGS, bucket.store, seen)
    assert isinstance(first, Run)
    assert isinstance(second, Answer)
    assert second.status == Status.UNDER_WAY


def test_the_next_event_goes_on_with_the_attempt(bucket: Bucket) -> None:
    bucket.mark("annotate_riis")
    assert isinstance(start(bucket, "load_ancillary"), Run)
    again = start(bucket, "load_ancillary")
    assert isinstance(again, Run)
    assert (again.resumed, again.attempt.number) == (True, 1)


def test_force_makes_all_that_follows_anew_and_nothing_twice(bucket: Bucket) -> None:
    """The chain after ``force``: each new success restarts the next step once, repeated events of the old one never."""
    bucket.mark("annotate_riis")
    finish(bucket, "load_ancillary")
    finish(bucket, "create_bison")
    finish(bucket, "intersect_bison")

    forced = start(bucket, "load_ancillary", force=True)
    assert isinstance(forced, Run)
    assert forced.attempt.number == 2
    assert bucket.keys("run/") == ["run/2026_11_01/annotate_riis/success.json"]
    # A late event of load_ancillary's first success.
    late = start(bucket, "create_bison")
    assert isinstance(late, Answer)
    assert late.status == Status.WAITING

    forced.succeed({})
    again = start(bucket, "create_bison")
    assert isinstance(again, Run)
    assert (again.attempt.number, again.attempt.after) == (2, 2)
    again.succeed({})
    repeated = start(bucket, "create_bison")
    assert isinstance(repeated, Answer)
    assert repeated.status == Status.DONE


def test_nothing_starts_over_under_a_later_step_at_work(bucket: Bucket) -> None:
    """create_bison reads what load_ancillary would drop."""
    bucket.mark("annotate_riis")
    finish(bucket, "load_ancillary")
    assert isinstance(start(bucket, "create_bison"), Run)
    refused = start(bucket, "load_ancillary", force=True)
    assert isinstance(refused, Answer)
    assert refused.status == Status.REFUSED
    assert "while create_bison is under way" in refused.message
    assert bucket.marker("load_ancillary") is not None


def test_a_forced_step_that_failed_can_be_retried(bucket: Bucket) -> None:
    """The later steps' attempts have lost their markers, and yet nothing of them is at work."""
    bucket.mark("annotate_riis")
    finish(bucket, "load_ancillary")
    finish(bucket, "create_bison")
    forced = start(bucket, "load_ancillary", force=True)
    assert isinstance(forced, Run)
    forced.fail("Broken.")
    retried = start(bucket, "load_ancillary", attempt=3)
    assert isinstance(retried, Run)
    assert bucket.marker("load_ancillary", "failure") is None


def test_a_marker_of_an_older_attempt_counts_for_nothing(bucket: Bucket) -> None:
    """A machine thought lost may still write its marker when the next attempt is at work."""
    bucket.mark("find_current_gbif")
    bucket.begin("annotate_riis", attempt=2, first=1, after=1)
    bucket.mark("annotate_riis", attempt=1)
    assert read(bucket, "annotate_riis").under_way
    assert not read(bucket, "load_ancillary").ready


def test_success_takes_the_failure_away(bucket: Bucket) -> None:
    bucket.begin("test_task")
    bucket.mark("test_task", error="Broken.")
    run = Run(SETTINGS, bucket.store, NOVEMBER, get_step("test_task"), bucket.attempt("test_task"), forced_time())  # type: ignore[arg-type]
    run.succeed({"rows": 3})
    assert bucket.keys("run/") == [names.success_key(NOVEMBER, "test_task")]
    marker = bucket.marker("test_task")
    assert marker is not None
    assert (marker.counts, marker.code, marker.finished) == ({"rows": 3}, "0123abcd", "2026-11-02T14:00:00Z")


def forced_time():  # type: ignore[no-untyped-def]
    from datetime import UTC, datetime

    return datetime(2026, 11, 2, 14, tzinfo=UTC)
