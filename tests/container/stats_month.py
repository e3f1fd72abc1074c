"""The results of a month small enough to reckon with by hand, in two buckets, and a context for calc_stats on them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import shapefile

from container.task import TaskContext
from workflow import names
from workflow.environment import TaskSettings
from workflow.markers import Marker
from workflow.month import Month
from workflow.snapshot import Column, Snapshot
from workflow.steps import month_steps

BUCKET, GBIF_BUCKET = "bison-stats", "gbif-stats"
MONTH = Month(2026, 11)
COUNTY_KEY = "input/counties.shp"
CITATION = "GBIF.org (1 November 2026) GBIF Occurrence Data https://doi.org/10.15468/dl.abcdef"

# Two counties of Kansas side by side, one of Alabama whose GEOID begins with 0, one of Hawaii, one of Puerto Rico.
COUNTIES = {
    "20001": ("Allen", -96, 38),
    "20003": ("Anderson", -95, 38),
    "01001": ("Autauga", -87, 32),
    "15001": ("Hawaii", -156, 19),
    "72001": ("Adjuntas", -67, 18),
}

COUNTS = {
    "annotate_riis": {"register_records": 20, "resolved_records": 18, "review_records": 2},
    "create_bison": {
        "snapshot_rows": 100,
        "not_in_country": 40,
        "without_coordinates": 5,
        "not_present": 3,
        "rank_above_species": 1,
        "other_basis_of_record": 1,
        "us_rows": 50,
    },
    "intersect_bison": {"coordinates": 30, "coordinates_in_no_county": 2},
    "assign_riis": {
        "us_rows": 50,
        "rows_in_no_county": 4,
        "rows_in_territory": 6,
        "introduced": 10,
        "invasive": 8,
        "presumed_native": 20,
        "unresolved": 2,
        "faulty_taxonkeys": 5,
        "faulty_specieskeys": 2,
    },
    "aggregate_region": {"licenses": {"CC_BY_4_0": 30, "CC0_1_0": 20}},
}

# The worked example's matrix (rows 110, 101, 011, 100). The first cell's records come in two rows, of which neither
# alone reaches three.
SPECIES_ROWS = [
    ("01001", "35", "Acer ginnala", "introduced", 2),
    ("01001", "35", "Acer ginnala", "presumed_native", 2),
    ("01001", "BX7", "Bromus tectorum", "invasive", 1),
    ("15001", "35", "Acer ginnala", "introduced", 5),
    ("15001", "C2", "Carex <alba>", "presumed_native", 1),
    ("20001", "BX7", "Bromus tectorum", "invasive", 9),
    ("20001", "C2", "Carex <alba>", "presumed_native", 3),
    ("20003", "35", "Acer ginnala", "introduced", 1),
]


def _table(columns: str, rows: list[tuple]) -> pa.Table:
    # A column that is empty has no type of its own.
    numbers = ("occ_count", "species_count", "_year")
    return pa.table(
        {
            name: pa.array([row[i] for row in rows], pa.int64() if name.endswith(numbers) else pa.string())
            for i, name in enumerate(columns.split())
        }
    )


COUNT_COLUMNS = (
    "occ_count species_count introduced_occ_count introduced_species_count invasive_occ_count invasive_species_count "
    "presumed_native_occ_count presumed_native_species_count unresolved_occ_count"
)


def tables() -> dict[str, pa.Table]:
    """Every result by name."""
    return {
        "county_x_species_list": _table("county_geoid species_key species riis_assessment occ_count", SPECIES_ROWS),
        "state_x_species_list": _table(
            "census_state species_key species riis_assessment occ_count",
            [
                ("AL", "35", "Acer ginnala", "introduced", 4),
                ("AL", "BX7", "Bromus tectorum", "invasive", 1),
                ("HI", "35", "Acer ginnala", "introduced", 5),
                ("KS", "BX7", "Bromus tectorum", "invasive", 9),
                ("KS", "C2", "Carex <alba>", "presumed_native", 3),
                ("PR", "C2", "Carex <alba>", None, 3),
            ],
        ),
        "state_counts": _table(
            f"census_state {COUNT_COLUMNS}",
            [
                ("AL", 5, 2, 4, 1, 1, 1, 2, 1, 0),
                ("HI", 6, 2, 5, 1, 0, 0, 1, 1, 0),
                ("KS", 13, 4, 1, 1, 9, 1, 3, 1, 2),
                ("PR", 3, 1, 0, 0, 0, 0, 0, 0, 0),
            ],
        ),
        "county_counts": _table(
            f"state_county census_state census_county county_geoid {COUNT_COLUMNS}",
            [
                ("AL Autauga County", "AL", "Autauga County", "01001", 5, 2, 4, 1, 1, 1, 0, 0, 0),
                ("KS Allen <County>", "KS", "Allen <County>", "20001", 12, 4, 0, 0, 9, 1, 3, 1, 0),
                ("PR Adjuntas Municipio", "PR", "Adjuntas Municipio", "72001", 3, 1, 0, 0, 0, 0, 0, 0, 0),
            ],
        ),
        "aiannh_counts": _table(f"aiannh_geoid aiannh_name {COUNT_COLUMNS}", []),
        "whats_new": _table(
            "region_type region region_name species_key species change previous_species_key previous_occ_count "
            "occ_count previous_riis_assessment riis_assessment",
            [
                ("state", "KS", "Kansas", "BX7", "Bromus tectorum", "new", None, None, 9, None, "invasive"),
                ("state", "AL", "Alabama", "BX7", "Bromus tectorum", "new", None, None, 1, None, "invasive"),
                ("state", "HI", "Hawaii", "C2", "Carex <alba>", "new", None, None, 1, None, "presumed_native"),
                ("state", "AL", "Alabama", "35", "Acer ginnala", "key_changed", "9", 4, 4, "introduced", "introduced"),
                ("county", "20003", "KS Anderson County", None, "Sus scrofa", "gone", "Z4", 7, None, "invasive", None),
            ],
        ),
        "watch_list": _table(
            "census_state species_key species riis_occurrence_ids adjacent_states occ_count last_year",
            [("GA", "BX7", "Bromus tectorum", "1|2", "AL|SC", 1, 2024)],
        ),
        "riis_review": _table(
            "riis_occurrence_id locality scientific_name match_type candidate reason",
            [
                ("1", "L48", "Acer mirum", "HIGHERRANK", "Acer L. (genus, 64G)", "only the genus Acer"),
                ("2", "L48", "Bromus mirus", "HIGHERRANK", "Bromus L. (genus, 3NK)", "only the genus Bromus"),
            ],
        ),
    }


def write_counties(folder, counties=COUNTIES, columns="STATEFP COUNTYFP NAME"):
    """A shapefile of squares of one degree, with the columns named (GEOID or STATEFP and COUNTYFP, NAME)."""
    path = folder / "counties.shp"
    with shapefile.Writer(str(path), shapeType=shapefile.POLYGON) as writer:
        for name in columns.split():
            writer.field(name, "C", 40)
        for geoid, (county, west, south) in counties.items():
            writer.poly([[[west, south], [west, south + 1], [west + 1, south + 1], [west + 1, south], [west, south]]])
            values = {"STATEFP": geoid[:2], "COUNTYFP": geoid[2:], "GEOID": geoid, "NAME": county}
            writer.record(*[values.get(name.upper(), "") for name in columns.split()])
    return path


def marker(step: str, **changes) -> Marker:
    counts = COUNTS.get(step, {}) | changes
    return Marker(MONTH.name, step, 1, "2026-11-05T12:00:00+00:00", "2026-11-05T12:01:30+00:00", (), counts, "sha256:1")


def snapshot(rows: int = 100) -> Snapshot:
    return Snapshot(
        month=MONTH.name,
        location=f"s3://{GBIF_BUCKET}/occurrence/2026-11-01/occurrence.parquet/",
        files=3,
        bytes=4711,
        rows=rows,
        columns=(Column("gbifid", "string", "VARCHAR(65535)"),),
        checklist_key="7ddf754f-d193-4cc9-b351-99906754a03b",
        checklist_name="Catalogue of Life eXtended Release",
        index_version="2026-10-20",
        usable_key="[0-9A-Z]+",
        sampled_keys=100,
        faulty_taxonkeys=0.1,
        faulty_specieskeys=0.0,
    )


def put(s3, key: str, text: str, bucket: str = BUCKET) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode())


def put_table(s3, name: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    s3.put_object(Bucket=BUCKET, Key=names.output_key(MONTH, f"{name}.parquet"), Body=buffer.getvalue())


def put_month(s3, folder, previous: str | None = "2026_10_01", empty: tuple[str, ...] = ()) -> None:
    """Fill both buckets. empty: tables of which there is no file."""
    for bucket in (BUCKET, GBIF_BUCKET):
        s3.create_bucket(Bucket=bucket)
        for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
    for name, table in tables().items():
        if name not in empty:
            put_table(s3, name, table)
    for step in month_steps():
        if step.name != "calc_stats":
            made = marker(step.name, **({"empty_tables": list(empty)} if step.name == "aggregate_region" else {}))
            put(s3, made.key, made.to_json())
    plan = json.dumps({"previous_month": previous, "obsolete_months": [], "statements": []})
    put(s3, names.log_key(MONTH, "aggregate_region", 1, "statements.json"), plan)
    put(s3, names.summary_key(MONTH, names.SNAPSHOT_JSON), snapshot().to_json())
    put(s3, f"{names.snapshot_prefix(MONTH)}citation.txt", CITATION + "\n", GBIF_BUCKET)
    shp = write_counties(folder)
    for suffix in (".shp", ".shx", ".dbf"):
        s3.upload_file(str(shp.with_suffix(suffix)), BUCKET, COUNTY_KEY.removesuffix(".shp") + suffix)


def make_context(s3, workdir) -> TaskContext:
    settings = TaskSettings(
        stack="test",
        month=MONTH.name,
        step="calc_stats",
        attempt=1,
        bucket=BUCKET,
        gbif_bucket=GBIF_BUCKET,
        code="sha256:2",
        riis_key="input/US-RIIS.csv",
        county_key=COUNTY_KEY,
        gbif_api="http://127.0.0.1:1/v2",
        contact="someone@example.org",
    )
    return TaskContext(settings, MONTH, s3, workdir, datetime.now(UTC).isoformat(timespec="seconds"))
