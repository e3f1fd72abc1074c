"""calc_stats from a month's results in S3 to what people take away."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import stats_month as month
from scipy import sparse
from stats_month import COUNTY_KEY, MONTH, make_context, put_month

from container.task import TaskError
from container.tasks import calc_stats
from workflow import names

OUTPUT, SUMMARY = names.output_key(MONTH, ""), names.summary_key(MONTH, "")


@pytest.fixture
def context(aws, tmp_path):
    put_month(aws, tmp_path)
    workdir = tmp_path / "work"
    workdir.mkdir()
    return make_context(aws, workdir)


def outputs(context):
    return {key: path for path, key in context.outputs}


def test_leaves_all_results_and_counts(context):
    counts = calc_stats.run(context)
    assert counts == {"sites": 4, "species": 3, "cells": 7, "sites_min3": 3, "species_min3": 3, "cells_min3": 4}
    stats = [f"{name}{end}" for end in ("", "_min3") for name in ("site_stats", "species_stats", "diversity_stats")]
    assert set(outputs(context)) == {
        *(f"{OUTPUT}{name}.{suffix}" for name in stats for suffix in ("csv", "parquet")),
        f"{OUTPUT}manifest.json",
        f"{OUTPUT}report.html",
        f"{SUMMARY}county_x_species_matrix.npz",
        f"{SUMMARY}county_x_species_matrix_min3.npz",
    }
    assert all(path.stat().st_size for path in outputs(context).values())


def test_a_result_without_rows_has_its_header_and_types(aws, tmp_path):
    """Redshift unloads no file for it: people would look for it, and next month's COPY of the list would fail."""
    put_month(aws, tmp_path, empty=("aiannh_x_species_list", "watch_list"))
    context = make_context(aws, tmp_path)
    calc_stats.run(context)
    found = outputs(context)
    assert found[f"{OUTPUT}watch_list.csv"].read_text(encoding="utf-8") == (
        "census_state,species_key,species,riis_occurrence_ids,adjacent_states,occ_count,last_year\n"
    )
    species_list = pq.read_table(found[f"{OUTPUT}aiannh_x_species_list.parquet"])
    assert species_list.num_rows == 0
    assert [(field.name, str(field.type)) for field in species_list.schema] == [
        ("aiannh_geoid", "string"),
        ("aiannh_name", "string"),
        ("species_key", "string"),
        ("species", "string"),
        ("riis_assessment", "string"),
        ("riis_occurrence_ids", "string"),
        ("occ_count", "int64"),
        ("first_year", "int32"),
        ("last_year", "int32"),
    ]


def test_worked_example_through_files(context):
    """The month's list is the worked example: labels and numbers must meet again in the files, sorted by key."""
    calc_stats.run(context)
    found = outputs(context)
    with found[f"{OUTPUT}site_stats.csv"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["county_geoid"], int(row["alpha"]), int(row["phi"])) for row in rows] == [
        ("01001", 2, 5),
        ("15001", 2, 5),
        ("20001", 2, 4),
        ("20003", 1, 3),
    ]
    species = pq.read_table(found[f"{OUTPUT}species_stats.parquet"]).to_pylist()
    assert [(row["species_key"], row["omega"], row["psi"]) for row in species] == [
        ("35", 3, 5),
        ("BX7", 2, 4),
        ("C2", 2, 4),
    ]
    whole = pq.read_table(found[f"{OUTPUT}diversity_stats.parquet"]).to_pylist()[0]
    assert whole["schluter_species"] == pytest.approx(0.272727, abs=1e-6)


def test_threshold_of_three_counts_records_not_rows(context):
    """Two records under each of two statuses are four records; 20003 falls out, and its label with it."""
    calc_stats.run(context)
    path = outputs(context)[f"{SUMMARY}county_x_species_matrix_min3.npz"]
    with np.load(path) as file:
        assert file["county_geoid"].tolist() == ["01001", "15001", "20001"]
        assert file["species_key"].tolist() == ["35", "BX7", "C2"]
    assert sparse.load_npz(path).toarray().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]


def test_manifest_and_report_agree(context):
    calc_stats.run(context)
    found = outputs(context)
    manifest = json.loads(found[f"{OUTPUT}manifest.json"].read_text(encoding="utf-8"))
    report = found[f"{OUTPUT}report.html"].read_text(encoding="utf-8")
    assert manifest["steps"][-1]["step"] == "calc_stats"
    assert manifest["code"] in report
    assert manifest["citations"]["riis"].split("https")[0].strip()[:40] in report


def test_rows_that_do_not_add_up_leave_nothing(context):
    marker = month.marker("assign_riis", unresolved=1)
    month.put(context.s3, marker.key, marker.to_json())
    with pytest.raises(TaskError, match="do not add up"):
        calc_stats.run(context)
    assert context.outputs == []


def test_missing_shapefile_parts_are_named(context):
    context.s3.delete_object(Bucket=month.BUCKET, Key=COUNTY_KEY.replace(".shp", ".dbf"))
    with pytest.raises(TaskError, match=r"input/counties\.dbf is missing"):
        calc_stats.run(context)
