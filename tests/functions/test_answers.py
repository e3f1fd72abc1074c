"""What a handler tells Lambda and the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from functions.answers import Answer, Status, answering

if TYPE_CHECKING:
    from functions.events import Event


def test_an_answer_is_returned_and_logged_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Lambda's JSON log shows the record's extra fields: searches go by month, step and attempt."""
    caplog.set_level(logging.INFO)

    @answering
    def handler(event: Event) -> Answer:
        return Answer(Status.STARTED, "2026-11 create_bison: begun.", {"step": "create_bison", "attempt": 1})

    assert handler({"month": "2026-11"}, None) == {
        "status": "started",
        "message": "2026-11 create_bison: begun.",
        "step": "create_bison",
        "attempt": 1,
    }
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "2026-11 create_bison: begun.")
    assert (record.step, record.attempt, record.bison_status) == ("create_bison", 1, "started")  # type: ignore[attr-defined]


def test_a_failure_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    answering(lambda _: Answer(Status.FAILED, "Broken."))({"month": "2026-11"}, None)
    assert caplog.records[0].levelname == "ERROR"


def test_what_nobody_expected_is_raised() -> None:
    """Returned as an answer, it would count as success, and Lambda would not try again."""

    @answering
    def handler(event: Event) -> Answer:
        raise ConnectionError("S3 is away")

    with pytest.raises(ConnectionError):
        handler({"month": "2026-11"}, None)
