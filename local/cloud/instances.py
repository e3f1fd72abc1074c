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
    from collections.abc import Callable, Mapping

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
    """

    def __init__(
        self,
        *,
        publish: Callable[[Event], None],
        credentials: Callable[[str], Mapping[str, str]],
        terminate: Callable[[str], None],
        logs: Path,
        on_progress: Callable[[str, str, int, int], None],
    ) -> None:
        self._publish = publish
        self._credentials = credentials
        self._terminate = terminate
        self._logs = logs
        self._on_progress = on_progress
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
                    _stop(self._processes.pop(instance.id, None))
                    self._publish(instance_state_changed(instance.id, "shutting-down"))
                    self._publish(instance_state_changed(instance.id, state))

    def stop(self) -> None:
        """End every process, without telling anybody."""
        with self._lock:
            for process in self._processes.values():
                _stop(process)
            self._processes.clear()
            self._states = dict.fromkeys(self._states, "terminated")

    def _start(self, instance: Any, template: Mapping[str, Any]) -> None:
        tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BISON_"))},
            **parse_environment(template["UserData"].decode()),
            **{variable: tags[tag] for tag, variable in TAGGED_VARIABLES.items()},
            **self._credentials(calls.instance_role(template)),
            "PYTHONUNBUFFERED": "1",
        }
        step, attempt = tags[names.TAG_STEP], tags[names.TAG_ATTEMPT]
        process = subprocess.Popen(
            [sys.executable, "-m", "container.entrypoint"],
            cwd=CODE_ROOT,
            env=environment,
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


def _stop(process: subprocess.Popen[str] | None) -> None:
    if process is None or process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
