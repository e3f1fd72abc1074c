"""What follows from an instance's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from function_cloud import IMAGE, event, launch

from functions import aws
from functions.watcher import handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from function_cloud import Bucket, FakeLambda


@pytest.fixture(autouse=True)
def environment(bucket: Bucket, set_step: Callable[[str | None], None]) -> None:
    set_step(None)
    bucket.mark("find_current_gbif")


def ended(instance_id: str, state: str = "terminated") -> dict[str, Any]:
    return handler(event("instance_state_change", **{"instance-id": instance_id, "state": state}), None)


@pytest.mark.parametrize("state", ["shutting-down", "terminated", "stopping", "stopped"])
def test_a_machine_gone_without_a_marker_gets_the_next_attempt(
    bucket: Bucket, invocations: FakeLambda, state: str
) -> None:
    bucket.begin("annotate_riis", after=1)
    assert ended(launch("annotate_riis"), state)["status"] == "started"
    assert invocations.requests == [("bison_test_s1_annotate_riis", {"month": "2026-11", "force": False, "attempt": 2})]


def test_both_events_of_an_end_ask_for_the_same_attempt(bucket: Bucket, invocations: FakeLambda) -> None:
    """``shutting-down`` and ``terminated`` both come, and either may come twice: the attempt is named in each call."""
    bucket.begin("annotate_riis", after=1)
    instance_id = launch("annotate_riis")
    for state in ("shutting-down", "terminated", "terminated"):
        ended(instance_id, state)
    assert {body["attempt"] for _, body in invocations.requests} == {2}
    # What the first call has done by then.
    bucket.begin("annotate_riis", attempt=2, first=1, after=1)
    assert "attempt 2 has followed it" in ended(instance_id)["message"]


@pytest.mark.parametrize(
    ("error", "words"), [(None, "its task had ended, with success"), ("Broken.", "its task had failed and says why")]
)
def test_a_machine_whose_task_has_ended_may_go(
    bucket: Bucket, invocations: FakeLambda, error: str | None, words: str
) -> None:
    bucket.begin("annotate_riis", after=1)
    bucket.mark("annotate_riis", error=error)
    answer = ended(launch("annotate_riis"))
    assert (answer["status"], words in answer["message"]) == ("ignored", True)
    assert invocations.requests == []


def test_a_failure_of_an_older_attempt_is_not_this_ones(bucket: Bucket, invocations: FakeLambda) -> None:
    bucket.begin("annotate_riis", attempt=2, after=1)
    bucket.mark("annotate_riis", attempt=1, error="Broken.")
    assert ended(launch("annotate_riis", attempt=2))["status"] == "started"


@pytest.mark.parametrize("state", ["pending", "running"])
def test_a_machine_that_comes_up_is_nothing_to_do(bucket: Bucket, invocations: FakeLambda, state: str) -> None:
    bucket.begin("annotate_riis", after=1)
    assert ended(launch("annotate_riis"), state)["status"] == "ignored"
    assert invocations.requests == []


def test_a_warning_is_noted_only(bucket: Bucket, invocations: FakeLambda) -> None:
    """The task may still finish in its two minutes: two machines at once would write the same keys."""
    bucket.begin("annotate_riis", after=1)
    instance_id = launch("annotate_riis")
    answer = handler(event("interruption_warning", **{"instance-id": instance_id}), None)
    assert answer["status"] == "under_way"
    assert instance_id in answer["message"]
    assert invocations.requests == []


def test_machines_of_others_are_ignored(bucket: Bucket, invocations: FakeLambda) -> None:
    bucket.begin("annotate_riis", after=1)
    foreign = aws.client("ec2").run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    for instance_id in (foreign, launch("annotate_riis", stack="prod"), "i-0123456789abcdef0"):
        answer = ended(instance_id)
        assert answer["status"] == "ignored"
        assert "runs no task of the stack test" in answer["message"]
    assert invocations.requests == []
