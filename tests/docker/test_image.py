"""The task image: what is in it, how large it is, how it starts."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from engine import PROJECT, build_task_image

pytestmark = pytest.mark.docker

MOST_MB = 340
"""Above its base: the packages, mostly pyarrow and scipy. docs/image.md has the parts."""
MOST_SECONDS_TO_START = 5.0
"""From `docker run` to the task's end where there is nothing to do; half of it is Docker's own."""


def in_image(docker_engine, image, *command: str, check: bool = True) -> str:
    options = ("--rm", "--pull", "never", "--network", "host", "--read-only", "--cap-drop", "ALL")
    return docker_engine.docker("run", *options, "--entrypoint", command[0], image.digest, *command[1:], check=check)


def test_its_size_and_start_up_time_stay_what_they_are(docker_engine, image, capsys):
    """A dependency or a forgotten file that doubles the image shows here, not on the bill."""
    size, base = image.size / 1e6, image.base_size / 1e6
    times = {}
    for what, command in {
        "python": ["python", "-c", "pass"],
        "annotate_riis": ["python", "-c", "import container.entrypoint, container.tasks.annotate_riis"],
        "calc_stats": ["python", "-c", "import container.entrypoint, container.tasks.calc_stats"],
    }.items():
        begun = time.monotonic()
        in_image(docker_engine, image, *command)
        times[what] = time.monotonic() - begun
    with capsys.disabled():
        print(
            f"\nTask image: {size:.0f} MB ({base:.0f} MB of it the base), built in {image.build_seconds:.0f} s; "
            + ", ".join(f"{what} starts in {seconds:.1f} s" for what, seconds in times.items())
        )
    assert 0 < size - base < MOST_MB
    assert max(times.values()) < MOST_SECONDS_TO_START


def test_it_runs_as_nobody_special_and_has_nothing_to_build_with(docker_engine, image):
    assert in_image(docker_engine, image, "id", "--user") == "10001"
    tools = "command -v gcc cc make git pip pip3 uv; ls /opt/bison/bin | grep pip; ls /opt/bison/app/container"
    found = in_image(docker_engine, image, "sh", "-c", tools).split()
    assert not {"gcc", "cc", "make", "git", "pip", "pip3", "uv"} & {path.rsplit("/", 1)[-1] for path in found}
    # The machine's own files are no part of what the machine runs.
    assert "entrypoint.py" in found
    assert not {"userdata.py", "userdata.sh", "compose.yaml"} & set(found)


def test_its_bytecode_is_there_and_valid(docker_engine, image):
    """Without it, or with another Python's, every start compiles everything, and can't keep it (read-only)."""
    look = (
        "import importlib.util, json, pathlib, sys, container.entrypoint, pyarrow, boto3;"
        "loaded = [m for m in list(sys.modules.values()) if str(getattr(m, '__file__', '')).endswith('.py')];"
        "print(json.dumps([m.__name__ for m in loaded if m.__file__.startswith('/opt/bison')"
        " and not pathlib.Path(importlib.util.cache_from_source(m.__file__)).exists()]))"
    )
    assert json.loads(in_image(docker_engine, image, "python", "-c", look)) == []


def test_its_labels_tell_where_it_comes_from(docker_engine, image):
    labels = json.loads(docker_engine.docker("inspect", "--format", "{{json .Config.Labels}}", image.digest))
    assert labels["org.opencontainers.image.title"] == "BISON tasks"
    assert labels["org.opencontainers.image.revision"] == "tested"
    assert "org.opencontainers.image.source" in labels


def test_it_has_the_locked_versions_and_no_others(docker_engine, image):
    look = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in m.distributions()}))"
    )
    found = json.loads(in_image(docker_engine, image, "python", "-c", look))
    lines = (PROJECT / "requirements" / "tasks.txt").read_text().splitlines()
    locked = {tuple(line.split()[0].split("==")) for line in lines if "==" in line}
    assert {(name, found.get(name)) for name, _ in locked} <= locked
    assert set(found) == {name for name, _ in locked}


def test_a_changed_line_of_task_code_makes_only_the_last_layer_anew(docker_engine, image, tmp_path):
    """Otherwise each deployment of a changed line uploads, and each machine downloads, all of the packages."""
    context = tmp_path / "checkout"
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("workflow", "container"):
        shutil.copytree(PROJECT / folder, context / folder, ignore=ignore)
    (context / "requirements").mkdir()
    shutil.copy(PROJECT / "requirements" / "tasks.txt", context / "requirements")
    shutil.copy(PROJECT / ".dockerignore", context)
    with (context / "container" / "tasks" / "test_task.py").open("a") as file:
        file.write("# changed\n")
    build_task_image(docker_engine, image.base, "bison-changed", context)
    layers = [
        json.loads(docker_engine.docker("inspect", "--format", "{{json .RootFS.Layers}}", name))
        for name in (image.digest, "bison-changed")
    ]
    assert layers[0][:-1] == layers[1][:-1]
    assert layers[0][-1] != layers[1][-1]


def test_settings_that_are_missing_end_it_with_words_and_exit_code_2(docker_engine, image):
    name = "bison-without-settings"
    docker_engine.docker("run", "--pull", "never", "--network", "host", "--name", name, image.digest, check=False)
    try:
        assert docker_engine.docker("inspect", "--format", "{{.State.ExitCode}}", name) == "2"
    finally:
        docker_engine.docker("rm", name)
