"""A SQL step, from the marker before it to its own: statement by statement, with events that come twice or never."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from function_cloud import NOVEMBER, marker_event, statement_event

from functions import aws, sql_run
from functions.sql_step import handler
from workflow import names
from workflow.month import Month
from workflow.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from function_cloud import Bucket, FakeDataApi

PLAN = (
    Statement("build", "CREATE TABLE bison_us_2026_11_01_building AS SELECT 1"),
    Statement(
        "count",
        "SELECT COUNT(*) FROM bison_us_2026_11_01_building",
        expect=("us_rows >= 1: The subset is empty.",),
        record="columns",
    ),
    Statement("licenses", "SELECT license, COUNT(*)", record="pairs"),
)
LOG = "log/2026_11_01/create_bison/1/"
BEFORE = marker_event("load_ancillary")


@pytest.fixture
def step(
    bucket: Bucket, data_api: FakeDataApi, set_step: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> FakeDataApi:
    """create_bison with the plan above, its step before done."""
    set_step("create_bison")
    monkeypatch.setattr(sql_run, "render_step", lambda step, context: PLAN)
    bucket.mark("load_ancillary")
    data_api.results[PLAN[1].sql] = [{"us_rows": "5", "without_coordinates": 2}]
    data_api.results[PLAN[2].sql] = [{"license": "CC_BY_4_0", "n": 3}, {"license": "CC0_1_0", "n": 2}]
    return data_api


def name(index: int, attempt: int = 1) -> str:
    return f"bison_test/2026_11_01/create_bison/{index}/{attempt}"


def send(event: dict[str, Any]) -> dict[str, Any]:
    return handler(event, None)


def end(api: FakeDataApi, state: str = "FINISHED", error: str | None = None) -> dict[str, Any]:
    return send(statement_event(api.end(state, error), state))


def test_each_statement_is_submitted_when_the_one_before_has_ended(step: FakeDataApi, bucket: Bucket) -> None:
    assert send(BEFORE)["status"] == "started"
    assert step.running == [name(1)]
    assert end(step)["message"] == "2026-11 create_bison (attempt 1): statement 2 of 3, count, was submitted."
    assert step.running == [name(2)]
    end(step)
    assert end(step)["status"] == "done"
    marker = bucket.marker("create_bison")
    assert marker is not None
    assert marker.counts == {"us_rows": 5, "without_coordinates": 2, "licenses": {"CC_BY_4_0": 3, "CC0_1_0": 2}}
    first = step.named("ExecuteStatement")[0]
    assert first == {
        "WorkgroupName": "bison-test",
        "Database": "dev",
        "Sql": PLAN[0].sql,
        "StatementName": name(1),
        "ClientToken": names.token("statement", name(1)),
        "WithEvent": True,
    }


def test_a_statement_s_end_costs_few_requests(step: FakeDataApi, bucket: Bucket) -> None:
    """A month has some 200 statements; each request is a wait that Lambda bills and the local run feels."""
    asked: list[str] = []

    def note(model: Any, **_: Any) -> None:
        asked.append(model.name)

    send(BEFORE)
    aws.client("s3").meta.events.register("before-call.s3", note)
    try:
        end(step)
    finally:
        aws.client("s3").meta.events.unregister("before-call.s3", note)
    # Which attempt is the newest, what was noted, the statement's record; its end and the next one.
    assert sorted(asked) == ["GetObject", "GetObject", "ListObjectsV2", "PutObject", "PutObject"]


def test_the_log_tells_plan_and_results(step: FakeDataApi, bucket: Bucket) -> None:
    send(BEFORE)
    end(step)
    end(step)
    plan = bucket.json(LOG + "statements.json")
    assert [each["name"] for each in plan["statements"]] == ["build", "count", "licenses"]
    record = bucket.json(LOG + "2.json")
    del record["statement_id"], record["submitted"]
    assert record == {
        "index": 2,
        "name": "count",
        "state": "FINISHED",
        "seconds": 1.5,
        "rows": 7,
        "result": [{"us_rows": 5, "without_coordinates": 2}],
        "problem": None,
    }


def test_every_event_twice_runs_every_statement_once(step: FakeDataApi, bucket: Bucket) -> None:
    send(BEFORE)
    send(BEFORE)
    for _ in PLAN:
        ended = step.end()
        send(statement_event(ended))
        send(statement_event(ended))
        send(BEFORE)
    assert [each["Name"] for each in step.statements.values()] == [name(1), name(2), name(3)]
    marker = bucket.marker("create_bison")
    assert marker is not None
    assert marker.attempt == 1


def test_late_events_in_any_order_do_no_harm(step: FakeDataApi, bucket: Bucket) -> None:
    send(BEFORE)
    end(step)
    end(step)
    for late in (name(2), name(1), name(1)):
        assert send(statement_event(late))["status"] == "under_way"
    assert step.running == [name(3)]
    end(step)
    written = bucket.json(names.success_key(NOVEMBER, "create_bison"))
    for late in (name(3), name(1)):
        assert send(statement_event(late))["status"] == "ignored"
    assert bucket.json(names.success_key(NOVEMBER, "create_bison")) == written


@pytest.mark.parametrize(
    "foreign",
    [
        "bison/2026_11_01/create_bison/1/1",
        "bison_test/2026_11_01/assign_riis/1/1",
        "bison_test/2026_12_01/create_bison/1/1",
    ],
)
def test_statements_of_others_are_ignored(step: FakeDataApi, bucket: Bucket, foreign: str) -> None:
    """Another stack in the same account has statements of the same form."""
    send(BEFORE)
    assert send(statement_event(foreign))["status"] == "ignored"
    assert step.running == [name(1)]


@pytest.mark.parametrize(
    "event",
    [
        marker_event("create_bison"),
        marker_event("load_ancillary", outcome="failure"),
        marker_event("load_ancillary")
        | {"detail": {"bucket": {"name": "another"}, "object": {"key": "run/2026_11_01/load_ancillary/success.json"}}},
        {"time": "2026-11-02T12:00:00Z"},
    ],
)
def test_what_is_no_start_starts_nothing(step: FakeDataApi, event: dict[str, Any]) -> None:
    assert send(event)["status"] == "ignored"
    assert step.statements == {}


def test_a_step_waits_for_the_one_before(step: FakeDataApi, bucket: Bucket) -> None:
    """By hand, or by an event of a marker that was taken away since."""
    bucket.store.delete(names.success_key(NOVEMBER, "load_ancillary"))
    for event in (BEFORE, {"month": "2026-11", "force": True}):
        answer = send(event)
        assert answer["status"] == "waiting"
        assert "waits for load_ancillary" in answer["message"]
    assert step.statements == {}


def test_a_failed_statement_fails_the_step_in_words(step: FakeDataApi, bucket: Bucket) -> None:
    send(BEFORE)
    answer = end(step, "FAILED", "ERROR: Spectrum Scan Error. File 000012 is not Parquet")
    assert answer["status"] == "failed"
    marker = bucket.marker("create_bison", "failure")
    assert marker is not None
    assert marker.error == (
        "The statement build (1 of 3) failed: ERROR: Spectrum Scan Error. File 000012 is not Parquet "
        "When that is mended: bison retry 2026-11 create_bison"
    )
    assert send(BEFORE)["status"] == "waiting"
    assert step.running == []
    assert bucket.marker("create_bison") is None


def test_an_aborted_statement_fails_the_step(step: FakeDataApi, bucket: Bucket) -> None:
    send(BEFORE)
    assert "build (1 of 3) was cancelled" in end(step, "ABORTED")["message"]


def test_an_unmet_expectation_stops_the_step_before_the_next_statement(step: FakeDataApi, bucket: Bucket) -> None:
    """The swap at the end of a step must not happen for tables that are not as they should be."""
    step.results[PLAN[1].sql] = [{"us_rows": "0", "without_coordinates": 2}]
    send(BEFORE)
    end(step)
    answer = end(step)
    assert answer["status"] == "failed"
    assert "The subset is empty." in answer["message"]
    assert step.running == []


def test_a_failure_noted_just_before_a_crash_is_not_passed_over(
    step: FakeDataApi, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result was noted, the marker not: Lambda's next try of the event must write it, not go on."""
    send(BEFORE)
    with monkeypatch.context() as broken:
        broken.setattr("functions.attempts.Run.fail", lambda *_: (_ for _ in ()).throw(ConnectionError()))
        with pytest.raises(ConnectionError):
            end(step, "FAILED", "broken")
    assert bucket.marker("create_bison", "failure") is None
    assert send(statement_event(name(1), "FAILED"))["status"] == "failed"


def test_a_retry_is_a_new_attempt_with_new_tokens(step: FakeDataApi, bucket: Bucket) -> None:
    """The Data API would answer an old token with the old, failed statement."""
    send(BEFORE)
    end(step, "FAILED", "broken")
    assert send({"month": "2026-11", "attempt": 2})["status"] == "started"
    assert step.running == [name(1, attempt=2)]
    for _ in PLAN:
        end(step)
    assert bucket.keys("run/2026_11_01/create_bison/") == [names.success_key(NOVEMBER, "create_bison")]


def test_a_lost_event_is_made_good_by_any_later_call(step: FakeDataApi) -> None:
    """The sweep calls the function by hand: it asks after the statement itself."""
    send(BEFORE)
    step.end()
    assert send({"month": "2026-11"})["status"] == "started"
    assert step.running == [name(2)]
    assert send({"month": "2026-11"})["status"] == "under_way"


def test_a_step_whose_every_event_is_lost_ends_all_the_same(step: FakeDataApi, bucket: Bucket) -> None:
    """EventBridge's delivery is best effort: slowly, by the sweep's calls alone, the step must end."""
    for _ in PLAN:
        send({"month": "2026-11"})
        step.end()
    assert send({"month": "2026-11"})["status"] == "done"
    assert [each["Name"] for each in step.statements.values()] == [name(1), name(2), name(3)]
    assert bucket.marker("create_bison") is not None


def test_an_event_that_overtakes_its_own_submission_is_not_lost(step: FakeDataApi, bucket: Bucket) -> None:
    """A statement may end before the function that submitted it has noted so."""
    send(BEFORE)
    bucket.store.delete(LOG + "1.json")
    assert end(step)["status"] == "started"
    assert step.running == [name(2)]
    assert bucket.json(LOG + "1.json")["state"] == "FINISHED"


def test_a_crash_before_the_first_statement_is_made_good(step: FakeDataApi, bucket: Bucket) -> None:
    bucket.begin("create_bison", after=1)
    assert send(BEFORE)["status"] == "started"
    assert step.running == [name(1)]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ActiveStatementsExceededException"),
        (400, "ActiveSessionsExceededException"),
        (500, "InternalServerException"),
    ],
)
def test_trouble_of_the_moment_is_left_to_lambdas_next_try(
    step: FakeDataApi, bucket: Bucket, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    step.refusals = [(status, code, "busy")] * 5
    with pytest.raises(ClientError, match=code):
        send(BEFORE)
    assert bucket.marker("create_bison", "failure") is None
    step.refusals = []
    assert send(BEFORE)["status"] == "started"


def test_a_request_that_the_data_api_never_takes_fails_the_step(step: FakeDataApi, bucket: Bucket) -> None:
    step.refusals = [(400, "ValidationException", "Redshift endpoint doesn't exist in this region.")]
    answer = send(BEFORE)
    assert answer["status"] == "failed"
    assert "ValidationException: Redshift endpoint doesn't exist" in answer["message"]
    assert bucket.marker("create_bison", "failure") is not None


def test_an_attempt_past_its_limit_is_cancelled_and_fails(step: FakeDataApi, bucket: Bucket) -> None:
    send(BEFORE)
    bucket.begin("create_bison", after=1, ago=4 * 60 + 1)
    answer = send({"month": "2026-11"})
    assert answer["status"] == "failed"
    assert "It took longer than 4 hours and was ended." in answer["message"]
    assert len(step.named("CancelStatement")) == 1


def test_a_step_that_was_ended_at_its_limit_does_not_go_on(step: FakeDataApi, bucket: Bucket) -> None:
    """The statement may be over before it is cancelled: its event must not start the next one."""
    send(BEFORE)
    bucket.begin("create_bison", after=1, ago=4 * 60 + 1)
    ended = step.end()
    assert send({"month": "2026-11"})["status"] == "failed"
    assert send(statement_event(ended))["status"] == "ignored"
    assert step.running == []


def test_a_refused_statement_is_not_asked_for_again_by_a_late_event(step: FakeDataApi, bucket: Bucket) -> None:
    """The step has failed: what was wrong may be mended, but a person has to start it."""
    send(BEFORE)
    ended = step.end()
    bucket.store.write_json(LOG + "1.json", bucket.json(LOG + "1.json") | {"state": "FINISHED", "problem": None})
    step.refusals = [(400, "ValidationException", "The workgroup is not there.")]
    assert send(statement_event(ended))["status"] == "failed"
    assert bucket.json(LOG + "2.json")["state"] == "FAILED"
    assert send(statement_event(ended))["status"] == "ignored"
    assert step.running == []


def test_the_next_attempt_cancels_what_still_runs(step: FakeDataApi, bucket: Bucket) -> None:
    """Two attempts at once would build the same tables."""
    send(BEFORE)
    assert send({"month": "2026-11", "attempt": 2})["status"] == "started"
    assert step.running == [name(1, attempt=2)]
    assert send(statement_event(name(1), "ABORTED"))["status"] == "ignored"
    assert step.running == [name(1, attempt=2)]


def test_new_input_starts_the_step_over(step: FakeDataApi, bucket: Bucket) -> None:
    send(BEFORE)
    for _ in PLAN:
        end(step)
    assert send(BEFORE)["status"] == "done"
    bucket.mark("load_ancillary", attempt=2)
    assert send(BEFORE)["status"] == "started"
    assert step.running == [name(1, attempt=2)]


def test_a_plan_is_rendered_once_an_attempt(step: FakeDataApi, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment in the middle of a step must not mix two versions of its SQL."""
    send(BEFORE)
    monkeypatch.setattr(sql_run, "render_step", lambda step, context: PLAN[:1])
    end(step)
    assert step.running == [name(2)]


def test_what_the_plan_lacks_fails_the_step(
    bucket: Bucket, data_api: FakeDataApi, set_step: Callable[[str | None], None]
) -> None:
    """The real create_bison.sql without the snapshot's description."""
    set_step("create_bison")
    bucket.mark("load_ancillary")
    answer = send(BEFORE)
    assert answer["status"] == "failed"
    assert "the snapshot's description is missing" in answer["message"]


# ---------------------------------------------------------------------------- publishing


UNLOADED = [f"{table}/{form}/" for table in names.RESULT_TABLES for form in ("csv", "parquet")]


@pytest.fixture
def aggregate(
    bucket: Bucket, data_api: FakeDataApi, set_step: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> FakeDataApi:
    """aggregate_region at its last statement."""
    set_step("aggregate_region")
    monkeypatch.setattr(sql_run, "render_step", lambda step, context: PLAN[:1])
    bucket.mark("assign_riis")
    send(marker_event("assign_riis"))
    return data_api


def unload(bucket: Bucket, *folders: str, file: str = "000.part") -> None:
    for folder in folders:
        bucket.put(f"summary/2026_11_01/{folder}{file}", folder)


def test_result_tables_are_published_whatever_redshift_calls_their_files(
    aggregate: FakeDataApi, bucket: Bucket
) -> None:
    unload(bucket, *UNLOADED[:3], file="000.csv")
    unload(bucket, *UNLOADED[3:], file="0000_part_00.parquet")
    bucket.put("output/2026_11_01/occurrences/census_state=KS/000.parquet", "occurrences")
    assert end(aggregate)["status"] == "done"
    tables = [f"output/2026_11_01/{t}.{f}" for t in names.RESULT_TABLES for f in ("csv", "parquet")]
    occurrences = "output/2026_11_01/occurrences/census_state=KS/000.parquet"
    assert sorted(bucket.keys("output/")) == sorted([*tables, occurrences])
    assert bucket.store.read("output/2026_11_01/county_counts.parquet") == b"county_counts/parquet/"
    marker = bucket.marker("aggregate_region")
    assert marker is not None
    assert [output.key for output in marker.outputs] == [*tables, occurrences]
    sizes = {output.key: output.size for output in marker.outputs}
    assert sizes["output/2026_11_01/state_counts.csv"] == len("state_counts/csv/")


@pytest.mark.parametrize(
    ("folder", "file", "words"),
    [
        ("county_counts/csv/", "001.csv", "there are 2 (000.part, 001.csv)"),
        ("county_counts/csv/", None, "there are 0 (none)"),
        # Of a table that may be empty, one format alone is as wrong.
        ("whats_new/csv/", None, "there are 0 (none)"),
    ],
)
def test_nothing_is_published_unless_each_folder_holds_one_file(
    aggregate: FakeDataApi, bucket: Bucket, folder: str, file: str | None, words: str
) -> None:
    """UNLOAD splits at 6.2 GB: half a table must not pass for the whole."""
    unload(bucket, *UNLOADED)
    if file is None:
        bucket.store.delete(f"summary/2026_11_01/{folder}000.part")
    else:
        unload(bucket, folder, file=file)
    answer = end(aggregate)
    assert answer["status"] == "failed"
    assert f"s3://bison-test/summary/2026_11_01/{folder}, {words}" in answer["message"]
    assert bucket.keys("output/") == []


def test_a_table_without_rows_is_named_and_its_old_file_removed(aggregate: FakeDataApi, bucket: Bucket) -> None:
    """UNLOAD writes nothing for no rows: last attempt's file must not stand for this one's."""
    unload(bucket, *(folder for folder in UNLOADED if not folder.startswith("whats_new")))
    bucket.put("output/2026_11_01/whats_new.csv", "old")
    assert end(aggregate)["status"] == "done"
    marker = bucket.marker("aggregate_region")
    assert marker is not None
    assert marker.counts == {"empty_tables": ["whats_new"]}
    assert "output/2026_11_01/whats_new.csv" not in bucket.keys("output/")
    assert "output/2026_11_01/watch_list.csv" in bucket.keys("output/")


def test_a_state_without_records_any_more_loses_its_old_file(
    aggregate: FakeDataApi, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLEANPATH empties only the partitions that get new files."""
    unload(bucket, *UNLOADED)
    for state in ("KS", "NE"):
        bucket.put(f"output/2026_11_01/occurrences/census_state={state}/0000_part_00.parquet")
    monkeypatch.setattr("functions.publish._is_new", lambda _, item: "census_state=NE" not in item.key)
    assert end(aggregate)["status"] == "done"
    left = "output/2026_11_01/occurrences/census_state=KS/0000_part_00.parquet"
    assert bucket.keys("output/2026_11_01/occurrences/") == [left]
    marker = bucket.marker("aggregate_region")
    assert marker is not None
    assert [output.key for output in marker.outputs if "occurrences" in output.key] == [left]


def test_a_file_that_an_earlier_attempt_unloaded_is_not_published(aggregate: FakeDataApi, bucket: Bucket) -> None:
    unload(bucket, *UNLOADED)
    body = bucket.json(names.current_attempt_key(NOVEMBER, "aggregate_region"))
    # Begun after the unload above, as an attempt is whose own UNLOAD had nothing to write.
    bucket.put(
        names.current_attempt_key(NOVEMBER, "aggregate_region"), json.dumps(body | {"started": "2200-01-01T00:00:00Z"})
    )
    assert end(aggregate)["status"] == "failed"
    assert bucket.keys("output/") == []


# ---------------------------------------------------------------------------- the month before


def publish_lists(bucket: Bucket, month: Month, attempt: int = 1) -> None:
    bucket.mark("aggregate_region", month=month, attempt=attempt)
    for region in ("state", "county", "aiannh"):
        bucket.put(f"output/{month.name}/{region}_x_species_list.parquet")


def test_the_month_compared_with_is_the_latest_earlier_one_with_results(step: FakeDataApi, bucket: Bucket) -> None:
    publish_lists(bucket, Month(2026, 7))
    publish_lists(bucket, Month(2026, 8))
    # September succeeded without lists, October failed, December is later.
    bucket.mark("aggregate_region", month=Month(2026, 9))
    bucket.mark("aggregate_region", month=Month(2026, 10), error="Broken.")
    publish_lists(bucket, Month(2026, 12))
    send(BEFORE)
    assert bucket.json(LOG + "statements.json")["previous_month"] == "2026_08_01"


def test_without_an_earlier_month_there_is_nothing_to_compare_with(step: FakeDataApi, bucket: Bucket) -> None:
    publish_lists(bucket, NOVEMBER)
    send(BEFORE)
    assert bucket.json(LOG + "statements.json")["previous_month"] is None
