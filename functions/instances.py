"""The task machines of this stack, as EC2 and their tags tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from functions.aws import error_code
from workflow import names
from workflow.month import Month
from workflow.steps import Step, get_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

ALIVE = ("pending", "running")
ENDED = ("shutting-down", "terminated", "stopping", "stopped")


@dataclass(frozen=True)
class TaskInstance:
    """An instance that carries a task of ours. attempt: of its step. launched: in UTC."""

    instance_id: str
    state: str
    launched: datetime
    month: Month
    step: Step
    attempt: int

    def __str__(self) -> str:
        return f"{self.instance_id} ({self.month} {self.step.name}, attempt {self.attempt})"


def find_instances(ec2: EC2Client, stack: str, *, states: Sequence[str] = ALIVE) -> list[TaskInstance]:
    """The stack's task instances in one of the states."""
    filters: list[FilterTypeDef] = [
        {"Name": f"tag:{names.TAG_STACK}", "Values": [stack]},
        {"Name": "instance-state-name", "Values": list(states)},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    described = (instance for page in pages for group in page["Reservations"] for instance in group["Instances"])
    return list(_task_instances(described, stack))


def get_instance(ec2: EC2Client, stack: str, instance_id: str) -> TaskInstance | None:
    """The instance, or None if it is not one of this stack's tasks, or so long gone that EC2 has forgotten it."""
    try:
        answer = ec2.describe_instances(InstanceIds=[instance_id])
    except ClientError as error:
        if error_code(error) == "InvalidInstanceID.NotFound":
            return None
        raise
    described = (instance for group in answer["Reservations"] for instance in group["Instances"])
    return next(_task_instances(described, stack), None)


def _task_instances(described: Iterator[InstanceTypeDef], stack: str) -> Iterator[TaskInstance]:
    for instance in described:
        tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
        if tags.get(names.TAG_STACK) != stack:
            continue
        try:
            month, step = Month.parse(tags[names.TAG_MONTH]), get_step(tags[names.TAG_STEP])
            attempt = int(tags[names.TAG_ATTEMPT])
        except (KeyError, ValueError):
            # A machine of the stack that runs no task is none of our business.
            continue
        launched = instance["LaunchTime"]
        yield TaskInstance(instance["InstanceId"], instance["State"]["Name"], launched, month, step, attempt)


def terminate(ec2: EC2Client, instance_ids: Sequence[str]) -> None:
    """End the instances; one that has ended before is no error."""
    if instance_ids:
        ec2.terminate_instances(InstanceIds=list(instance_ids))
