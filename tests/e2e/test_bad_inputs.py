"""Bad input stops the run, through the real command: the right step, a reason to act on, exit code 1, no marker."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
import shapefile
from sample_months import MONTH
from typer.testing import CliRunner

from cli.main import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from local.sample import Sample

pytestmark = pytest.mark.e2e

ALBERS = (
    'PROJCS["USA_Contiguous_Albers_Equal_Area_Conic",GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",'
    'SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
    'PROJECTION["Albers"],PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],'
    'PARAMETER["Central_Meridian",-96.0],PARAMETER["Standard_Parallel_1",29.5],PARAMETER["Standard_Parallel_2",45.5],'
    'PARAMETER["Latitude_Of_Origin",37.5],UNIT["Meter",1.0]]'
)


def register_without_a_column(sample: Sample, folder: Path) -> dict[str, Path]:
    path = folder / "register.csv"
    with sample.riis_csv.open(encoding="utf-8-sig", newline="") as source, path.open("w", newline="") as target:
        rows = list(csv.DictReader(source))
        writer = csv.DictWriter(
            target, [name for name in rows[0] if name != "degreeOfEstablishment"], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)
    return {"--riis": path}


def empty_register(sample: Sample, folder: Path) -> dict[str, Path]:
    path = folder / "register.csv"
    path.write_text(sample.riis_csv.read_text(encoding="utf-8-sig").split("\n", 1)[0] + "\n")
    return {"--riis": path}


def counties_in_metres(sample: Sample, folder: Path) -> dict[str, Path]:
    for part in sample.county_shp.parent.glob(f"{sample.county_shp.stem}.*"):
        shutil.copyfile(part, folder / part.name)
    path = folder / sample.county_shp.name
    path.with_suffix(".prj").write_text(ALBERS)
    return {"--counties": path}


def no_counties(sample: Sample, folder: Path) -> dict[str, Path]:
    path = folder / "counties.shp"
    with shapefile.Writer(str(path), shapeType=shapefile.POLYGON) as writer:
        for name in ("STATEFP", "COUNTYFP", "GEOID", "NAME", "LSAD"):
            writer.field(name, "C", 10)
    shutil.copyfile(sample.county_shp.with_suffix(".prj"), path.with_suffix(".prj"))
    return {"--counties": path}


def no_parquet(sample: Sample, folder: Path) -> dict[str, Path]:
    shutil.copytree(sample.snapshot_dir, folder / "snapshot")
    (folder / "snapshot" / "000002").write_text("<html>503 Slow Down</html>")
    return {"--snapshot": folder / "snapshot"}


def snapshot_without_a_column(sample: Sample, folder: Path) -> dict[str, Path]:
    (folder / "snapshot").mkdir()
    for path in sample.snapshot_dir.glob("0*"):
        pq.write_table(pq.read_table(path).drop_columns("specieskey"), folder / "snapshot" / path.name)
    return {"--snapshot": folder / "snapshot"}


def no_files(sample: Sample, folder: Path) -> dict[str, Path]:
    (folder / "snapshot").mkdir()
    return {"--snapshot": folder / "snapshot"}


@pytest.mark.parametrize(
    ("spoil", "step", "words"),
    [
        (register_without_a_column, "annotate_riis", ["degreeOfEstablishment", "register.csv"]),
        (empty_register, "annotate_riis", ["register.csv", "no records"]),
        (counties_in_metres, "load_ancillary", ["cb_2016_us_county_500k", "Albers"]),
        (no_counties, "load_ancillary", ["counties.shp"]),
        (no_parquet, "annotate_riis", ["000002", "Parquet"]),
        (snapshot_without_a_column, "annotate_riis", ["specieskey"]),
        (no_files, "find_current_gbif", ["snapshot"]),
    ],
)
def test_bad_input_stops_the_run_at_its_step(
    small: Sample, gbif, tmp_path, spoil: Callable[..., dict[str, Path]], step: str, words: list[str]
):
    arguments: dict[str, object] = {
        "--month": MONTH,
        "--snapshot": small.snapshot_dir,
        "--riis": small.riis_csv,
        "--counties": small.county_shp,
        "--aiannh": small.aiannh_shp,
        "--gbif": gbif.url,
        "--out": tmp_path / "out",
    }
    arguments |= spoil(small, tmp_path)
    ended = CliRunner().invoke(app, ["local", "run", *(str(part) for pair in arguments.items() for part in pair)])
    said = ended.output
    assert ended.exit_code == 1, said
    assert step in said
    flat = " ".join(said.split())
    for word in words:
        assert word in flat, said
    assert "Traceback" not in said
    markers = tmp_path / "out" / ".bison" / "bucket" / "run" / MONTH.name / step
    assert not (markers / "success.json").exists()
    assert not (tmp_path / "out" / "report.html").exists()


def test_the_commands_exit_code_is_the_processs(small: Sample, tmp_path):
    """The one thing that the tests above cannot see, as they call the command's code."""
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "local", "run", "--riis", tmp_path / "missing.csv", "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    assert "missing.csv" in ended.stdout + ended.stderr
