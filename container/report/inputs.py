"""The tables that the report is made of, read from the month's results."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from container.task import TaskError
from workflow import names

if TYPE_CHECKING:
    from container.task import TaskContext

COLUMNS: dict[str, tuple[str, ...]] = {
    "state_counts": (
        "census_state", "occ_count", "species_count", "introduced_occ_count", "introduced_species_count",
        "invasive_occ_count", "invasive_species_count", "presumed_native_species_count", "unresolved_occ_count",
    ),
    "county_counts": (
        "state_county", "census_state", "county_geoid", "occ_count", "species_count", "introduced_species_count",
        "invasive_species_count",
    ),
    "aiannh_counts": ("aiannh_name", "introduced_species_count", "invasive_species_count"),
    "state_x_species_list": ("census_state", "species_key", "species", "riis_assessment", "occ_count"),
    "whats_new": (
        "region_type", "region", "region_name", "species_key", "species", "change", "previous_species_key",
        "previous_occ_count", "occ_count", "previous_riis_assessment", "riis_assessment",
    ),
    "watch_list": ("census_state", "species_key", "species", "adjacent_states", "occ_count", "last_year"),
    "riis_review": ("riis_occurrence_id", "locality", "scientific_name", "match_type", "candidate", "reason"),
}  # fmt: skip
"""The columns that the report reads of each result."""


@dataclass(frozen=True)
class ReportTables:
    """The month's results, each with its COLUMNS; whats_new is None in a month that is compared with none."""

    state_counts: pa.Table
    county_counts: pa.Table
    aiannh_counts: pa.Table
    state_x_species_list: pa.Table
    watch_list: pa.Table
    riis_review: pa.Table
    whats_new: pa.Table | None


def read_report_tables(context: TaskContext, compared: bool) -> ReportTables:
    """Read ``output/<month>/<table>.parquet`` for each table; whats_new only if the month was ``compared``.

    Raises TaskError that names the file and the column if one is missing.
    """
    tables: dict[str, Any] = {field.name: None for field in fields(ReportTables)}
    for name in tables:
        if name != "whats_new" or compared:
            tables[name] = _read(context, name)
    return ReportTables(**tables)


def _read(context: TaskContext, name: str) -> pa.Table:
    key = names.output_key(context.month, f"{name}.parquet")
    path = context.download(key)
    try:
        present = pq.read_schema(path).names
        missing = [column for column in COLUMNS[name] if column not in present]
        if missing:
            raise TaskError(f"{key} has no column {', '.join(missing)}: it has {', '.join(present)}.")
        return pq.read_table(path, columns=list(COLUMNS[name]))
    except (pa.ArrowInvalid, OSError) as error:
        raise TaskError(f"{key} is no readable Parquet file: {error}") from error
    finally:
        path.unlink()
