"""One engine, one registry, one image and one local cloud for all tests; a machine for each."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine import KEPT, PROJECT, Engine, build_task_image, engine, make_base, push, registry
from spot_machine import SpotMachine

from container.userdata import UserdataValues, parse_environment
from infra.project import stack_config
from local.cloud import calls
from local.cloud.cloud import EC2, Cloud
from local.cloud.public_bucket import PublicBucket
from workflow import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STACK = "local"
REGISTER = b"scientificName,locality\nAcer platanoides,L48\n"


@dataclass(frozen=True)
class Image:
    """digest: in the registry. faulty: the same with tests/docker/faulty_tasks. base: what it was built on.

    size, base_size: bytes.
    """

    digest: str
    faulty: str
    base: str
    size: int
    base_size: int
    build_seconds: float


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    # Not below pytest's folder: a socket's path may have 108 characters.
    with engine(Path(tempfile.mkdtemp(prefix="bison-docker-"))) as started:
        yield started


@pytest.fixture(scope="session")
def loopback_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def image(docker_engine: Engine, loopback_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    name = f"{loopback_registry}/bison-tasks:tested"
    base = make_base(docker_engine)
    seconds = build_task_image(docker_engine, base, name)
    size, base_size = (int(docker_engine.docker("inspect", "--format", "{{.Size}}", each)) for each in (name, base))
    digest = push(docker_engine, name, name)
    context = tmp_path_factory.mktemp("faulty")
    shutil.copytree(PROJECT / "tests" / "docker" / "faulty_tasks", context / "faulty_tasks")
    (context / "Dockerfile").write_text(f"FROM {name}\nCOPY faulty_tasks /opt/bison/app/faulty_tasks\n")
    faulty = f"{loopback_registry}/bison-faulty:tested"
    docker_engine.docker("build", "--quiet", "--tag", faulty, context)
    return Image(digest, push(docker_engine, faulty, faulty), base, size, base_size, seconds)


class _Silent:
    def object_written(self, bucket: str, key: str, content: bytes) -> None: ...

    def object_deleted(self, bucket: str, key: str) -> None: ...

    def progress(self, step: str, label: str, done: int, total: int) -> None: ...


class _NoWarehouse:
    def close(self) -> None: ...


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    config = stack_config(STACK)
    with Cloud(
        listener=_Silent(),
        data_api=lambda _cloud: _NoWarehouse(),
        public_bucket=PublicBucket(config["bison:gbifBucket"], folder),
        logs=folder,
        config=config,
        stack=STACK,
    ) as started:
        yield started


@pytest.fixture
def new_machine(
    docker_engine: Engine, image: Image, cloud: Cloud, tmp_path: Path
) -> Iterator[Callable[..., SpotMachine]]:
    """Makes the machine of the real program's launch template, with the register in its bucket."""
    started: list[SpotMachine] = []
    bucket = cloud.program.outputs["bucket"]
    s3 = cloud.client("s3")
    with cloud.without_events():
        for key in cloud.keys(bucket):
            s3.delete_object(Bucket=bucket, Key=key)
        s3.put_object(Bucket=bucket, Key=stack_config(STACK)["bison:riisKey"], Body=REGISTER)

    def make(**settings: object) -> SpotMachine:
        name = names.launch_template_name(names.stack_prefix(STACK), "test_task")
        template = calls.find_launch_template({"LaunchTemplateName": name}).latest_version().data
        environment = parse_environment(template["UserData"].decode())
        task_app, region = environment.pop("TASK_APP"), environment.pop("AWS_DEFAULT_REGION")
        role = f"arn:aws:iam::{calls.ACCOUNT}:role/{calls.instance_role(template)}"
        made = SpotMachine(
            folder=tmp_path,
            engine=docker_engine,
            cloud=cloud,
            values=UserdataValues(
                region=region,
                bucket=bucket,
                image=image.digest,
                log_group="/bison/tasks",
                task_app=task_app,
                memory_mib=512,
                limit=timedelta(hours=1),
                environment=environment,
            ),
            credentials=cloud.credentials(role, EC2),
            **{"keep": KEPT, **settings},  # type: ignore[arg-type]
        )
        started.append(made)
        return made

    yield make
    for each in started:
        each.close()
    # A machine that pruned everything took the tests' images along.
    for digest in (image.digest, image.faulty):
        docker_engine.docker("pull", "--quiet", digest)
