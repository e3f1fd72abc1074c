"""The check of the snapshot: by the clock, by a file, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from function_cloud import BUCKET, GBIF_BUCKET, event

from functions import aws
from functions.find_current_gbif import handler
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Callable

    from function_cloud import Bucket

SUCCESS = "run/2026_11_01/find_current_gbif/success.json"
FAILURE = "run/2026_11_01/find_current_gbif/failure.json"


@pytest.fixture(autouse=True)
def environment(set_step: Callable[[str | None], None]) -> None:
    set_step("find_current_gbif")


def publish(*names: str, month: str = "2026-11-01", body: bytes = b"parquet") -> None:
    for name in names:
        aws.client("s3").put_object(Bucket=GBIF_BUCKET, Key=f"occurrence/{month}/{name}", Body=body)


def complete(month: str = "2026-11-01") -> None:
    publish("occurrence.parquet/000000", "occurrence.parquet/000001", "citation.txt", month=month)


def at(time: str) -> dict[str, Any]:
    return handler(event("scheduler", time=f"2026-11-02T{time}Z"), None)


def drop(bucket: Bucket, key: str) -> dict[str, Any]:
    bucket.put(key, b"")
    return handler(event("trigger_file", object={"key": key}), None)


def test_two_equal_looks_half_an_hour_apart_start_the_month(bucket: Bucket) -> None:
    complete()
    assert at("12:00:00")["status"] == "waiting"
    assert at("12:29:59")["status"] == "waiting"
    assert at("12:40:00")["status"] == "done"
    marker = bucket.marker("find_current_gbif")
    assert marker is not None
    assert marker.counts == {"files": 2, "bytes": 14}


def test_a_snapshot_that_grows_is_not_complete(bucket: Bucket) -> None:
    """GBIF writes for hours: what was there at the first look is part of the month only."""
    complete()
    at("12:00:00")
    publish("occurrence.parquet/000002")
    assert at("12:40:00")["status"] == "waiting"
    publish("occurrence.parquet/000002", body=b"longer")
    assert at("13:20:00")["status"] == "waiting"
    assert bucket.marker("find_current_gbif") is None
    assert at("14:00:00")["status"] == "done"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "there are no data files under s3://gbif-test/occurrence/2026-11-01/occurrence.parquet/"),
        (("citation.txt",), "there are no data files"),
        (("occurrence.parquet/000000",), "s3://gbif-test/occurrence/2026-11-01/citation.txt is not there"),
    ],
)
def test_an_incomplete_snapshot_is_waited_for_without_failure(
    bucket: Bucket, names: tuple[str, ...], words: str
) -> None:
    publish(*names)
    for time in ("12:00:00", "12:40:00"):
        answer = at(time)
        assert answer["status"] == "waiting"
        assert words in answer["message"]
    assert bucket.keys("run/") == []
    assert bucket.json("summary/2026_11_01/snapshot_listing.json")["seen"] == "2026-11-02T12:40:00Z"


def test_an_empty_data_file_is_none(bucket: Bucket) -> None:
    publish("citation.txt")
    publish("occurrence.parquet/000000", body=b"")
    assert "no data files" in at("12:00:00")["message"]


def test_the_same_event_twice_is_one_look(bucket: Bucket) -> None:
    """Two deliveries of one event are not two looks half an hour apart."""
    complete()
    assert [at("12:00:00")["status"] for _ in range(2)] == ["waiting", "waiting"]
    assert [at("12:40:00")["status"] for _ in range(2)] == ["done", "done"]
    attempt = bucket.attempt("find_current_gbif")
    assert attempt is not None
    assert attempt.number == 1


def test_a_month_that_is_done_is_not_started_again(bucket: Bucket) -> None:
    complete()
    at("12:00:00")
    at("12:40:00")
    before = bucket.json(SUCCESS)
    answer = at("18:00:00")
    assert "2026-11 find_current_gbif is done" in answer["message"]
    assert drop(bucket, "trigger/2026-11.txt")["status"] == "done"
    assert bucket.json(SUCCESS) == before


def test_the_schedule_goes_on_after_a_word_too_early(bucket: Bucket) -> None:
    """Else a trigger file dropped on the 2nd would stop a month whose snapshot comes on the 9th."""
    assert drop(bucket, "trigger/2026-11.txt")["status"] == "failed"
    complete()
    at("12:00:00")
    assert at("12:40:00")["status"] == "done"
    assert bucket.keys("run/") == [SUCCESS]


@pytest.mark.parametrize(
    ("key", "month"),
    [
        ("trigger/2026-10.txt", Month(2026, 10)),
        ("trigger/2026_09_01", Month(2026, 9)),
        ("trigger/please run 2025-12-01 again.csv", Month(2025, 12)),
        ("trigger/go", Month(2026, 11)),
        ("trigger/20261001.txt", Month(2026, 11)),
    ],
)
def test_a_trigger_file_starts_its_month_at_once_and_is_deleted(bucket: Bucket, key: str, month: Month) -> None:
    complete(month.snapshot_date)
    assert drop(bucket, key)["status"] == "done"
    assert bucket.marker("find_current_gbif", month=month) is not None
    assert bucket.keys("trigger/") == []


def test_a_trigger_file_with_no_month_in_its_name_is_refused_and_deleted(bucket: Bucket) -> None:
    answer = drop(bucket, "trigger/2026-13.txt")
    assert answer["status"] == "refused"
    assert "2026-13" in answer["message"]
    assert bucket.keys() == []


def test_a_trigger_file_without_a_snapshot_is_a_failure_in_words(bucket: Bucket) -> None:
    publish("occurrence.parquet/000000")
    assert drop(bucket, "trigger/2026-11.txt")["status"] == "failed"
    marker = bucket.marker("find_current_gbif", "failure")
    assert marker is not None
    assert marker.error is not None
    assert "citation.txt is not there" in marker.error
    assert "bison retry 2026-11 find_current_gbif" in marker.error
    assert bucket.keys("trigger/") == []


def test_a_trigger_event_that_comes_twice_starts_one_attempt(bucket: Bucket) -> None:
    assert drop(bucket, "trigger/2026-11.txt")["status"] == "failed"
    repeated = handler(event("trigger_file", object={"key": "trigger/2026-11.txt"}), None)
    assert repeated["status"] == "ignored"
    assert "taken before" in repeated["message"]


@pytest.mark.parametrize("detail", [{"object": {"key": "trigger/"}}, {"bucket": {"name": "another"}}])
def test_what_is_no_trigger_file_is_left_alone(bucket: Bucket, detail: dict[str, Any]) -> None:
    """The console makes an object ``trigger/`` for the folder itself."""
    bucket.put("trigger/", b"")
    assert handler(event("trigger_file", **detail), None)["status"] == "ignored"
    assert bucket.keys() == ["trigger/"]


def test_force_starts_a_finished_month_over_with_a_new_attempt(bucket: Bucket) -> None:
    complete()
    drop(bucket, "trigger/2026-11.txt")
    bucket.begin("annotate_riis", after=1)
    bucket.mark("annotate_riis")
    answer = handler({"month": "2026-11", "force": True}, None)
    assert answer["status"] == "done"
    marker = bucket.marker("find_current_gbif")
    assert marker is not None
    assert marker.attempt == 2
    assert bucket.keys("run/") == [SUCCESS]


def test_by_hand_without_force_is_a_look_like_any_other(bucket: Bucket) -> None:
    complete()
    assert handler({"month": "2026-11"}, None)["status"] == "waiting"
    assert handler({"month": "2026-11", "attempt": 1}, None)["status"] == "done"


def test_a_check_that_broke_off_is_ended(bucket: Bucket) -> None:
    """The function may die between noting its attempt and writing the marker; the sweep calls it then."""
    complete()
    bucket.begin("find_current_gbif", ago=40)
    assert handler({"month": "2026-11"}, None)["status"] == "done"
    marker = bucket.marker("find_current_gbif")
    assert marker is not None
    assert marker.attempt == 1


def test_an_event_that_nobody_can_read_is_refused_in_words(cloud: None) -> None:
    assert handler({"month": "soon"}, None) == {
        "status": "refused",
        "message": "'soon' is no month: write it like 2026-11.",
    }


def test_the_trigger_event_names_the_bucket_of_these_tests() -> None:
    """The tests above would pass with every event ignored if it did not."""
    assert event("trigger_file")["detail"]["bucket"]["name"] == BUCKET
