"""The functions of the tasks s0, s1 and s8 (BISON_STEP): each starts one instance, whose marker says how it went.

The watcher and the sweep start this function too, when an instance has vanished: then the next attempt begins here,
or the step fails. A task that failed by itself is never repeated without a person.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from functions.answers import Answer, Status, answering
from functions.attempts import Run, StepState, begin, in_words, own_step, running, start_from
from functions.aws import client, error_code
from functions.events import ByHand, Event, MarkerWritten
from functions.fleet import (
    TRANSIENT_ERRORS,
    Capacity,
    FleetError,
    Next,
    after_errors,
    capacities,
    errors_of,
    fleet_request,
    instances_of,
)
from functions.instances import TaskInstance, find_instances, terminate
from functions.store import Store
from workflow.environment import FunctionSettings, LauncherSettings
from workflow.steps import MAX_ATTEMPTS

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

LAUNCH_GRACE = timedelta(minutes=15)
"""An attempt this young without an instance is still being launched; an older one has lost it."""

LAUNCH_JSON = "launch.json"
"""What the attempt's launch gave: the instance, or why there is none."""


@answering
def handler(event: Event) -> Answer:
    """Takes the marker of the step before, or ``{"month": "2026-11", "force": false, "attempt": null}``."""
    settings = FunctionSettings.from_environ(os.environ)
    launcher = LauncherSettings.from_environ(os.environ)
    step, store = own_step(settings), Store(client("s3"), settings.bucket)
    if not isinstance(event, MarkerWritten | ByHand):
        return Answer(Status.IGNORED, f"No such event starts {step.name}: {event}")
    if isinstance(event, ByHand) and event.attempt is not None:
        state = StepState.read(store, event.month, step)
        if state.under_way and event.attempt == state.number + 1:
            return TaskRun(running(settings, store, state), launcher).vanished(state)
    run = start_from(event, settings, store)
    if isinstance(run, Answer):
        return run
    task = TaskRun(run, launcher)
    return task.look_after() if run.resumed else task.launch()


@dataclass(frozen=True)
class TaskRun:
    """One attempt at a task."""

    run: Run
    launcher: LauncherSettings

    @property
    def ec2(self) -> EC2Client:
        """The client of this call's environment."""
        return client("ec2")

    def look_after(self) -> Answer:
        """See what has become of the attempt under way, and do what is due."""
        instances = self._instances()
        if self.run.age > self.run.step.limit:
            terminate(self.ec2, [each.instance_id for each in instances])
            return self.run.fail(f"It took longer than {in_words(self.run.step.limit)} and was ended.")
        if any(each.attempt == self.run.attempt.number for each in instances):
            return self.run.answer(Status.UNDER_WAY, "an instance is at work.")
        if self.run.age <= LAUNCH_GRACE:
            return self.launch()
        state = StepState.read(self.run.store, self.run.month, self.run.step)
        return self.vanished(state) if state.under_way else self.run.answer(Status.DONE, "it has ended meanwhile.")

    def vanished(self, state: StepState) -> Answer:
        """The attempt under way has no instance any more and left no marker: begin the next one, or fail."""
        lost = may_repeat(self.run.attempt.tries, self.run.age, self.run.step.limit)
        if lost is not None:
            return self.run.fail(f"{lost}{self._last_launch()}")
        following = begin(self.run.settings, self.run.store, state, attempt=state.number + 1)
        return following if isinstance(following, Answer) else TaskRun(following, self.launcher).launch()

    def launch(self) -> Answer:
        """Start an instance for the attempt, unless it has one. A repeat of the same attempt gets the same instance."""
        instances = self._instances()
        # Two attempts at once would write the same keys.
        terminate(self.ec2, [each.instance_id for each in instances if each.attempt < self.run.attempt.number])
        for each in instances:
            if each.attempt == self.run.attempt.number:
                return self.run.answer(Status.UNDER_WAY, f"{each.instance_id} is at work.")
        tries = self.run.attempt.tries
        errors: tuple[FleetError, ...] = ()
        wanted = capacities(tries, self.launcher)
        for capacity in wanted:
            instance_id, new_errors = self._create_fleet(capacity)
            errors += new_errors
            if instance_id is not None:
                self._note_launch(capacity, instance_id, errors)
                return self.run.answer(Status.STARTED, f"{instance_id} was started ({capacity.value}).")
            match after_errors(new_errors, tries, last_capacity=capacity is wanted[-1]):
                case Next.TRY_ON_DEMAND:
                    continue
                case Next.WAIT:
                    self._note_launch(capacity, None, errors)
                    return self.run.answer(
                        Status.WAITING, f"no instance to be had; the sweep tries again. {_words(errors)}"
                    )
                case Next.GIVE_UP:
                    break
        return self.run.fail(f"No instance could be started. {_words(errors)}")

    def _instances(self) -> list[TaskInstance]:
        mine = (self.run.month, self.run.step)
        return [
            each
            for each in find_instances(self.ec2, self.run.settings.stack)
            if (each.month, each.step) == mine and each.attempt <= self.run.attempt.number
        ]

    def _create_fleet(self, capacity: Capacity) -> tuple[str | None, tuple[FleetError, ...]]:
        run = self.run
        request = fleet_request(
            stack=run.settings.stack,
            prefix=run.settings.prefix,
            month=run.month,
            step=run.step.name,
            attempt=run.attempt.number,
            capacity=capacity,
            launcher=self.launcher,
        )
        try:
            answer = self.ec2.create_fleet(**request)
        except ClientError as error:
            code, status = error_code(error), error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in TRANSIENT_ERRORS or status >= 500:
                raise
            return None, (FleetError(code, error.response["Error"].get("Message", "")),)
        instances = instances_of(answer)
        return (instances[0], ()) if instances else (None, errors_of(answer))

    def _note_launch(self, capacity: Capacity, instance_id: str | None, errors: tuple[FleetError, ...]) -> None:
        note = {"capacity": capacity.value, "instance_id": instance_id, "errors": [str(error) for error in errors]}
        self.run.store.write_json(self.run.log_key(LAUNCH_JSON), note)

    def _last_launch(self) -> str:
        note = self.run.store.read_json(self.run.log_key(LAUNCH_JSON))
        if note is None or note["instance_id"] is not None:
            return ""
        return f" At the last launch: {'; '.join(note['errors'])}"


def may_repeat(tries: int, age: timedelta, limit: timedelta) -> str | None:
    """Why an attempt whose instance vanished without a marker is not followed by another; None if it is.

    tries: which of the automatic attempts it was, from 1. age: since its start.
    """
    if age > limit:
        # The machine ends itself at the limit, so this was no interruption.
        return f"It took longer than {in_words(limit)} and its instance ended itself."
    if tries >= MAX_ATTEMPTS:
        return f"{MAX_ATTEMPTS} attempts in a row lost their instance, or got none."
    return None


def _words(errors: tuple[FleetError, ...]) -> str:
    return "EC2 said: " + "; ".join(dict.fromkeys(str(error) for error in errors)) + "."
