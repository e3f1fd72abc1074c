"""What a local run tells while it works; screens and tests listen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from workflow.month import Month
    from workflow.steps import Step


@dataclass(frozen=True)
class MonthStarted:
    """A month is to be run; its results go to ``out``."""

    month: Month
    out: Path


@dataclass(frozen=True)
class Activity:
    """What is being done while no step is under way."""

    text: str


@dataclass(frozen=True)
class Note:
    """What a reader of the results should know."""

    text: str


@dataclass(frozen=True)
class StepDoneBefore:
    """An earlier run did the step."""

    step: Step


@dataclass(frozen=True)
class StepStarted:
    """The step is under way."""

    step: Step


@dataclass(frozen=True)
class StepProgress:
    """How far a step is: ``done`` of ``total``, of what ``label`` says."""

    step: Step
    label: str
    done: int
    total: int


@dataclass(frozen=True)
class StepEnded:
    """The step is over, after so many seconds; error: None if it succeeded."""

    step: Step
    seconds: float
    error: str | None


Update = MonthStarted | Activity | Note | StepDoneBefore | StepStarted | StepProgress | StepEnded
Tell = Callable[[Update], None]
"""Takes updates, from several threads."""
