"""The functions' code: one small zip of this checkout's ``functions`` and ``workflow``, the same bytes every time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pulumi

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("functions", "workflow")
SUFFIXES = (".py", ".sql")


def code_files(folder: Path) -> dict[str, Path]:
    """The files of the zip by their path in it, sorted; nothing but code, so that no cache changes it."""
    return {
        path.relative_to(folder).as_posix(): path
        for package in PACKAGES
        for path in sorted((folder / package).rglob("*"))
        if path.suffix in SUFFIXES
    }


def code_hash(folder: Path) -> str:
    """SHA-256 of the zip's paths and contents: the markers' ``code``."""
    digest = hashlib.sha256()
    for name, path in code_files(folder).items():
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def code_archive(folder: Path) -> pulumi.AssetArchive:
    """The zip, as Pulumi uploads it."""
    return pulumi.AssetArchive({name: pulumi.FileAsset(str(path)) for name, path in code_files(folder).items()})
