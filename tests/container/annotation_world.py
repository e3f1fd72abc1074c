"""A register, a snapshot and a taxonomy small enough to reckon with by hand, and a run of annotate_riis on them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from container import entrypoint
from local.gbif_server import Taxon, Taxonomy
from workflow import names
from workflow.environment import TaskSettings
from workflow.markers import Marker
from workflow.month import Month
from workflow.status import BACKBONE, COL_XR

BUCKET, GBIF_BUCKET = "bison-test", "gbif-test"
MONTH = Month(2026, 10)
RIIS_KEY = "input/US-RIIS.csv"

TAXA = (
    Taxon("P", "Plantae", "Plantae", "", "KINGDOM"),
    Taxon("N", "Animalia", "Animalia", "", "KINGDOM"),
    Taxon("64G", "Acer L.", "Acer", "L.", "GENUS", parent_key="P"),
    Taxon("9BX", "Acer tataricum L.", "Acer tataricum", "L.", "SPECIES", parent_key="64G"),
    Taxon(
        "9BY",
        "Acer tataricum subsp. ginnala (Maxim.) Wesm.",
        "Acer tataricum ginnala",
        "(Maxim.) Wesm.",
        "SUBSPECIES",
        parent_key="9BX",
    ),
    Taxon("9BZ", "Acer ginnala Maxim.", "Acer ginnala", "Maxim.", "SPECIES", "SYNONYM", accepted_key="9BY"),
    Taxon("3NK", "Bromus L.", "Bromus", "L.", "GENUS", parent_key="P"),
    Taxon("NT3", "Bromus tectorum L.", "Bromus tectorum", "L.", "SPECIES", parent_key="3NK"),
    Taxon("6PQ", "Agropyron cristatum (L.) Gaertn.", "Agropyron cristatum", "(L.) Gaertn.", "SPECIES", parent_key="P"),
    Taxon(
        "6PR",
        "Agropyron cristatum subsp. pectinatum (M.Bieb.) Tzvelev",
        "Agropyron cristatum pectinatum",
        "(M.Bieb.) Tzvelev",
        "SUBSPECIES",
        "SYNONYM",
        accepted_key="6PQ",
    ),
    Taxon("52S", "Sturnus vulgaris Linnaeus, 1758", "Sturnus vulgaris", "Linnaeus, 1758", "SPECIES", parent_key="N"),
    Taxon(
        "4CX", "Passer domesticus (Linnaeus, 1758)", "Passer domesticus", "(Linnaeus, 1758)", "SPECIES", parent_key="N"
    ),
    Taxon("35", "Turdus merula Linnaeus, 1758", "Turdus merula", "Linnaeus, 1758", "SPECIES", parent_key="N"),
    Taxon("FVP", "Ficus variegata Blume", "Ficus variegata", "Blume", "SPECIES", parent_key="P"),
    Taxon("FVN", "Ficus variegata Röding, 1798", "Ficus variegata", "Röding, 1798", "SPECIES", parent_key="N"),
    Taxon("SXP", "Salix × pendulina Wender.", "Salix pendulina", "Wender.", "SPECIES", parent_key="P"),
    Taxon(
        "D3K",
        "Dreissena polymorpha (Pallas, 1771)",
        "Dreissena polymorpha",
        "(Pallas, 1771)",
        "SPECIES",
        parent_key="N",
    ),
)  # fmt: skip
COL = Taxonomy(COL_XR.key, "COL26.10 XR", TAXA)

_NUMBERS = {taxon.key: str(2000001 + number) for number, taxon in enumerate(TAXA)}


def numbered(key: str | None) -> str | None:
    return None if key is None else _NUMBERS[key]


BACKBONE_TAXONOMY = Taxonomy(
    BACKBONE.key,
    "GBIF Backbone 2023",
    tuple(
        replace(
            taxon,
            key=_NUMBERS[taxon.key],
            accepted_key=numbered(taxon.accepted_key),
            parent_key=numbered(taxon.parent_key),
        )
        for taxon in TAXA
    ),
)

RIIS_HEADER = (
    "locality",
    "scientificName",
    "scientificNameAuthorship",
    "taxonRank",
    "degreeOfEstablishment",
    "kingdom",
    "occurrenceID",
)
INTRODUCED, INVASIVE = "established (category C3)", "widespread invasive (category E)"
REGISTER = (
    ("L48", "Acer ginnala", "Maxim.", "Species", INVASIVE, "Plantae", "R1"),
    ("L48", "Bromus tectorum", "L.", "Species", INVASIVE, "Plantae", "R2"),
    ("AK", "Agropyron cristatum ssp. pectinatum", "(M. Bieb.) Tzvelev", "Subspecies", INTRODUCED, "Plantae", "R3"),
    ("L48", "Sturnus vulgaris", "Linnaeus, 1758", "Species", INVASIVE, "Animalia", "R4"),
    ("HI", "Passer domesticus", "(Linnaeus, 1758)", "Species", INTRODUCED, "Animalia", "R5"),
    ("HI", "Ficus variegata", "Blume", "Species", INTRODUCED, "Animalia", "R6"),
    ("HI", "Salix X pendulina", "Wender.", "Hybrid", INTRODUCED, "Plantae", "R7"),
    ("L48", "Bromus unheardus", "", "Species", INTRODUCED, "Plantae", "R8"),
    ("L48", "Acer tataricum", "L.", "Species", "sort of invasive", "Plantae", "R9"),
    ("PR", "Acer tataricum", "L.", "Species", INVASIVE, "Plantae", "R10"),
)

# taxonkey, specieskey, species, countrycode
ROWS = (
    ("9BZ", "9BX", "Acer tataricum", "US"),
    ("9BX", "9BX", "Acer tataricum", "US"),
    ("9BY", "9BX", "Acer tataricum", "US"),
    ("NT3", "NT3", "Bromus tectorum", "US"),
    ("NT3", "NT3", "Bromus tectorum", "US"),
    ("6PR", "6PQ", "Agropyron cristatum", "US"),
    ("52S", "52S", "Sturnus vulgaris", "US"),
    ("35", "35", "Turdus merula", "US"),
    ("3NK", None, None, "US"),
    ("0", "52S", "Sturnus vulgaris", "US"),
    ("4CX", "4CX", "Passer domesticus", "DE"),
)


def riis_csv(records=REGISTER, header=RIIS_HEADER) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([header, *records])
    return text.getvalue().encode("utf-8-sig")


def snapshot_table(rows=ROWS, key_type=None) -> pa.Table:
    key_type = key_type or pa.string()
    keys = [[row[column] for row in rows] for column in (0, 1)]
    if pa.types.is_integer(key_type):
        keys = [[None if key is None else int(key) for key in column] for column in keys]
    count = len(rows)
    return pa.table(
        {
            "gbifid": [str(number) for number in range(count)],
            "taxonkey": pa.array(keys[0], key_type),
            "specieskey": pa.array(keys[1], key_type),
            "species": pa.array([row[2] for row in rows], pa.string()),
            "taxonrank": ["SPECIES"] * count,
            "countrycode": [row[3] for row in rows],
            "occurrencestatus": ["PRESENT"] * count,
            "basisofrecord": ["HUMAN_OBSERVATION"] * count,
            "decimallatitude": [40.0] * count,
            "decimallongitude": [-100.0] * count,
            "year": pa.array([2020] * count, pa.int32()),
            "license": ["CC0_1_0"] * count,
            "recordedby": pa.array([["A. Body"]] * count, pa.list_(pa.string())),
        }
    )


def parquet_bytes(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


@dataclass
class World:
    """The two buckets with a month's input; ``run`` runs the task as the image does."""

    s3: object
    gbif_api: str = "http://127.0.0.1:9/v2"

    def put(self, key: str, content: bytes, bucket: str = BUCKET) -> None:
        self.s3.put_object(Bucket=bucket, Key=key, Body=content)

    def put_snapshot(self, *tables: pa.Table) -> None:
        for number, table in enumerate(tables):
            key = f"{names.snapshot_parquet_prefix(MONTH)}{number:06d}"
            self.put(key, parquet_bytes(table), GBIF_BUCKET)

    def settings(self, **changes) -> TaskSettings:
        settings = TaskSettings(
            stack="test",
            month=MONTH.name,
            step="annotate_riis",
            attempt=1,
            bucket=BUCKET,
            gbif_bucket=GBIF_BUCKET,
            code="sha256:abc",
            riis_key=RIIS_KEY,
            county_key="input/county.shp",
            gbif_api=self.gbif_api,
            contact="bison@example.org",
        )
        return replace(settings, **changes)

    def run(self, task_app: str = "container.tasks.annotate_riis", **changes) -> int:
        return entrypoint.main({**self.settings(**changes).to_environ(), "TASK_APP": task_app})

    def object_keys(self, prefix: str = "") -> list[str]:
        page = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in page.get("Contents", ())]

    def read(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def rows(self, key: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.read(key).decode("utf-8"))))

    def json(self, key: str) -> dict:
        return json.loads(self.read(key))

    def marker(self, outcome: str = "success", step: str = "annotate_riis") -> Marker:
        return Marker.from_json(self.read(names.run_key(MONTH, step, outcome)))


_REGISTER_BYTES, _SNAPSHOT_BYTES = riis_csv(), parquet_bytes(snapshot_table())


def new_world(s3) -> World:
    """Register and snapshot in the two buckets, which are there and empty."""
    world = World(s3)
    world.put(RIIS_KEY, _REGISTER_BYTES)
    world.put(f"{names.snapshot_parquet_prefix(MONTH)}000000", _SNAPSHOT_BYTES, GBIF_BUCKET)
    return world
