"""A SQL step, statement by statement: each event carries it as far as it goes without waiting.

``log/<month>/<step>/<attempt>/statements.json`` is the plan, rendered once an attempt; ``<index>.json`` (from 1) is
what became of a statement: its identifier when it was submitted, then state, seconds, rows, result and problem.

A statement's event reads no marker: an attempt that has ended left a problem in its newest record, or has no next
statement. Only where an event would end the attempt, the whole state is read, so that it ends once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from functions.answers import Answer, Status
from functions.attempts import Run, StepError, StepState, in_words, now_utc, own_step, start_from, timestamp
from functions.aws import client
from functions.data_api import ENDED, DataApi, StatementRefusedError
from functions.events import ByHand, Event, MarkerWritten, StatementEnded
from functions.sql_context import sql_context
from functions.store import Store
from workflow import names
from workflow.environment import FunctionSettings
from workflow.markers import Output
from workflow.month import Month
from workflow.names import StatementName
from workflow.statements import Statement, check_expectation, counts_of, render_step

PLAN_JSON = "statements.json"
_RECORD = re.compile(r"(\d+)\.json")
_OUTCOME = {"FAILED": "failed", "ABORTED": "was cancelled"}


@dataclass(frozen=True)
class Plan:
    """What an attempt runs. obsolete_months: those whose tables it drops (delete_obsolete alone)."""

    statements: tuple[Statement, ...]
    previous_month: Month | None
    obsolete_months: tuple[Month, ...]

    def to_body(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "previous_month": self.previous_month.name if self.previous_month else None,
            "obsolete_months": [month.name for month in self.obsolete_months],
            "statements": [{"index": i, **asdict(each)} for i, each in enumerate(self.statements, 1)],
        }

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Plan:
        """The plan that ``to_body`` gave."""
        previous = body["previous_month"]
        return cls(
            tuple(
                Statement(each["name"], each["sql"], tuple(each["expect"]), each["record"])
                for each in body["statements"]
            ),
            Month.parse(previous) if previous else None,
            tuple(Month.parse(name) for name in body["obsolete_months"]),
        )


Finish = Callable[[Run, Plan], tuple[dict[str, Any], tuple[Output, ...]]]
"""What a step does when its last statement is through: gives (counts, outputs) for the marker, or raises StepError."""


def run_sql_step(event: Event, finish: Finish) -> Answer:
    """Start the step that the environment names, or carry it on, as the event says."""
    settings = FunctionSettings.from_environ(os.environ)
    step, store = own_step(settings), Store(client("s3"), settings.bucket)
    match event:
        case StatementEnded(name=name):
            if (name.prefix, name.step) != (settings.prefix, step.name):
                return Answer(Status.IGNORED, f"{name} is no statement of {settings.prefix}'s {step.name}.")
            stored = store.attempt(name.month, step.name)
            if stored is None or name.attempt != stored.attempt.number:
                return Answer(Status.IGNORED, f"{name} belongs to an attempt that is over: nothing to do.")
            run: Run | Answer = Run(settings, store, name.month, step, stored.attempt, now_utc(), resumed=True)
        case MarkerWritten() | ByHand():
            run = start_from(event, settings, store)
        case _:
            return Answer(Status.IGNORED, f"No such event starts {step.name}: {event}")
    if isinstance(run, Answer):
        return run
    sql_run = SqlRun(run, DataApi(client("redshift-data"), settings.workgroup, settings.database), finish)
    try:
        if isinstance(event, StatementEnded):
            return sql_run.advance(ended=event.name.index)
        if run.resumed and run.age > step.limit:
            return sql_run.stop(f"It took longer than {in_words(step.limit)} and was ended.")
        return sql_run.advance()
    except StepError as error:
        return sql_run.fail(str(error))


@dataclass(frozen=True)
class SqlRun:
    """One attempt at a SQL step."""

    run: Run
    api: DataApi
    finish: Finish

    def advance(self, ended: int | None = None) -> Answer:
        """Go as far as it goes now: note what has ended, submit the next statement, or finish.

        ended: index of the statement that the event is about: it has ended, though nothing may be noted of it yet.
        Raises StepError if a statement failed or its result is not as it must be.
        """
        noted = self._noted(self.run.attempt.number)
        plan = self._plan(noted.get(PLAN_JSON))
        total = len(plan.statements)
        index = _newest_index(noted)
        if index == 0 and self.run.attempt.number > 1:
            # Two attempts at once would build the same tables.
            self._cancel(self.run.attempt.number - 1)
        while True:
            if index > 0:
                record = self._settled(plan, index)
                if record["state"] not in ENDED:
                    return self._progress(Status.UNDER_WAY, plan, index, "is running")
                if record["problem"]:
                    raise StepError(record["problem"])
            if index == total:
                if not self._is_under_way():
                    return self._ended_before()
                counts, outputs = self.finish(self.run, plan)
                return self.run.succeed({**self._counts(plan), **counts}, outputs)
            index += 1
            self._submit(plan, index)
            if index != ended:
                return self._progress(Status.STARTED, plan, index, "was submitted")

    def stop(self, why: str) -> Answer:
        """Cancel the statement that is running and fail with these words."""
        self._cancel(self.run.attempt.number)
        return self.run.fail(why)

    def fail(self, error: str) -> Answer:
        """Fail with these words, unless the attempt has ended before."""
        return self.run.fail(error) if self._is_under_way() else self._ended_before()

    def _is_under_way(self) -> bool:
        state = StepState.read(self.run.store, self.run.month, self.run.step)
        return state.under_way and state.number == self.run.attempt.number

    def _ended_before(self) -> Answer:
        return self.run.answer(Status.IGNORED, "it has ended before, or what it builds on is being made anew.")

    def _progress(self, status: Status, plan: Plan, index: int, what: str) -> Answer:
        name = plan.statements[index - 1].name
        return self.run.answer(status, f"statement {index} of {len(plan.statements)}, {name}, {what}.")

    def _plan(self, etag: str | None) -> Plan:
        """The attempt's plan, rendered if it is not noted yet (etag: None). Raises StepError if the input does not
        allow it.
        """
        store, key = self.run.store, self.run.log_key(PLAN_JSON)
        if etag is not None:
            return _read_plan(store, key, etag)
        try:
            context = sql_context(self.run)
            statements = render_step(self.run.step.name, context)
        except ValueError as error:
            raise StepError(str(error)) from error
        plan = Plan(statements, context.previous_month, context.obsolete_months)
        return plan if store.write_json_if(key, plan.to_body(), etag=None) else Plan.from_body(store.read_json(key))

    def _key(self, attempt: int, name: object) -> str:
        return names.log_key(self.run.month, self.run.step.name, attempt, f"{name}.json")

    def _noted(self, attempt: int) -> dict[str, str]:
        """ETag of each file in the attempt's log, by name."""
        prefix = names.log_key(self.run.month, self.run.step.name, attempt, "")
        return {item.key.removeprefix(prefix): item.etag for item in self.run.store.objects(prefix)}

    def _record(self, attempt: int, index: int) -> dict[str, Any]:
        record: dict[str, Any] = self.run.store.read_json(self._key(attempt, index))
        return record

    def _submit(self, plan: Plan, index: int) -> None:
        run, statement = self.run, plan.statements[index - 1]
        name = StatementName(run.settings.prefix, run.month, run.step.name, index, run.attempt.number)
        try:
            statement_id = self.api.submit(name, statement.sql)
        except StatementRefusedError as error:
            problem = f"The Data API refused the statement {statement.name} ({error})."
            self._note(plan, index, statement_id=None, state="FAILED", problem=problem)
            raise StepError(problem) from error
        self._note(plan, index, statement_id=statement_id, state="SUBMITTED")

    def _note(self, plan: Plan, index: int, **what: str | None) -> None:
        """Begin a statement's record, unless another event was faster."""
        record = {"index": index, "name": plan.statements[index - 1].name, "submitted": timestamp(self.run.now), **what}
        self.run.store.write_json_if(self._key(self.run.attempt.number, index), record, etag=None)

    def _settled(self, plan: Plan, index: int) -> dict[str, Any]:
        """What is noted of a statement, once it has been asked for if that is not its end yet."""
        attempt = self.run.attempt.number
        record = self._record(attempt, index)
        if record["state"] in ENDED:
            return record
        end = self.api.describe(record["statement_id"])
        if not end.ended:
            return record
        statement = plan.statements[index - 1]
        rows: list[dict[str, Any]] = []
        problem = None
        if end.state != "FINISHED":
            problem = (
                f"The statement {statement.name} ({index} of {len(plan.statements)}) {_OUTCOME[end.state]}: {end.error}"
            )
        elif statement.expect or statement.record:
            rows = self.api.result(record["statement_id"]) if end.has_result else []
            try:
                problem = check_expectation(statement, rows)
                counts_of(statement, rows)
            except ValueError as error:
                problem = str(error)
        record |= {"state": end.state, "seconds": end.seconds, "rows": end.rows, "result": rows, "problem": problem}
        self.run.store.write_json(self._key(attempt, index), record)
        return record

    def _counts(self, plan: Plan) -> dict[str, Any]:
        counts: dict[str, Any] = {}
        for index, statement in enumerate(plan.statements, 1):
            if statement.record:
                counts |= counts_of(statement, self._record(self.run.attempt.number, index)["result"])
        return counts

    def _cancel(self, attempt: int) -> None:
        index = _newest_index(self._noted(attempt))
        if index > 0 and (record := self._record(attempt, index))["state"] not in ENDED:
            self.api.cancel(record["statement_id"])
            record |= {"state": "ABORTED", "problem": "It was cancelled with its attempt."}
            self.run.store.write_json(self._key(attempt, index), record)


def _newest_index(noted: Iterable[str]) -> int:
    """Index of the last statement that was submitted, by the names of a log's files; 0 for none."""
    return max((int(match[1]) for match in map(_RECORD.fullmatch, noted) if match), default=0)


_plans_read: dict[tuple[str, str, str], Plan] = {}
"""The plan that this process read last, by bucket, key and ETag: a step's events mostly come to one process."""


def _read_plan(store: Store, key: str, etag: str) -> Plan:
    version = (store.bucket, key, etag)
    if version not in _plans_read:
        _plans_read.clear()
        _plans_read[version] = Plan.from_body(store.read_json(key))
    return _plans_read[version]
