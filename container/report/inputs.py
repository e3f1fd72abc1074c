"""The tables that the report is made of, read from the month's results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from container.empty_tables import empty_table
from container.task import TaskError
from workflow import names

if TYPE_CHECKING:
    from container.manifest import Manifest
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
    """The month's results, each with its COLUMNS."""

    state_counts: pa.Table
    county_counts: pa.Table
    aiannh_counts: pa.Table
    state_x_species_list: pa.Table
    whats_new: pa.Table
    watch_list: pa.Table
    riis_review: pa.Table


def read_report_tables(context: TaskContext, manifest: Manifest) -> ReportTables:
    """Read ``output/<month>/<table>.parquet``; the empty tables have no files before this task ends.

    Raises TaskError that names the file and the column if one is missing.
    """
    return ReportTables(
        **{
            name: empty_table(name).select(columns) if name in manifest.empty_tables else _read(context, name)
            for name, columns in COLUMNS.items()
        }
    )


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
