"""Two sample months, run once through the local run, and the same two by the independent computation."""

from __future__ import annotations

import fcntl
import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sample_months import MONTH, ROWS, SampleMonth, expect, options_of

from local.gbif_server import GbifServer
from local.run import run_month
from local.sample import Sample, build_sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workflow.month import Month


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that the test processes share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "popen-gw" in base.name else base) / "months"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def two_months(shared) -> tuple[SampleMonth, SampleMonth]:
    """September and October 2026, run once for all test processes, in this order."""
    before = _run_once(shared, MONTH.previous, None)
    return before, _run_once(shared, MONTH, before)


def _run_once(shared: Path, month: Month, before: SampleMonth | None) -> SampleMonth:
    folder = shared / month.name
    with _only_one(folder):
        done = folder / "done.pickle"
        if not done.exists():
            sample, out = build_sample(folder / "input", month, ROWS), folder / "out"
            with GbifServer(sample.taxonomies) as gbif:
                run_month(options_of(month, sample, out, gbif.url, before and before.out))
            expected = expect(sample, before and before.expected)
            done.write_bytes(pickle.dumps(SampleMonth(month, sample, out, gbif.url, expected)))
        return pickle.loads(done.read_bytes())


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep the other test processes out."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def first(two_months) -> SampleMonth:
    return two_months[0]


@pytest.fixture(scope="session")
def second(two_months) -> SampleMonth:
    return two_months[1]


@pytest.fixture(scope="session")
def small(shared) -> Sample:
    """The input of a month that is only there to be spoilt."""
    with _only_one(shared / "small"):
        done = shared / "small.pickle"
        if not done.exists():
            done.write_bytes(pickle.dumps(build_sample(shared / "small", MONTH, 1_500)))
        return pickle.loads(done.read_bytes())


@pytest.fixture
def gbif(small) -> Iterator[GbifServer]:
    with GbifServer(small.taxonomies) as server:
        yield server
