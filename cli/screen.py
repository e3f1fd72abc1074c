"""What a local run shows: a live table on a terminal, plain lines elsewhere, next to nothing when quiet."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from local.run import MonthFailedError, Reporter, RunResult
from workflow.month import Month
from workflow.steps import Step, get_step, month_steps


class Screen(Reporter, AbstractContextManager["Screen"], Protocol):
    """A reporter that also shows how the run ended."""

    def problem(self, text: str) -> None:
        """Why nothing, or nothing more, was done."""

    def failure(self, error: MonthFailedError) -> None:
        """Where the month stopped, why, and where the details are."""

    def result(self, result: RunResult) -> None:
        """Where the report is, and the month's key numbers."""


def make_screen(*, quiet: bool) -> Screen:
    """The screen for this process's output: live on a terminal, else lines."""
    console = Console(highlight=False, soft_wrap=True)
    if quiet:
        return QuietScreen(console)
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
        ("Compared with", str(manifest["previous_month"] or "no earlier month")),
    ]


class _Shared:
    """What all screens say in the same words."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def problem(self, text: str) -> None:
        self.errors.print(Text(text))

    def failure(self, error: MonthFailedError) -> None:
        where = "" if error.step is None else f" at {error.step} ({get_step(error.step).title})"
        self.errors.print(Text(f"{error.month} stopped{where}.", style="bold red"))
        self.errors.print(Text(error.reason))
        self.errors.print(Text(f"Details: {_shown(error.log)}", style="dim"))

    def last_line(self, result: RunResult) -> Text:
        """What is said of a finished month even when quiet."""
        state = "is done already (--force runs it again)" if result.already else "is done"
        return Text(f"{result.month} {state}. Report: {_shown(result.report)}")


class QuietScreen(_Shared):
    """Errors and the last line."""

    def month_started(self, month: Month, out: Path) -> None: ...
    def activity(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def step_done_before(self, step: Step) -> None: ...
    def step_started(self, step: Step) -> None: ...
    def step_ended(self, step: Step, seconds: float, error: str | None) -> None: ...
    def progress(self, step: Step, label: str, done: int, total: int) -> None: ...

    def result(self, result: RunResult) -> None:
        self.console.print(self.last_line(result))


class LineScreen(_Shared):
    """A line for each start and end of a step: for logs and pipes."""

    def month_started(self, month: Month, out: Path) -> None:
        self.console.print(Text(f"{month}: results go to {_shown(out)}"))

    def activity(self, text: str) -> None:
        self.console.print(Text(f"{text} ..."))

    def note(self, text: str) -> None:
        self.console.print(Text(f"Note: {text}"))

    def step_done_before(self, step: Step) -> None:
        self.console.print(Text(f"{step.label}: done before"))

    def step_started(self, step: Step) -> None:
        self.console.print(Text(f"{step.label}: {step.title} ..."))

    def step_ended(self, step: Step, seconds: float, error: str | None) -> None:
        self.console.print(Text(f"{step.label}: {'done' if error is None else 'FAILED'} after {_duration(seconds)}"))

    def progress(self, step: Step, label: str, done: int, total: int) -> None: ...

    def result(self, result: RunResult) -> None:
        if not result.already:
            for label, text in figures(result.manifest):
                self.console.print(Text(f"{label}: {text}"))
        self.console.print(self.last_line(result))


@dataclass
class _Row:
    step: Step
    state: str = "waiting"
    started: float = 0.0
    seconds: float | None = None
    label: str = ""
    done: int = 0
    total: int = 0


@dataclass
class _Board:
    """A month's steps, drawn anew ten times a second."""

    month: Month
    out: Path
    activity: str = ""
    notes: list[str] = field(default_factory=list)
    rows: dict[str, _Row] = field(default_factory=lambda: {step.name: _Row(step) for step in month_steps()})

    _SIGNS = {"waiting": ("·", "dim"), "before": ("✓", "green"), "done": ("✓", "green"), "failed": ("✗", "bold red")}

    def __post_init__(self) -> None:
        self.spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(justify="right", min_width=8, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for row in list(self.rows.values()):
            sign, style = self._SIGNS.get(row.state, ("", "cyan"))
            mark: RenderableType = self.spinner if row.state == "running" else Text(sign, style=style)
            table.add_row(
                mark,
                Text(row.step.label, style=style),
                Text(row.step.title, style="" if row.state != "waiting" else "dim"),
                Text(self._time(row), style="dim"),
                self._bar(row),
            )
        head = Text(f"{self.month}", style="bold").append(f"  {_shown(self.out)}", style="dim")
        notes = [Text(f"  {note}", style="yellow") for note in self.notes]
        foot = [Group(Text(f"  {self.activity} …", style="cyan"))] if self.activity else []
        return Group(head, *notes, table, *foot)

    @staticmethod
    def _time(row: _Row) -> str:
        if row.state == "before":
            return "before"
        if row.state == "running":
            return _duration(time.monotonic() - row.started)
        return "" if row.seconds is None else _duration(row.seconds)

    @staticmethod
    def _bar(row: _Row) -> RenderableType:
        if row.state != "running" or not row.total:
            return ""
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=row.total, completed=min(row.done, row.total), width=24),
            Text(f"{row.done:,}/{row.total:,} {row.label}", style="dim"),
        )
        return grid


class LiveScreen(_Shared):
    """A table of the steps that is drawn in place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._board: _Board | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._live is not None:
            if self._board is not None:
                self._board.activity = ""
            self._live.stop()
            self._live = None

    def month_started(self, month: Month, out: Path) -> None:
        self._close()
        self._board = _Board(month, out)
        self._live = Live(self._board, console=self.console, refresh_per_second=10)
        self._live.start()

    def activity(self, text: str) -> None:
        if self._board is not None:
            self._board.activity = text

    def note(self, text: str) -> None:
        if self._board is not None:
            self._board.notes.append(text)

    def step_done_before(self, step: Step) -> None:
        self._row(step).state = "before"

    def step_started(self, step: Step) -> None:
        with self._lock:
            row = self._row(step)
            row.state, row.started = "running", time.monotonic()
        self.activity("")

    def step_ended(self, step: Step, seconds: float, error: str | None) -> None:
        with self._lock:
            row = self._row(step)
            row.state, row.seconds = ("done" if error is None else "failed"), seconds

    def progress(self, step: Step, label: str, done: int, total: int) -> None:
        with self._lock:
            row = self._row(step)
            row.label, row.done, row.total = label, done, total

    def _row(self, step: Step) -> _Row:
        assert self._board is not None, "month_started comes first"
        return self._board.rows.get(step.name) or _Row(step)

    def problem(self, text: str) -> None:
        self._close()
        super().problem(text)

    def failure(self, error: MonthFailedError) -> None:
        self._close()
        super().failure(error)

    def result(self, result: RunResult) -> None:
        self._close()
        if not result.already:
            table = Table.grid(padding=(0, 2))
            table.add_column()
            table.add_column(justify="right")
            for label, text in figures(result.manifest):
                table.add_row(Text(label, style="dim"), text)
            self.console.print(table)
        self.console.print(self.last_line(result), style="bold green")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _shown(path: Path) -> str:
    """The path as a person would type it: relative to where they are, if it lies below."""
    try:
        return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
    except OSError:
        return str(path)
