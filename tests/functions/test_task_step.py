"""A task's function: one instance an attempt, and what follows when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from function_cloud import NOVEMBER, event, instance_states, launch, marker_event

from functions import aws
from functions.task_step import handler
from workflow import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from function_cloud import Bucket, FakeFleets

BEFORE = marker_event("find_current_gbif")
NO_SPOT = (200, ("InsufficientInstanceCapacity", "UnfulfillableCapacity"))
NO_QUOTA = (200, ("VcpuLimitExceeded",))


@pytest.fixture(autouse=True)
def step(bucket: Bucket, fleets: FakeFleets, set_step: Callable[[str | None], None]) -> None:
    set_step("annotate_riis")
    bucket.mark("find_current_gbif")


def send(body: dict[str, Any]) -> dict[str, Any]:
    return handler(body, None)


def asked(fleets: FakeFleets) -> list[str]:
    """The capacity types of the CreateFleet calls."""
    return [body["TargetCapacitySpecification.DefaultTargetCapacityType"] for body in fleets.named("CreateFleet")]


def tags(instance_id: str) -> dict[str, str]:
    answer = aws.client("ec2").describe_instances(InstanceIds=[instance_id])
    return {tag["Key"]: tag["Value"] for tag in answer["Reservations"][0]["Instances"][0]["Tags"]}


def test_the_marker_before_starts_one_spot_instance(bucket: Bucket, fleets: FakeFleets) -> None:
    assert send(BEFORE)["status"] == "started"
    (instance_id,) = instance_states()
    assert names.instance_tags("test", NOVEMBER, "annotate_riis", 1).items() <= tags(instance_id).items()
    assert asked(fleets) == ["spot"]
    note = bucket.json("log/2026_11_01/annotate_riis/1/launch.json")
    assert note == {"capacity": "spot", "instance_id": instance_id, "errors": []}


def test_every_event_twice_starts_one_instance(fleets: FakeFleets) -> None:
    for _ in range(2):
        send(BEFORE)
        send({"month": "2026-11"})
        send({"month": "2026-11", "attempt": 1})
    assert len(instance_states()) == 1
    assert asked(fleets) == ["spot"]


def test_an_instance_that_ec2_does_not_list_yet_is_asked_for_with_the_same_token(
    fleets: FakeFleets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DescribeInstances lags behind CreateFleet; EC2 knows a repeat by its token (moto does not)."""
    monkeypatch.setattr("functions.task_step.find_instances", lambda *_: [])
    send(BEFORE)
    send(BEFORE)
    first, second = fleets.named("CreateFleet")
    assert first == second


def test_instances_of_other_stacks_months_and_steps_are_not_ours(fleets: FakeFleets) -> None:
    launch("annotate_riis", stack="prod")
    launch("annotate_riis", month=NOVEMBER.previous)
    launch("calc_stats")
    assert send(BEFORE)["status"] == "started"
    assert len(instance_states()) == 4


def test_without_spot_capacity_the_first_attempt_goes_on_demand(bucket: Bucket, fleets: FakeFleets) -> None:
    fleets.errors = [NO_SPOT]
    assert "on-demand" in send(BEFORE)["message"]
    assert asked(fleets) == ["spot", "on-demand"]
    note = bucket.json("log/2026_11_01/annotate_riis/1/launch.json")
    assert note["errors"] == [
        "InsufficientInstanceCapacity: about InsufficientInstanceCapacity",
        "UnfulfillableCapacity: about UnfulfillableCapacity",
    ]


def test_without_fallback_it_waits_for_the_next_attempt(
    bucket: Bucket, fleets: FakeFleets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BISON_ON_DEMAND_FALLBACK", "false")
    fleets.errors = [NO_SPOT]
    assert send(BEFORE)["status"] == "waiting"
    assert asked(fleets) == ["spot"]
    assert bucket.keys("run/2026_11_01/annotate_riis/") == []


@pytest.mark.parametrize("status", [200, 403])
def test_a_missing_right_fails_at_once_in_words(bucket: Bucket, fleets: FakeFleets, status: int) -> None:
    fleets.errors = [(status, ("UnauthorizedOperation", "UnfulfillableCapacity"))]
    answer = send(BEFORE)
    assert answer["status"] == "failed"
    assert asked(fleets) == ["spot"]
    marker = bucket.marker("annotate_riis", "failure")
    assert marker is not None
    assert marker.error is not None
    assert marker.error.startswith("No instance could be started. EC2 said: UnauthorizedOperation: about")
    assert "bison retry 2026-11 annotate_riis" in marker.error


def test_a_missing_template_fails_at_once(fleets: FakeFleets) -> None:
    fleets.errors = [(400, ("InvalidLaunchTemplateName.NotFoundException",))]
    assert send(BEFORE)["status"] == "failed"


@pytest.mark.parametrize("status", [200, 400])
def test_a_quota_is_waited_for_attempt_by_attempt_and_then_failed(
    bucket: Bucket, fleets: FakeFleets, status: int
) -> None:
    """The sweep calls by hand; each attempt has a token of its own, so EC2 is asked anew."""
    fleets.errors = [(status, NO_QUOTA[1])] * 3
    assert send(BEFORE)["status"] == "waiting"
    bucket.begin("annotate_riis", attempt=1, after=1, ago=30)
    assert send({"month": "2026-11"})["status"] == "waiting"
    bucket.begin("annotate_riis", attempt=2, first=1, after=1, ago=30)
    assert send({"month": "2026-11"})["status"] == "failed"
    assert asked(fleets) == ["spot", "on-demand", "on-demand"]
    marker = bucket.marker("annotate_riis", "failure")
    assert marker is not None
    assert (marker.attempt, "VcpuLimitExceeded" in (marker.error or "")) == (3, True)


@pytest.mark.parametrize(
    ("status", "code"), [(503, "Unavailable"), (503, "RequestLimitExceeded"), (500, "InternalError")]
)
def test_trouble_of_the_moment_is_left_to_lambdas_next_try(
    bucket: Bucket, fleets: FakeFleets, status: int, code: str
) -> None:
    fleets.errors = [(status, (code,))]
    with pytest.raises(ClientError, match=code):
        send(BEFORE)
    assert bucket.keys("run/2026_11_01/annotate_riis/") == []
    assert send(BEFORE)["status"] == "started"


def test_a_vanished_machine_is_replaced_on_demand(bucket: Bucket, fleets: FakeFleets) -> None:
    """The watcher asks for the next attempt; its event may come twice, too."""
    bucket.begin("annotate_riis", after=1, ago=5)
    for _ in range(2):
        send({"month": "2026-11", "attempt": 2})
    assert asked(fleets) == ["on-demand"]
    (instance_id,) = instance_states()
    assert tags(instance_id)["bison:attempt"] == "2"
    attempt = bucket.attempt("annotate_riis")
    assert attempt is not None
    assert (attempt.number, attempt.first, attempt.after) == (2, 1, 1)


def test_after_the_last_attempt_a_person_is_asked(bucket: Bucket, fleets: FakeFleets) -> None:
    bucket.begin("annotate_riis", attempt=3, first=1, after=1, ago=5)
    answer = send({"month": "2026-11", "attempt": 4})
    assert answer["status"] == "failed"
    assert "3 attempts in a row lost their instance" in answer["message"]
    assert asked(fleets) == []
    marker = bucket.marker("annotate_riis", "failure")
    assert marker is not None
    assert marker.attempt == 3


def test_a_person_starts_the_count_anew(bucket: Bucket, fleets: FakeFleets) -> None:
    bucket.begin("annotate_riis", attempt=3, first=1, after=1)
    bucket.mark("annotate_riis", attempt=3, error="Broken.")
    assert send({"month": "2026-11", "attempt": 4})["status"] == "started"
    assert asked(fleets) == ["spot"]
    assert bucket.keys("run/2026_11_01/annotate_riis/") == []


def test_a_task_that_failed_by_itself_is_not_repeated(bucket: Bucket, fleets: FakeFleets) -> None:
    bucket.begin("annotate_riis", after=1)
    bucket.mark("annotate_riis", error="The register has no column locality.")
    for body in (BEFORE, {"month": "2026-11"}):
        assert send(body)["status"] == "waiting"
    assert asked(fleets) == []


def test_a_young_attempt_without_instance_is_launched_and_an_old_one_replaced(
    bucket: Bucket, fleets: FakeFleets
) -> None:
    bucket.begin("annotate_riis", after=1, ago=3)
    assert send({"month": "2026-11"})["status"] == "started"
    assert asked(fleets) == ["spot"]
    bucket.begin("annotate_riis", after=1, ago=16)
    aws.client("ec2").terminate_instances(InstanceIds=list(instance_states()))
    assert send({"month": "2026-11"})["status"] == "started"
    assert asked(fleets) == ["spot", "on-demand"]


def test_a_task_past_its_limit_is_ended_and_fails(bucket: Bucket, fleets: FakeFleets) -> None:
    bucket.begin("annotate_riis", after=1, ago=181)
    instance_id = launch("annotate_riis")
    answer = send({"month": "2026-11"})
    assert answer["status"] == "failed"
    assert "It took longer than 3 hours and was ended." in answer["message"]
    assert instance_states()[instance_id] in ("shutting-down", "terminated")


def test_a_machine_that_ended_itself_at_the_limit_is_not_replaced(bucket: Bucket, fleets: FakeFleets) -> None:
    """It would run into the limit again, on demand."""
    bucket.begin("annotate_riis", after=1, ago=181)
    answer = send({"month": "2026-11", "attempt": 2})
    assert answer["status"] == "failed"
    assert "its instance ended itself" in answer["message"]
    assert asked(fleets) == []


def test_an_older_attempts_machine_is_ended_when_the_next_one_starts(bucket: Bucket, fleets: FakeFleets) -> None:
    """Two machines at once would write the same keys."""
    bucket.begin("annotate_riis", after=1)
    old = launch("annotate_riis")
    bucket.mark("find_current_gbif", attempt=2)
    assert send(BEFORE)["status"] == "started"
    states = instance_states()
    assert states.pop(old) in ("shutting-down", "terminated")
    assert len(states) == 1


def test_what_is_no_start_starts_nothing(fleets: FakeFleets) -> None:
    for body in (
        event("instance_state_change"),
        marker_event("load_ancillary"),
        marker_event("find_current_gbif", outcome="failure"),
    ):
        assert send(body)["status"] == "ignored"
    assert instance_states() == {}
