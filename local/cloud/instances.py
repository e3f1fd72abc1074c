"""The machines of a fleet, as processes: a new instance in moto runs its task, and ends with it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends

from container.task import PROGRESS_MARK
from container.userdata import parse_environment
from local.cloud import calls
from local.cloud.access import ACCOUNT, REGION
from local.cloud.events import Event, instance_state_changed
from workflow import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LOG = logging.getLogger("bison.local.instances")

CODE_ROOT = Path(__file__).resolve().parents[2]
"""Where ``python -m container.entrypoint`` finds its package."""

_SECONDS_TO_STOP = 10

TAGGED_VARIABLES = {
    names.TAG_STACK: "BISON_STACK",
    names.TAG_MONTH: "BISON_MONTH",
    names.TAG_STEP: "BISON_STEP",
    names.TAG_ATTEMPT: "BISON_ATTEMPT",
}


class Instances:
    """Runs a process for each running instance of moto and tells of every change of state.

    publish: takes EC2's events. credentials: gives a role's credentials, as environment variables. terminate: ends an
    instance in moto. logs: folder of the processes' output. on_progress: takes step, label, done and total.
    image: the task image for Docker to run; None: the task is a process of this checkout.
    """

    def __init__(
        self,
        *,
        publish: Callable[[Event], None],
        credentials: Callable[[str], Mapping[str, str]],
        terminate: Callable[[str], None],
        logs: Path,
        on_progress: Callable[[str, str, int, int], None],
        image: str | None = None,
    ) -> None:
        self._publish = publish
        self._credentials = credentials
        self._terminate = terminate
        self._logs = logs
        self._on_progress = on_progress
        self._image = image
        self._states: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._lock = threading.RLock()

    @property
    def running(self) -> bool:
        """Whether any instance has not ended yet."""
        with self._lock:
            return any(state != "terminated" for state in self._states.values())

    def observe(self) -> None:
        """Look at moto's instances: start what is new, stop what was terminated, and say so."""
        with self._lock:
            for instance in ec2_backends[ACCOUNT][REGION].all_instances():
                state = str(instance.state)
                if instance.id not in self._states:
                    # None while moto is still making the instance's fleet: its answer leads here again.
                    if (template := _launch_template(instance.id)) is not None:
                        self._states[instance.id] = state
                        self._publish(instance_state_changed(instance.id, "pending"))
                        self._publish(instance_state_changed(instance.id, state))
                        self._start(instance, template)
                elif state == "terminated" != self._states[instance.id]:
                    self._states[instance.id] = state
                    self._stop(instance.id)
                    self._publish(instance_state_changed(instance.id, "shutting-down"))
                    self._publish(instance_state_changed(instance.id, state))

    def stop(self) -> None:
        """End every process, without telling anybody."""
        with self._lock:
            for instance_id in list(self._processes):
                self._stop(instance_id)
            self._states = dict.fromkeys(self._states, "terminated")

    def _start(self, instance: Any, template: Mapping[str, Any]) -> None:
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        variables = {
            **parse_environment(template["UserData"].decode()),
            **{variable: tags[tag] for tag, variable in TAGGED_VARIABLES.items()},
            **self._credentials(calls.instance_role(template)),
            "PYTHONUNBUFFERED": "1",
        }
        step, attempt = tags[names.TAG_STEP], tags[names.TAG_ATTEMPT]
        command = [sys.executable, "-m", "container.entrypoint"]
        if self._image is not None:
            command = _docker_run(self._image, _container(instance.id), variables)
        others = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BISON_"))}
        process = subprocess.Popen(
            command,
            cwd=CODE_ROOT,
            env={**others, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Of its own session, so that Ctrl-C reaches the local run alone, which then ends it in order.
            start_new_session=True,
        )
        self._processes[instance.id] = process
        log = self._logs / f"{step}_{attempt}.log"
        LOG.info("Instance %s runs %s, attempt %s: see %s", instance.id, step, attempt, log)
        threading.Thread(target=self._follow, args=(instance.id, process, step, log), name=step, daemon=True).start()

    def _follow(self, instance_id: str, process: subprocess.Popen[str], step: str, log: Path) -> None:
        with log.open("a", encoding="utf-8") as file:
            for line in process.stdout or ():
                if line.startswith(PROGRESS_MARK):
                    with suppress(ValueError, KeyError):
                        state = json.loads(line.removeprefix(PROGRESS_MARK))
                        self._on_progress(step, state["label"], int(state["done"]), int(state["total"]))
                else:
                    file.write(line)
                    file.flush()
        LOG.info("Instance %s ended with exit code %d", instance_id, process.wait())
        with self._lock:
            ours = self._processes.pop(instance_id, None) is not None
        if ours:
            self._terminate(instance_id)

    def _stop(self, instance_id: str) -> None:
        """End the instance's process as EC2 does: SIGTERM, which docker passes on, and SIGKILL after a while."""
        process = self._processes.pop(instance_id, None)
        if process is None or process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if self._image is not None:
                subprocess.run(["docker", "rm", "--force", _container(instance_id)], capture_output=True)


def _launch_template(instance_id: str) -> Mapping[str, Any] | None:
    """Data of the launch template that the instance's fleet started it from; None if no fleet has it."""
    for fleet in ec2_backends[ACCOUNT][REGION].fleets.values():
        for started in fleet.instances or ():
            if instance_id in started["InstanceIds"]:
                specification = started["LaunchTemplateAndOverrides"]["LaunchTemplateSpecification"]
                template = calls.find_launch_template(specification)
                data: Mapping[str, Any] = template.get_version(specification.get("Version", "$Default")).data
                return data
    return None


def _container(instance_id: str) -> str:
    return f"bison-{instance_id}"


def _docker_run(image: str, name: str, variables: Iterable[str]) -> list[str]:
    """The command that runs a task like container/compose.yaml. Variables by name: a process list shows no values."""
    options = ["--rm", "--pull", "never", "--init", "--name", name]
    # The host's network: the local cloud and the sample's GBIF are on 127.0.0.1.
    options += ["--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    options += ["--volume", "/work", "--env", "TMPDIR=/work"]
    return ["docker", "run", *options, *(f"--env={variable}" for variable in variables), image]
