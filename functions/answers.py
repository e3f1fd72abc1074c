"""What a handler answers: a status and a sentence for people, logged and returned as JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from functions.events import BadEventError, Event, parse

log = logging.getLogger("bison.functions")


class Status(StrEnum):
    """What came of an event."""

    STARTED = "started"  # work was begun, or goes on
    UNDER_WAY = "under_way"  # it was begun before, nothing to do now
    DONE = "done"  # the step has succeeded, now or before
    WAITING = "waiting"  # not yet: for the snapshot, the step before, or a person
    FAILED = "failed"  # the step has failed; its marker says why
    IGNORED = "ignored"  # no business of this function, or outdated
    REFUSED = "refused"  # the event asks for what cannot be


@dataclass(frozen=True)
class Answer:
    """status, and a message in plain words; details: anything else worth a log field (JSON values)."""

    status: Status
    message: str
    details: dict[str, Any] = field(default_factory=dict)


Handler = Callable[[dict[str, Any], object], dict[str, Any]]


def answering(work: Callable[[Event], Answer]) -> Handler:
    """A Lambda handler around ``work``: parses the event, logs the answer and returns it as a dict.

    An event that cannot be read is refused in words. Any other error is raised, so that Lambda tries again.
    """

    def handler(event: dict[str, Any], context: object = None) -> dict[str, Any]:  # noqa: ARG001
        try:
            answer = work(parse(event))
        except BadEventError as error:
            answer = Answer(Status.REFUSED, str(error))
        level = logging.ERROR if answer.status in (Status.FAILED, Status.REFUSED) else logging.INFO
        log.log(level, answer.message, extra={"bison_status": answer.status.value, **answer.details})
        return {"status": answer.status.value, "message": answer.message, **answer.details}

    return handler
