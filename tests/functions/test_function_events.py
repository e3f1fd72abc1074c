"""What a function is called with, and what it makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from function_cloud import event

from functions.events import (
    BadEventError,
    ByHand,
    InstanceState,
    InterruptionWarning,
    MarkerWritten,
    Scheduled,
    StatementEnded,
    TriggerDropped,
    Unrelated,
    parse,
)
from workflow.month import Month
from workflow.names import StatementName
from workflow.steps import get_step

NOVEMBER = Month(2026, 11)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("success_marker", MarkerWritten("bison-test", NOVEMBER, get_step("load_ancillary"), "success")),
        (
            "trigger_file",
            TriggerDropped("bison-test", "trigger/2026-10.txt", datetime(2026, 11, 3, 9, 15, 30, tzinfo=UTC)),
        ),
        (
            "statement_ended",
            StatementEnded(
                StatementName("bison_test", NOVEMBER, "create_bison", 1, 1),
                "a7d8c2f0-1b3e-4f5a-8c9d-0e1f2a3b4c5d",
                "FINISHED",
            ),
        ),
        ("instance_state_change", InstanceState("i-abcd1111", "shutting-down")),
        ("interruption_warning", InterruptionWarning("i-abcd1111")),
        ("scheduler", Scheduled(datetime(2026, 11, 2, 12, tzinfo=UTC))),
        ("by_hand", ByHand(NOVEMBER, False, None)),
    ],
)
def test_each_event_of_aws_is_read(name: str, parsed: object) -> None:
    assert parse(event(name)) == parsed


def test_what_one_function_sends_another_reads() -> None:
    sent = ByHand(NOVEMBER, force=True, attempt=2)
    assert parse(sent.to_json()) == sent


@pytest.mark.parametrize(
    "body",
    [
        event("success_marker", object={"key": "output/2026_11_01/report.html", "size": 1, "etag": "e"}),
        event("success_marker", object={"key": "run/2026_11_01/no_such_step/success.json", "size": 1, "etag": "e"}),
        event("statement_ended", statementName="somebody/elses"),
        event("statement_ended", statementName=""),
        {"source": "aws.health", "detail-type": "AWS Health Event", "detail": {}},
    ],
)
def test_an_event_about_nothing_of_ours_is_no_error(body: dict[str, Any]) -> None:
    """An exception here would be tried three times and end in the alarm, for every stranger's statement."""
    assert isinstance(parse(body), Unrelated)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, 'by hand it is like {"month": "2026-11"}'),
        ({"month": "November"}, "'November' is no month"),
        ({"month": "2026-13"}, "is no month"),
        ({"month": "2026-11", "force": "no"}, "force is true or false, not 'no'"),
        ({"month": "2026-11", "attempt": 0}, "attempt is a number from 1 on, not 0"),
        ({"month": "2026-11", "attempt": True}, "attempt is a number from 1 on, not True"),
        ({"month": "2026-11", "forced": True}, "forced: no such field"),
        ({"time": "noon"}, "'noon' is no time"),
        (event("instance_state_change") | {"detail": {}}, "has no 'instance-id'"),
        ([], "An event is a JSON object"),
    ],
)
def test_a_bad_event_is_named(body: Any, words: str) -> None:
    """``"force": "no"`` is true in Python: read loosely, it would start a finished month over."""
    with pytest.raises(BadEventError, match=words.replace("{", r"\{")):
        parse(body)
