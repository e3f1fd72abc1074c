"""Each result table: its columns, as they were asked for, and those that it is sorted by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

STATE = ("census_state",)
COUNTY = ("state_county", "census_state", "census_county", "county_geoid")
AREA = ("aiannh_geoid", "aiannh_name")
COUNTS = (
    "occ_count", "species_count", "introduced_occ_count", "introduced_species_count", "invasive_occ_count",
    "invasive_species_count", "presumed_native_occ_count", "presumed_native_species_count", "unresolved_occ_count",
)  # fmt: skip
LIST = ("species_key", "species", "riis_assessment", "riis_occurrence_ids", "occ_count", "first_year", "last_year")
SITE = ("county_geoid", "alpha", "alpha_proportional", "phi", "phi_average_proportional")
SPECIES = ("species_key", "omega", "omega_proportional", "psi", "psi_average_proportional")
DIVERSITY = (
    "num_sites", "num_species", "whittaker", "lande", "legendre", "schluter_species", "schluter_sites",
)  # fmt: skip

COLUMNS: dict[str, tuple[str, ...]] = {
    "state_counts": STATE + COUNTS,
    "county_counts": COUNTY + COUNTS,
    "aiannh_counts": AREA + COUNTS,
    "state_x_species_list": STATE + LIST,
    "county_x_species_list": COUNTY + LIST,
    "aiannh_x_species_list": AREA + LIST,
    "site_stats": SITE,
    "species_stats": SPECIES,
    "diversity_stats": DIVERSITY,
    "site_stats_min3": SITE,
    "species_stats_min3": SPECIES,
    "diversity_stats_min3": DIVERSITY,
    "riis_review": ("riis_occurrence_id", "locality", "scientific_name", "match_type", "candidate", "reason"),
    "whats_new": (
        "region_type", "region", "region_name", "species_key", "species", "change", "previous_species_key",
        "previous_occ_count", "occ_count", "previous_riis_assessment", "riis_assessment",
    ),
    "watch_list": (
        "census_state", "species_key", "species", "riis_occurrence_ids", "adjacent_states", "occ_count", "last_year",
    ),
}  # fmt: skip
KEYS: dict[str, tuple[str, ...]] = {
    "state_counts": ("census_state",),
    "county_counts": ("county_geoid",),
    "aiannh_counts": ("aiannh_geoid",),
    "state_x_species_list": ("census_state", "species_key", "riis_assessment"),
    "county_x_species_list": ("county_geoid", "species_key", "riis_assessment"),
    "aiannh_x_species_list": ("aiannh_geoid", "species_key", "riis_assessment"),
    "site_stats": ("county_geoid",),
    "species_stats": ("species_key",),
    "site_stats_min3": ("county_geoid",),
    "species_stats_min3": ("species_key",),
    "riis_review": ("riis_occurrence_id",),
    "whats_new": ("region_type", "region", "species_key", "change"),
    "watch_list": ("census_state", "species_key"),
}


def rows_of(out: Path, table: str) -> list[tuple[Any, ...]]:
    """The rows of a result table, in the file's order."""
    content = pq.read_table(out / f"{table}.parquet")
    return [tuple(row.values()) for row in content.to_pylist()]


def differences(
    found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]], tolerance: float = 1e-9
) -> list[tuple[Any, Any]]:
    """Pairs of rows that are not the same; numbers with a fraction may differ by the relative tolerance."""
    if len(found) != len(expected):
        only_found = [row for row in found if row not in set(expected)]
        only_expected = [row for row in expected if row not in set(found)]
        return [*((row, None) for row in only_found), *((None, row) for row in only_expected)] or [
            (f"{len(found)} rows", f"{len(expected)} rows")
        ]

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, float) and isinstance(other, float):
            return math.isclose(one, other, rel_tol=tolerance)
        return bool(one == other)

    return [
        (row, wanted)
        for row, wanted in zip(found, expected, strict=True)
        if len(row) != len(wanted) or not all(map(same, row, wanted))
    ]
