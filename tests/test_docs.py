"""What the docs repeat of the code is the code's."""

import re
from pathlib import Path

import pytest

from workflow.steps import Kind, Step, month_steps

ROOT = Path(__file__).parents[1]
RUNS_IN = {Kind.CHECK: "Lambda", Kind.TASK: "Spot instance", Kind.SQL: "Redshift Serverless"}


def row(step: Step) -> str:
    number = "" if step.number is None else f" (s{step.number})"
    hours = step.limit.total_seconds() / 3600
    limit = f"{step.limit.total_seconds() / 60:g} minutes" if hours < 1 else f"{hours:g} hour{'s' * (hours > 1)}"
    return f"| {step.name}{number} | {RUNS_IN[step.kind]} | {step.title} | {limit} |"


def test_the_table_of_steps_is_the_list_of_steps() -> None:
    text = (ROOT / "docs" / "month.md").read_text(encoding="utf-8")
    table = text.split("<!-- steps: begin")[1].split("<!-- steps: end")[0].splitlines()[3:]
    assert table == [row(step) for step in month_steps()]


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_every_link_and_path_in_the_docs_is_there(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|mailto:|#)([^)#]+)", text):
        assert (path.parent / target).exists(), f"{page} links to {target}, which is not there."
    for target in re.findall(r"`((?:workflow|functions|container|infra|local|cli|tests|docs)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), f"{page} names {target}, which is not there."
