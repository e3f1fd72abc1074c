"""What goes when a month's results are there, and what must stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from function_cloud import marker_event, statement_event

from functions.delete_obsolete import handler
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Callable

    from function_cloud import Bucket, FakeDataApi

OCTOBER, SEPTEMBER, DECEMBER = Month(2026, 10), Month(2026, 9), Month(2026, 12)
START = marker_event("aggregate_region")
OF_MONTH = (
    "summary/{}/riis_taxa.csv",
    "input/US-RIIS_MasterList_annotated_{}.csv",
    "output/{}/state_counts.csv",
)


@pytest.fixture
def step(bucket: Bucket, data_api: FakeDataApi, set_step: Callable[[str | None], None]) -> FakeDataApi:
    set_step("delete_obsolete")
    for month in (SEPTEMBER, OCTOBER, Month(2026, 11), DECEMBER):
        for key in OF_MONTH:
            bucket.put(key.format(month.name))
        if month != Month(2026, 11):
            bucket.mark("calc_stats", month=month)
    bucket.put("input/US-RIIS_MasterList.csv")
    bucket.put("input/notes_annotated_by_hand.csv")
    return data_api


def run_through(api: FakeDataApi) -> dict[str, object]:
    answer = handler(START, None)
    while api.running:
        ended = api.end()
        answer = handler(statement_event(ended), None)
        handler(statement_event(ended), None)
    return answer


def test_earlier_months_lose_their_working_files_and_tables_and_nothing_else_goes(
    step: FakeDataApi, bucket: Bucket
) -> None:
    bucket.mark("aggregate_region")
    before = set(bucket.keys())
    assert run_through(step)["status"] == "done"
    gone = before - set(bucket.keys())
    assert gone == {
        "summary/2026_09_01/riis_taxa.csv",
        "summary/2026_10_01/riis_taxa.csv",
        "input/US-RIIS_MasterList_annotated_2026_09_01.csv",
        "input/US-RIIS_MasterList_annotated_2026_10_01.csv",
    }
    marker = bucket.marker("delete_obsolete")
    assert marker is not None
    assert marker.counts == {"obsolete_months": 2, "deleted_registers": 2, "deleted_summary_files": 2}
    dropped = " ".join(statement["Sql"] for statement in step.statements.values())
    assert "bison_2026_09_01" in dropped
    assert "bison_2026_10_01" in dropped
    assert "bison_2026_12_01" not in dropped
    # This month's annotated occurrences are a result.
    assert "bison_2026_11_01," not in dropped


def test_nothing_is_deleted_unless_this_months_results_are_there(step: FakeDataApi, bucket: Bucket) -> None:
    before = bucket.keys()
    for event in (START, {"month": "2026-11", "force": True}):
        assert handler(event, None)["status"] == "waiting"
    bucket.mark("aggregate_region", error="Broken.")
    assert handler(START, None)["status"] == "waiting"
    assert step.statements == {}
    assert [key for key in bucket.keys("") if not key.startswith("run/2026_11_01/")] == before


def test_files_go_only_after_the_tables(step: FakeDataApi, bucket: Bucket) -> None:
    """If the SQL fails, the files still say which months have tables."""
    bucket.mark("aggregate_region")
    before = bucket.keys("summary/")
    handler(START, None)
    assert handler(statement_event(step.end("FAILED", "no right"), "FAILED"), None)["status"] == "failed"
    assert bucket.keys("summary/") == before


def test_a_month_that_is_being_made_again_is_left_alone(step: FakeDataApi, bucket: Bucket) -> None:
    bucket.mark("aggregate_region")
    bucket.mark("load_ancillary", month=OCTOBER)
    bucket.begin("create_bison", after=1, month=OCTOBER)
    run_through(step)
    assert "summary/2026_10_01/riis_taxa.csv" in bucket.keys("summary/")
    assert "summary/2026_09_01/riis_taxa.csv" not in bucket.keys("summary/")
    assert "2026_10_01" not in " ".join(statement["Sql"] for statement in step.statements.values())


def test_the_first_month_has_nothing_to_delete(
    bucket: Bucket, data_api: FakeDataApi, set_step: Callable[[str | None], None]
) -> None:
    set_step("delete_obsolete")
    bucket.mark("aggregate_region")
    assert run_through(data_api)["status"] == "done"
    marker = bucket.marker("delete_obsolete")
    assert marker is not None
    assert marker.counts == {"obsolete_months": 0, "deleted_registers": 0, "deleted_summary_files": 0}
