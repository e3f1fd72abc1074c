"""The function that hears of instances' ends: a task whose machine went without a marker gets its next attempt.

An interruption warning changes nothing yet: the task may still finish in its two minutes. What counts is the end.
"""

from __future__ import annotations

import os

from functions.answers import Answer, Status, answering
from functions.attempts import StepState
from functions.aws import client
from functions.events import ByHand, Event, InstanceState, InterruptionWarning
from functions.instances import ENDED, TaskInstance, get_instance
from functions.invoke import invoke_step
from functions.store import Store
from workflow.environment import FunctionSettings


@answering
def handler(event: Event) -> Answer:
    """Takes EC2's state-change notifications and Spot interruption warnings, of any instance in the account."""
    settings = FunctionSettings.from_environ(os.environ)
    if not isinstance(event, InstanceState | InterruptionWarning):
        return Answer(Status.IGNORED, f"The watcher takes events of instances only: {event}")
    if isinstance(event, InstanceState) and event.state not in ENDED:
        return Answer(Status.IGNORED, f"{event.instance_id} is {event.state}: nothing to do.")
    instance = get_instance(client("ec2"), settings.stack, event.instance_id)
    if instance is None:
        return Answer(Status.IGNORED, f"{event.instance_id} runs no task of the stack {settings.stack}.")
    if isinstance(event, InterruptionWarning):
        return Answer(Status.UNDER_WAY, f"AWS takes {instance} back in two minutes; its end starts the next attempt.")
    state = StepState.read(Store(client("s3"), settings.bucket), instance.month, instance.step)
    settled = why_settled(instance, state)
    if settled is not None:
        return Answer(Status.IGNORED, f"{instance} is {event.state}: {settled}.")
    following = ByHand(instance.month, attempt=instance.attempt + 1)
    invoke_step(settings, instance.step, following)
    return Answer(Status.STARTED, f"{instance} is {event.state} and left no marker: {instance.step.name} goes on.")


def why_settled(instance: TaskInstance, state: StepState) -> str | None:
    """Why the end of an instance needs nothing done; None if its step must go on without it."""
    if instance.attempt != state.number:
        return f"attempt {state.number} has followed it"
    if state.marker is not None:
        return "its task had ended, with success" if state.marker.succeeded else "its task had failed and says why"
    if not state.under_way:
        return "what it builds on is being made anew"
    return None
