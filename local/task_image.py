"""The task image of this checkout, for ``bison local run --docker``."""

from __future__ import annotations

import subprocess
from pathlib import Path

from local.inputs import OptionError

PROJECT = Path(__file__).resolve().parents[1]
NAME = "bison-tasks:local"


def task_image(named: str | None) -> str:
    """The image that ``--image`` names, or the one of this checkout, built if anything changed.

    Raises OptionError if there is no Docker engine, no such image, or the image can't be built.
    """
    if named is not None:
        image_digest(named)
        return named
    dockerfile = str(PROJECT / "container" / "Dockerfile")
    _docker(
        *("build", "--file", dockerfile, "--tag", NAME, str(PROJECT)),
        problem="--docker: the task image could not be built.",
    )
    return NAME


def image_digest(image: str) -> str:
    """The image's ``sha256:…``, as Docker knows it. Raises OptionError if there is no such image."""
    inspect = ("image", "inspect", "--format", "{{.Id}}", image)
    return _docker(*inspect, problem=f"--image {image}: Docker has no such image; pull or build it first.").strip()


def _docker(*arguments: str, problem: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, errors="replace")
    except FileNotFoundError as error:
        raise OptionError("--docker: there is no docker command. Install Docker, or leave the option out.") from error
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise OptionError(f"{problem} Docker says: {last}")
    return done.stdout
