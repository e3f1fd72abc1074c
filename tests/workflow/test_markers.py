import json

import pytest

from workflow.markers import Marker, Output

SUCCESS = Marker(
    "2026_11_01", "calc_stats", 2, "2026-11-02T12:00:00Z", "2026-11-02T12:03:00Z",
    (Output("output/2026_11_01/report.html", 10, '"abc"'),), {"rows": 3, "licenses": {"CC0_1_0": 3}}, "sha256:1",
)  # fmt: skip


def test_a_marker_reads_back() -> None:
    assert Marker.from_json(SUCCESS.to_json()) == SUCCESS
    assert SUCCESS.succeeded
    assert SUCCESS.key == "run/2026_11_01/calc_stats/success.json"


def test_a_success_has_the_members_of_the_contract_and_no_error() -> None:
    assert list(json.loads(SUCCESS.to_json())) == [
        "month", "step", "attempt", "started", "finished", "outputs", "counts", "code",
    ]  # fmt: skip


def test_a_failure_says_why() -> None:
    failure = Marker("2026_11_01", "calc_stats", 1, "a", "b", error="The disk is full.")
    assert json.loads(failure.to_json())["error"] == "The disk is full."
    assert failure.key == "run/2026_11_01/calc_stats/failure.json"
    assert not failure.succeeded


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"month": "2026_11_01", "surprise": 1}', "null"])
def test_a_broken_marker_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no step's marker"):
        Marker.from_json(text)
