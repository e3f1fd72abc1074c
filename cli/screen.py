"""What a local run shows: a live table on a terminal, plain lines elsewhere, next to nothing when quiet."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from local.updates import Activity, MonthStarted, Note, StepDoneBefore, StepEnded, StepProgress, StepStarted, Update
from workflow.month import Month
from workflow.steps import Step, get_step, month_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.run import MonthFailedError, RunResult


def make_screen(*, quiet: bool) -> Screen:
    """The screen for this process's output: live on a terminal, else lines."""
    console = Console(highlight=False, soft_wrap=True)
    if quiet:
        return Screen(console)
    return LiveScreen(console) if console.is_terminal and not console.is_dumb_terminal else LineScreen(console)


def figures(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The month's key numbers, as label and text, from its manifest."""
    funnel, register = manifest["funnel"], manifest["register"]
    status: Mapping[str, int] = funnel["status"]
    return [
        ("Rows of the snapshot", f"{funnel['snapshot_rows']:,}"),
        ("Occurrences in the US", f"{funnel['us_rows']:,}"),
        *((f"  {name.replace('_', ' ')}", f"{rows:,}") for name, rows in status.items()),
        ("Register's records resolved", f"{register['resolved']:,} of {register['records']:,}"),
        (
            "Compared with",
            str(Month.parse(previous)) if (previous := manifest["previous_month"]) else "no earlier month",
        ),
    ]


class Screen:
    """Shows errors and the last line; what the others show besides, they add."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def tell(self, update: Update) -> None:
        """Show how far the run is."""

    def close(self) -> None:
        """Stop drawing."""

    def problem(self, text: str) -> None:
        """Say why nothing, or nothing more, was done."""
        self.close()
        self.errors.print(Text(text))

    def failure(self, error: MonthFailedError) -> None:
        """Say where the month stopped, why, and where the details are."""
        self.close()
        where = "" if error.step is None else f" at {error.step} ({get_step(error.step).title})"
        self.errors.print(Text(f"{error.month} stopped{where}.", style="bold red"))
        self.errors.print(Text(error.reason))
        self.errors.print(Text("When that is mended, run the same command again: what is done already stays done."))
        self.errors.print(Text(f"Details: {_shown(error.log)}", style="dim"))

    def result(self, result: RunResult) -> None:
        """Say that the month is done, and where the report is."""
        self.close()
        state = "is done already (--force runs it again)" if result.already else "is done"
        self.console.print(Text(f"{result.month} {state}. Report: {_shown(result.report)}", style="bold green"))


class LineScreen(Screen):
    """A line for each start and end of a step: for logs and pipes."""

    def tell(self, update: Update) -> None:
        """Print a line for what is worth one."""
        if (line := self._line(update)) is not None:
            self.console.print(Text(line))

    def result(self, result: RunResult) -> None:
        """Print the key numbers too."""
        if not result.already:
            for label, text in figures(result.manifest):
                self.console.print(Text(f"{label}: {text}"))
        super().result(result)

    @staticmethod
    def _line(update: Update) -> str | None:
        match update:
            case MonthStarted(month, out):
                return f"{month}: results go to {_shown(out)}"
            case Activity(text):
                return f"{text} ..."
            case Note(text):
                return f"Note: {text}"
            case StepDoneBefore(step):
                return f"{step.label}: done before"
            case StepStarted(step):
                return f"{step.label}: {step.title} ..."
            case StepEnded(step, seconds, error):
                return f"{step.label}: {'done' if error is None else 'FAILED'} after {_duration(seconds)}"
            case _:
                return None


@dataclass
class _Row:
    step: Step
    state: str = "waiting"
    started: float = 0.0
    seconds: float | None = None
    progress: StepProgress | None = None


_SIGNS = {
    "waiting": ("·", "dim"),
    "running": ("", "cyan"),
    "before": ("✓", "green"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
}


class _Board:
    """A month's steps, as they are when they are drawn."""

    def __init__(self, month: Month, out: Path) -> None:
        self.month = month
        self.out = out
        self.activity = ""
        self.notes: list[str] = []
        self.rows = {step.name: _Row(step) for step in month_steps()}
        self.spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(justify="right", min_width=8, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for row in self.rows.values():
            sign, style = _SIGNS[row.state]
            table.add_row(
                self.spinner if row.state == "running" else Text(sign, style=style),
                Text(row.step.label, style=style),
                Text(row.step.title, style="dim" if row.state == "waiting" else ""),
                Text(_time(row), style="dim"),
                _bar(row),
            )
        head = Text(f"{self.month}", style="bold").append(f"  {_shown(self.out)}", style="dim")
        notes = [Text(f"  {note}", style="yellow") for note in self.notes]
        foot = [Text(f"  {self.activity} …", style="cyan")] if self.activity else []
        return Group(head, *notes, table, *foot)


def _time(row: _Row) -> str:
    if row.state == "before":
        return "before"
    if row.state == "running":
        return _duration(time.monotonic() - row.started)
    return "" if row.seconds is None else _duration(row.seconds)


def _bar(row: _Row) -> RenderableType:
    if row.state != "running" or row.progress is None:
        return ""
    done, total = row.progress.done, row.progress.total
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        ProgressBar(total=total, completed=min(done, total), width=24),
        Text(f"{done:,}/{total:,} {row.progress.label}", style="dim"),
    )
    return grid


class LiveScreen(Screen):
    """A table of the steps that is drawn in place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._board: _Board | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()

    def tell(self, update: Update) -> None:
        """Change the table."""
        with self._lock:
            if isinstance(update, MonthStarted):
                self.close()
                self._board = _Board(update.month, update.out)
                self._live = Live(self._board, console=self.console, refresh_per_second=10)
                self._live.start()
            elif self._board is not None:
                _change(self._board, update)

    def close(self) -> None:
        """Leave the table as it is now."""
        if self._live is not None and self._board is not None:
            self._board.activity = ""
            self._live.stop()
            self._live = None

    def result(self, result: RunResult) -> None:
        """Print the key numbers below the table."""
        self.close()
        if not result.already:
            table = Table.grid(padding=(0, 2))
            table.add_column()
            table.add_column(justify="right")
            for label, text in figures(result.manifest):
                table.add_row(Text(label, style="dim"), text)
            self.console.print(table)
        super().result(result)


def _change(board: _Board, update: Update) -> None:
    match update:
        case Activity(text):
            board.activity = text
        case Note(text):
            board.notes.append(text)
        case StepDoneBefore(step):
            board.rows[step.name].state = "before"
        case StepStarted(step):
            board.activity = ""
            row = board.rows[step.name]
            row.state, row.started = "running", time.monotonic()
        case StepProgress(step):
            board.rows[step.name].progress = update
        case StepEnded(step, seconds, error):
            row = board.rows[step.name]
            row.state, row.seconds = ("done" if error is None else "failed"), seconds


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _shown(path: Path) -> str:
    """The path as a person would type it: relative to where they are, if it lies below."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
