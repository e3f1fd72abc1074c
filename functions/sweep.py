"""The function that, on a schedule, finds what no event told.

It calls the functions of steps that should have been started, and of those under way: they look after themselves when
called (a statement whose event never came, a task without its machine, a limit passed). And it ends
instances whose work is over. What is in order stays as it is, so a second run changes nothing.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from functions.answers import Answer, Status, answering
from functions.attempts import StepState, in_words
from functions.aws import client
from functions.events import ByHand, Event, Scheduled
from functions.instances import TaskInstance, find_instances, terminate
from functions.invoke import invoke_step
from functions.store import MonthView, Store
from workflow import names
from workflow.environment import FunctionSettings
from workflow.month import Month
from workflow.steps import LAST_STEP, STEPS, get_step

GRACE = timedelta(minutes=15)
"""An event may be this late, and an instance need this long to end, before the sweep takes a hand."""

RECENT_MONTHS = 3
OLDER_MONTHS = 12
"""How many older months, the newest that are not complete, are looked at besides."""


@answering
def handler(event: Event) -> Answer:
    """Takes a schedule's ``{"time": …}``."""
    settings = FunctionSettings.from_environ(os.environ)
    if not isinstance(event, Scheduled):
        return Answer(Status.IGNORED, f"The sweep is started by its schedule only: {event}")
    store = Store(client("s3"), settings.bucket)
    alive = find_instances(client("ec2"), settings.stack)
    done: list[str] = []
    for month in months_to_sweep(store, event.time, alive):
        view = MonthView(store, month)
        for step in STEPS:
            state = StepState.read(view, month, step)
            if needs_call(state, event.time):
                invoke_step(settings, step, ByHand(month))
                done.append(f"called {step.name} of {month}")
    for instance in alive:
        reason = why_needless(instance, StepState.read(store, instance.month, instance.step), event.time)
        if reason is not None:
            terminate(client("ec2"), [instance.instance_id])
            done.append(f"ended {instance}: {reason}")
    if not done:
        return Answer(Status.DONE, "All is in order.")
    return Answer(Status.STARTED, "; ".join(done) + ".", {"actions": done})


def months_to_sweep(store: Store, time: datetime, alive: list[TaskInstance]) -> tuple[Month, ...]:
    """The months of ``time`` and just before, those of live instances, and the newest others that are not complete.

    A month that has left nothing yet is none of them.
    """
    begun = set(store.months(names.LOG)) | set(store.months(names.RUN))
    recent = [Month(time.year, time.month)]
    while len(recent) < RECENT_MONTHS:
        recent.append(recent[-1].previous)
    months = (set(recent) | {instance.month for instance in alive}) & begun
    older = sorted(begun - set(recent), reverse=True)
    last = get_step(LAST_STEP)
    for month in older[:OLDER_MONTHS]:
        marker = StepState.read(store, month, last).marker
        if marker is None or not marker.succeeded:
            months.add(month)
    return tuple(sorted(months))


def needs_call(state: StepState, now: datetime) -> bool:
    """Whether a step should be going on by itself and its function may not know."""
    if state.under_way and state.attempt is not None:
        return now - state.attempt.start_time > GRACE
    return state.due and state.before is not None and _since(state.before.finished, now) > GRACE


def why_needless(instance: TaskInstance, state: StepState, now: datetime) -> str | None:
    """Why a live instance should be none; None if it may go on."""
    if state.marker is not None and state.marker.attempt >= instance.attempt:
        return "its task has ended" if _since(state.marker.finished, now) > GRACE else None
    if instance.attempt < state.number:
        return f"attempt {state.number} has followed it"
    if now - instance.launched > instance.step.limit + GRACE:
        return f"it has run longer than {in_words(instance.step.limit)}"
    return None


def _since(timestamp: str, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(timestamp)
