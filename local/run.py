"""A whole month on this machine: from the arrival of a snapshot to the report, with the code that runs in AWS."""

from __future__ import annotations

import json
import logging
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from local.inputs import READ_BY, Inputs, OptionError, RunOptions, gather, input_keys, lay_out_snapshot
from local.state import BusyError, State
from local.task_image import PROJECT, image_digest, task_image
from local.updates import (
    Activity,
    MonthStarted,
    Note,
    StepDoneBefore,
    StepEnded,
    StepProgress,
    StepStarted,
    Tell,
)
from workflow import names
from workflow.markers import Marker
from workflow.steps import FIRST_STEP, Kind, Step, get_step, month_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from local.cloud.cloud import Cloud
    from workflow.month import Month

__all__ = [
    "BusyError",
    "MonthFailedError",
    "OptionError",
    "OtherInputsError",
    "RunOptions",
    "RunResult",
    "run_month",
]

LOG = logging.getLogger("bison.local.run")
STACK = "local"
RUN_LOG = "run.log"
REPORT = "report.html"


_RETRY = re.compile(r" When that is mended: bison retry \S+ \S+")


class MonthFailedError(Exception):
    """The month stopped. step: where, None if between steps. reason: for people. log: file with the details."""

    def __init__(self, month: Month, step: str | None, reason: str, log: Path) -> None:
        super().__init__(reason)
        self.month = month
        self.step = step
        self.reason = reason
        self.log = log


class OtherInputsError(Exception):
    """The month is done already, with other inputs than those named now."""


@dataclass(frozen=True)
class RunResult:
    """A month that is over. already: an earlier run had done it. seconds: of each step that this run did, by name.

    manifest: content of ``manifest.json``. notes: what a reader of the results should know.
    """

    month: Month
    out: Path
    already: bool
    manifest: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.out / REPORT


def run_month(options: RunOptions, tell: Tell = lambda _update: None) -> RunResult:
    """Run a month, or say that it is done; go on where an earlier run stopped. ``tell`` hears how far it is.

    A sample's previous month is run first, into a folder of its own. Raises OptionError, BusyError, OtherInputsError,
    MonthFailedError, and whatever fault of the program itself.
    """
    options = replace(options, out=options.out.resolve())
    options.check()
    state = State(options.out)
    with state.locked():
        if not options.force and (result := _done_before(options, state)) is not None:
            return result
        if options.force:
            state.clear()
        fingerprints = options.fingerprints()
        if options.makes_previous:
            options = replace(options, previous=_sample_previous(options.of_previous(), tell).out)
        return _Run(options, state, fingerprints, tell).go()


def _sample_previous(options: RunOptions, tell: Tell) -> RunResult:
    try:
        return run_month(options, tell)
    except OtherInputsError:
        # Made by an earlier run of the sample, with other options than now.
        return run_month(replace(options, force=True), tell)


def _done_before(options: RunOptions, state: State) -> RunResult | None:
    earlier = state.inputs()
    if earlier is None or state.first_unfinished(options.month) is not None:
        return None
    state.publish(options.month)
    if changed := _changed(earlier, options.fingerprints()):
        raise OtherInputsError(
            f"{options.month} is done already, with other inputs ({', '.join(changed)}): add --force to run it again, "
            f"or choose another --out. Its report: {options.out / REPORT}"
        )
    return RunResult(options.month, options.out, already=True, manifest=_manifest(options.out))


def _changed(earlier: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name in READ_BY if earlier.get(name) != now[name]]


def _manifest(out: Path) -> Mapping[str, Any]:
    manifest: Mapping[str, Any] = json.loads((out / "manifest.json").read_text("utf-8"))
    return manifest


class _Run:
    """One run of one month. Also listens to the cloud: it keeps objects and tells what they mean."""

    def __init__(self, options: RunOptions, state: State, fingerprints: dict[str, str], tell: Tell) -> None:
        self.options = options
        self.month = options.month
        self.state = state
        self.fingerprints = fingerprints
        self.tell = tell
        self.seconds: dict[str, float] = {}
        self.started: dict[str, float] = {}
        self.statements: dict[str, int] = {}
        self.bucket = self.data_url = self.fingerprints_due = ""
        self.keeping = False

    def go(self) -> RunResult:
        with _logging_to(self.state.logs / RUN_LOG):
            LOG.info("Run of %s into %s", self.month, self.options.out)
            self.tell(MonthStarted(self.month, self.options.out))
            self.tell(Activity("Getting the inputs ready"))
            inputs = gather(self.options, self.state.folder / "sample")
            for note in inputs.notes:
                self.tell(Note(note))
            self._run(inputs)
        self.state.publish(self.month)
        return RunResult(
            self.month,
            self.options.out,
            already=False,
            manifest=_manifest(self.options.out),
            seconds=self.seconds,
            notes=tuple(inputs.notes),
        )

    def _run(self, inputs: Inputs) -> None:
        # Only now, because they take seconds to import.
        from infra.code import TASK_PACKAGES, code_hash
        from infra.project import stack_config
        from local.cloud.cloud import Cloud, DeliveryError
        from local.cloud.functions import FunctionFailedError
        from local.cloud.public_bucket import PublicBucket
        from local.gbif_server import GbifServer
        from local.warehouse import Warehouse

        config = stack_config(STACK)
        defaults = {setting: config[f"bison:{setting}"] for setting in ("riisKey", "countyKey", "aiannhKey")}
        keys = input_keys(inputs, defaults)
        gbif_bucket = config["bison:gbifBucket"]
        self.data_url = f"s3://{gbif_bucket}/{names.snapshot_parquet_prefix(self.month)}"
        root = self.state.folder / "gbif"
        data = lay_out_snapshot(inputs, self.month, root)
        temporary = self.state.folder / "temporary"
        temporary.mkdir(exist_ok=True)

        def warehouse(cloud: Cloud) -> Warehouse:
            return Warehouse(
                self.state.warehouse,
                cloud.warehouse_client,
                {self.data_url: data},
                cloud.statement_ended,
                temporary,
            )

        image = None
        if self.options.docker:
            self.tell(Activity("Building the task image"))
            image = task_image(self.options.image)
        code = image_digest(image) if image else f"sha256:{code_hash(PROJECT, TASK_PACKAGES)}"
        self.tell(Activity("Starting the local cloud"))
        with GbifServer(inputs.taxonomies) as gbif:
            cloud = Cloud(
                listener=self,
                data_api=warehouse,
                public_bucket=PublicBucket(gbif_bucket, root),
                logs=self.state.logs,
                config={
                    **config,
                    "bison:gbifApi": inputs.gbif_api or gbif.url,
                    "bison:taskImage": f"bison-local@{code}",
                    **{f"bison:{setting}": key for setting, key in keys.items()},
                },
                deliver_twice=self.options.deliver_twice,
                task_image=image,
            )
            with cloud:
                self.bucket = cloud.program.outputs["bucket"]
                with cloud.without_events():
                    self._put_back(cloud, inputs, keys)
                self.keeping = True
                try:
                    self._start(cloud)
                    cloud.run_until_idle()
                except FunctionFailedError as error:
                    step = cloud.program.functions[error.function].environment.get("BISON_STEP")
                    raise self._failed(step, str(error)) from error
                except DeliveryError as error:
                    raise self._failed(None, str(error)) from error
                self._check_end(cloud, inputs, keys)

    # ------------------------------------------------------------------------ before

    def _put_back(self, cloud: Cloud, inputs: Inputs, keys: Mapping[str, str]) -> None:
        """Give the bucket what an earlier run left, this run's inputs, and the previous month's results."""
        from local.inputs import shapefile_parts

        s3 = cloud.client("s3")
        for key, path in self.state.objects():
            s3.upload_file(str(path), self.bucket, key)
        s3.upload_file(str(inputs.riis), self.bucket, keys["riisKey"])
        for setting, shp in (("countyKey", inputs.counties), ("aiannhKey", inputs.aiannh)):
            for part in shapefile_parts(shp):
                key = keys[setting].removesuffix(".shp") + part.suffix.lower()
                s3.upload_file(str(part), self.bucket, key)
        if inputs.previous is not None:
            for key, path in inputs.previous.objects():
                s3.upload_file(str(path), self.bucket, key)
            marker = inputs.previous.marker
            s3.put_object(Bucket=self.bucket, Key=marker.key, Body=marker.to_json().encode())

    def _start(self, cloud: Cloud) -> None:
        """Start the first step that is to be done: by the schedule, or as a person would by hand."""
        earlier = self.state.inputs()
        order = [step.name for step in month_steps()]
        first = self.state.first_unfinished(self.month) or order[-1]
        if earlier is None:
            self.state.write_inputs(self.fingerprints)
        changed = [] if earlier is None else _changed(earlier, self.fingerprints)
        again = min((READ_BY[name] for name in changed), key=order.index, default=first)
        start = min(first, again, key=order.index)
        for name in order[: order.index(start)]:
            self.tell(StepDoneBefore(get_step(name)))
        attempt, _ = self.state.attempt(self.month, start)
        if start != first:
            self.tell(Note(f"Changed since the last run: {', '.join(changed)}; starting again at {start}."))
        # Only when the step that reads them is under way are the new inputs those of this state.
        self.fingerprints_due = start
        function = names.function_name(names.stack_prefix(STACK), start)
        if start == FIRST_STEP and attempt == 0:
            schedule = cloud.schedule_of(function)
            times = schedule.times(self.month)
            for _ in range(2):
                # Two looks: a snapshot counts as whole when the second one sees what the first one saw.
                cloud.fire(schedule, next(times))
        elif start != first:
            self._end_broken_off(cloud, first)
            cloud.invoke(function, {"month": str(self.month), "force": True})
        elif self.state.outdated(self.month, start) or attempt == 0:
            cloud.invoke(function, {"month": str(self.month)})
        else:
            cloud.invoke(function, {"month": str(self.month), "attempt": attempt + 1})

    def _end_broken_off(self, cloud: Cloud, step: str) -> None:
        """Say that the step of a run that was broken off has ended: while it has not, no earlier one may start over."""
        attempt, _ = self.state.attempt(self.month, step)
        if attempt and self.state.marker(self.month, step) is None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            marker = Marker(self.month.name, step, attempt, now, now, error="The run was broken off.")
            with cloud.without_events():
                cloud.client("s3").put_object(Bucket=self.bucket, Key=marker.key, Body=marker.to_json().encode())

    # ------------------------------------------------------------------------ after

    def _check_end(self, cloud: Cloud, inputs: Inputs, keys: Mapping[str, str]) -> None:
        """Raises MonthFailedError unless every step has succeeded."""
        unfinished = self.state.first_unfinished(self.month)
        if unfinished is None:
            return
        marker = self.state.marker(self.month, unfinished)
        if marker is not None and marker.error is not None:
            reason = marker.error
        else:
            function = names.function_name(names.stack_prefix(STACK), unfinished)
            answer = cloud.answers.get(function)
            reason = answer["message"] if answer else f"Nothing is under way any more, and {unfinished} left no marker."
        raise self._failed(unfinished, self._in_local_words(reason, inputs, keys))

    def _in_local_words(self, reason: str, inputs: Inputs, keys: Mapping[str, str]) -> str:
        """The user's files instead of the buckets' keys, and no command for a deployed stack."""
        reason = _RETRY.sub("", reason)
        words = {self.data_url: f"{inputs.snapshot_folder}/"}
        for setting, path in (("riisKey", inputs.riis), ("countyKey", inputs.counties), ("aiannhKey", inputs.aiannh)):
            words[f"s3://{self.bucket}/{keys[setting]}"] = str(path)
            words[f"s3://{self.bucket}/{keys[setting].removesuffix('.shp')}."] = f"{path.with_suffix('')}."
        for text, local in words.items():
            reason = reason.replace(text, local)
        return reason

    def _failed(self, step: str | None, reason: str) -> MonthFailedError:
        LOG.error("%s stopped at %s: %s", self.month, step, reason)
        log = self.state.logs / RUN_LOG
        if step is not None and get_step(step).kind is Kind.TASK:
            attempt, _ = self.state.attempt(self.month, step)
            log = self.state.logs / f"{step}_{attempt}.log"
        return MonthFailedError(self.month, step, reason, log)

    # ------------------------------------------------------------------------ what the cloud tells

    def object_written(self, bucket: str, key: str, content: bytes) -> None:
        """Keep what the month's own parts write, and tell what it means for the steps."""
        if bucket != self.bucket or not self.keeping:
            return
        self.state.write(key, content)
        for step in month_steps():
            attempt_key = names.current_attempt_key(self.month, step.name)
            if key == attempt_key:
                self._step_started(step)
            elif key in (names.success_key(self.month, step.name), names.failure_key(self.month, step.name)):
                self._step_ended(step, json.loads(content).get("error"))
            elif key.startswith(attempt_key.removesuffix("current.json")) and step.kind is Kind.SQL:
                self._statement(step, key.rsplit("/", 1)[-1], content)

    def object_deleted(self, bucket: str, key: str) -> None:
        """Forget the object too."""
        if bucket == self.bucket and self.keeping:
            self.state.delete(key)

    def progress(self, step: str, label: str, done: int, total: int) -> None:
        """Pass a task's word on."""
        self.tell(StepProgress(get_step(step), label, done, total))

    def _step_started(self, step: Step) -> None:
        if step.name == self.fingerprints_due:
            self.state.write_inputs(self.fingerprints)
        if step.name not in self.started:
            self.started[step.name] = time.monotonic()
            self.tell(StepStarted(step))

    def _step_ended(self, step: Step, error: str | None) -> None:
        if step.name in self.started and step.name not in self.seconds:
            self.seconds[step.name] = time.monotonic() - self.started[step.name]
            self.tell(StepEnded(step, self.seconds[step.name], error))

    def _statement(self, step: Step, name: str, content: bytes) -> None:
        body = json.loads(content)
        if name == "statements.json":
            self.statements[step.name] = len(body["statements"])
        elif name.removesuffix(".json").isdigit() and step.name in self.statements:
            ended = body.get("state") == "FINISHED"
            done = int(name.removesuffix(".json")) - (0 if ended else 1)
            self.tell(StepProgress(step, body.get("name", "statements"), done, self.statements[step.name]))


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Write the functions' and the local cloud's log to a file, for as long as the block lasts."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
