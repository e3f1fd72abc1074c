"""The Census Bureau's boundary files: which columns a vintage has, and which of them say what BISON needs.

Cartographic boundary files (``cb_…``) and TIGER/Line files (``tl_…``) from 2016 on are understood. Their columns differ
from year to year, so the header of the ``.dbf`` is read and nothing about it is assumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

AIANNH_LSAD_SUFFIX: dict[str, str] = {
    "78": "Hawaiian Home Land",
    "79": "ANVSA",
    "80": "TDSA",
    "81": "Colony",
    "82": "Community",
    "83": "joint-use area",
    "84": "Pueblo",
    "85": "Rancheria",
    "86": "Reservation",
    "87": "Reserve",
    "88": "OTSA",
    "89": "Trust Land",
    "90": "joint-use OTSA",
    "91": "Ranch",
    "92": "SDTSA",
    "93": "Indian Village",
    "94": "Village",
    "95": "Indian Community",
    "96": "Indian Reservation",
    "97": "Indian Rancheria",
    "98": "Indian Colony",
}
"""What follows NAME in a tribal area's full name (NAMELSAD), by Legal/Statistical Area Description code.

Source: Census Bureau, "Legal/Statistical Area Description (LSAD) Codes and Definitions"; for files without NAMELSAD.
"""

_FIELD_LENGTH = 32
_LAST_FIELD = 0x0D


@dataclass(frozen=True)
class DbfField:
    """A column of a ``.dbf`` file.

    name: in lower case. type: dBase's letter (C text, N and F number, D date, L yes or no). length: bytes.
    decimals: digits after the point.
    """

    name: str
    type: str
    length: int
    decimals: int


def read_dbf_fields(header: bytes) -> tuple[DbfField, ...]:
    """The columns of a ``.dbf`` file, in its order, from its first bytes (8 KiB hold the header of every Census file).

    Source: dBase III file format. Raises ValueError if the bytes are no such header or end within it.
    """
    if len(header) < 2 * _FIELD_LENGTH or header[0] & 0x07 != 3:
        raise ValueError(
            "This is no .dbf file: put the whole shapefile (.shp, .shx, .dbf, .prj) into the bucket again."
        )
    header_length = int.from_bytes(header[8:10], "little")
    fields: list[DbfField] = []
    for start in range(_FIELD_LENGTH, header_length, _FIELD_LENGTH):
        descriptor = header[start : start + _FIELD_LENGTH]
        if descriptor[:1] == bytes([_LAST_FIELD]):
            return tuple(fields)
        if len(descriptor) < _FIELD_LENGTH:
            break
        name = descriptor[:11].split(b"\0")[0].decode("ascii", "replace").strip().lower()
        fields.append(DbfField(name, chr(descriptor[11]), descriptor[16], descriptor[17]))
    raise ValueError(f"The .dbf file's header of {header_length} bytes is cut off after {len(header)}.")


def redshift_column_type(field: DbfField) -> str:
    """The Redshift type that COPY loads a ``.dbf`` column into. Raises ValueError for a type of another program."""
    if field.type == "C":
        # A .dbf's length counts bytes of its own encoding, Redshift's counts bytes of UTF-8.
        return f"VARCHAR({4 * field.length})"
    if field.type in ("N", "F"):
        return "BIGINT" if field.type == "N" and field.decimals == 0 and field.length <= 18 else "DOUBLE PRECISION"
    if field.type in ("D", "L"):
        return {"D": "DATE", "L": "BOOLEAN"}[field.type]
    raise ValueError(f"Column {field.name} of the .dbf file has the type {field.type!r}, which Redshift cannot load.")


def check_projection(prj_text: str, file: str) -> None:
    """Make sure that a shapefile's coordinates are degrees on NAD83 or WGS84, as GBIF's are (within two metres).

    prj_text: the ``.prj`` file's content. file: its name, for the message. Raises ValueError in plain words.
    """
    advice = "Use the Census Bureau's own file, or convert it: ogr2ogr -t_srs EPSG:4269 converted.shp original.shp"
    text = prj_text.strip().lstrip("\ufeff")
    system = re.match(r'(PROJCS|PROJCRS|GEOGCS|GEOGCRS)\s*\[\s*"([^"]*)"', text, re.IGNORECASE)
    if system is None:
        raise ValueError(f"{file} names no coordinate system that BISON can read. {advice}")
    kind, name = system.groups()
    if kind.upper().startswith("PROJ"):
        raise ValueError(f"{file} says that the coordinates are projected ({name}), not degrees. {advice}")
    datum = re.search(r'DATUM\s*\[\s*"([^"]*)"', text, re.IGNORECASE)
    datum_name = re.sub(r"[^a-z0-9]", "", datum.group(1).lower()) if datum else ""
    if not re.fullmatch(r"d?(northamerican(datum)?1983|nad83|wgs84|(wgs|worldgeodeticsystem)1984)", datum_name):
        raise ValueError(
            f"{file} says that the datum is {datum.group(1) if datum else name}, not NAD83 or WGS84. {advice}"
        )
    unit = re.findall(r'UNIT\s*\[\s*"([^"]*)"', text, re.IGNORECASE)
    if unit and "degree" not in unit[-1].lower():
        raise ValueError(f"{file} says that the unit is {unit[-1]}, not degrees. {advice}")


@dataclass(frozen=True)
class BoundaryColumns:
    """Which columns of a boundary file hold an area's key and name.

    geoid: columns that make the key when put together. name: the full name, or the bare one if ``lsad`` is not None:
    then that column's code says what follows it.
    """

    geoid: tuple[str, ...]
    name: str
    lsad: str | None


def county_columns(fields: tuple[DbfField, ...], file: str) -> BoundaryColumns:
    """Choose the columns of a county file; the key is the five digits of state and county.

    Raises ValueError that names the file and what is missing.
    """
    return _choose(fields, file, [("geoid",), ("geoid10",), ("geoid20",), ("statefp", "countyfp")])


def aiannh_columns(fields: tuple[DbfField, ...], file: str) -> BoundaryColumns:
    """Choose the columns of a file of American Indian, Alaska Native and Native Hawaiian areas.

    Raises ValueError that names the file and what is missing.
    """
    keys = [("geoid",), ("geoid10",), ("geoid20",), ("aiannhce", "comptyp"), ("aiannhce",)]
    return _choose(fields, file, keys)


def _choose(fields: tuple[DbfField, ...], file: str, keys: list[tuple[str, ...]]) -> BoundaryColumns:
    present = {field.name for field in fields}
    geoid = next((key for key in keys if present.issuperset(key)), None)
    vintages = ("", "10", "20")
    full_name = next((f"namelsad{year}" for year in vintages if f"namelsad{year}" in present), None)
    parts = next(((f"name{y}", f"lsad{y}") for y in vintages if present.issuperset((f"name{y}", f"lsad{y}"))), None)
    missing = []
    if geoid is None:
        missing.append(" or ".join("+".join(key).upper() for key in keys))
    if full_name is None and parts is None:
        missing.append("NAMELSAD or NAME+LSAD")
    if geoid is None or (full_name is None and parts is None):
        there = ", ".join(field.name.upper() for field in fields) or "none"
        raise ValueError(
            f"{file} lacks the column {' and '.join(missing)}; it has {there}. "
            "Use the Census Bureau's cartographic boundary file of 2016 or later."
        )
    if full_name is not None:
        return BoundaryColumns(geoid, full_name, None)
    assert parts is not None  # noqa: S101
    return BoundaryColumns(geoid, *parts)
