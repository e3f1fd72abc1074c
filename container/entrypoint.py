"""What the task image runs: ``python -m container.entrypoint`` around the module that ``TASK_APP`` names.

Exit codes: 0 done (now or before), 1 failed, 2 settings missing or wrong, 143 interrupted (no marker is left: the
watcher starts the next attempt).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from container.task import TaskContext, TaskError, TaskInterruptedError
from workflow import names
from workflow.environment import SettingError, TaskSettings
from workflow.markers import Marker, Output
from workflow.month import Month
from workflow.steps import get_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DONE, FAILED, MISCONFIGURED, INTERRUPTED = 0, 1, 2, 128 + signal.SIGTERM
TASK_APP = "TASK_APP"
LOG_NAME = "task.log"
_LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the task that the environment describes and leave its log, outputs and marker; return the exit code."""
    started = _now()
    try:
        module_name = environ[TASK_APP]
        settings = TaskSettings.from_environ(environ)
        month = Month.parse(settings.month)
        get_step(settings.step)
    except KeyError:
        print(f"The environment has no {TASK_APP}: it names the Python module to run.", file=sys.stderr)
        return MISCONFIGURED
    except (SettingError, ValueError) as error:
        print(f"The task's settings are wrong: {error}", file=sys.stderr)
        return MISCONFIGURED
    s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))
    with tempfile.TemporaryDirectory(prefix="bison-") as folder, _terminated_by_signal():
        log_path = Path(folder) / LOG_NAME
        workdir = Path(folder) / "work"
        workdir.mkdir()
        with _logging_to(log_path) as log, contextlib.chdir(workdir):
            context = TaskContext(settings, month, s3, workdir, started, log)
            try:
                return _run(context, module_name, log_path)
            except TaskInterruptedError:
                log.warning("Interrupted: this machine is taken away. No marker is left; the next attempt goes on.")
                _upload_log(context, log_path)
                return INTERRUPTED


def _run(context: TaskContext, module_name: str, log_path: Path) -> int:
    settings, log = context.settings, context.log
    where = f"{settings.step} of {context.month}, attempt {settings.attempt}"
    try:
        done = _read_marker(context, names.success_key(context.month, settings.step))
        if done is not None and done.attempt >= settings.attempt:
            log.info("%s: attempt %d has done it already.", where, done.attempt)
            return DONE
        log.info("%s: %s begins.", where, module_name)
        counts: dict[str, Any] = importlib.import_module(module_name).run(context)
        log.info("%s: done. %s", where, counts)
        _upload_log(context, log_path)
        outputs = tuple(_upload(context, path, key) for path, key in context.outputs)
        _leave_marker(context, outputs=outputs, counts=counts)
    except TaskError as error:
        log.error("%s: %s", where, error)
        return _fail(context, log_path, str(error))
    except (Exception, SystemExit) as error:
        log.exception("%s failed.", where)
        log_key = names.log_key(context.month, settings.step, settings.attempt, LOG_NAME)
        place = f"The log is s3://{settings.bucket}/{log_key}."
        return _fail(context, log_path, f"Unexpected {type(error).__name__}: {error}. {place}")
    return DONE


def _fail(context: TaskContext, log_path: Path, error: str) -> int:
    """Leave log and failure marker as far as S3 lets us: the exit code says it in any case."""
    try:
        _upload_log(context, log_path)
        _leave_marker(context, error=error)
    except Exception:
        context.log.exception("The failure could not be written to s3://%s.", context.settings.bucket)
    return FAILED


def _leave_marker(
    context: TaskContext,
    *,
    outputs: tuple[Output, ...] = (),
    counts: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Write the step's marker, in place of the opposite one. A marker of a later attempt stays as it is."""
    settings = context.settings
    marker = Marker(
        month=context.month.name,
        step=settings.step,
        attempt=settings.attempt,
        started=context.started,
        finished=_now(),
        outputs=outputs,
        counts=counts or {},
        code=settings.code,
        error=error,
    )
    for outcome in ("success", "failure"):
        key = names.run_key(context.month, settings.step, outcome)
        other = _read_marker(context, key)
        if other is not None and other.attempt > settings.attempt:
            context.log.warning("%s is of attempt %d: it stays, and this attempt leaves no marker.", key, other.attempt)
            return
        if other is not None and key != marker.key:
            context.s3.delete_object(Bucket=settings.bucket, Key=key)
    context.s3.put_object(
        Bucket=settings.bucket, Key=marker.key, Body=marker.to_json().encode(), ContentType="application/json"
    )


def _read_marker(context: TaskContext, key: str) -> Marker | None:
    content = context.read(key)
    try:
        return None if content is None else Marker.from_json(content)
    except ValueError as error:
        context.log.warning("%s: %s", key, error)
        return None


def _upload(context: TaskContext, path: Path, key: str) -> Output:
    bucket = context.settings.bucket
    context.s3.upload_file(str(path), bucket, key)
    head = context.s3.head_object(Bucket=bucket, Key=key)
    context.log.info("Uploaded s3://%s/%s (%d bytes).", bucket, key, head["ContentLength"])
    return Output(key, head["ContentLength"], head["ETag"].strip('"'))


def _upload_log(context: TaskContext, log_path: Path) -> None:
    settings = context.settings
    key = names.log_key(context.month, settings.step, settings.attempt, LOG_NAME)
    # Read at once: upload_file's threads would find the file growing.
    context.s3.put_object(
        Bucket=settings.bucket, Key=key, Body=log_path.read_bytes(), ContentType="text/plain; charset=utf-8"
    )


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[logging.Logger]:
    """The tasks' logger, with a line for every event on standard output and in the file."""
    log = logging.getLogger("bison.task")
    log.setLevel(logging.INFO)
    log.propagate = False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), logging.FileHandler(path, encoding="utf-8")]
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_LOG_FORMAT))
        log.addHandler(handler)
    try:
        yield log
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def _terminated_by_signal() -> Iterator[None]:
    """SIGTERM (docker stop, after EC2's interruption warning) becomes TaskInterruptedError in the main thread, once."""

    def interrupt(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise TaskInterruptedError

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == INTERRUPTED:
        # Leave at once: the interpreter would wait for threads that still read the snapshot.
        os._exit(code)
    sys.exit(code)
