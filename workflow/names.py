"""Every name that two parts must agree on: S3 keys, function names, statement names, tokens, tags, tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from workflow.month import Month
from workflow.steps import Step, get_step

# ---------------------------------------------------------------------------- S3 keys of the data bucket

INPUT = "input/"
OUTPUT = "output/"
SUMMARY = "summary/"
LOG = "log/"
RUN = "run/"
TRIGGER = "trigger/"
CACHE = "cache/"
"""GBIF's answers by checklist and index version: what a month asked, the next need not ask again."""


def run_key(month: Month, step: str, outcome: str) -> str:
    """Key of a step's marker; ``outcome`` is ``success`` or ``failure``."""
    if outcome not in ("success", "failure"):
        raise ValueError(f"A marker is success or failure, not {outcome!r}.")
    return f"{RUN}{month.name}/{get_step(step).name}/{outcome}.json"


def success_key(month: Month, step: str) -> str:
    """``run/2026_11_01/create_bison/success.json``."""
    return run_key(month, step, "success")


def failure_key(month: Month, step: str) -> str:
    """``run/2026_11_01/create_bison/failure.json``."""
    return run_key(month, step, "failure")


def parse_run_key(key: str) -> tuple[Month, Step, str]:
    """(month, step, outcome) of a marker's key. Raises ValueError if it is none."""
    parts = key.split("/")
    if len(parts) != 4 or f"{parts[0]}/" != RUN or parts[3] not in ("success.json", "failure.json"):
        raise ValueError(f"{key!r} is no marker's key (run/<month>/<step>/success.json or failure.json).")
    return Month.parse(parts[1]), get_step(parts[2]), parts[3].removesuffix(".json")


def output_key(month: Month, name: str) -> str:
    """``output/2026_11_01/<name>``."""
    return f"{OUTPUT}{month.name}/{name}"


def summary_key(month: Month, name: str) -> str:
    """``summary/2026_11_01/<name>``."""
    return f"{SUMMARY}{month.name}/{name}"


def log_key(month: Month, step: str, attempt: int, name: str) -> str:
    """``log/2026_11_01/create_bison/<attempt>/<name>``."""
    return f"{LOG}{month.name}/{get_step(step).name}/{attempt}/{name}"


def current_attempt_key(month: Month, step: str) -> str:
    """Where a step's start notes which attempt is under way, so that a late event of an older one is ignored."""
    return f"{LOG}{month.name}/{get_step(step).name}/current.json"


def annotated_riis_key(riis_key: str, month: Month) -> str:
    """``input/US-RIIS.csv`` becomes ``input/US-RIIS_annotated_2026_11_01.csv``."""
    path = PurePosixPath(riis_key)
    return str(path.with_name(f"{path.stem}_annotated_{month.name}{path.suffix}"))


# What annotate_riis leaves for the steps after it.
SNAPSHOT_JSON = "snapshot.json"
SNAPSHOT_LISTING_JSON = "snapshot_listing.json"
RIIS_TAXA_CSV = "riis_taxa.csv"
TAXON_KEYS_CSV = "taxon_keys.csv"

# ---------------------------------------------------------------------------- GBIF's public bucket


def snapshot_prefix(month: Month) -> str:
    """Prefix of the month's files in GBIF's bucket; ``citation.txt`` lies there too."""
    return f"occurrence/{month.snapshot_date}/"


def snapshot_parquet_prefix(month: Month) -> str:
    """Prefix of the data files; their names have no suffix."""
    return f"{snapshot_prefix(month)}occurrence.parquet/"


# ---------------------------------------------------------------------------- functions, templates, tags


def stack_prefix(stack: str) -> str:
    """What a stack's names begin with: ``bison`` in prod, ``bison_<stack>`` elsewhere."""
    return "bison" if stack == "prod" else f"bison_{stack}"


def bucket_name(stack: str, account: str, region: str) -> str:
    """The data bucket: ``bison-<account>-<region>`` in prod, ``bison-<stack>-<account>-<region>`` elsewhere."""
    return f"{stack_prefix(stack).replace('_', '-')}-{account}-{region}"


def function_name(prefix: str, step: str) -> str:
    """``bison_s1_annotate_riis``."""
    return f"{prefix}_{get_step(step).label}"


def launch_template_name(prefix: str, step: str) -> str:
    """``bison_annotate_riis``."""
    return f"{prefix}_{get_step(step).name}"


TAG_STACK = "bison:stack"
TAG_MONTH = "bison:month"
TAG_STEP = "bison:step"
TAG_ATTEMPT = "bison:attempt"


def instance_tags(stack: str, month: Month, step: str, attempt: int) -> dict[str, str]:
    """What a task's instance carries: the machine reads them, and so do the watcher and the sweep."""
    return {TAG_STACK: stack, TAG_MONTH: month.name, TAG_STEP: get_step(step).name, TAG_ATTEMPT: str(attempt)}


# ---------------------------------------------------------------------------- tokens and statements


def token(*parts: object) -> str:
    """A ClientToken of 64 characters from what makes the request one and the same: repeats get the first answer."""
    return hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()


@dataclass(frozen=True)
class StatementName:
    """Which statement of which run this is: ``<prefix>/<month>/<step>/<index>/<attempt>``."""

    prefix: str
    month: Month
    step: str
    index: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.prefix}/{self.month.name}/{self.step}/{self.index}/{self.attempt}"

    @property
    def client_token(self) -> str:
        """The Data API answers a repeated submission of this statement with the first one's Id."""
        return token("statement", self)

    @classmethod
    def parse(cls, text: str) -> StatementName:
        """Raises ValueError if ``text`` is no statement of ours."""
        parts = text.split("/")
        if len(parts) != 5 or not parts[0]:
            raise ValueError(f"{text!r} is no statement of ours (<prefix>/<month>/<step>/<index>/<attempt>).")
        prefix, month, step, index, attempt = parts
        return cls(prefix, Month.parse(month), get_step(step).name, int(index), int(attempt))


def statement_pattern(prefix: str, step: str) -> str:
    """The EventBridge wildcard that matches a step's statements of this stack only."""
    return f"{prefix}/*/{get_step(step).name}/*"


# ---------------------------------------------------------------------------- tables

RESULT_TABLES: tuple[str, ...] = (
    "state_counts",
    "county_counts",
    "aiannh_counts",
    "state_x_species_list",
    "county_x_species_list",
    "aiannh_x_species_list",
    "whats_new",
    "watch_list",
)
"""Tables that aggregate_region unloads and its function publishes."""

_STATUS_COUNTS = (
    "occ_count", "species_count", "introduced_occ_count", "introduced_species_count", "invasive_occ_count",
    "invasive_species_count", "presumed_native_occ_count", "presumed_native_species_count", "unresolved_occ_count",
)  # fmt: skip

MAY_BE_EMPTY: dict[str, tuple[str, ...]] = {
    "aiannh_counts": ("aiannh_geoid", "aiannh_name", *_STATUS_COUNTS),
    "aiannh_x_species_list": (
        "aiannh_geoid", "aiannh_name", "species_key", "species", "riis_assessment", "riis_occurrence_ids", "occ_count",
        "first_year", "last_year",
    ),
    "whats_new": (
        "region_type", "region", "region_name", "species_key", "species", "change", "previous_species_key",
        "previous_occ_count", "occ_count", "previous_riis_assessment", "riis_assessment",
    ),
    "watch_list": (
        "census_state", "species_key", "species", "riis_occurrence_ids", "adjacent_states", "occ_count", "last_year",
    ),
}  # fmt: skip
"""The result tables that can have no rows in a sound month, and their columns.

Redshift unloads no file for these then, so calc_stats writes them: ``…_count`` is BIGINT, ``…_year`` INTEGER, all else
text. A test holds the SQL to it.
"""

INTERMEDIATE_TABLES: tuple[str, ...] = (
    "county_file",
    "aiannh_file",
    "riis_taxon",
    "taxon_key",
    "bison_us",
    "coordinate",
    "coordinate_region",
    "riis_match",
    "riis_status",
    "occurrence_summary",
    "region",
    "region_species",
    "region_counts",
    "species_list",
    "previous_state_x_species_list",
    "previous_county_x_species_list",
    "previous_aiannh_x_species_list",
    "species_change",
    "watch_candidate",
)
"""Tables that no step needs once the month's results are there."""

MONTH_TABLES: tuple[str, ...] = (
    "state",
    "county",
    "aiannh",
    "riis_id_list",
    "bison",
    *RESULT_TABLES,
    *INTERMEDIATE_TABLES,
)
"""Tables that a month leaves in the warehouse, each as ``public.<name>_<month>``. A test holds the SQL to it.

All but the intermediate ones stay until the next month's results are there: aggregate_region can run again from them.
"""

BUILDING = "building"
"""``<name>_<month>_building`` is a table not yet whole: its last statement renames it."""


def table_name(name: str, month: Month) -> str:
    """``bison_2026_11_01``."""
    return f"{name}_{month.name}"
