"""Events in AWS's form, patterns in EventBridge's words, schedules in Scheduler's."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from local.cloud.events import Rule, Schedule, Target, instance_state_changed, object_created
from workflow.month import Month

MARKER = object_created("data", "run/2026_10_01/create_bison/success.json", 10, "abc", "PutObject")


def rule(pattern: dict, *, enabled: bool = True) -> Rule:
    return Rule("r", "arn:r", json.dumps(pattern), enabled)


def key(*filters: object) -> dict:
    return {"source": ["aws.s3"], "detail": {"object": {"key": list(filters)}}}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (key({"wildcard": "run/*/create_bison/success.json"}), True),
        (key({"wildcard": "run/*/create_bison/failure.json"}), False),
        (key({"wildcard": "run/*/bison/success.json"}), False),
        (key({"prefix": "run/"}), True),
        (key({"prefix": "trigger/"}), False),
        # Two filters in one array mean either.
        (key({"prefix": "trigger/"}, {"suffix": "success.json"}), True),
        (key({"anything-but": {"prefix": "run/"}}), False),
        ({"source": ["aws.ec2"]}, False),
        ({"source": ["aws.s3"], "detail": {"bucket": {"name": ["other"]}}}, False),
        ({"source": ["aws.s3"], "detail": {"state": ["FINISHED"]}}, False),
    ],
)
def test_rules_take_what_their_patterns_say(pattern, matches):
    assert rule(pattern).matches(MARKER) is matches


def test_a_rule_that_is_switched_off_takes_nothing():
    assert not rule({"source": ["aws.s3"]}, enabled=False).matches(MARKER)


def test_events_are_of_the_form_that_aws_documents():
    """Handlers that read other members than AWS sends would pass here and fail there.

    Members: S3 User Guide, "EventBridge event message structure"; EC2 User Guide, "State change events".
    """
    detail = MARKER["detail"]
    assert MARKER["detail-type"] == "Object Created"
    assert MARKER["resources"] == ["arn:aws:s3:::data"]
    assert set(detail) == {"version", "bucket", "object", "request-id", "requester", "source-ip-address", "reason"}
    assert set(detail["object"]) == {"key", "size", "etag", "sequencer"}
    ended = instance_state_changed("i-1", "terminated")
    assert (ended["source"], ended["detail-type"]) == ("aws.ec2", "EC2 Instance State-change Notification")
    assert ended["detail"] == {"instance-id": "i-1", "state": "terminated"}
    assert ended["resources"] == ["arn:aws:ec2:us-east-1:123456789012:instance/i-1"]


def schedule(expression: str) -> Schedule:
    return Schedule("s", "arn:g", expression, Target("arn:f", '{"time": "<aws.scheduler.scheduled-time>"}'), "arn:role")


def test_a_schedule_gives_its_target_the_time_it_was_set_for():
    when = datetime(2026, 10, 2, 12, tzinfo=UTC)
    assert schedule("cron(0 12 2 * ? *)").event(when) == {"time": "2026-10-02T12:00:00Z"}


@pytest.mark.parametrize(
    ("expression", "first", "last", "count"),
    [
        ("cron(0/40 12 2-31 * ? *)", (2, 12, 0), (30, 12, 40), 58),
        ("cron(0 12 2 * ? *)", (2, 12, 0), (2, 12, 0), 1),
        ("cron(5,35 */6 1 * ? *)", (1, 0, 5), (1, 18, 35), 8),
    ],
)
def test_a_schedules_times_follow_from_its_expression(expression, first, last, count):
    """Else a check set for the 20th would still find the snapshot on the 2nd, here alone."""
    times = list(schedule(expression).times(Month(2026, 9)))
    assert [(time.day, time.hour, time.minute) for time in (times[0], times[-1])] == [first, last]
    assert len(times) == count


def test_an_expression_that_is_not_read_here_is_refused():
    with pytest.raises(ValueError, match="rate"):
        next(schedule("rate(30 minutes)").times(Month(2026, 9)))
    with pytest.raises(ValueError, match="L"):
        next(schedule("cron(0 12 L * ? *)").times(Month(2026, 9)))
