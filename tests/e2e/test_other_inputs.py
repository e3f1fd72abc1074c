"""The month with the inputs that a user may name, on a bad day: other vintages, another version, a poor connection."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import shapefile
from month_tables import COLUMNS, differences, rows_of
from sample_months import MONTH, SampleMonth, expect, options_of

from local.gbif_server import Faults, GbifServer, Lies
from local.run import MonthFailedError, run_month

if TYPE_CHECKING:
    from pathlib import Path

    from local.sample import Sample

pytestmark = pytest.mark.e2e

COMPUTED = [table for table in COLUMNS if table not in ("riis_review", "whats_new")]


def check_tables(out: Path, expected) -> None:
    wrong = {table: found for table in COMPUTED if (found := differences(rows_of(out, table), expected.tables[table]))}
    assert not wrong


def counties_as_in_2021(folder: Path, county_shp: Path) -> Path:
    """The same polygons with the columns that the Census Bureau's file of 2021 has."""
    folder.mkdir()
    path = folder / "cb_2021_us_county_500k.shp"
    for suffix in (".shp", ".shx", ".prj"):
        shutil.copyfile(county_shp.with_suffix(suffix), path.with_suffix(suffix))
    lsad = {"06": "County", "15": "Parish", "13": "Municipio", "25": "city", "04": "Borough", "05": "Census Area",
            "03": "City and Borough", "12": "Municipality", "07": "District", "10": "Island", "00": ""}  # fmt: skip
    columns = ("STATEFP", "COUNTYFP", "COUNTYNS", "AFFGEOID", "GEOID", "NAME", "NAMELSAD", "STUSPS", "STATE_NAME",
               "LSAD", "ALAND", "AWATER")  # fmt: skip
    with shapefile.Reader(str(county_shp)) as reader, shapefile.Writer(dbf=str(path.with_suffix(".dbf"))) as writer:
        for name in columns:
            writer.field(name, "N" if name in ("ALAND", "AWATER") else "C", 14 if name in ("ALAND", "AWATER") else 100)
        for record in reader.iterRecords():
            row = record.as_dict()
            row["NAMELSAD"] = f"{row['NAME']} {lsad[row['LSAD']]}".strip()
            row["STUSPS"] = row["STATE_NAME"] = ""
            writer.record(*(row[name] for name in columns))
    return path


def register_as_version_1(path: Path, riis_csv: Path) -> Path:
    """The same records in the columns of the register's version 1."""
    words = {
        "established (category C3)": "Introduced",
        "invasive (category D2)": "Invasive",
        "widespread invasive (category E)": "Widespread invasive",
    }
    columns = [
        "locality",
        "scientificName",
        "scientificNameAuthorship",
        "vernacularName",
        "taxonRank",
        "Introduced or Invasive",
        "Biocontrol",
        "associatedTaxa",
        "Approximate Introduction Date",
        "IntroDateNumber",
        "Other Names",
        "kingdom",
        "phylum",
        "class",
        "order",
        "family",
        "taxonomicStatus",
        "ITIS TSN",
        "GBIF taxonKey",
        "Authority",
        "associatedReferences",
        "Acquisition Date",
        "modified",
        "Update Remarks",
        "occurrenceRemarks",
        "occurrenceID",
    ]
    with (
        riis_csv.open(encoding="utf-8-sig", newline="") as source,
        path.open("w", encoding="utf-8-sig", newline="") as target,
    ):
        writer = csv.DictWriter(target, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        for row in csv.DictReader(source):
            writer.writerow(row | {"Introduced or Invasive": words[row["degreeOfEstablishment"]]})
    return path


def test_steps_done_before_give_the_new_files_results(first: SampleMonth, second: SampleMonth, tmp_path):
    """Steps 1 to 8 run a second time over what the first time left, while GBIF throttles and breaks off."""
    out = tmp_path / "out"
    shutil.copytree(second.out, out)
    bucket = out / ".bison" / "bucket"
    shutil.rmtree(bucket / "cache")
    (bucket / "run" / second.month.name / "calc_stats" / "success.json").unlink()  # as if it had stopped there
    sample = replace(
        second.sample,
        riis_csv=register_as_version_1(tmp_path / "US-RIIS_v1.csv", first.sample.riis_csv),
        county_shp=counties_as_in_2021(tmp_path / "census", second.sample.county_shp),
    )
    expected = expect(sample, first.expected)
    assert expected.tables["state_counts"] != second.expected.tables["state_counts"]
    faults = Faults(too_many=0.03, unavailable=0.03, cut_off=0.03, html=0.02, retry_after="1")
    with GbifServer(sample.taxonomies, faults=faults) as gbif:
        result = run_month(options_of(second.month, sample, out, gbif.url, first.out))
    assert not result.already
    check_tables(out, expected)
    assert rows_of(out, "whats_new")
    register = result.manifest["register"]
    assert register["in_review"] == sum(record.accepted_key is None for record in expected.register)


def test_every_event_twice_gives_the_same_month(first: SampleMonth, second: SampleMonth, tmp_path):
    with GbifServer(second.sample.taxonomies) as gbif:
        options = options_of(second.month, second.sample, tmp_path / "out", gbif.url, first.out)
        result = run_month(replace(options, deliver_twice=True))
    check_tables(result.out, second.expected)
    assert rows_of(result.out, "whats_new") == rows_of(second.out, "whats_new")
    assert {step["attempt"] for step in result.manifest["steps"]} == {1}


@pytest.mark.parametrize("lie", ["wrong_keys", "other_names"])
def test_a_lying_gbif_stops_the_month(small: Sample, tmp_path, lie):
    """Taken at its word, every species would become native, or all would become one."""
    with (
        GbifServer(small.taxonomies, lies=Lies(**{lie: True})) as gbif,
        pytest.raises(MonthFailedError) as failure,
    ):
        run_month(options_of(MONTH, small, tmp_path / "out", gbif.url))
    assert failure.value.step == "annotate_riis"
    assert not list((tmp_path / "out").rglob("annotate_riis/success.json"))
