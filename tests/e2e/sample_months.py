"""What the whole-month tests share; not in conftest, of which there are several: a pickle finds its class by module."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import independent

from local.run import RunOptions
from workflow.month import Month

if TYPE_CHECKING:
    from pathlib import Path

    from local.sample import Sample

MONTH = Month(2026, 10)
ROWS = 8_000


@dataclass(frozen=True)
class SampleMonth:
    """A month's input, the folder of its results, and what these must be. gbif: the server that it was run with."""

    month: Month
    sample: Sample
    out: Path
    gbif: str
    expected: independent.Results

    @property
    def manifest(self) -> dict:
        return json.loads((self.out / "manifest.json").read_text(encoding="utf-8"))


def options_of(month: Month, sample: Sample, out: Path, gbif: str, previous: Path | None = None) -> RunOptions:
    return RunOptions(
        month=month,
        out=out,
        snapshot=sample.snapshot_dir,
        riis=sample.riis_csv,
        counties=sample.county_shp,
        aiannh=sample.aiannh_shp,
        gbif=gbif,
        previous=previous,
    )


def expect(sample: Sample, previous: independent.Results | None = None) -> independent.Results:
    return independent.compute(
        sample.snapshot_dir, sample.riis_csv, sample.county_shp, sample.aiannh_shp, sample.taxonomies[0], previous
    )
