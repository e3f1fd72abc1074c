"""The manifest: that it adds up, and that it says so when it does not."""

from __future__ import annotations

import json

import pytest
import stats_month as month
from stats_month import BUCKET, GBIF_BUCKET, MONTH, make_context, put, put_month

from container.manifest import make_manifest, with_this_run
from container.task import TaskError
from workflow import names


@pytest.fixture
def context(aws, tmp_path):
    put_month(aws, tmp_path)
    return make_context(aws, tmp_path)


def replace_marker(context, step, **counts):
    marker = month.marker(step, **counts)
    put(context.s3, marker.key, marker.to_json())


def test_every_row_is_counted_once(context):
    body = json.loads(with_this_run(make_manifest(context), context).to_json())
    funnel = body["funnel"]
    assert funnel["snapshot_rows"] == 100
    # "each number once": the numbers below the two totals are all that there is.
    assert sum(funnel["left_out"].values()) + sum(funnel["status"].values()) == 100
    assert funnel["status"] == {
        "rows_in_no_county": 4,
        "rows_in_territory": 6,
        "introduced": 10,
        "invasive": 8,
        "presumed_native": 20,
        "unresolved": 2,
    }


def test_what_later_steps_and_people_read(context):
    """annotate_riis of the next month reads ["snapshot"]["rows"]."""
    body = json.loads(with_this_run(make_manifest(context), context).to_json())
    assert body["month"] == "2026_11_01"
    assert body["previous_month"] == "2026_10_01"
    assert body["snapshot"] == {
        "location": f"s3://{GBIF_BUCKET}/occurrence/2026-11-01/occurrence.parquet/",
        "files": 3,
        "bytes": 4711,
        "rows": 100,
        "checklist_key": "7ddf754f-d193-4cc9-b351-99906754a03b",
        "checklist_name": "Catalogue of Life eXtended Release",
        "index_version": "2026-10-20",
    }
    assert body["quality"] == {
        "faulty_taxonkeys": {"rows": 5, "share": 0.1},
        "faulty_specieskeys": {"rows": 2, "share": 0.04},
        "in_no_county": {"rows": 4, "share": 0.08},
        "coordinates": 30,
        "coordinates_in_no_county": 2,
    }
    assert body["licenses"] == {"CC0_1_0": 20, "CC_BY_4_0": 30}
    assert body["register"] == {"records": 20, "resolved": 18, "in_review": 2}
    assert body["presence_thresholds"] == [1, 3]
    assert body["code"] == "sha256:2"


def test_times_of_every_step(context):
    steps = json.loads(with_this_run(make_manifest(context), context).to_json())["steps"]
    assert [step["step"] for step in steps] == [
        "find_current_gbif",
        "annotate_riis",
        "load_ancillary",
        "create_bison",
        "intersect_bison",
        "assign_riis",
        "aggregate_region",
        "delete_obsolete",
        "calc_stats",
    ]
    assert steps[0]["seconds"] == 90
    assert steps[0]["code"] == "sha256:1"
    assert steps[-1]["started"] == context.started
    assert 0 <= steps[-1]["seconds"] < 60


@pytest.mark.parametrize(
    ("step", "counts", "words"),
    [
        ("create_bison", {"snapshot_rows": 99, "not_in_country": 39}, "Parquet footers of the snapshot: 100, but"),
        ("create_bison", {"not_present": 4}, "rows left out and us_rows of create_bison: 101"),
        (
            "assign_riis",
            {"us_rows": 49, "introduced": 9},
            "us_rows of create_bison: 50, but us_rows of assign_riis: 49",
        ),
        ("assign_riis", {"unresolved": 3}, "its rows by status: 51"),
        ("aggregate_region", {"licenses": {"CC0_1_0": 49}}, "licenses of aggregate_region: 49"),
    ],
)
def test_rows_that_do_not_add_up_are_refused(context, step, counts, words):
    """A row lost between two steps, or counted twice, must not be published as a sum."""
    replace_marker(context, step, **counts)
    with pytest.raises(TaskError, match=words):
        make_manifest(context)


def test_missing_markers_and_counts_are_named(context):
    replace_marker(context, "intersect_bison", coordinates=None)
    with pytest.raises(TaskError, match=r"run/2026_11_01/intersect_bison/success\.json has no count 'coordinates'"):
        make_manifest(context)
    context.s3.delete_object(Bucket=BUCKET, Key=names.success_key(MONTH, "intersect_bison"))
    with pytest.raises(TaskError, match="intersect_bison of 2026-11 has to succeed"):
        make_manifest(context)


def test_first_month_is_compared_with_none(aws, tmp_path):
    put_month(aws, tmp_path, previous=None)
    assert make_manifest(make_context(aws, tmp_path)).previous_month is None


def test_citation_is_the_snapshots_own(context):
    assert make_manifest(context).citations.gbif == month.CITATION


def test_citation_without_citation_txt_names_date_and_place(context):
    context.s3.delete_object(Bucket=GBIF_BUCKET, Key=f"{names.snapshot_prefix(MONTH)}citation.txt")
    assert make_manifest(context).citations.gbif == (
        f"GBIF.org (1 November 2026) GBIF Occurrence Data s3://{GBIF_BUCKET}/occurrence/2026-11-01/occurrence.parquet/"
    )


def test_no_us_rows_is_no_division_by_zero(context):
    nothing = dict.fromkeys(month.COUNTS["assign_riis"], 0)
    replace_marker(context, "create_bison", us_rows=0, not_in_country=90)
    replace_marker(context, "assign_riis", **nothing)
    replace_marker(context, "aggregate_region", licenses={})
    assert make_manifest(context).quality.in_no_county.share is None
