"""What a task gets from the entry point, and what it gives back."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from workflow.environment import TaskSettings
    from workflow.month import Month

PROGRESS_MARK = "PROGRESS "
"""What a line on standard output begins with that is no log line but a bar's state (the local run draws it)."""


class TaskError(Exception):
    """The task cannot go on, for a reason that a person can act on: its text goes into the failure marker."""


class TaskInterruptedError(BaseException):
    """The machine is being taken away (SIGTERM): save what the next attempt can use, within seconds.

    No Exception, so that no task takes it for an error of its own.
    """


@dataclass
class TaskContext:
    """A task module's one argument: ``run(context) -> dict`` with the counts for the marker.

    settings, month: what to do. s3: a client for the data bucket and GBIF's. workdir: an empty folder that the entry
    point removes. outputs: files that the entry point uploads when ``run`` has returned, before it writes the marker.
    """

    settings: TaskSettings
    month: Month
    s3: S3Client
    workdir: Path
    started: str
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("bison.task"))
    outputs: list[tuple[Path, str]] = field(default_factory=list)

    def add_output(self, path: Path, key: str) -> None:
        """Have ``path`` uploaded to ``key`` of the data bucket once the task is through."""
        self.outputs.append((path, key))

    def read(self, key: str) -> bytes | None:
        """The object's content, or None if the data bucket has no such key."""
        try:
            return self.s3.get_object(Bucket=self.settings.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise

    def download(self, key: str) -> Path:
        """Fetch an object into the work folder. Raises TaskError that names the key if it is missing."""
        path = self.workdir / key.replace("/", "__")
        try:
            self.s3.download_file(self.settings.bucket, key, str(path))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise TaskError(f"s3://{self.settings.bucket}/{key} is missing.") from error
            raise
        return path

    def progress(self, label: str, done: int, total: int) -> None:
        """Say how far a long piece of work is. Throttle at the caller: a line is printed each time."""
        print(PROGRESS_MARK + json.dumps({"label": label, "done": done, "total": total}), flush=True)
