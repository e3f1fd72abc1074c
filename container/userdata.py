"""What a Spot machine is told at its start: the script in ``userdata.sh``, filled in."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

LIMIT_BYTES = 16 * 1024
"""EC2 refuses userdata above 16 KB (before base64)."""

TAGGED = ("BISON_STACK", "BISON_MONTH", "BISON_STEP", "BISON_ATTEMPT")
"""Variables of TaskSettings that the machine reads from its own tags; the userdata has all others."""

_LAST_MINUTES = 10 * 60
"""Seconds between the task's own limit and the machine's: enough to stop the task, save its log and say why."""

_ENVIRONMENT = re.compile(r"^cat >\S+ <<'TASK_ENVIRONMENT'\n(?P<lines>.*?)^TASK_ENVIRONMENT$", re.DOTALL | re.MULTILINE)
_ENVIRONMENT_LINE = re.compile(r"^(?P<variable>[A-Z_]+)='(?P<value>[^']*)'$", re.MULTILINE)
_ECR_HOST = re.compile(r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com$")


@dataclass(frozen=True)
class UserdataValues:
    """What differs between launch templates.

    region: AWS region of the stack. bucket: the data bucket. image: the task image by digest. log_group: the CloudWatch
    log group of the tasks. task_app: the Python module that the image runs. memory_mib: the container's limit.
    limit: after this the machine is gone, whatever it does; at least 20 minutes.
    environment: the task's other variables: those of TaskSettings but for TAGGED.
    """

    region: str
    bucket: str
    image: str
    log_group: str
    task_app: str
    memory_mib: int
    limit: timedelta
    environment: Mapping[str, str]


class _ShellTemplate(Template):
    """``%%{name}`` instead of ``${name}``, which belongs to the shell."""

    delimiter = "%%"


def render_userdata(values: UserdataValues) -> str:
    """The script as cloud-init gets it (not yet in base64).

    Raises ValueError if a value would break the script, the limit is too short, or the whole exceeds LIMIT_BYTES.
    """
    limit_seconds = int(values.limit.total_seconds())
    if limit_seconds < 2 * _LAST_MINUTES:
        raise ValueError(f"A task's limit of {values.limit} is too short: set-up and clean-up need 20 minutes.")
    environment = {"TASK_APP": values.task_app, "AWS_DEFAULT_REGION": values.region, **values.environment}
    for variable, value in environment.items():
        if "'" in value or "\n" in value:
            raise ValueError(f"{variable}={value!r} has an apostrophe or a line break: the userdata cannot carry it.")
    settings = {
        "LIMIT_SECONDS": str(limit_seconds),
        "TASK_SECONDS": str(limit_seconds - _LAST_MINUTES),
        "AWS_REGION": values.region,
        "BUCKET_URL": f"https://{values.bucket}.s3.{values.region}.amazonaws.com",
        "IMAGE": values.image,
        "MEMORY_MIB": str(values.memory_mib),
        "LOG_GROUP": values.log_group,
        "METADATA": "http://169.254.169.254/latest",
        "FOLDER": "/opt/bison",
        "LOG": "/var/log/bison.log",
    }
    registry = values.image.partition("/")[0]
    helpers = {registry: "ecr-login"} if _ECR_HOST.match(registry) else {}
    script = _ShellTemplate(_text("userdata.sh")).substitute(
        settings="\n".join(f"readonly {name}={shlex.quote(value)}" for name, value in settings.items()),
        environment="\n".join(f"{variable}='{value}'" for variable, value in sorted(environment.items())),
        docker_configuration=json.dumps({"credHelpers": helpers}),
        compose=_text("compose.yaml").rstrip(),
    )
    if (size := len(script.encode())) > LIMIT_BYTES:
        raise ValueError(f"The userdata has {size} bytes: EC2 takes {LIMIT_BYTES}.")
    return script


def parse_environment(userdata: str) -> dict[str, str]:
    """What the script gives the task: ``TASK_APP``, ``AWS_DEFAULT_REGION`` and the ``BISON_*`` that are not TAGGED.

    Raises ValueError if ``userdata`` is none of ours.
    """
    block = _ENVIRONMENT.search(userdata)
    if block is None:
        raise ValueError("This userdata has no TASK_ENVIRONMENT block: render_userdata did not make it.")
    return {line["variable"]: line["value"] for line in _ENVIRONMENT_LINE.finditer(block["lines"])}


def _text(name: str) -> str:
    return files("container").joinpath(name).read_text(encoding="utf-8")
