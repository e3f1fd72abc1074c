"""The code that a step ran: the functions' small zip, the same bytes every time; and what tells two versions apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pulumi

if TYPE_CHECKING:
    from pathlib import Path

FUNCTION_PACKAGES = ("functions", "workflow")
TASK_PACKAGES = ("container", "workflow")
SUFFIXES = (".py", ".sql")


def code_files(folder: Path, packages: tuple[str, ...] = FUNCTION_PACKAGES) -> dict[str, Path]:
    """These packages' files (the zip's) by their path in it, sorted; nothing but code, so that no cache changes it."""
    return {
        path.relative_to(folder).as_posix(): path
        for package in packages
        for path in sorted((folder / package).rglob("*"))
        if path.suffix in SUFFIXES
    }


def code_hash(folder: Path, packages: tuple[str, ...] = FUNCTION_PACKAGES) -> str:
    """SHA-256 of the files' paths and contents: the markers' ``code``."""
    digest = hashlib.sha256()
    for name, path in code_files(folder, packages).items():
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def code_archive(folder: Path) -> pulumi.AssetArchive:
    """The zip, as Pulumi uploads it."""
    return pulumi.AssetArchive({name: pulumi.FileAsset(str(path)) for name, path in code_files(folder).items()})
