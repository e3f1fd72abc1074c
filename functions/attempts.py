"""Whether a step may start, and how it ends: the rules that make every event harmless the second time.

A step's state is read from S3 each time, whatever the event said:

- its newest attempt (``current.json``), and the marker of *that* attempt; markers of older ones count for nothing;
- the success marker of the step before, and which attempt of it the newest attempt builds on.

An attempt without a marker is under way: an event for it goes on where it stopped. An attempt that builds on another
attempt of the step before than the one that succeeded is outdated: the step starts over, whether it is done or not. So
``force`` need only start one step again: each new success starts the next, and a late or repeated event of
the old success finds nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from functions.answers import Answer, Status
from functions.events import BadEventError, ByHand, MarkerWritten
from functions.store import Attempt, MonthView, Store, StoredAttempt
from workflow import names
from workflow.environment import FunctionSettings, SettingError
from workflow.markers import Marker, Output
from workflow.steps import Step, get_step, steps_after

if TYPE_CHECKING:
    from workflow.month import Month


class StepError(Exception):
    """The step cannot go on, for a reason that a person can act on: its text goes into the failure marker."""


def now_utc() -> datetime:
    """The time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def in_words(time: timedelta) -> str:
    """``3 hours``, ``30 minutes``."""
    minutes = int(time.total_seconds() // 60)
    amount, unit = (minutes // 60, "hour") if minutes % 60 == 0 else (minutes, "minute")
    return f"{amount} {unit}" + ("" if amount == 1 else "s")


def how_to_retry(month: Month, step: str) -> str:
    """What to type when the cause of a failure is gone."""
    return f"bison retry {month} {step}"


@dataclass(frozen=True)
class StepState:
    """What S3 says of a step. marker: of the newest attempt. before: success of the step before, if it has one."""

    month: Month
    step: Step
    stored: StoredAttempt | None
    marker: Marker | None
    before: Marker | None

    @classmethod
    def read(cls, store: Store, month: Month, step: Step) -> StepState:
        """Look at the step and the one before it; markers of older attempts are left out."""
        stored = store.attempt(month, step.name)
        marker = store.marker(month, step.name, stored.attempt.number if stored else None)
        before = None
        for name in step.after:
            before_stored = store.attempt(month, name)
            found = store.marker(month, name, before_stored.attempt.number if before_stored else None)
            before = found if found is not None and found.succeeded else before
        return cls(month, step, stored, marker, before)

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt, or None if the step was never started by a function."""
        return self.stored.attempt if self.stored else None

    @property
    def number(self) -> int:
        """The newest attempt's number; 0 if the step was never started."""
        return self.attempt.number if self.attempt else self.marker.attempt if self.marker else 0

    @property
    def ready(self) -> bool:
        """Whether nothing before the step is missing."""
        return not self.step.after or self.before is not None

    @property
    def outdated(self) -> bool:
        """Whether the newest attempt builds on something that has been made anew since."""
        return self.attempt is not None and self.before is not None and self.attempt.after != self.before.attempt

    @property
    def under_way(self) -> bool:
        """Whether the newest attempt has not ended yet, and its end will count."""
        return self.attempt is not None and self.marker is None and self.ready and not self.outdated

    @property
    def due(self) -> bool:
        """Whether the step should have been started by the success of the one before."""
        return self.before is not None and (self.number == 0 or self.outdated)


@dataclass(frozen=True)
class Start:
    """Begin this attempt. first: see ``Attempt``."""

    number: int
    first: int


@dataclass(frozen=True)
class Resume:
    """Go on with the attempt under way."""


Decision = Start | Resume | Answer


def decide(state: StepState, force: bool = False, attempt: int | None = None) -> Decision:
    """What a start event means for a step in this state; ``attempt`` asks for exactly that one.

    Raises BadEventError if ``attempt`` leaves some out.
    """
    newest, what = state.number, f"{state.month} {state.step.name}"
    following = newest + 1
    if attempt is not None and attempt > following:
        raise BadEventError(f"{what}: the next attempt is {following}, not {attempt}.")
    if attempt is not None and attempt < newest:
        return Answer(Status.IGNORED, f"{what}: attempt {attempt} is outdated, attempt {newest} has followed it.")
    if not state.ready:
        return Answer(Status.WAITING, f"{what} waits for {' or '.join(state.step.after)}, which has not succeeded.")
    if newest == 0 or (state.outdated and attempt != newest):
        return Start(following, first=following)
    if state.outdated:
        return Answer(Status.IGNORED, f"{what}: attempt {newest} builds on results that are being made anew.")
    if state.marker is None:
        if attempt == following and state.attempt is not None:
            return Start(following, first=state.attempt.first)
        return Resume()
    if attempt != newest and (force or (attempt == following and not state.marker.succeeded)):
        return Start(following, first=following)
    if state.marker.succeeded:
        return Answer(Status.DONE, f"{what} is done (attempt {newest}, {state.marker.finished}).")
    return Answer(
        Status.WAITING,
        f"{what} failed in attempt {newest} and waits for a person: {how_to_retry(state.month, state.step.name)}",
    )


def all_after(step: Step) -> tuple[Step, ...]:
    """Every step that builds on this one, nearest first."""
    found: list[Step] = []
    for following in steps_after(step.name):
        found += [following, *all_after(following)]
    return tuple(found)


@dataclass(frozen=True)
class Run:
    """One attempt at a step of a month, and the means to end it.

    resumed: it was begun by an earlier event.
    """

    settings: FunctionSettings
    store: Store
    month: Month
    step: Step
    attempt: Attempt
    now: datetime
    resumed: bool = False

    def __str__(self) -> str:
        return f"{self.month} {self.step.name} (attempt {self.attempt.number})"

    @property
    def age(self) -> timedelta:
        """Time since the attempt began."""
        return self.now - self.attempt.start_time

    def log_key(self, name: str) -> str:
        """Key of a file in the attempt's log folder."""
        return names.log_key(self.month, self.step.name, self.attempt.number, name)

    def answer(self, status: Status, message: str) -> Answer:
        """An answer that begins with what it is about."""
        details = {"month": str(self.month), "step": self.step.name, "attempt": self.attempt.number}
        return Answer(status, f"{self}: {message}", details)

    def succeed(self, counts: dict[str, Any], outputs: tuple[Output, ...] = ()) -> Answer:
        """Write the success marker, whose event starts the next step."""
        self.store.write_marker(self._marker(counts=counts, outputs=outputs))
        return self.answer(Status.DONE, "done.")

    def fail(self, error: str) -> Answer:
        """Write the failure marker; ``error`` says what is wrong, what to do is added."""
        text = f"{error} When that is mended: {how_to_retry(self.month, self.step.name)}"
        self.store.write_marker(self._marker(error=text))
        return self.answer(Status.FAILED, text)

    def _marker(self, **how: Any) -> Marker:
        return Marker(
            month=self.month.name,
            step=self.step.name,
            attempt=self.attempt.number,
            started=self.attempt.started,
            finished=timestamp(self.now),
            code=self.settings.code,
            **how,
        )


def timestamp(time: datetime) -> str:
    """ISO 8601 in UTC, as in markers: ``2026-11-02T12:00:00Z``."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def begin(
    settings: FunctionSettings, store: Store, state: StepState, force: bool = False, attempt: int | None = None
) -> Run | Answer:
    """Start the step, go on with it, or say why not. Raises BadEventError like ``decide``."""
    decision = decide(state, force, attempt)
    if isinstance(decision, Answer):
        return decision
    if isinstance(decision, Resume):
        return running(settings, store, state)
    return _start(settings, store, state, decision)


def own_step(settings: FunctionSettings) -> Step:
    """The step that this function runs. Raises SettingError if the environment names none."""
    if settings.step is None:
        raise SettingError("The environment has no BISON_STEP: the Pulumi program sets it for a step's function.")
    return get_step(settings.step)


def start_from(event: MarkerWritten | ByHand, settings: FunctionSettings, store: Store) -> Run | Answer:
    """Begin this function's step as the event asks. Raises BadEventError like ``decide``."""
    step = own_step(settings)
    if isinstance(event, ByHand):
        return begin(settings, store, StepState.read(store, event.month, step), event.force, event.attempt)
    if event.bucket != settings.bucket or event.outcome != "success" or event.step.name not in step.after:
        what = f"{event.outcome} of {event.step.name} in {event.bucket}"
        return Answer(Status.IGNORED, f"{event.month} {step.name} does not start after the {what}.")
    return begin(settings, store, StepState.read(store, event.month, step))


def running(settings: FunctionSettings, store: Store, state: StepState) -> Run:
    """The run of the attempt under way."""
    if state.attempt is None:
        raise ValueError(f"{state.month} {state.step.name} was never started.")
    return Run(settings, store, state.month, state.step, state.attempt, now_utc(), resumed=True)


def _start(settings: FunctionSettings, store: Store, state: StepState, start: Start) -> Run | Answer:
    month, step, now = state.month, state.step, now_utc()
    if start.number > 1:
        view = MonthView(store, month)
        for later in all_after(step):
            if StepState.read(view, month, later).under_way:
                return Answer(
                    Status.REFUSED,
                    f"{month} {step.name} cannot start over while {later.name} is under way: wait until it has ended.",
                )
    after = state.before.attempt if state.before else None
    attempt = Attempt(start.number, timestamp(now), start.first, after)
    if not store.write_attempt(month, step.name, attempt, state.stored.etag if state.stored else None):
        return Answer(Status.UNDER_WAY, f"{month} {step.name} was started by another event at the same moment.")
    if start.number > 1:
        # What they say was about the older attempt. Read by people; the rules above do not depend on it.
        stale = [
            names.run_key(month, each.name, how) for each in (step, *all_after(step)) for how in ("success", "failure")
        ]
        store.delete(*stale)
    return Run(settings, store, month, step, attempt, now)
