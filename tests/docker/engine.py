"""A Docker engine of the tests' own, a registry on the loopback, and the task image built from this checkout."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bison-workflow"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
KEPT = "bison.test=kept"
"""Label of images that a machine's clean-up leaves for the next test; the base has it, so the task image too."""
SUITE = "bookworm"
START_SECONDS = 30


class MissingProgramError(Exception):
    """Something that the tests need is not installed: its text says what to install."""


def program(name: str, package: str) -> str:
    """Path of a program. Raises MissingProgramError that names Debian's package."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        raise MissingProgramError(f"{name} is not installed; Debian and Ubuntu have it in the package {package}.")
    return found


@dataclass(frozen=True)
class Engine:
    """A running dockerd. host: for ``DOCKER_HOST``."""

    host: str

    def docker(self, *arguments: object, timeout: float = 300, check: bool = True) -> str:
        """Standard output of a docker command, stripped. Raises CalledProcessError with what it said."""
        done = subprocess.run(
            ["docker", *map(str, arguments)],
            env={**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"docker {' '.join(map(str, arguments))}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout.strip()

    def clear(self) -> None:
        """Remove every container and volume: what a machine that is switched off leaves nothing of."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *containers)
        self.docker("volume", "prune", "--force")


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Start dockerd on a socket and a data folder of its own; stop it and remove them at the end.

    Never the machine's own engine: the userdata prunes all that it finds.
    """
    host = f"unix://{folder}/docker.sock"
    command = [program("dockerd", "docker.io"), "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    command += ["--host", host, "--pidfile", f"{folder}/docker.pid", "--bridge", "none", "--iptables=false"]
    with _process(command, folder / "dockerd.log", lambda: _answers(host)):
        yield Engine(host)
    # A container's file system stays mounted when dockerd was killed.
    mounts = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    below = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{folder}/")]
    for mount in sorted(below, reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(folder)


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Serve a registry on the loopback. Yields ``127.0.0.1:port``, which Docker speaks plain HTTP to."""
    address = f"127.0.0.1:{free_port()}"
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: '{address}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/registry'}}, delete: {{enabled: true}}}}\n"
    )
    command = [program("docker-registry", "docker-registry"), "serve", str(settings)]
    with _process(command, folder / "registry.log", lambda: urlopen(f"http://{address}/v2/", timeout=1).status == 200):
        yield address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_base(on: Engine) -> str:
    """Name of an image with Python to build on: made by debootstrap once for all runs, no registry is asked.

    It trusts the certificates that this machine trusts, so that pip works wherever it works here.
    """
    archive = CACHE / f"{SUITE}-python3.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        root, packed = CACHE / f"root-{os.getpid()}", CACHE / f"{archive.name}.{os.getpid()}"
        packages = "--include=python3,python3-venv,ca-certificates"
        command = [program("debootstrap", "debootstrap"), "--variant=minbase", packages, SUITE, str(root)]
        try:
            subprocess.run([*command, *debian_mirror()], check=True, stdout=subprocess.DEVNULL)
            for path in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
                shutil.rmtree(root / path)
            shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
            (root / "etc/pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\ntimeout = 180\n")
            subprocess.run(["tar", "--directory", root, "--create", "--file", packed, "."], check=True)
            packed.rename(archive)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    name = f"bison-base:{SUITE}"
    on.docker("import", "--change", f"LABEL {KEPT}", archive, name)
    return name


def debian_mirror() -> list[str]:
    """Where this machine's apt gets Debian from, if that is a mirror of Debian; else debootstrap uses its default."""
    for line in subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        if line.rstrip("/").endswith("/debian"):
            return [line]
    return []


def build_task_image(on: Engine, base: str, name: str, checkout: Path = PROJECT) -> float:
    """Build container/Dockerfile from a checkout. Returns the seconds that it took."""
    begun = time.monotonic()
    on.docker(
        *("build", "--quiet", "--network", "host", "--build-arg", f"BASE={base}", "--build-arg", "REVISION=tested"),
        *("--file", checkout / "container" / "Dockerfile", "--tag", name, checkout),
        timeout=900,
    )
    return time.monotonic() - begun


def push(on: Engine, image: str, to: str) -> str:
    """Push an image; return it by digest, as a launch template names it."""
    on.docker("tag", image, to)
    on.docker("push", "--quiet", to)
    repository = to.rpartition(":")[0]
    digests = on.docker("inspect", "--format", '{{join .RepoDigests "\\n"}}', to).splitlines()
    return next(digest for digest in digests if digest.startswith(f"{repository}@"))


@contextlib.contextmanager
def _process(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                if ready():
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(host: str) -> bool:
    return subprocess.run(["docker", "--host", host, "version"], capture_output=True).returncode == 0
