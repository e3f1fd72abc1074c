"""GBIF's monthly snapshot: which of its columns the month needs, and what Redshift calls their types."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import builtins

NEEDED_COLUMNS: dict[str, tuple[str, ...]] = {
    "gbifid": ("string", "integer"),
    "taxonkey": ("string", "integer"),
    "specieskey": ("string", "integer"),
    "species": ("string",),
    "taxonrank": ("string",),
    "countrycode": ("string",),
    "occurrencestatus": ("string",),
    "basisofrecord": ("string",),
    "decimallatitude": ("double",),
    "decimallongitude": ("double",),
    "year": ("integer",),
    "license": ("string",),
}
"""Columns that the month reads, with the kinds of type that it can take (keys were integers until 2025-08)."""

BASIS_OF_RECORD: tuple[str, ...] = ("HUMAN_OBSERVATION", "OBSERVATION", "OCCURRENCE", "PRESERVED_SPECIMEN")
BASIS_OF_RECORD_BY_SETTING: tuple[str, ...] = ("MACHINE_OBSERVATION", "MATERIAL_SAMPLE", "MATERIAL_CITATION")


@dataclass(frozen=True)
class Column:
    """A column of the snapshot, in the file's order.

    name: as in the Parquet footer. parquet_type: as Arrow prints it (``string``, ``int32``, ``list<…>``).
    redshift_type: what CREATE EXTERNAL TABLE declares; Spectrum wants it equal to the file's.
    """

    name: str
    parquet_type: str
    redshift_type: str


def redshift_type(parquet_type: str) -> str:
    """The Spectrum type of a Parquet column, from Arrow's name of its type.

    Raises ValueError for a type that Spectrum has no word for.
    """
    simple = {
        "string": "VARCHAR(65535)",
        "large_string": "VARCHAR(65535)",
        "bool": "BOOLEAN",
        "int8": "SMALLINT",
        "int16": "SMALLINT",
        "int32": "INT",
        "int64": "BIGINT",
        "float": "REAL",
        "double": "DOUBLE PRECISION",
        "date32[day]": "DATE",
    }
    if parquet_type in simple:
        return simple[parquet_type]
    if parquet_type.startswith("timestamp["):
        return "TIMESTAMP"
    if parquet_type.startswith(("list<", "large_list<")):
        return "SUPER"
    raise ValueError(f"Redshift Spectrum has no type for the Parquet type {parquet_type!r}.")


def kind_of(parquet_type: str) -> str:
    """``string``, ``integer``, ``double`` or the type itself: what NEEDED_COLUMNS speaks of."""
    if parquet_type in ("string", "large_string"):
        return "string"
    if parquet_type in ("int8", "int16", "int32", "int64"):
        return "integer"
    return "double" if parquet_type in ("float", "double") else parquet_type


@dataclass(frozen=True)
class Snapshot:
    """The snapshot's description, ``summary/<month>/snapshot.json``, made by annotate_riis.

    location: ``s3://bucket/prefix/`` of the data files. files, bytes, rows: all of them, from listing and footers.
    previous_rows: last month's, or None. checklist_key, checklist_name, index_version: the taxonomy of its keys.
    usable_key: regular expression of that taxonomy's keys. sampled_keys: rows whose keys were looked at;
    faulty_taxonkeys, faulty_specieskeys: shares of these (0 to 1) that do not fit the checklist.
    """

    month: str
    location: str
    files: int
    bytes: int
    rows: int
    columns: tuple[Column, ...]
    checklist_key: str
    checklist_name: str
    index_version: str
    usable_key: str
    sampled_keys: int
    faulty_taxonkeys: float
    faulty_specieskeys: float
    previous_rows: int | None = None

    def to_json(self) -> str:
        """The object's text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | builtins.bytes) -> Snapshot:
        """Read the object's text. Raises TypeError, KeyError or ValueError if it is no description."""
        body: dict[str, Any] = json.loads(text)
        body["columns"] = tuple(Column(**column) for column in body["columns"])
        return cls(**body)
