"""What a SQL step's plan is rendered from, gathered from the settings and the data bucket."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from functions.attempts import Run, StepError, StepState
from functions.store import MonthView
from workflow import names
from workflow.boundaries import DbfField, check_projection, read_dbf_fields
from workflow.month import Month
from workflow.snapshot import Snapshot
from workflow.statements import SqlContext
from workflow.steps import STEPS, get_step

if TYPE_CHECKING:
    from functions.store import Store

_SHAPEFILE_PARTS = (".shp", ".shx", ".dbf", ".prj")
_SHP_HEADER_BYTES = 100  # ESRI's shapefile description: what precedes the first shape
_DBF_HEADER = "bytes=0-8191"
_DBF_RECORDS = slice(4, 8)  # number of records, little-endian (dBase III)

_ANNOTATED = re.compile(rf"^{names.INPUT}.*_annotated_(\d{{4}}_\d{{2}}_\d{{2}})\.[^./]+$")


def sql_context(run: Run) -> SqlContext:
    """Everything that the statements of the run's step need.

    Raises StepError that names the file if one is missing or not as it must be, ValueError for one that cannot be read.
    """
    settings, store, month, step = run.settings, run.store, run.month, run.step.name
    snapshot = store.read(names.summary_key(month, names.SNAPSHOT_JSON))
    loads = step == "load_ancillary"
    return SqlContext(
        month=month,
        previous_month=previous_month(store, month),
        obsolete_months=obsolete_months(store, month) if step == "delete_obsolete" else (),
        bucket=settings.bucket,
        external_schema=settings.external_schema,
        glue_database=settings.glue_database,
        country_codes=settings.country_codes,
        basis_of_record=settings.basis_of_record,
        snapshot=None if snapshot is None else Snapshot.from_json(snapshot),
        county_key=settings.county_key,
        aiannh_key=settings.aiannh_key,
        county_fields=shapefile_fields(store, settings.county_key) if loads else (),
        aiannh_fields=shapefile_fields(store, settings.aiannh_key) if loads else (),
    )


def shapefile_fields(store: Store, shp_key: str) -> tuple[DbfField, ...]:
    """The columns of a shapefile in the data bucket, once it is sure that it is whole, not empty and in degrees.

    Raises StepError that names the file and what to do.
    """
    stem = shp_key.removesuffix(".shp")
    for part in _SHAPEFILE_PARTS:
        size = store.size(stem + part)
        if size is None:
            raise StepError(f"s3://{store.bucket}/{stem}{part} is missing: a shapefile needs {_parts()}; upload it.")
        if size == 0 or (part == ".shp" and size <= _SHP_HEADER_BYTES):
            raise StepError(f"s3://{store.bucket}/{stem}{part} is empty: upload the shapefile's {_parts()} again.")
    projection = store.read(stem + ".prj") or b""
    header = store.read(stem + ".dbf", _DBF_HEADER) or b""
    try:
        check_projection(projection.decode("utf-8", "replace"), stem + ".prj")
        fields = read_dbf_fields(header)
    except ValueError as error:
        raise StepError(f"The shapefile s3://{store.bucket}/{shp_key} cannot be used. {error}") from error
    if int.from_bytes(header[_DBF_RECORDS], "little") == 0:
        raise StepError(f"s3://{store.bucket}/{stem}.dbf has no records: upload a shapefile that has some.")
    return fields


def _parts() -> str:
    return ", ".join(_SHAPEFILE_PARTS[:-1]) + " and " + _SHAPEFILE_PARTS[-1]


def previous_month(store: Store, month: Month) -> Month | None:
    """The latest earlier month with results to compare with: aggregate_region succeeded and its lists are there."""
    aggregate = get_step("aggregate_region")
    lists = {name for name in names.RESULT_TABLES if name.endswith("_x_species_list")}
    for earlier in reversed(store.months(names.RUN)):
        if earlier < month:
            marker = StepState.read(store, earlier, aggregate).marker
            if marker is not None and marker.succeeded:
                published = {output.key for output in store.objects(names.output_key(earlier, ""))}
                if {names.output_key(earlier, f"{name}.parquet") for name in lists} <= published:
                    return earlier
    return None


def obsolete_months(store: Store, month: Month) -> tuple[Month, ...]:
    """Earlier months that left anything to delete, and that are not being made again just now.

    A month's summary goes after its tables have gone, so one without any has no tables either.
    """
    left = set(store.months(names.SUMMARY)) | {each for _, each in annotated_registers(store)}
    return tuple(earlier for earlier in sorted(left) if earlier < month and not _under_way(store, earlier))


def _under_way(store: Store, month: Month) -> bool:
    view = MonthView(store, month)
    return any(StepState.read(view, month, step).under_way for step in STEPS)


def annotated_registers(store: Store) -> list[tuple[str, Month]]:
    """Key and month of every annotated register under ``input/``."""
    matches = (_ANNOTATED.match(item.key) for item in store.objects(names.INPUT))
    return [(match[0], Month.parse(match[1])) for match in matches if match]
