"""A local run's inputs: the files that its options name, or the generated sample's."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from local.state import State
from workflow import names
from workflow.markers import Marker
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from local.gbif_server import Taxonomy
    from local.sample import Sample

GBIF_API = "https://api.gbif.org/v2"

READ_BY = {
    "snapshot": "find_current_gbif",
    "gbif": "annotate_riis",
    "riis": "annotate_riis",
    "previous": "annotate_riis",
    "counties": "load_ancillary",
    "aiannh": "load_ancillary",
}
"""Which step reads an input first: a change of it means to do that step again, and those after it."""

_SHAPEFILE_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_FOOTER_BYTES = 65536
_SAMPLE = "generated sample"


class OptionError(ValueError):
    """An option names something that is not there or has no form that could be used."""


@dataclass(frozen=True)
class RunOptions:
    """What to run. month, out: which month, and the folder for its results.

    snapshot: folder of the snapshot's Parquet files (or of ``occurrence.parquet/``). riis: CSV. counties, aiannh:
    ``.shp``. gbif: root of GBIF's API. previous: an earlier run's ``out``. None: the sample, or see ``gather``.
    force: run a finished month again. deliver_twice: every event comes twice, for tests.
    alone: do not make a sample's month before.
    docker: run the tasks in the task image, in ``image`` or in this checkout's.
    """

    month: Month
    out: Path
    snapshot: Path | None = None
    riis: Path | None = None
    counties: Path | None = None
    aiannh: Path | None = None
    gbif: str | None = None
    previous: Path | None = None
    force: bool = False
    deliver_twice: bool = False
    alone: bool = False
    docker: bool = False
    image: str | None = None

    def check(self) -> None:
        """Raises OptionError that names the option. What is in the files, the month's steps find out."""
        for option, path in (("--riis", self.riis), ("--counties", self.counties), ("--aiannh", self.aiannh)):
            if path is not None and not path.is_file():
                raise OptionError(f"{option} {path}: there is no such file.")
        for option, path in (("--counties", self.counties), ("--aiannh", self.aiannh)):
            if path is not None and path.suffix.lower() != ".shp":
                raise OptionError(f"{option} {path}: name the shapefile's .shp; its other files lie beside it.")
        for option, path in (("--snapshot", self.snapshot), ("--previous", self.previous)):
            if path is not None and not path.is_dir():
                raise OptionError(f"{option} {path}: there is no such folder.")
        if self.gbif is not None and re.fullmatch(r"https?://[^\s']+", self.gbif) is None:
            raise OptionError(f"--gbif {self.gbif}: expected the address of a GBIF API, like {GBIF_API}.")
        if self.out.exists() and not self.out.is_dir():
            raise OptionError(f"--out {self.out}: that is a file; name a folder.")
        if self.previous is not None:
            earlier = PreviousMonth.read(self.previous).month
            if earlier >= self.month:
                raise OptionError(
                    f"--previous {self.previous} has the results of {earlier}, which is not before {self.month}."
                )

    @property
    def gbif_api(self) -> str | None:
        """The address given, in the form that ends in ``/v2``."""
        if self.gbif is None:
            return None
        root = self.gbif.rstrip("/")
        return root if root.endswith("/v2") else f"{root}/v2"

    def fingerprints(self) -> dict[str, str]:
        """What tells one set of inputs from another: a snapshot's files by size and last bytes, others by content."""
        return {
            "snapshot": _SAMPLE if self.snapshot is None else _of_listing(snapshot_files(self.snapshot)),
            "riis": _SAMPLE if self.riis is None else _of_content([self.riis]),
            "counties": "plotly-geo" if self.counties is None else _of_content(shapefile_parts(self.counties)),
            "aiannh": _SAMPLE if self.aiannh is None else _of_content(shapefile_parts(self.aiannh)),
            "gbif": self.gbif_api or (_SAMPLE if self.snapshot is None else GBIF_API),
            "previous": self._previous_fingerprint(),
        }

    def _previous_fingerprint(self) -> str:
        if self.previous is not None:
            return _of_content([self.previous / PreviousMonth.MANIFEST])
        return _SAMPLE if self.makes_previous else "none"

    @property
    def makes_previous(self) -> bool:
        """Whether the month before is generated and run first: a sample should have something to compare with."""
        return self.snapshot is None and self.previous is None and not self.alone

    def of_previous(self) -> RunOptions:
        """The run of the generated month before; beside ``out`` if that is named after the month, else inside."""
        month = self.month.previous
        beside = self.out.with_name(month.name)
        inside = State(self.out).folder / "previous"
        others = beside.exists() and (State(beside).inputs() or {}).get("snapshot") != _SAMPLE
        out = beside if self.out.name == self.month.name and not others else inside
        return replace(self, month=month, out=out, alone=True)


def _of_listing(files: list[Path]) -> str:
    """Parquet's footer, which stands last, has the statistics of everything before it: no need to read it all."""
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _FOOTER_BYTES))
            digest.update(f"{path.name} {size} ".encode() + file.read())
    return digest.hexdigest()


def _of_content(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def snapshot_files(folder: Path) -> list[Path]:
    """The snapshot's files in a folder: those of its ``occurrence.parquet/`` if it has one; no hidden ones."""
    inner = folder / "occurrence.parquet"
    found = (inner if inner.is_dir() else folder).iterdir()
    return sorted(path for path in found if path.is_file() and path.name[0] not in "._" and path.name != "citation.txt")


def shapefile_parts(shp: Path) -> list[Path]:
    """The files of a shapefile that are there, the .shp first; suffixes may be in capitals."""
    beside = {path.suffix.lower(): path for path in shp.parent.iterdir() if path.stem == shp.stem}
    return [beside[suffix] for suffix in _SHAPEFILE_PARTS if suffix in beside]


@dataclass(frozen=True)
class PreviousMonth:
    """An earlier run's results. marker: the success of its aggregate_region, by which the functions know them."""

    MANIFEST = "manifest.json"

    month: Month
    folder: Path
    marker: Marker

    @classmethod
    def read(cls, folder: Path) -> PreviousMonth:
        """Raises OptionError if the folder has no manifest of ours."""
        path = folder / cls.MANIFEST
        if not path.is_file():
            raise OptionError(
                f"--previous {folder}: it has no {cls.MANIFEST}; name the --out folder of an earlier month."
            )
        try:
            manifest = json.loads(path.read_text("utf-8"))
            month = Month.parse(manifest["month"])
            (step,) = (step for step in manifest["steps"] if step["step"] == "aggregate_region")
            marker = Marker(month.name, step["step"], 1, step["started"], step["finished"], code=step["code"])
        except (ValueError, KeyError, TypeError) as error:
            raise OptionError(f"--previous {path} is no manifest of a BISON month ({error}).") from error
        return cls(month, folder, marker)

    def objects(self) -> Iterator[tuple[str, Path]]:
        """Key and file of each table; the single occurrences are not compared."""
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield names.output_key(self.month, path.name), path


@dataclass(frozen=True)
class Inputs:
    """A run's inputs, at hand. snapshot: the data files in its folder. citation: the folder's own, or None.

    taxonomies: what the local GBIF server answers from; empty where gbif_api names another server.
    notes: what a reader of the results should know of them.
    """

    snapshot_folder: Path
    snapshot: list[Path]
    citation: Path | None
    riis: Path
    counties: Path
    aiannh: Path
    gbif_api: str | None
    taxonomies: tuple[Taxonomy, ...]
    previous: PreviousMonth | None
    notes: list[str] = field(default_factory=list)


def gather(options: RunOptions, folder: Path) -> Inputs:
    """Get the inputs ready; ``folder`` is for generated ones.

    Without counties: the Census Bureau's of 2016, from the package plotly-geo. Without gbif: the sample's taxonomies
    for the sample's snapshot, GBIF's own API for any other.
    """

    @cache
    def sample() -> Sample:
        # Only where something is missing, because it takes seconds.
        from local.sample import build_sample

        return build_sample(folder, options.month)

    notes = []
    if options.snapshot is None:
        notes.append("The occurrences are generated: a sample, not GBIF's.")
    elif options.riis is None:
        notes.append("The register is the sample's, not the US-RIIS: name yours with --riis.")
    if options.aiannh is None:
        notes.append("The tribal areas are generated: name the Census Bureau's with --aiannh.")
    snapshot = options.snapshot or sample().snapshot_dir
    citation = snapshot / "citation.txt"
    own_gbif = options.gbif_api is None and options.snapshot is None
    return Inputs(
        snapshot_folder=snapshot,
        snapshot=snapshot_files(snapshot),
        citation=citation if citation.is_file() else None,
        riis=options.riis or sample().riis_csv,
        counties=options.counties or sample().county_shp,
        aiannh=options.aiannh or sample().aiannh_shp,
        gbif_api=options.gbif_api or (None if own_gbif else GBIF_API),
        taxonomies=sample().taxonomies if own_gbif else (),
        previous=None if options.previous is None else PreviousMonth.read(options.previous),
        notes=notes,
    )


def lay_out_snapshot(inputs: Inputs, month: Month, root: Path) -> Path:
    """Show the snapshot's files under GBIF's keys below ``root``, as links; returns the folder of the data files.

    A folder without citation.txt gets one: whoever names a folder vouches that the snapshot in it is complete.
    """
    shutil.rmtree(root, ignore_errors=True)
    data = root / names.snapshot_parquet_prefix(month)
    data.mkdir(parents=True)
    for path in inputs.snapshot:
        (data / path.name).symlink_to(path.resolve())
    citation = root / names.snapshot_prefix(month) / "citation.txt"
    if inputs.citation is not None:
        citation.symlink_to(inputs.citation.resolve())
    else:
        text = f"Occurrence records from {inputs.snapshot_folder}, named as the snapshot of {month} in a local run.\n"
        citation.write_text(text, "utf-8")
    return data


def input_keys(inputs: Inputs, defaults: Mapping[str, str]) -> dict[str, str]:
    """Settings ``riisKey``, ``countyKey`` and ``aiannhKey``: the files' own names, so that errors name them.

    defaults: the program's keys, taken where a file's name cannot be part of a key.
    """
    keys: dict[str, str] = {}
    for setting, path, suffix in (
        ("riisKey", inputs.riis, ".csv"),
        ("countyKey", inputs.counties, ".shp"),
        ("aiannhKey", inputs.aiannh, ".shp"),
    ):
        usable = re.fullmatch(rf"[A-Za-z0-9._ -]+\{suffix}", path.name) is not None
        key = f"{names.INPUT}{path.name}" if usable else defaults[setting]
        keys[setting] = defaults[setting] if key in keys.values() else key
    return keys
