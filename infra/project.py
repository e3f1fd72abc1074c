"""Pulumi.yaml and Pulumi.<stack>.yaml, as Pulumi's engine hands them to the program.

Pulumi's mocks don't do this: the tests and the local run call ``pulumi.runtime.set_all_config`` with it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

PROJECT_FOLDER = Path(__file__).parents[1]


def project_name() -> str:
    """What Pulumi.yaml calls the project: the namespace of its configuration keys."""
    return str(_read("Pulumi.yaml")["name"])


def stack_config(stack: str) -> dict[str, str]:
    """Configuration of a stack by full key (``bison:countryCodes``): Pulumi.yaml's defaults and the stack's own values.

    Numbers, booleans and lists are JSON, as the engine passes them. Raises FileNotFoundError for an unknown stack.
    """
    project = _read("Pulumi.yaml")
    values: dict[str, Any] = {}
    for key, declared in project["config"].items():
        full_key = key if ":" in key else f"{project['name']}:{key}"
        for given in ("value", "default"):
            if given in declared:
                values[full_key] = declared[given]
    values.update(_read(f"Pulumi.{stack}.yaml")["config"])
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


@lru_cache
def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROJECT_FOLDER / name).read_text(encoding="utf-8"))
    return content
