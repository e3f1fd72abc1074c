"""The function that finds the month's snapshot: its success starts the month.

A snapshot has no manifest. It counts as complete when ``citation.txt`` and data files are there and two looks, some
time apart, saw the same; a schedule looks until then, and a look that finds it incomplete is no failure. A file dropped
under ``trigger/``, ``force`` or a given attempt is a person's word that it is complete: one look must do then.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from functions.answers import Answer, Status, answering
from functions.attempts import Run, StepState, begin, now_utc, own_step
from functions.aws import client
from functions.events import ByHand, Event, Scheduled, TriggerDropped
from functions.gbif_bucket import Listing, look
from functions.store import Store
from workflow import names
from workflow.environment import FunctionSettings
from workflow.month import Month

if TYPE_CHECKING:
    from datetime import datetime

_MONTH_IN_NAME = re.compile(r"(?<!\d)\d{4}[-_]\d{2}(?:[-_]\d{2})?(?!\d)")


@answering
def handler(event: Event) -> Answer:
    """Takes the schedule's ``{"time": …}``, a file under ``trigger/``, or ``{"month": "2026-11"}``."""
    settings = FunctionSettings.from_environ(os.environ)
    check = _Check(settings, Store(client("s3"), settings.bucket), Store(client("s3"), settings.gbif_bucket))
    match event:
        case Scheduled(time):
            return check.by_schedule(Month(time.year, time.month), time)
        case TriggerDropped():
            return check.by_file(event)
        case ByHand(month, force, attempt) if force or attempt is not None:
            return check.by_word(check.state(month), now_utc(), force, attempt)
        case ByHand(month):
            return check.by_schedule(month, now_utc())
        case _:
            return Answer(Status.IGNORED, f"No such event starts find_current_gbif: {event}")


class _Check:
    def __init__(self, settings: FunctionSettings, store: Store, gbif: Store) -> None:
        self.settings = settings
        self.store = store
        self.gbif = gbif

    def state(self, month: Month) -> StepState:
        return StepState.read(self.store, month, own_step(self.settings))

    def by_schedule(self, month: Month, time: datetime) -> Answer:
        """Start the month if its snapshot has come and settled."""
        state = self.state(month)
        if state.under_way or (state.marker is not None and state.marker.succeeded):
            return self._conclude(begin(self.settings, self.store, state), time)
        listing = self._look(month, time)
        missing = listing.missing(self.settings.gbif_bucket, month)
        if missing is not None:
            return self._waiting(month, f"waits for GBIF's snapshot: {missing}.")
        if not listing.settled(self.settings.snapshot_settle_minutes):
            return self._waiting(
                month,
                f"found {listing.files} data files, unchanged since {listing.since}, and waits for a look "
                f"at least {self.settings.snapshot_settle_minutes} minutes after that to see the same.",
            )
        # A failure is what became of someone's word too early: it must not stop the schedule.
        return self._conclude(self._begin_again(state), time, listing)

    def by_file(self, event: TriggerDropped) -> Answer:
        """Start the month that the file is named after, or that it was dropped in, and delete the file."""
        name = event.key.removeprefix(names.TRIGGER)
        if event.bucket != self.settings.bucket or not name or name.endswith("/"):
            return Answer(Status.IGNORED, f"s3://{event.bucket}/{event.key} is no trigger file.")
        if self.store.size(event.key) is None:
            return Answer(Status.IGNORED, f"The trigger file {event.key} was taken before.")
        try:
            named = _MONTH_IN_NAME.search(name)
            month = Month.parse(named[0]) if named else Month(event.time.year, event.time.month)
            state = self.state(month)
            answer = self._conclude(self._begin_again(state), event.time)
        except ValueError as error:
            answer = Answer(Status.REFUSED, f"The trigger file {event.key} starts nothing: {error}")
        # Last, so that Lambda's next try still finds the file if this one breaks off.
        self.store.delete(event.key)
        return answer

    def by_word(self, state: StepState, time: datetime, force: bool, attempt: int | None) -> Answer:
        """Start the month if its snapshot has come, settled or not."""
        return self._conclude(begin(self.settings, self.store, state, force, attempt), time)

    def _begin_again(self, state: StepState) -> Run | Answer:
        failed = state.marker is not None and not state.marker.succeeded
        return begin(self.settings, self.store, state, attempt=state.number + 1 if failed else None)

    def _conclude(self, run: Run | Answer, time: datetime, listing: Listing | None = None) -> Answer:
        """End the attempt that was begun, by what lies in GBIF's bucket."""
        if isinstance(run, Answer):
            return run
        listing = listing or self._look(run.month, time)
        missing = listing.missing(self.settings.gbif_bucket, run.month)
        if missing is not None:
            return run.fail(f"GBIF's snapshot of {run.month} is not complete: {missing}.")
        return run.succeed(listing.counts)

    def _look(self, month: Month, time: datetime) -> Listing:
        key = names.summary_key(month, names.SNAPSHOT_LISTING_JSON)
        listing = look(self.gbif, month, time, self.store.read_json(key))
        self.store.write_json(key, listing.to_body())
        return listing

    def _waiting(self, month: Month, what: str) -> Answer:
        return Answer(Status.WAITING, f"{month} {what}", {"month": str(month), "step": own_step(self.settings).name})
