"""A Spot machine for one test: the rendered userdata in namespaces of its own, on the real engine.

Stand-ins come first on its PATH: for apt-get, shutdown, systemd-run and sleep; for docker one that passes everything
on, but for what is said there. /opt and /var/log are the machine's own small disks. The metadata service is a server
on 127.0.0.1, S3 is the local cloud's, with the instance role's credentials and its policy enforced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import textwrap
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from container.userdata import UserdataValues, render_userdata
from workflow import names
from workflow.markers import Marker
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from engine import Engine

MONTH = Month(2026, 11)
STEP = "test_task"
LOG_PREFIX = f"log/{MONTH.name}/{STEP}/1/"
ROLE = "tasks-role"
SIGTERM_PATIENCE = 3
"""Seconds that ``docker stop`` waits here, in place of 80."""

_INIT = """
mount -t tmpfs -o size="$DISK" opt /opt && mount -t tmpfs -o size="$DISK" log /var/log || exit 99
touch "$STATE/booted"
bash "$STATE/userdata.sh"
echo $? >"$STATE/exit_code"
cp /var/log/bison.log "$STATE/"
"""

RECORD = 'echo "${0##*/} $*" >>"$STATE/calls"\n'

_STAND_INS = {
    "apt-get": RECORD,
    "shutdown": RECORD,
    "systemd-run": RECORD,
    "sleep": RECORD + "exec /bin/sleep 0.2",
    # Compose: version 2 if Docker has it; else version 1, which takes neither `name:` nor `--pull`. An override gives
    # the task the host's network (the engine has no bridge) and the local cloud, and Docker's own log for CloudWatch's.
    # docker system prune: keeps the images that the next test needs.
    "docker": RECORD
    + """
    case "$*" in
      "compose version") exit 1 ;;
      "compose --file "*)
        file=$3
        shift 3
        if "$DOCKER" compose version >/dev/null 2>&1; then
          exec "$DOCKER" compose --file "$file" --file "$STATE/override.yaml" "$@"
        fi
        sed '/^name:/d' "$file" >"$file.v1.yaml" || exit 1
        set -- "${@//never/}"
        [ "$1" = up ] && set -- up --detach
        exec docker-compose --project-name bison --file "$file.v1.yaml" --file "$STATE/override.yaml" "$@" ;;
      "stop -t 80 "*) exec "$DOCKER" stop -t "$PATIENCE" bison-task ;;
      "system prune --all --force --volumes") [ -z "$KEEP" ] || set -- "$@" --filter "label!=$KEEP" ;;
    esac
    exec "$DOCKER" "$@"
    """,
}


def in_docker(pattern: str, does: str) -> dict[str, str]:
    """The stand-in for docker that does something before a command that matches."""
    head, _, tail = _STAND_INS["docker"].partition('case "$*" in\n')
    return {"docker": f'{head}case "$*" in\n      {pattern}) {does} ;;\n    esac\n    case "$*" in\n{tail}'}


HOLD = 'touch "$STATE/held"; /bin/sleep 60'
"""What a stand-in does that waits to be killed."""


@dataclass
class SpotMachine:
    """folder: its state. bucket_url: where its S3 requests go. keep: label of images that its clean-up leaves, or none.

    stand_ins: instead of the usual ones. constants: instead of the script's. disk: size of its disks. volume: options
    of the task's volume. notice: whether EC2 announces the end.
    """

    folder: Path
    engine: Engine
    cloud: Any
    values: UserdataValues
    credentials: Mapping[str, str]
    keep: str = ""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    disk: str = "4m"
    volume: Mapping[str, str] = field(default_factory=dict)
    notice: bool = False

    def __post_init__(self) -> None:
        self._server = _serve(self._metadata)
        self._process: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------------------ what happens to it

    def start(self, **changes: Any) -> None:
        """Switch it on. changes: of UserdataValues."""
        metadata = f"http://127.0.0.1:{self._server.server_port}/latest"
        values = replace(self.values, **changes)
        script = render_userdata(values)
        constants = {"METADATA": metadata, "BUCKET_URL": f"{self.cloud.url}/{values.bucket}", **self.constants}
        for name, value in constants.items():
            script, replaced = re.subn(rf"(?m)^readonly {name}=.*$", f"readonly {name}={value}", script)
            assert replaced == 1, name
        (self.folder / "userdata.sh").write_text(script)
        (self.folder / "init.sh").write_text(_INIT)
        override = {
            "services": {
                "task": {
                    "network_mode": "host",
                    "logging": {"driver": "json-file"},
                    "environment": {
                        "AWS_ENDPOINT_URL": self.cloud.url,
                        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.removesuffix("/latest"),
                    },
                }
            },
            **({"volumes": {"work": {"driver_opts": dict(self.volume)}}} if self.volume else {}),
        }
        (self.folder / "override.yaml").write_text(json.dumps(override))
        commands = self.folder / "bin"
        commands.mkdir()
        for name, text in {**_STAND_INS, **self.stand_ins}.items():
            (commands / name).write_text("#!/bin/bash\n" + textwrap.dedent(text))
            (commands / name).chmod(0o755)
        environment = {
            "PATH": f"{commands}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "STATE": str(self.folder),
            "DOCKER": str(shutil.which("docker")),
            "DOCKER_HOST": self.engine.host,
            "PATIENCE": str(SIGTERM_PATIENCE),
            "KEEP": self.keep,
            "DISK": self.disk,
        }
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", self.folder / "init.sh"],
            env=environment,
            start_new_session=True,
        )

    def run(self, **changes: Any) -> None:
        self.start(**changes)
        self.wait()

    def wait(self) -> None:
        """Until its script has ended."""
        assert self._process is not None
        self._process.wait(timeout=90)

    def until(self, there: Callable[[], object], what: str) -> None:
        """Wait until something is there."""
        deadline = time.monotonic() + 60
        while not there():
            assert time.monotonic() < deadline, f"{what} did not come. {self.log}"
            assert self.on, f"the machine ended before {what} came. {self.log}"
            time.sleep(0.05)

    def until_held(self) -> None:
        self.until((self.folder / "held").exists, "the moment to be killed")

    def until_the_task_says(self, text: str) -> None:
        self.until(lambda: text in self.engine.docker("logs", "bison-task", check=False), f"the task's {text!r}")

    def terminate(self) -> None:
        """Shut it down from outside: every process gets SIGTERM, as systemd does it."""
        self._inside("kill -TERM -1")
        self.wait()

    def signal_script(self) -> None:
        """SIGTERM for its script alone."""
        self._inside("pkill -TERM --full '^bash .*/userdata.sh'")

    def kill(self) -> None:
        """Switch it off: its processes are gone at once, and with them whatever ran in its containers."""
        os.kill(int(self._init()), 9)
        self.wait()
        self.engine.docker("kill", *self.containers)

    def close(self) -> None:
        """Leave nothing running, whatever the test found."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        self._server.shutdown()
        self._server.server_close()
        self.engine.clear()

    # ------------------------------------------------------------------------ what is left of it

    @property
    def on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def log(self) -> str:
        """What the script said: from the disk, or from S3."""
        path = self.folder / "bison.log"
        return path.read_text() if path.exists() else (self.object(f"{LOG_PREFIX}machine.log") or b"").decode()

    @property
    def containers(self) -> list[str]:
        return self.engine.docker("ps", "--all", "--quiet").split()

    @property
    def volumes(self) -> list[str]:
        return self.engine.docker("volume", "ls", "--quiet").split()

    @property
    def keys(self) -> list[str]:
        """What lies in the bucket, but for the inputs."""
        return [key for key in self.cloud.keys(self.values.bucket) if not key.startswith("input/")]

    def object(self, key: str) -> bytes | None:
        content: bytes | None = self.cloud.read(self.values.bucket, key)
        return content

    def marker(self, outcome: str) -> Marker | None:
        content = self.object(names.run_key(MONTH, STEP, outcome))
        return None if content is None else Marker.from_json(content)

    # ------------------------------------------------------------------------ around it

    def _inside(self, command: str) -> None:
        subprocess.run(["nsenter", "--target", self._init(), "--pid", "--mount", "bash", "-c", command], check=True)

    def _init(self) -> str:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return children[0]

    def _metadata(self, path: str) -> str | None:
        tags = {"stack": "local", "month": MONTH.name, "step": STEP, "attempt": "1"}
        given = {
            "AccessKeyId": self.credentials["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": self.credentials["AWS_SECRET_ACCESS_KEY"],
            "Token": self.credentials["AWS_SESSION_TOKEN"],
        }
        role = {"Code": "Success", "Type": "AWS-HMAC", "Expiration": "2099-01-01T00:00:00Z", **given}
        return {
            "iam/security-credentials/": ROLE,
            f"iam/security-credentials/{ROLE}": json.dumps(role),
            **{f"tags/instance/bison:{name}": value for name, value in tags.items()},
            **({"spot/instance-action": '{"action": "terminate"}'} if self.notice else {}),
        }.get(path)


def _serve(metadata: Callable[[str], str | None]) -> ThreadingHTTPServer:
    """A metadata service, version 2 only."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_PUT(self) -> None:
            asked = "X-aws-ec2-metadata-token-ttl-seconds" in self.headers and self.path == "/latest/api/token"
            self.answer(200, "token") if asked else self.answer(400)

        def do_GET(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") != "token":
                return self.answer(401)
            found = metadata(self.path.removeprefix("/latest/meta-data/"))
            return self.answer(404) if found is None else self.answer(200, found)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
