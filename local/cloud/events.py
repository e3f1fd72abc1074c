"""Events between the parts: what AWS would publish, who the program's rules send it to, and how a function runs."""

from __future__ import annotations

import json
import re
import uuid
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.events.models import EventPattern

from local.cloud.access import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workflow.month import Month

Event = dict[str, Any]


def make_event(source: str, detail_type: str, detail: Mapping[str, Any], resources: tuple[str, ...] = ()) -> Event:
    """An EventBridge event of an AWS service."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": list(resources),
        "detail": dict(detail),
    }


def object_created(bucket: str, key: str, size: int, etag: str, reason: str, requester: str = ACCOUNT) -> Event:
    """S3's "Object Created" (reason: PutObject, CopyObject, CompleteMultipartUpload).

    Source: Amazon S3 User Guide, "EventBridge event message structure". The key is as it is, not URL-encoded.
    """
    detail = {
        "version": "0",
        "bucket": {"name": bucket},
        "object": {"key": key, "size": size, "etag": etag, "sequencer": uuid.uuid4().hex[:16].upper()},
        "request-id": uuid.uuid4().hex[:16].upper(),
        "requester": requester,
        "source-ip-address": "127.0.0.1",
        "reason": reason,
    }
    return make_event("aws.s3", "Object Created", detail, (f"arn:aws:s3:::{bucket}",))


def instance_state_changed(instance_id: str, state: str) -> Event:
    """EC2's state-change notification; it carries no tags."""
    return make_event(
        "aws.ec2",
        "EC2 Instance State-change Notification",
        {"instance-id": instance_id, "state": state},
        (f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance_id}",),
    )


@dataclass(frozen=True)
class Target:
    """Where a rule or a schedule sends an event. input: sent in the event's place, as JSON text."""

    arn: str
    input: str | None = None


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule of the program: its pattern in EventBridge's own words, as JSON text."""

    name: str
    arn: str
    pattern: str
    enabled: bool = True

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether the rule is on and its pattern takes the event."""
        return self.enabled and bool(EventPattern.load(self.pattern).matches_event(dict(event)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Schedule:
    """A schedule of EventBridge Scheduler. role: ARN of what it invokes its target as."""

    name: str
    group_arn: str
    expression: str
    target: Target
    role: str
    enabled: bool = True

    def event(self, scheduled: datetime) -> Any:
        """What the target receives at ``scheduled`` (in UTC)."""
        text = (self.target.input or "{}").replace(
            "<aws.scheduler.scheduled-time>", scheduled.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
        return json.loads(text)

    def times(self, month: Month) -> Iterator[datetime]:
        """When a ``cron(…)`` schedule fires in a month, in its own time zone's clock time.

        Raises ValueError for a form of expression that is not read here.
        """
        match = re.fullmatch(r"cron\((\S+) (\S+) (\S+) \* \? \*\)", self.expression)
        if match is None:
            raise ValueError(
                f"Schedule {self.name}: {self.expression} is no cron expression over minute, hour and day."
            )
        minutes, hours, days = (
            _cron_field(text, *limits) for text, limits in zip(match.groups(), ((0, 59), (0, 23), (1, 31)), strict=True)
        )
        last_day = monthrange(month.year, month.month)[1]
        for day in (day for day in days if day <= last_day):
            for hour in hours:
                for minute in minutes:
                    yield datetime(month.year, month.month, day, hour, minute, tzinfo=UTC)


def _cron_field(text: str, first: int, last: int) -> list[int]:
    """``*``, ``12``, ``2-31``, ``0/40`` and lists of these."""
    values: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
        if match is None:
            raise ValueError(f"{text!r} in a cron expression is not read here.")
        start, end, step = match.groups()
        begin = first if start is None else int(start)
        # A single number without a step is just that; with one it goes on to the end.
        stop = int(end) if end else last if start is None or step else begin
        values.update(range(begin, stop + 1, int(step or 1)))
    return sorted(values)
