"""``bison local run``: exit codes, and what is shown on a terminal, in a pipe, and when quiet."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli import local as command
from cli import screen
from cli.main import app
from local.run import BusyError, MonthFailedError, OptionError, OtherInputsError, RunOptions, RunResult
from local.updates import Activity, MonthStarted, Note, StepDoneBefore, StepEnded, StepProgress, StepStarted
from workflow.month import Month
from workflow.steps import get_step

MONTH = Month(2026, 10)
MANIFEST = {
    "previous_month": "2026_09_01",
    "funnel": {"snapshot_rows": 60107, "us_rows": 50884, "status": {"introduced": 4566, "rows_in_no_county": 1188}},
    "register": {"records": 525, "resolved": 515},
}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def updates(out: Path):
    yield MonthStarted(MONTH, out)
    yield Activity("Starting the local cloud")
    yield Note("The occurrences are generated.")
    yield StepDoneBefore(get_step("find_current_gbif"))
    yield StepStarted(get_step("annotate_riis"))
    yield StepProgress(get_step("annotate_riis"), "names", 3, 10)
    yield StepEnded(get_step("annotate_riis"), 65.2, None)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command with a month that does what the test says; returns (result of the command, options seen)."""
    seen: list[RunOptions] = []

    def run(*arguments: str, raises: BaseException | None = None, already: bool = False):
        def run_month(options, tell):
            seen.append(options)
            if not already:
                for update in updates(options.out):
                    tell(update)
            if raises is not None:
                raise raises
            return RunResult(options.month, options.out, already, MANIFEST)

        monkeypatch.setattr(command, "run_month", run_month)
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(app, ["local", "run", *arguments])

    run.seen = seen
    return run


def test_a_pipe_gets_plain_lines(run):
    result = run("--month", "2026-10")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "2026-10: results go to out/2026_10_01",
        "Starting the local cloud ...",
        "Note: The occurrences are generated.",
        "find_current_gbif: done before",
        "s1_annotate_riis: Resolve the RIIS register to GBIF's taxonomy ...",
        "s1_annotate_riis: done after 1 min 05 s",
        "Rows of the snapshot: 60,107",
        "Occurrences in the US: 50,884",
        "  introduced: 4,566",
        "  rows in no county: 1,188",
        "Register's records resolved: 515 of 525",
        "Compared with: 2026-09",
        "2026-10 is done. Report: out/2026_10_01/report.html",
    ]
    assert not CONTROL.search(result.output)


def test_quiet_leaves_the_last_line(run):
    result = run("--month", "2026-10", "--quiet", "--out", "elsewhere")
    assert result.stdout == "2026-10 is done. Report: elsewhere/report.html\n"
    assert result.stderr == ""


def test_a_month_that_is_done_is_named_with_its_report(run):
    result = run("--month", "2026-10", already=True)
    assert result.exit_code == 0
    expected = "2026-10 is done already (--force runs it again). Report: out/2026_10_01/report.html\n"
    assert result.stdout == expected


@pytest.mark.parametrize("arguments", [[], ["--quiet"]])
def test_a_stopped_month_tells_step_reason_and_log_and_no_traceback(run, arguments):
    error = MonthFailedError(MONTH, "load_ancillary", "counties.prj is missing.", Path("out/run.log"))
    result = run("--month", "2026-10", *arguments, raises=error)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "2026-10 stopped at load_ancillary (Load counties, tribal areas and the register).",
        "counties.prj is missing.",
        "When that is mended, run the same command again: what is done already stays done.",
        "Details: out/run.log",
    ]
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionError("--riis x.csv: there is no such file."), 2),
        (BusyError("Another run works in out."), 1),
        (OtherInputsError("2026-10 is done already, with other inputs (riis): add --force"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_tell_how_it_ended(run, error, code):
    result = run("--month", "2026-10", raises=error)
    assert result.exit_code == code
    assert (str(error) or "Interrupted. The same command goes on where 2026-10 stopped.") in result.stderr


def test_a_month_that_is_none_is_a_wrong_option(run):
    result = run("--month", "2026-13")
    assert result.exit_code == 2
    assert "2026-13 is no month" in result.stderr
    assert run.seen == []


def test_the_options_reach_the_run_and_the_month_is_read_once(run, monkeypatch):
    monkeypatch.setattr(command, "this_month", lambda: Month(2027, 1))
    run("--snapshot", "s", "--riis", "r.csv", "--counties", "c.shp", "--aiannh", "a.shp", "--gbif", "http://g",
        "--previous", "p", "--force")  # fmt: skip
    (options,) = run.seen
    assert options == RunOptions(
        month=Month(2027, 1), out=Path("out/2027_01_01"), snapshot=Path("s"), riis=Path("r.csv"),
        counties=Path("c.shp"), aiannh=Path("a.shp"), gbif="http://g", previous=Path("p"), force=True,
    )  # fmt: skip


def test_the_current_month_is_that_of_utc(monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            assert tz is UTC
            return cls(2026, 12, 1, 0, 30, tzinfo=UTC)

    monkeypatch.setattr(command, "datetime", Clock)
    assert command.this_month() == Month(2026, 12)


def test_a_terminal_gets_a_table_with_bars_that_ends_whole(tmp_path):
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120, highlight=False, _environ={})
    live = screen.LiveScreen(console)
    with live:
        for update in updates(tmp_path):
            live.tell(update)
            if isinstance(update, StepProgress):
                live._live.refresh()
                assert "3/10 names" in output.getvalue()
        live.result(RunResult(MONTH, tmp_path, already=False, manifest=MANIFEST))
    # After the last drawing: every step once, with its state.
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()[output.getvalue().rindex("find_current_gbif") :])
    assert re.search(r"s1_annotate_riis .* 1 min 05 s", last)
    assert "s8_calc_stats" in last
    assert "✓" in output.getvalue()
    assert last.rstrip().endswith("report.html")


def test_a_screen_is_live_only_on_a_terminal():
    assert type(screen.make_screen(quiet=False)) is screen.LineScreen
    assert type(screen.make_screen(quiet=True)) is screen.Screen


def test_the_help_explains_every_option():
    text = CliRunner().invoke(app, ["local", "run", "--help"]).stdout
    for option in ("month", "snapshot", "riis", "counties", "aiannh", "gbif", "previous", "out", "force", "quiet"):
        assert f"--{option}" in text
    assert "Exit codes" in text
