"""What a local run leaves in ``<out>/.bison/``: the data bucket's objects, the warehouse, which inputs it used, logs.

Objects are written as they come, so that a run that ends in whatever way can go on where it stopped.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workflow import names
from workflow.markers import Marker
from workflow.steps import get_step, month_steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workflow.month import Month

FOLDER = ".bison"


class BusyError(Exception):
    """Another run works in the same folder."""


@dataclass(frozen=True)
class State:
    """The state of the runs whose results go to ``out``."""

    out: Path

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.out / FOLDER

    @property
    def bucket(self) -> Path:
        """Where the objects lie, by their keys."""
        return self.folder / "bucket"

    @property
    def warehouse(self) -> Path:
        """DuckDB's file."""
        return self.folder / "warehouse.duckdb"

    @property
    def logs(self) -> Path:
        """Folder of the run's log and the tasks' output."""
        return self.folder / "log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out. Raises BusyError if another run is at work here."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BusyError(f"Another run works in {self.out}: wait for it, or choose another --out.") from error
            yield

    def clear(self) -> None:
        """Forget everything but what was published."""
        shutil.rmtree(self.bucket, ignore_errors=True)
        for path in (*self.folder.glob(f"{self.warehouse.name}*"), self._inputs):
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------------------ objects

    def write(self, key: str, content: bytes) -> None:
        """Keep an object, whole or not at all."""
        path = self.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(content)
        part.replace(path)

    def delete(self, key: str) -> None:
        """Forget an object."""
        (self.bucket / key).unlink(missing_ok=True)

    def objects(self) -> Iterator[tuple[str, Path]]:
        """Key and file of every object."""
        for path in sorted(self.bucket.rglob("*")):
            if path.is_file() and path.suffix != ".part":
                yield path.relative_to(self.bucket).as_posix(), path

    def attempt(self, month: Month, step: str) -> tuple[int, int | None]:
        """(newest attempt at a step, attempt of the step before that it builds on); 0 if it was never started."""
        path = self.bucket / names.current_attempt_key(month, step)
        if not path.is_file():
            return 0, None
        current = json.loads(path.read_bytes())
        return int(current["attempt"]), current.get("after")

    def marker(self, month: Month, step: str) -> Marker | None:
        """How the newest attempt at a step ended; None if it has not."""
        newest, _ = self.attempt(month, step)
        for key in (names.success_key(month, step), names.failure_key(month, step)):
            if (path := self.bucket / key).is_file():
                marker = Marker.from_json(path.read_bytes())
                if marker.attempt == newest:
                    return marker
        return None

    def outdated(self, month: Month, step: str) -> bool:
        """Whether the step's newest attempt builds on something that was made anew since."""
        newest, builds_on = self.attempt(month, step)
        return newest > 0 and any(builds_on != self.attempt(month, before)[0] for before in get_step(step).after)

    def first_unfinished(self, month: Month) -> str | None:
        """The first step of the month that has not succeeded with what the steps before it made; None if all have."""
        for step in month_steps():
            marker = self.marker(month, step.name)
            if marker is None or not marker.succeeded or self.outdated(month, step.name):
                return step.name
        return None

    # ------------------------------------------------------------------------ inputs and results

    @property
    def _inputs(self) -> Path:
        return self.folder / "inputs.json"

    def inputs(self) -> dict[str, str] | None:
        """Fingerprints of the inputs that the steps so far have read; None before the first run."""
        return json.loads(self._inputs.read_text("utf-8")) if self._inputs.is_file() else None

    def write_inputs(self, fingerprints: dict[str, str]) -> None:
        """Note what the steps read from now on."""
        self._inputs.write_text(json.dumps(fingerprints, indent=2, ensure_ascii=False), "utf-8")

    def publish(self, month: Month) -> None:
        """Move the month's results to ``out``, in place of those that an earlier run put there."""
        results = self.bucket / names.output_key(month, "")
        if not results.is_dir():
            return
        record = self.folder / "published.json"
        earlier = json.loads(record.read_text("utf-8")) if record.is_file() else []
        present = sorted(path.name for path in results.iterdir())
        record.write_text(json.dumps(sorted({*earlier, *present})), "utf-8")
        for name in {*earlier, *present}:
            old = self.out / name
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        for name in present:
            (results / name).replace(self.out / name)
        results.rmdir()
        record.write_text(json.dumps(present), "utf-8")
