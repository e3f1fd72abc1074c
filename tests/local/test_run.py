"""A local run's options, inputs, state and resumption; whole months are in tests/e2e."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from local import run as run_module
from local.inputs import (
    OptionError,
    PreviousMonth,
    RunOptions,
    gather,
    input_keys,
    lay_out_snapshot,
    shapefile_parts,
    snapshot_files,
)
from local.run import MonthFailedError, OtherInputsError, run_month
from local.state import BusyError, State
from local.updates import Note, StepDoneBefore, StepEnded, StepStarted
from workflow import names
from workflow.markers import Marker
from workflow.month import Month
from workflow.steps import month_steps

MONTH = Month(2026, 10)
STEPS = [step.name for step in month_steps()]


@pytest.fixture
def files(tmp_path) -> RunOptions:
    """Options that name a file each; what is in them, no test here looks at."""
    folder = tmp_path / "inputs"
    (folder / "snapshot").mkdir(parents=True)
    for name in ("000000", "000001", "citation.txt", ".hidden", "_SUCCESS"):
        (folder / "snapshot" / name).write_text(name)
    for stem in ("counties", "areas"):
        for suffix in (".SHP", ".shx", ".dbf"):
            (folder / f"{stem}{suffix}").write_text(stem + suffix)
    (folder / "riis.csv").write_text("locality\n")
    return RunOptions(
        month=MONTH,
        out=tmp_path / "out",
        snapshot=folder / "snapshot",
        riis=folder / "riis.csv",
        counties=folder / "counties.SHP",
        aiannh=folder / "areas.SHP",
        gbif="http://127.0.0.1:9/",
    )


def finish(state: State, *steps: str, attempt: int = 1, after: int | None = 1, error: str | None = None) -> None:
    """Leave what a step leaves: which attempt is the newest, and its marker."""
    for step in steps:
        current = {"attempt": attempt, "started": "2026-10-02T12:00:00Z", "first": 1}
        current["after"] = after if step != STEPS[0] else None
        state.write(names.current_attempt_key(MONTH, step), json.dumps(current).encode())
        marker = Marker(MONTH.name, step, attempt, "2026-10-02T12:00:00Z", "2026-10-02T12:01:00Z", error=error)
        state.write(marker.key, marker.to_json().encode())


# ---------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"riis": Path("nowhere.csv")}, "--riis nowhere.csv: there is no such file"),
        ({"snapshot": Path("nowhere")}, "--snapshot nowhere: there is no such folder"),
        ({"gbif": "api.gbif.org"}, "--gbif api.gbif.org: expected the address"),
        ({"previous": Path("nowhere")}, "--previous nowhere: there is no such folder"),
    ],
)
def test_an_option_that_names_nothing_is_refused_before_any_work(files, change, message):
    with pytest.raises(OptionError, match=message):
        run_month(replace(files, **change))
    assert not (files.out / ".bison" / "bucket").exists()


def test_a_shapefile_is_named_by_its_shp(files):
    with pytest.raises(OptionError, match=r"name the shapefile's \.shp"):
        replace(files, counties=files.counties.with_suffix(".dbf")).check()


@pytest.mark.parametrize(
    ("given", "api"),
    [
        ("https://api.gbif.org", "https://api.gbif.org/v2"),
        ("https://api.gbif.org/v2/", "https://api.gbif.org/v2"),
        (None, None),
    ],
)
def test_gbifs_address_may_leave_the_version_out(files, given, api):
    assert replace(files, gbif=given).gbif_api == api


# ---------------------------------------------------------------------------- inputs


def test_every_input_has_a_fingerprint_that_changes_with_it(files):
    """A changed input that goes unnoticed would leave results of the old one."""
    before = files.fingerprints()
    changes = {
        "snapshot": lambda: (files.snapshot / "000001").write_text("00000X"),
        "riis": lambda: files.riis.write_text("Locality\n"),
        "counties": lambda: files.counties.with_suffix(".dbf").write_text("x"),
        "aiannh": lambda: files.aiannh.with_suffix(".prj").write_text("x"),
    }
    for name, change in changes.items():
        change()
        after = files.fingerprints()
        assert [key for key in before if before[key] != after[key]] == [name]
        before = after
    assert replace(files, gbif="http://other").fingerprints()["gbif"] != before["gbif"]


def test_touching_a_file_changes_nothing(files):
    before = files.fingerprints()
    for path in files.snapshot.iterdir():
        path.touch()
    assert files.fingerprints() == before


def test_a_snapshots_files_are_those_of_occurrence_parquet_and_never_hidden_ones(files):
    assert [path.name for path in snapshot_files(files.snapshot)] == ["000000", "000001"]
    inner = files.snapshot / "occurrence.parquet"
    inner.mkdir()
    (inner / "000007").write_text("x")
    assert [path.name for path in snapshot_files(files.snapshot)] == ["000007"]


def test_the_snapshot_lies_under_gbifs_keys_without_being_copied(files, tmp_path):
    inputs = gather(files, tmp_path / "sample")
    data = lay_out_snapshot(inputs, MONTH, tmp_path / "gbif")
    assert data == tmp_path / "gbif" / "occurrence/2026-10-01/occurrence.parquet"
    assert sorted(path.name for path in data.iterdir()) == ["000000", "000001"]
    assert all(path.is_symlink() for path in data.iterdir())
    assert (data.parent / "citation.txt").read_text() == "citation.txt"
    (files.snapshot / "citation.txt").unlink()
    lay_out_snapshot(gather(files, tmp_path / "sample"), MONTH, tmp_path / "gbif")
    assert str(files.snapshot) in (data.parent / "citation.txt").read_text()
    assert not (tmp_path / "sample").exists()  # nothing is generated where everything is named


def test_capital_suffixes_are_found(files):
    assert [path.suffix for path in shapefile_parts(files.counties)] == [".SHP", ".shx", ".dbf"]


def test_files_keep_their_names_in_the_bucket_unless_two_are_the_same(files, tmp_path):
    defaults = {"riisKey": "input/r.csv", "countyKey": "input/c.shp", "aiannhKey": "input/a.shp"}
    inputs = gather(files, tmp_path)
    # The bucket's keys end in .shp, so a .SHP goes under the program's own key.
    assert input_keys(inputs, defaults) == {**defaults, "riisKey": "input/riis.csv"}
    same = replace(inputs, counties=Path("a/cb.shp"), aiannh=Path("b/cb.shp"), riis=Path("it's.csv"))
    assert input_keys(same, defaults) == {**defaults, "countyKey": "input/cb.shp"}


def manifest(folder: Path, month: str = "2026_09_01") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    times = {"started": "2026-09-02T12:00:00Z", "finished": "2026-09-02T12:05:00Z", "code": "abc"}
    steps = [{"step": "create_bison", **times}, {"step": "aggregate_region", **times}]
    (folder / "manifest.json").write_text(json.dumps({"month": month, "steps": steps}))
    return folder


def test_an_earlier_months_results_come_with_the_marker_that_vouches_for_them(tmp_path):
    folder = manifest(tmp_path / "earlier")
    (folder / "state_counts.csv").write_text("x")
    (folder / ".bison").mkdir()
    (folder / "occurrences").mkdir()
    previous = PreviousMonth.read(folder)
    assert previous.month == Month(2026, 9)
    assert previous.marker.key == "run/2026_09_01/aggregate_region/success.json"
    assert [key for key, _ in previous.objects()] == [
        "output/2026_09_01/manifest.json",
        "output/2026_09_01/state_counts.csv",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "it has no manifest.json"), ("{}", "is no manifest"), ("[]", "is no manifest"), ("x", "is no manifest")],
)
def test_a_folder_that_is_no_earlier_month_is_refused(files, tmp_path, text, message):
    folder = tmp_path / "earlier"
    folder.mkdir()
    if text is not None:
        (folder / "manifest.json").write_text(text)
    with pytest.raises(OptionError, match=message):
        replace(files, previous=folder).check()


@pytest.mark.parametrize("month", ["2026_10_01", "2026_11_01"])
def test_the_earlier_month_must_be_earlier(files, tmp_path, month):
    with pytest.raises(OptionError, match="not before 2026-10"):
        replace(files, previous=manifest(tmp_path / "earlier", month)).check()


def test_a_samples_previous_month_never_takes_the_place_of_a_real_one(tmp_path):
    options = RunOptions(MONTH, tmp_path / MONTH.name)
    assert options.makes_previous
    beside, inside = tmp_path / "2026_09_01", tmp_path / MONTH.name / ".bison" / "previous"
    assert options.of_previous().out == beside
    assert options.of_previous().month == Month(2026, 9)
    assert not options.of_previous().makes_previous
    beside.mkdir()
    assert options.of_previous().out == inside
    assert replace(options, out=tmp_path / "mine").of_previous().out == tmp_path / "mine" / ".bison" / "previous"


# ---------------------------------------------------------------------------- state


def test_the_first_unfinished_step_is_where_a_run_goes_on(tmp_path):
    state = State(tmp_path)
    assert state.first_unfinished(MONTH) == STEPS[0]
    finish(state, *STEPS[:3])
    assert state.first_unfinished(MONTH) == STEPS[3]
    finish(state, STEPS[3], error="no")
    assert state.first_unfinished(MONTH) == STEPS[3]
    finish(state, *STEPS[3:])
    assert state.first_unfinished(MONTH) is None


def test_a_marker_of_an_older_attempt_or_of_older_results_counts_for_nothing(tmp_path):
    """Else a run that was stopped while it did a step over would be taken for done."""
    state = State(tmp_path)
    finish(state, *STEPS)
    finish(state, STEPS[1], attempt=2)
    assert state.first_unfinished(MONTH) == STEPS[2]
    assert state.outdated(MONTH, STEPS[2])
    finish(state, STEPS[2], attempt=2, after=2)
    assert state.first_unfinished(MONTH) == STEPS[3]
    current = {"attempt": 3, "started": "2026-10-02T12:00:00Z", "after": 2}
    state.write(names.current_attempt_key(MONTH, STEPS[2]), json.dumps(current).encode())
    assert state.first_unfinished(MONTH) == STEPS[2]


def test_results_replace_those_of_an_earlier_run_and_nothing_of_the_users(tmp_path):
    state = State(tmp_path / "out")
    state.write(names.output_key(MONTH, "old.csv"), b"1")
    state.write(names.output_key(MONTH, "occurrences/census_state=AK/0.parquet"), b"1")
    state.publish(MONTH)
    (state.out / "notes.txt").write_text("mine")
    state.write(names.output_key(MONTH, "new.csv"), b"2")
    state.write(names.output_key(MONTH, "occurrences/census_state=HI/0.parquet"), b"2")
    state.publish(MONTH)
    found = sorted(path.relative_to(state.out).as_posix() for path in state.out.rglob("*") if path.is_file())
    assert [name for name in found if not name.startswith(".bison")] == [
        "new.csv",
        "notes.txt",
        "occurrences/census_state=HI/0.parquet",
    ]
    state.publish(MONTH)  # nothing new: nothing changes
    assert (state.out / "new.csv").exists()


def test_two_runs_in_one_folder_are_refused(files):
    with State(files.out).locked(), pytest.raises(BusyError, match="Another run works in"):
        run_month(files)


def test_a_month_that_is_done_is_not_run_again(files, monkeypatch):
    state = State(files.out)
    with state.locked():
        finish(state, *STEPS)
        state.write(names.output_key(MONTH, "manifest.json"), b'{"month": "2026_10_01"}')
        state.write_inputs(files.fingerprints())
    monkeypatch.setattr(run_module, "_Run", None)
    result = run_month(files)
    assert result.already
    assert result.manifest == {"month": "2026_10_01"}
    assert result.report == files.out / "report.html"
    files.riis.write_text("changed\n")
    with pytest.raises(OtherInputsError, match=r"other inputs \(riis\): add --force"):
        run_month(files)


# ---------------------------------------------------------------------------- the run itself


class Told(list):
    def of(self, kind: type) -> list:
        return [update for update in self if isinstance(update, kind)]


def fails(options: RunOptions) -> tuple[MonthFailedError, Told]:
    told = Told()
    with pytest.raises(MonthFailedError) as caught:
        run_month(options, told.append)
    return caught.value, told


def test_a_broken_input_stops_the_run_and_when_it_is_mended_the_run_goes_on(files):
    """The register here lacks its columns: annotate_riis stops."""
    error, told = fails(files)
    assert error.step == "annotate_riis"
    assert str(files.riis) in error.reason
    assert "s3://" not in error.reason
    assert "bison retry" not in error.reason
    assert error.log == files.out / ".bison" / "log" / "annotate_riis_1.log"
    assert error.log.exists()
    assert [update.step.name for update in told.of(StepStarted)] == ["find_current_gbif", "annotate_riis"]
    assert [update.error is None for update in told.of(StepEnded)] == [True, False]
    state = State(files.out)
    assert state.marker(MONTH, "find_current_gbif").succeeded
    assert not state.marker(MONTH, "annotate_riis").succeeded
    assert sorted(path.name for path in files.out.iterdir()) == [".bison"]

    # The same again: the failed step alone, in its next attempt.
    error, told = fails(files)
    assert [update.step.name for update in told.of(StepDoneBefore)] == ["find_current_gbif"]
    assert [update.step.name for update in told.of(StepStarted)] == ["annotate_riis"]
    assert state.attempt(MONTH, "annotate_riis") == (2, 1)
    assert error.log.name == "annotate_riis_2.log"

    # Another snapshot: from the step that reads it.
    (files.snapshot / "000001").write_text("other")
    error, told = fails(files)
    assert [update.step.name for update in told.of(StepStarted)] == ["find_current_gbif", "annotate_riis"]
    assert any("snapshot" in update.text for update in told.of(Note))
    assert state.attempt(MONTH, "find_current_gbif") == (2, None)
    assert state.inputs() == files.fingerprints()
