"""The entry point around a task: what it leaves, in which order, and what it does when it is not needed."""

from __future__ import annotations

import os
import signal
import sys
import types
from pathlib import Path

import pytest
from annotation_world import BUCKET, MONTH, RIIS_KEY

from container import entrypoint
from container.task import TaskError
from workflow import names

STEP = "annotate_riis"
APP = "tests_of_the_entrypoint_app"
OUTPUT = names.summary_key(MONTH, "found.txt")
LOG = names.log_key(MONTH, STEP, 1, "task.log")


@pytest.fixture
def app(monkeypatch):
    """A task module whose ``run`` the test sets."""
    module = types.ModuleType(APP)
    monkeypatch.setitem(sys.modules, APP, module)

    def run(context):
        path = context.workdir / "found.txt"
        path.write_text("found")
        context.log.info("Looking")
        context.add_output(path, OUTPUT)
        return {"found": 1}

    module.run = run
    return module


def test_a_success_leaves_log_outputs_and_marker_in_this_order(world, app, monkeypatch):
    put = []
    real_put = entrypoint.boto3.client

    def watched(*arguments, **options):
        client = real_put(*arguments, **options)
        client.meta.events.register(
            "before-call.s3.PutObject", lambda params, **_kw: put.append(params["url_path"].removeprefix(f"/{BUCKET}"))
        )
        return client

    monkeypatch.setattr(entrypoint.boto3, "client", watched)
    assert world.run(APP) == 0
    assert [path.lstrip("/") for path in put] == [LOG, OUTPUT, names.success_key(MONTH, STEP)]
    marker = world.marker()
    assert (marker.attempt, marker.counts, marker.code, marker.error) == (1, {"found": 1}, "sha256:abc", None)
    (output,) = marker.outputs
    assert (output.key, output.size) == (OUTPUT, 5)
    assert output.etag == world.s3.head_object(Bucket=BUCKET, Key=OUTPUT)["ETag"].strip('"')
    assert marker.started <= marker.finished
    assert "Looking" in world.read(LOG).decode()


def test_the_work_folder_is_empty_and_goes_away(world, app):
    seen = []

    def run(context):
        seen.append((context.workdir, list(context.workdir.iterdir()), Path.cwd().samefile(context.workdir)))
        return {}

    app.run = run
    before = Path.cwd()
    world.run(APP)
    ((workdir, content, is_current),) = seen
    assert content == []
    assert is_current
    assert not workdir.exists()
    assert Path.cwd() == before


def test_a_task_error_is_the_markers_text_and_no_output_is_left(world, app):
    def run(context):
        path = context.workdir / "half.txt"
        path.write_text("half")
        context.add_output(path, OUTPUT)
        raise TaskError("The file x lacks the column y. Add it.")

    app.run = run
    assert world.run(APP) == 1
    assert world.marker("failure").error == "The file x lacks the column y. Add it."
    assert OUTPUT not in world.object_keys()
    assert names.success_key(MONTH, STEP) not in world.object_keys()
    assert "lacks the column y" in world.read(LOG).decode()


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), SystemExit("out")])
def test_an_unexpected_error_says_its_type_and_where_the_log_is(world, app, error):
    def run(_context):
        raise error

    app.run = run
    assert world.run(APP) == 1
    text = world.marker("failure").error
    assert type(error).__name__ in text
    assert str(error) in text
    assert f"s3://{BUCKET}/{LOG}" in text
    assert "Traceback" in world.read(LOG).decode()


def test_a_module_that_is_not_there_is_a_failure_with_a_marker(world):
    assert world.run("container.tasks.nonsense") == 1
    assert "container.tasks.nonsense" in world.marker("failure").error


def test_an_output_that_cannot_be_uploaded_is_no_success(world, app):
    def run(context):
        context.add_output(context.workdir / "never_written.txt", OUTPUT)
        return {}

    app.run = run
    assert world.run(APP) == 1
    assert names.success_key(MONTH, STEP) not in world.object_keys()
    assert "never_written.txt" in world.marker("failure").error


@pytest.mark.parametrize(("attempt", "works"), [(1, False), (2, False), (3, True)])
def test_what_is_done_is_not_done_again(world, app, attempt, works, capsys):
    assert world.run(APP, attempt=2) == 0
    ran = []
    app.run = lambda context: ran.append(context) or {}
    assert world.run(APP, attempt=attempt) == 0
    assert bool(ran) is works
    assert ("has done it already" in capsys.readouterr().out) is not works
    assert world.marker().attempt == (3 if works else 2)


def test_a_step_has_one_state(world, app):
    success = app.run

    def fail(_context):
        raise TaskError("no")

    app.run = fail
    world.run(APP, attempt=1)
    assert world.object_keys("run/") == [names.failure_key(MONTH, STEP)]
    app.run = success
    world.run(APP, attempt=2)
    assert world.object_keys("run/") == [names.success_key(MONTH, STEP)]
    app.run = fail
    world.run(APP, attempt=3)
    assert world.object_keys("run/") == [names.failure_key(MONTH, STEP)]


def test_a_late_failure_of_an_older_attempt_does_not_undo_a_success(world, app):
    success = app.run

    def overtaken(_context):
        app.run = success
        world.run(APP, attempt=2)
        raise TaskError("too late")

    app.run = overtaken
    assert world.run(APP, attempt=1) == 1
    assert world.object_keys("run/") == [names.success_key(MONTH, STEP)]
    assert world.marker().attempt == 2


def test_an_interruption_leaves_the_log_and_no_marker(world, app):
    saved = []

    def run(context):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            saved.append(context.settings.attempt)
        return {}

    app.run = run
    before = signal.getsignal(signal.SIGTERM)
    assert world.run(APP) == 143
    assert saved == [1]
    assert not world.object_keys("run/")
    assert "Interrupted" in world.read(LOG).decode()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"TASK_APP": None}, "TASK_APP"),
        ({"BISON_MONTH": None}, "BISON_MONTH"),
        ({"BISON_MONTH": "soon"}, "soon"),
        ({"BISON_STEP": "nonsense"}, "nonsense"),
        ({"BISON_ATTEMPT": "first"}, "BISON_ATTEMPT"),
    ],
)
def test_settings_that_are_missing_or_wrong_are_named(world, change, words, capsys):
    environ = {**world.settings().to_environ(), "TASK_APP": APP, **change}
    environ = {name: value for name, value in environ.items() if value is not None}
    assert entrypoint.main(environ) == 2
    assert words in capsys.readouterr().err
    assert not world.object_keys("run/")


def test_the_test_task_tries_the_machinery(world):
    assert world.run("container.tasks.test_task", step="test_task") == 0
    marker = world.marker(step="test_task")
    assert marker.counts["register_bytes"] == len(world.read(RIIS_KEY))
    assert [output.key for output in marker.outputs] == [names.summary_key(MONTH, "test_task.json")]
    assert world.json(names.summary_key(MONTH, "test_task.json"))["free_disk_bytes"] > 0


@pytest.mark.parametrize("content", [None, b""])
def test_the_test_task_misses_the_register(world, content):
    world.s3.delete_object(Bucket=BUCKET, Key=RIIS_KEY)
    if content is not None:
        world.put(RIIS_KEY, content)
    assert world.run("container.tasks.test_task", step="test_task") == 1
    assert RIIS_KEY in world.marker("failure", "test_task").error
