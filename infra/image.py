"""The task image: built from this checkout and pushed to a repository of the stack's own, or built elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
import pulumi_docker_build as docker_build

from infra.project import PROJECT_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

KEEP_IMAGES = 10
"""Images to roll back to. A few hundred MB each, at 10 cents a GB and month."""

CACHE_TAG = "cache"


@dataclass(frozen=True)
class TaskImageArgs:
    """prefix: ``names.stack_prefix``. uri: an image built elsewhere, by digest; None builds one."""

    prefix: str
    uri: str | None


class TaskImage(pulumi.ComponentResource):
    """uri: the image by digest."""

    def __init__(self, name: str, args: TaskImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("bison:image:TaskImage", name, None, opts)
        self.uri = pulumi.Output.from_input(args.uri) if args.uri else self._build(name, args.prefix)
        self.register_outputs({"uri": self.uri})

    def _build(self, name: str, prefix: str) -> pulumi.Output[str]:
        child = pulumi.ResourceOptions(parent=self)
        repository = aws.ecr.Repository(
            f"{name}-repository",
            name=f"{prefix}-tasks",
            image_tag_mutability="IMMUTABLE_WITH_EXCLUSION",
            image_tag_mutability_exclusion_filters=[
                aws.ecr.RepositoryImageTagMutabilityExclusionFilterArgs(filter=CACHE_TAG, filter_type="WILDCARD")
            ],
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
            # Images can be built again from this checkout.
            force_delete=True,
            opts=child,
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle",
            repository=repository.name,
            policy=pulumi.Output.json_dumps(lifecycle_policy()),
            opts=child,
        )
        token = aws.ecr.get_authorization_token_output(
            registry_id=repository.registry_id, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        url = repository.repository_url
        cache = pulumi.Output.concat(url, ":", CACHE_TAG)
        content = context_hash(PROJECT_FOLDER)
        image = docker_build.Image(
            f"{name}-image",
            tags=[pulumi.Output.concat(url, ":", content[:16])],
            context=docker_build.BuildContextArgs(location=str(PROJECT_FOLDER)),
            dockerfile=docker_build.DockerfileArgs(location=str(PROJECT_FOLDER / "container" / "Dockerfile")),
            build_args={"REVISION": content},
            platforms=[docker_build.Platform.LINUX_ARM64],
            push=True,
            build_on_preview=False,
            cache_from=[docker_build.CacheFromArgs(registry=docker_build.CacheFromRegistryArgs(ref=cache))],
            cache_to=[
                docker_build.CacheToArgs(
                    registry=docker_build.CacheToRegistryArgs(
                        ref=cache, mode=docker_build.CacheMode.MAX, image_manifest=True, oci_media_types=True
                    )
                )
            ],
            registries=[
                docker_build.RegistryArgs(
                    address=url, username=token.user_name, password=pulumi.Output.secret(token.password)
                )
            ],
            opts=child,
        )
        return image.ref


def lifecycle_policy() -> dict[str, object]:
    """Keep the newest images, and of what lost its tag (older caches) nothing for long."""
    rules = [
        ("untagged", {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}),
        ("any", {"countType": "imageCountMoreThan", "countNumber": KEEP_IMAGES}),
    ]
    return {
        "rules": [
            {"rulePriority": priority, "selection": {"tagStatus": status, **count}, "action": {"type": "expire"}}
            for priority, (status, count) in enumerate(rules, start=1)
        ]
    }


def context_hash(folder: Path) -> str:
    """SHA-256 of the files that the image is made of (what ``.dockerignore`` lets through)."""
    digest = hashlib.sha256()
    for path in context_files(folder):
        content = (folder / path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def context_files(folder: Path) -> list[str]:
    """Paths below ``folder``, sorted."""
    machine = {"container/userdata.py", "container/userdata.sh", "container/compose.yaml"}
    files = {"container/Dockerfile", "requirements/tasks.txt"}
    for package in ("workflow", "container"):
        for path in (folder / package).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                files.add(path.relative_to(folder).as_posix())
    return sorted(files - machine)
