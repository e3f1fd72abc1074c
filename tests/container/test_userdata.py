"""The userdata: as text, and run for real with stand-ins for apt-get, docker, shutdown and the metadata service."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from container.userdata import LIMIT_BYTES, TAGGED, UserdataValues, parse_environment, render_userdata
from workflow.markers import Marker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/bison-tasks:abc@sha256:" + "1" * 64
ENVIRONMENT = {
    "BISON_BUCKET": "bison-data",
    "BISON_CONTACT": "someone+bison@example.org",
    "BISON_RIIS_KEY": "input/US RIIS $v2 (2022).csv",
    "BISON_PRESENCE_THRESHOLDS": "1,3",
}
VALUES = UserdataValues(
    region="us-east-1",
    bucket="bison-data",
    image=IMAGE,
    log_group="/bison/tasks",
    task_app="container.tasks.calc_stats",
    memory_mib=1400,
    limit=timedelta(hours=2),
    environment=ENVIRONMENT,
)
RUN = "run/2026_11_01/calc_stats"
LOG_KEY = "log/2026_11_01/calc_stats/2/machine.log"

# ---------------------------------------------------------------------------- the text


def test_it_is_valid_bash_for_cloud_init_and_small_enough(tmp_path: Path) -> None:
    script = render_userdata(VALUES)
    assert script.startswith("#!/bin/bash\n")
    assert len(script.encode()) < LIMIT_BYTES - 4096  # room for more settings
    assert "%%" not in script
    path = tmp_path / "userdata.sh"
    path.write_text(script)
    subprocess.run(["bash", "-n", str(path)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(path)], check=True)


def test_trap_and_deadline_come_before_anything_that_can_fail() -> None:
    """What fails before the trap is set leaves a machine running that costs money."""
    commands = [line for line in render_userdata(VALUES).splitlines() if line and not line.startswith("#")]
    assert commands[0].startswith("trap ")
    assert "shutdown -h now" in commands[0]
    first_command = next(line for line in commands[1:] if not line.startswith("readonly "))
    assert first_command.startswith('systemd-run --quiet --on-active="$LIMIT_SECONDS" shutdown -h now')
    assert "readonly LIMIT_SECONDS=7200" in commands
    assert "readonly TASK_SECONDS=6600" in commands


def test_the_environment_is_read_back_as_it_was_given() -> None:
    assert parse_environment(render_userdata(VALUES)) == ENVIRONMENT | {
        "TASK_APP": "container.tasks.calc_stats",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def test_userdata_of_somebody_else_is_refused() -> None:
    with pytest.raises(ValueError, match="render_userdata did not make it"):
        parse_environment("#!/bin/bash\nTASK_APP='x'\n")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"environment": {"BISON_CONTACT": "o'neill@example.org"}}, "BISON_CONTACT"),
        ({"environment": {"BISON_RIIS_KEY": "a\nTASK_ENVIRONMENT\nrm -rf /"}}, "BISON_RIIS_KEY"),
        ({"limit": timedelta(minutes=10)}, "too short"),
        ({"environment": {"BISON_RIIS_KEY": "x" * LIMIT_BYTES}}, "EC2 takes"),
    ],
)
def test_values_that_would_break_the_script_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        render_userdata(UserdataValues(**(VALUES.__dict__ | change)))


def test_only_ecr_gets_the_credential_helper() -> None:
    """Docker fails to pull a public image if it is told to ask ECR for its password."""
    helper = '{"credHelpers": {"123456789012.dkr.ecr.us-east-1.amazonaws.com": "ecr-login"}}'
    assert helper in render_userdata(VALUES)
    public = render_userdata(UserdataValues(**(VALUES.__dict__ | {"image": "ghcr.io/bison/tasks@sha256:" + "1" * 64})))
    assert '{"credHelpers": {}}' in public


# ---------------------------------------------------------------------------- a machine to run it on


@dataclass
class Machine:
    """What surrounds the script. objects: the bucket; puts: keys in the order in which they were written.

    metadata: what the metadata service answers; docker: what Docker does (see the stand-in).
    """

    folder: Path
    objects: dict[str, bytes] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    refuse_puts: bool = False
    badly_signed: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    docker: dict[str, str] = field(default_factory=dict)
    port: int = 0

    def start(self, values: UserdataValues = VALUES, **constants: str) -> subprocess.Popen[bytes]:
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        for name, text in {**STAND_INS, **self.docker}.items():
            (bin_folder / name).write_text("#!/bin/bash\n" + textwrap.dedent(text))
            (bin_folder / name).chmod(0o755)
        script = render_userdata(values)
        constants = {
            "METADATA": f"http://127.0.0.1:{self.port}/latest",
            "BUCKET_URL": f"http://127.0.0.1:{self.port}/bucket",
            "FOLDER": str(self.folder / "bison"),
            "LOG": str(self.folder / "bison.log"),
            **constants,
        }
        for name, value in constants.items():
            script, replaced = re.subn(rf"(?m)^readonly {name}=.*$", f"readonly {name}={value}", script)
            assert replaced == 1, name
        path = self.folder / "userdata.sh"
        path.write_text(script)
        environ = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "STATE": str(self.folder), "LC_ALL": "C.UTF-8"}
        return subprocess.Popen(["bash", str(path)], env=environ, start_new_session=True)

    def run(self, **constants: str) -> int:
        return self.start(**constants).wait(timeout=60)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def log(self) -> str:
        return (self.folder / "bison.log").read_text()

    def failure(self) -> Marker:
        return Marker.from_json(self.objects[f"{RUN}/failure.json"])


RECORD = 'echo "${0##*/} $*" >>"$STATE/calls"\n'

STAND_INS = {
    "shutdown": RECORD,
    "systemd-run": RECORD,
    "apt-get": RECORD,
    "sleep": RECORD,
    "python3": f'exec {sys.executable} -I "$@"',
    # Two looks find the container running, the third finds it gone.
    "docker": RECORD
    + """
    case "$*" in
      "compose version") exit 1 ;;
      *" up "*) env >"$STATE/environment" ;;
      "inspect --format {{.State.Running}} "*)
        echo x >>"$STATE/looks"
        if [ "$(wc -l <"$STATE/looks")" -lt 3 ]; then echo true; else echo false; fi ;;
      "inspect --format {{.State.ExitCode}}"*) echo "0 false" ;;
      "logs "*) echo "what the task said" ;;
    esac
    """,
}


def docker_that(pattern: str, does: str) -> dict[str, str]:
    """The stand-in for Docker with another answer to some commands."""
    return {"docker": STAND_INS["docker"].replace('case "$*" in\n', f'case "$*" in\n      {pattern}) {does} ;;\n', 1)}


KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalr/XUtnFEMI+K7MDENG", "session//token=="


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    machine.metadata = {
        "iam/security-credentials/": "tasks-role",
        "iam/security-credentials/tasks-role": json.dumps(
            {"Code": "Success", "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": TOKEN}
        ),
        "tags/instance/bison:stack": "prod",
        "tags/instance/bison:month": "2026_11_01",
        "tags/instance/bison:step": "calc_stats",
        "tags/instance/bison:attempt": "2",
    }

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/latest/api/token":
                return self.answer(200 if "X-aws-ec2-metadata-token-ttl-seconds" in self.headers else 400, b"token")
            if not signed_well(self):
                machine.badly_signed.append(self.path)
            if machine.refuse_puts:
                return self.answer(403)
            key = self.path.removeprefix("/bucket/")
            machine.objects[key] = body
            machine.puts.append(key)
            return self.answer(200)

        def do_GET(self) -> None:
            if self.path.startswith("/latest/meta-data/"):
                found = machine.metadata.get(self.path.removeprefix("/latest/meta-data/"))
                if self.headers.get("X-aws-ec2-metadata-token") != "token":
                    return self.answer(401)
                return self.answer(404) if found is None else self.answer(200, found.encode())
            if not signed_well(self):
                machine.badly_signed.append(self.path)
            found_object = machine.objects.get(self.path.removeprefix("/bucket/"))
            return self.answer(404) if found_object is None else self.answer(200, found_object)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    machine.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield machine
    server.shutdown()
    thread.join()
    server.server_close()


def signed_well(request: BaseHTTPRequestHandler) -> bool:
    """Whether botocore would have signed the request the same."""
    authorization = request.headers.get("Authorization", "")
    signed = re.search(r"SignedHeaders=([^,]+),", authorization)
    if signed is None or request.headers.get("x-amz-security-token") != TOKEN:
        return False
    headers = {name: request.headers[name] for name in signed[1].split(";")}
    again = AWSRequest(request.command, f"http://{request.headers['Host']}{request.path}", headers=headers)
    again.context["timestamp"] = request.headers["X-Amz-Date"]
    signer = S3SigV4Auth(Credentials(KEY_ID, SECRET, TOKEN), "s3", "us-east-1")
    return signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again) in authorization


def marker(outcome: str, attempt: int) -> bytes:
    error = "The register has no column locality." if outcome == "failure" else None
    times = ("2026-11-22T00:00:00+00:00", "2026-11-22T00:10:00+00:00")
    return Marker("2026_11_01", "calc_stats", attempt, *times, error=error).to_json().encode()


def assert_gone(machine: Machine) -> None:
    """Whatever happened: the deadline first, the shutdown last, Docker cleaned up, every request signed."""
    assert machine.calls[0] == "systemd-run --quiet --on-active=7200 shutdown -h now"
    assert machine.calls[-1] == "shutdown -h now"
    assert machine.calls.count("shutdown -h now") == 1
    assert "docker system prune --all --force --volumes" in machine.calls
    assert machine.badly_signed == []


# ---------------------------------------------------------------------------- what happens on it


def test_a_good_run_installs_pulls_runs_and_leaves_only_its_log(machine: Machine) -> None:
    machine.objects[f"{RUN}/success.json"] = marker("success", 2)
    assert machine.run() == 0
    assert machine.puts == [LOG_KEY]
    assert "what the task said" in machine.objects[LOG_KEY].decode()
    steps = [call for call in machine.calls if call.startswith(("apt-get", "docker pull", "docker compose --file"))]
    assert [re.sub(r"--file \S+", "--file F", step) for step in steps] == [
        "apt-get -o DPkg::Lock::Timeout=300 update",
        "apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends docker.io docker-compose-v2 "
        "amazon-ecr-credential-helper",
        f"docker pull --quiet {IMAGE}",
        "docker compose --file F up --detach --pull never",
        "docker compose --file F down --volumes",
    ]
    assert_gone(machine)


def test_compose_gets_every_variable_that_its_file_names(machine: Machine) -> None:
    """Compose takes a missing variable for an empty text, or stops the machine's only piece of work."""
    machine.run()
    environment = dict(
        line.split("=", 1) for line in (machine.folder / "environment").read_text().splitlines() if "=" in line
    )
    compose = (machine.folder / "bison" / "compose.yaml").read_text()
    assert {name: environment[name] for name in re.findall(r"\$\{(\w+):\?\}", compose)} == {
        "IMAGE": IMAGE,
        "MEMORY_MIB": "1400",
        "AWS_REGION": "us-east-1",
        "LOG_GROUP": "/bison/tasks",
        "LOG_STREAM": "2026_11_01/calc_stats/2",
        "BISON_STACK": "prod",
        "BISON_MONTH": "2026_11_01",
        "BISON_STEP": "calc_stats",
        "BISON_ATTEMPT": "2",
    }
    task = yaml.safe_load(compose)["services"]["task"]
    assert set(TAGGED) <= task["environment"].keys()
    assert task["env_file"] == "task.env"
    assert "BISON_RIIS_KEY='input/US RIIS $v2 (2022).csv'" in (machine.folder / "bison" / "task.env").read_text()


def test_docker_that_is_there_already_is_not_installed_again(machine: Machine) -> None:
    machine.docker = docker_that('"compose version"', "exit 0") | {"docker-credential-ecr-login": ""}
    machine.run()
    assert not [call for call in machine.calls if call.startswith("apt-get")]


@pytest.mark.parametrize(
    ("stand_ins", "says"),
    [
        ({"apt-get": RECORD + "exit 100"}, "Reading Ubuntu's package lists failed five times"),
        (docker_that('"pull "*', "exit 1"), f"Pulling the task image {IMAGE} failed five times"),
        (docker_that('*" up "*', "exit 1"), "The task's container did not start"),
        (docker_that('"inspect --format {{.State.ExitCode}}"*', 'echo "137 true"'), "needed more than its 1400 MiB"),
        (docker_that('"inspect --format {{.State.ExitCode}}"*', 'echo "137 false"'), "ended with exit code 137"),
        (docker_that('"inspect "*', "exit 1"), "The task's container is gone"),
        ({}, "ended with exit code 0 and left no marker"),
    ],
)
def test_whatever_fails_a_failure_marker_says_what_and_where(
    machine: Machine, stand_ins: dict[str, str], says: str
) -> None:
    machine.docker = stand_ins
    machine.run()
    failure = machine.failure()
    assert says in str(failure.error)
    assert LOG_KEY in str(failure.error)
    assert (failure.month, failure.step, failure.attempt, failure.code) == ("2026_11_01", "calc_stats", 2, IMAGE)
    assert failure.started <= failure.finished
    assert machine.puts == [LOG_KEY, f"{RUN}/failure.json"]
    assert_gone(machine)


def test_retries_wait_longer_each_time(machine: Machine) -> None:
    machine.docker = docker_that('"pull "*', "exit 1")
    machine.run()
    pauses = [call for call in machine.calls if call.startswith("sleep")]
    assert pauses == ["sleep 5", "sleep 10", "sleep 20", "sleep 40"]
    assert sum(call.startswith("docker pull") for call in machine.calls) == 5


def test_the_task_s_own_failure_marker_stays(machine: Machine) -> None:
    machine.docker = docker_that('"inspect --format {{.State.ExitCode}}"*', 'echo "1 false"')
    machine.objects[f"{RUN}/failure.json"] = marker("failure", 2)
    machine.run()
    assert machine.failure().error == "The register has no column locality."
    assert_gone(machine)


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_a_marker_of_an_older_attempt_does_not_hide_this_one_s_failure(machine: Machine, outcome: str) -> None:
    machine.objects[f"{RUN}/{outcome}.json"] = marker(outcome, 1)
    machine.run()
    assert machine.failure().attempt == 2


def test_an_interrupted_task_is_told_and_leaves_no_marker(machine: Machine) -> None:
    """A failure marker would stop the month, where the next attempt should start."""
    machine.metadata["spot/instance-action"] = '{"action": "terminate", "time": "2026-11-22T12:00:00Z"}'
    machine.run()
    assert "docker stop -t 80 bison-task" in machine.calls
    assert machine.puts == [LOG_KEY]
    assert "AWS took the Spot machine back" in machine.log
    assert_gone(machine)


def test_a_task_past_its_limit_is_stopped_and_fails(machine: Machine) -> None:
    machine.run(TASK_SECONDS="-1")
    assert "docker stop -t 80 bison-task" in machine.calls
    assert "took longer than its limit" in str(machine.failure().error)
    assert_gone(machine)


def test_a_shutdown_from_outside_is_like_an_interruption(machine: Machine) -> None:
    machine.docker = docker_that('"inspect --format {{.State.Running}} "*', "echo true")
    process = machine.start()
    deadline = time.monotonic() + 30
    while not (machine.folder / "environment").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.wait(timeout=30)
    assert machine.puts == [LOG_KEY]
    assert_gone(machine)


def test_a_machine_that_does_not_know_its_task_still_goes(machine: Machine) -> None:
    del machine.metadata["tags/instance/bison:attempt"]
    machine.run()
    assert machine.puts == []
    assert "does not show the tag bison:attempt" in machine.log
    assert_gone(machine)


def test_a_bucket_that_takes_nothing_keeps_no_machine_running(machine: Machine) -> None:
    machine.refuse_puts = True
    machine.docker = docker_that('"pull "*', "exit 1")
    machine.run()
    assert machine.objects == {}
    assert_gone(machine)


def test_without_systemd_the_deadline_is_shutdown_s_own(machine: Machine) -> None:
    machine.docker = {"systemd-run": RECORD + "exit 1"}
    machine.run()
    assert machine.calls[1] == "shutdown -h +120"
    assert machine.calls[-1] == "shutdown -h now"
