"""Who may import whom, as docs/design.md has it. Every import counts, also those inside functions."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("workflow", "functions", "container", "infra", "local", "cli")

MAY_IMPORT: dict[str, set[str]] = {
    "workflow": set(),
    "functions": {"workflow"},
    "container": {"workflow"},
    "infra": {"workflow"},
    "local": {"workflow", "functions", "container", "infra"},
    "cli": {"workflow", "local"},
}
ALSO = {"infra": {"container.userdata"}}
"""Single modules: what a machine runs first is text that the program puts into the launch template."""
ONLY_THESE_FROM_OUTSIDE: dict[str, set[str]] = {
    "workflow": set(),
    # What Lambda's runtime brings along: the zip holds no libraries.
    "functions": {"boto3", "botocore"},
}
TYPES_ONLY = ("mypy_boto3_",)
"""Stubs, imported under TYPE_CHECKING only."""


def imports(source: str, package: str) -> dict[str, bool]:
    """The modules that the source imports, and whether it does so only for the type checker."""
    found: dict[str, bool] = {}

    def visit(node: ast.AST, for_types: bool) -> None:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [package if node.level else node.module or ""]
        for name in names:
            found[name] = found.get(name, True) and for_types
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, for_types)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, for_types)

    visit(ast.parse(source), False)
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", OURS)
def test_arrows_point_one_way(package):
    assert modules(package)
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imports(path.read_text(encoding="utf-8"), package)
        if name.split(".")[0] in {*OURS, "tests"} - MAY_IMPORT[package] - {package}
        and name not in ALSO.get(package, ())
    }
    assert not wrong


@pytest.mark.parametrize("package", ONLY_THESE_FROM_OUTSIDE)
def test_what_lambda_runs_needs_no_library(package):
    allowed = {*sys.stdlib_module_names, *OURS, *ONLY_THESE_FROM_OUTSIDE[package]}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name, for_types in imports(path.read_text(encoding="utf-8"), package).items()
        if name.split(".")[0] not in allowed and not (for_types and name.startswith(TYPES_ONLY))
    }
    assert not wrong


def test_nothing_is_hidden_in_functions_or_type_checking_blocks():
    """The test above would be blind if it read a module's first lines only."""
    source = """
from typing import TYPE_CHECKING
from . import sibling
if TYPE_CHECKING:
    import mypy_boto3_s3
    import numpy
def late():
    from local.run import run_month
    import numpy.linalg
"""
    assert imports(source, "functions") == {
        "typing": False,
        "functions": False,
        "mypy_boto3_s3": True,
        "numpy": True,
        "numpy.linalg": False,
        "local.run": False,
    }
