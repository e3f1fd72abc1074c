"""The events that start a function, as typed values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workflow import names
from workflow.month import Month
from workflow.names import StatementName

if TYPE_CHECKING:
    from workflow.steps import Step


class BadEventError(ValueError):
    """An event that nobody can act on, in words for whoever sent it."""


@dataclass(frozen=True)
class Scheduled:
    """A schedule's time has come. time: the scheduled one, in UTC."""

    time: datetime


@dataclass(frozen=True)
class ByHand:
    """Start or go on with a month's step, asked by a person, the watcher or the sweep.

    force: do it again although it is done. attempt: exactly this attempt, so that a repeat changes nothing.
    """

    month: Month
    force: bool = False
    attempt: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The event that Lambda's Invoke takes."""
        return {"month": str(self.month), "force": self.force, "attempt": self.attempt}


@dataclass(frozen=True)
class MarkerWritten:
    """A step's marker lies in the bucket. outcome: ``success`` or ``failure``."""

    bucket: str
    month: Month
    step: Step
    outcome: str


@dataclass(frozen=True)
class TriggerDropped:
    """A file was put under ``trigger/``."""

    bucket: str
    key: str
    time: datetime


@dataclass(frozen=True)
class StatementEnded:
    """The Data API says that a statement is over. state: FINISHED, FAILED or ABORTED."""

    name: StatementName
    statement_id: str
    state: str


@dataclass(frozen=True)
class InstanceState:
    """An instance has come to a state: pending, running, shutting-down, terminated, stopping, stopped."""

    instance_id: str
    state: str


@dataclass(frozen=True)
class InterruptionWarning:
    """AWS will take a Spot instance back in two minutes."""

    instance_id: str


@dataclass(frozen=True)
class Unrelated:
    """An event of a known kind that is about nothing of ours."""

    reason: str


Event = (
    Scheduled
    | ByHand
    | MarkerWritten
    | TriggerDropped
    | StatementEnded
    | InstanceState
    | InterruptionWarning
    | Unrelated
)

_BY_HAND_FIELDS = {"month", "force", "attempt"}


def parse(event: dict[str, Any]) -> Event:
    """Read what Lambda was called with. Raises BadEventError in words that say what is wrong with it."""
    if not isinstance(event, dict):
        raise BadEventError(f"An event is a JSON object, not {event!r}.")
    try:
        match event:
            case {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}:
                return _object_created(detail, _time(event["time"]))
            case {"source": "aws.redshift-data", "detail": detail}:
                return _statement_ended(detail)
            case {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": detail}:
                return InstanceState(detail["instance-id"], detail["state"])
            case {"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning", "detail": detail}:
                return InterruptionWarning(detail["instance-id"])
            case {"source": source, "detail-type": kind} if kind != "Scheduled Event":
                return Unrelated(f"No function takes events of {source} ({kind}).")
            case {"month": _}:
                return _by_hand(event)
            case {"time": time}:
                return Scheduled(_time(time))
    except KeyError as error:
        raise BadEventError(f"The event has no {error.args[0]!r}.") from error
    raise BadEventError('The event says nothing to do: by hand it is like {"month": "2026-11"}.')


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise BadEventError(f"{text!r} is no time of the form 2026-11-02T12:00:00Z.") from error
    return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)


def _object_created(detail: dict[str, Any], time: datetime) -> Event:
    bucket, key = detail["bucket"]["name"], detail["object"]["key"]
    if key.startswith(names.TRIGGER):
        return TriggerDropped(bucket, key, time)
    try:
        return MarkerWritten(bucket, *names.parse_run_key(key))
    except ValueError as error:
        return Unrelated(str(error))


def _statement_ended(detail: dict[str, Any]) -> Event:
    try:
        name = StatementName.parse(detail.get("statementName", ""))
    except ValueError as error:
        return Unrelated(str(error))
    return StatementEnded(name, detail["statementId"], detail["state"])


def _by_hand(event: dict[str, Any]) -> ByHand:
    if unknown := sorted(set(event) - _BY_HAND_FIELDS):
        raise BadEventError(f"{', '.join(unknown)}: no such field. By hand there are month, force and attempt.")
    try:
        month = Month.parse(str(event["month"]))
    except ValueError as error:
        raise BadEventError(str(error)) from error
    force, attempt = event.get("force") or False, event.get("attempt")
    if not isinstance(force, bool):
        raise BadEventError(f"force is true or false, not {force!r}.")
    if attempt is not None and (not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 1):
        raise BadEventError(f"attempt is a number from 1 on, not {attempt!r}.")
    return ByHand(month, force, attempt)
