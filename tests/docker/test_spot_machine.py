"""What a Spot machine does from its first second to its last, on a real engine, with whatever may go wrong."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from engine import push
from spot_machine import HOLD, LOG_PREFIX, MONTH, RECORD, SpotMachine, in_docker

from container.userdata import LIMIT_BYTES, render_userdata
from workflow import names

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.docker

MACHINE_LOG = f"{LOG_PREFIX}machine.log"
TASK_LOG = f"{LOG_PREFIX}task.log"
FAILURE = names.failure_key(MONTH, "test_task")
SUCCESS = names.success_key(MONTH, "test_task")
RESULT = names.summary_key(MONTH, "test_task.json")


def assert_gone(machine: SpotMachine) -> None:
    """The deadline was set before all else, the shutdown came last and once, and nothing is left on the engine."""
    assert machine.calls[0] == "systemd-run --quiet --on-active=3600 shutdown -h now"
    assert machine.calls[-1] == "shutdown -h now"
    assert machine.calls.count("shutdown -h now") == 1
    assert machine.containers == []
    assert machine.volumes == []


# ---------------------------------------------------------------------------- the good run


def test_a_good_run_pulls_runs_and_leaves_marker_result_and_both_logs(new_machine, image):
    """The whole way: install, pull by digest, run with the role's credentials from the metadata service, clean up."""
    machine = new_machine(keep="")  # prune what it finds, as on AWS
    machine.run()
    assert machine.keys == sorted([MACHINE_LOG, TASK_LOG, SUCCESS, RESULT])
    marker = machine.marker("success")
    assert (marker.month, marker.step, marker.attempt) == (MONTH.name, "test_task", 1)
    assert [output.key for output in marker.outputs] == [RESULT]
    assert marker.counts["register_bytes"] == len(machine.object("input/US-RIIS_MasterList.csv"))
    assert json.loads(machine.object(RESULT)) == marker.counts
    assert b"The machinery works" in machine.object(MACHINE_LOG)
    assert image.digest in machine.object(MACHINE_LOG).decode()
    assert any(call.startswith("apt-get") and "docker.io" in call for call in machine.calls)
    assert_gone(machine)
    # Also its image: the next machine pulls it again.
    assert machine.engine.docker("images", "--quiet") == ""


# ---------------------------------------------------------------------------- killed


def test_killed_by_sigterm_while_it_installs_docker(new_machine):
    machine = new_machine(stand_ins={"apt-get": RECORD + HOLD})
    machine.start()
    machine.until_held()
    machine.terminate()
    assert machine.keys == [MACHINE_LOG]
    assert "The machine was shut down from outside." in machine.log


def test_killed_by_sigterm_while_it_pulls(new_machine):
    machine = new_machine(stand_ins=in_docker('"pull "*', HOLD))
    machine.start()
    machine.until_held()
    machine.terminate()
    assert machine.keys == [MACHINE_LOG]
    assert_gone(machine)


def test_killed_by_sigterm_while_its_container_starts(new_machine, image):
    machine = new_machine(stand_ins=in_docker('"compose "*" up "*', HOLD))
    machine.start(image=image.faulty, task_app="faulty_tasks.never_ends")
    machine.until_held()
    machine.terminate()
    assert machine.keys == [MACHINE_LOG]
    assert_gone(machine)


def test_killed_by_sigterm_while_the_task_works(new_machine, image):
    machine = new_machine()
    machine.start(image=image.faulty, task_app="faulty_tasks.never_ends")
    machine.until_the_task_says("working")
    machine.terminate()
    assert FAILURE not in machine.keys
    assert SUCCESS not in machine.keys
    assert MACHINE_LOG in machine.keys
    assert "working" in machine.log
    assert_gone(machine)


def test_killed_by_sigkill_while_the_task_works_it_leaves_nothing_half_written(new_machine, image):
    """No trap can run then: EC2's event or the sweep finds the machine gone, and no marker hides that from them."""
    machine = new_machine()
    machine.start(image=image.faulty, task_app="faulty_tasks.never_ends")
    machine.until_the_task_says("working")
    machine.kill()
    assert machine.calls[0] == "systemd-run --quiet --on-active=3600 shutdown -h now"
    assert machine.keys == []


def test_killed_by_sigterm_in_its_last_words_it_still_says_them(new_machine, image):
    machine = new_machine(stand_ins=in_docker('"logs bison-task"', 'touch "$STATE/held"; /bin/sleep 0.5'))
    machine.start(image=image.faulty, task_app="faulty_tasks.dies")
    machine.until_held()
    machine.signal_script()
    machine.wait()
    assert machine.keys == sorted([MACHINE_LOG, FAILURE])
    assert_gone(machine)


def test_an_interruption_notice_ends_the_task_and_leaves_no_marker(new_machine, image):
    """A failure marker would stop the month, where the next attempt should start."""
    machine = new_machine()
    machine.start(image=image.faulty, task_app="faulty_tasks.never_ends")
    machine.until_the_task_says("working")
    machine.notice = True
    machine.wait()
    assert machine.keys == sorted([MACHINE_LOG, TASK_LOG])
    assert b"Interrupted: this machine is taken away" in machine.object(TASK_LOG)
    assert "AWS took the Spot machine back." in machine.log
    assert_gone(machine)


# ---------------------------------------------------------------------------- failing


@dataclass(frozen=True)
class Fault:
    """says: in the marker's error. keys: what lies in the bucket beside the machine's log and the failure marker."""

    says: str
    task_app: str = ""
    image: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()


FAULTS = {
    "no such image": Fault(
        "Pulling the task image {registry}/bison-tasks@sha256:0000", image="{registry}/bison-tasks@sha256:" + "0" * 64
    ),
    "a registry that refuses": Fault(
        "Pulling the task image {refusing}/bison-tasks", image="{refusing}/bison-tasks@sha256:" + "0" * 64
    ),
    "a registry that is not there": Fault(
        "Pulling the task image 127.0.0.1:9/bison-tasks", image="127.0.0.1:9/bison-tasks@sha256:" + "0" * 64
    ),
    "an image without a program": Fault("ended with exit code 127", image="{broken}"),
    "a module that is not in the image": Fault(
        "ModuleNotFoundError", task_app="container.tasks.nothing", keys=(TASK_LOG,)
    ),
    "settings that are missing": Fault("ended with exit code 2", values={"environment": {}}),
    "packages that cannot be installed": Fault(
        "Reading Ubuntu's package lists failed five times", machine={"stand_ins": {"apt-get": "exit 100"}}
    ),
    "a process that dies": Fault("ended with exit code 137", task_app="faulty_tasks.dies"),
    "more memory than it has": Fault(
        "needed more than its 128 MiB", task_app="faulty_tasks.greedy", values={"memory_mib": 128}
    ),
    "a full disk of the task": Fault(
        "No space left on device",
        task_app="faulty_tasks.fills_disk",
        machine={"volume": {"type": "tmpfs", "device": "tmpfs", "o": "size=8m,mode=1777"}},
        keys=(TASK_LOG,),
    ),
    "a task that never ends": Fault(
        "took longer than its limit",
        task_app="faulty_tasks.never_ends",
        machine={"constants": {"TASK_SECONDS": "3"}},
        keys=(TASK_LOG,),
    ),
    "a task that does not even listen": Fault(
        "took longer than its limit", task_app="faulty_tasks.deaf", machine={"constants": {"TASK_SECONDS": "3"}}
    ),
    "a full disk of the machine": Fault(
        "The machine's disk is full",
        machine={"stand_ins": {"systemd-run": RECORD + "head -c 9000000 /dev/zero >/opt/large"}},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_fails_a_marker_says_what_and_where_and_nothing_runs_on(
    new_machine, image, broken_image, refusing_registry, loopback_registry, name
):
    fault = FAULTS[name]
    of = {"registry": loopback_registry, "refusing": refusing_registry, "broken": broken_image}
    chosen = fault.image.format(**of) or (image.faulty if fault.task_app else image.digest)
    machine = new_machine(**fault.machine)
    machine.run(image=chosen, **({"task_app": fault.task_app} if fault.task_app else {}), **fault.values)
    assert machine.keys == sorted([MACHINE_LOG, FAILURE, *fault.keys]), machine.log
    marker = machine.marker("failure")
    assert fault.says.format(**of) in str(marker.error)
    assert LOG_PREFIX in str(marker.error) or TASK_LOG in machine.keys
    assert (marker.attempt, marker.outputs) == (1, ())
    assert_gone(machine)


@pytest.fixture(scope="module")
def broken_image(docker_engine, image, loopback_registry, tmp_path_factory) -> str:
    context = tmp_path_factory.mktemp("broken")
    (context / "Dockerfile").write_text(f'FROM {image.faulty}\nENTRYPOINT ["nothing-of-this-name"]\n')
    name = f"{loopback_registry}/bison-broken:tested"
    docker_engine.docker("build", "--quiet", "--tag", name, context)
    return push(docker_engine, name, name)


@pytest.fixture(scope="module")
def refusing_registry() -> Iterator[str]:
    """A registry that knows nobody."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="nobody"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# ---------------------------------------------------------------------------- as cloud-init and shellcheck see it


def test_cloud_init_takes_the_real_program_s_userdata_for_a_script(new_machine, tmp_path):
    """cloud-init's own reader (Debian's package cloud-init), not our idea of it."""
    script = render_userdata(new_machine().values)
    (tmp_path / "userdata").write_text(script)
    read = """
import sys
from cloudinit import helpers, user_data
paths = helpers.Paths({"cloud_dir": sys.argv[2], "run_dir": sys.argv[2]})
message = user_data.UserDataProcessor(paths).process(open(sys.argv[1]).read())
print([part.get_content_type() for part in message.walk()])
"""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", read, tmp_path / "userdata", tmp_path], capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("['multipart/mixed', 'text/x-shellscript']"), done.stderr
    subprocess.run(["shellcheck", "--severity=style", tmp_path / "userdata"], check=True)
    assert len(script.encode()) < LIMIT_BYTES
