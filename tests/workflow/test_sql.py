"""Whole months of SQL, s2 to s7, over a handful of records that are placed and worked out by hand.

The squares below are one degree wide. Their corners are whole degrees, so that every point's county can be read off.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from importlib import resources

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapefile
import sqlglot
from moto import mock_aws

from container.empty_tables import empty_table
from local.warehouse import Warehouse
from local.warehouse.engine import to_duckdb
from workflow import boundaries, names, statements, status
from workflow.month import Month
from workflow.snapshot import Column, Snapshot, redshift_type
from workflow.statements import SqlContext
from workflow.steps import STEPS, Kind

BUCKET = "bison-test"
LOCATION = "s3://gbif-test/occurrence/"
OCTOBER, NOVEMBER = Month(2026, 10), Month(2026, 11)
SQL_STEPS = [step.name for step in STEPS if step.kind is Kind.SQL]
NAD83 = 'GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137,298.257222101]],PRIMEM["Greenwich",0],UNIT["Degree",0.017453292519943295]]'  # noqa: E501

# STATEFP, COUNTYFP, NAME, LSAD, west, south
COUNTIES = [
    ("01", "003", "Baldwin", "06", -89, 30),
    ("01", "001", "Autauga", "06", -90, 30),
    ("12", "001", "Alachua", "06", -90, 29),
    ("13", "001", "Appling", "06", -88, 30),
    ("02", "020", "Anchorage", "12", -150, 60),
    ("15", "001", "Hawaii", "06", -156, 19),
    ("72", "011", "Añasco", "13", -67, 18),
    ("32", "510", "Carson City", "00", -120, 39),
]
# GEOID, NAME, LSAD, west, east (all from 30.1 to 30.3 north)
AREAS = [
    ("1120", "Second", "86", -89.8, -89.5),
    ("1110", "First", "82", -89.9, -89.7),
    ("1130", "Offshore", "78", -91.0, -90.5),
]

# riis_region, accepted_key, species_key, species, is_species, riis_assessment, riis_occurrence_id
REGISTER = [
    ("L48", "CR3", "CR2", "Acer unum", "false", "invasive", "R1"),
    ("L48", "CR2", "CR2", "Acer unum", "true", "introduced", "R2"),
    ("AK", "CR2", "CR2", "Acer unum", "true", "introduced", "R3"),
    ("L48", "DF2", "DF2", "Bufo duo", "true", "introduced", "R5"),
    ("L48", "DF2", "DF2", "Bufo duo", "true", "invasive", "R4"),
    ("L48", "DF5", "DF2", "Bufo duo", "false", "invasive", "R9"),
    ("HI", "GH2", "GH2", "Canis tres", "true", "invasive", "R6"),
    ("L48", "KL3", "KL2", "Dahlia quattuor", "false", "introduced", "R7"),
    ("L48", "WX2", "WX2", "Ficus sex", "true", "invasive", "R8"),
]
# CR4 is a synonym of the subspecies CR3; CR5 one of the species itself.
TAXON_KEYS = [("CR4", "CR3"), ("CR3", "CR3"), ("CR5", "CR2")]

AUTAUGA, BALDWIN, ALACHUA, APPLING = (-89.6, 30.6), (-88.5, 30.5), (-89.5, 29.5), (-87.5, 30.5)
ANCHORAGE, HAWAII, ANASCO, CARSON_CITY, SEA = (
    (-149.5, 60.5),
    (-155.5, 19.5),
    (-66.5, 18.5),
    (-119.5, 39.5),
    (-95.0, 20.0),
)

# taxonkey, specieskey, species, (longitude, latitude), year, and the status that the rules give
RECORDS = [
    ("CR2", "CR2", "Acer unum", AUTAUGA, 2001, "introduced", "R2"),  # the species itself
    ("CR3", "CR2", "Acer unum", AUTAUGA, 2002, "invasive", "R1"),  # a subspecies with a record of its own
    ("CR4", "CR2", "Acer unum", BALDWIN, 2003, "invasive", "R1"),  # its synonym
    ("CR5", "CR2", "Acer unum", BALDWIN, None, "introduced", "R2"),  # the species' synonym, by its resolved key
    ("CR9", "CR2", "Acer unum", AUTAUGA, 1999, "introduced", "R2"),  # another subspecies goes with its species
    ("CR2", "CR2", "Acer unum", ANCHORAGE, 2005, "introduced", "R3"),  # the same species by Alaska's record
    ("CR3", "CR2", "Acer unum", ANCHORAGE, 2006, "introduced", "R3"),  # L48's record says nothing of Alaska
    ("CR2", "CR2", "Acer unum", HAWAII, 2007, "presumed_native", None),  # no record for Hawaii
    ("CR2", "CR2", "Acer unum", ANASCO, 2008, None, None),  # a territory has no status
    ("CR2", "CR2", "Acer unum", SEA, 2009, None, None),  # nor has the sea
    ("DF2", "DF2", "Bufo duo", AUTAUGA, 2010, "invasive", "R4|R5"),  # two records: the stronger, and both ids
    ("DF5", "DF2", "Bufo duo", AUTAUGA, 2009, "invasive", "R9"),  # its subspecies' own record
    ("DF7", "DF2", "Bufo duo", APPLING, 2011, "invasive", "R4|R5"),
    ("0", "DF2", "Bufo duo", APPLING, 2012, "invasive", "R4|R5"),  # faulty taxonkey: by the species
    ("GH2", "GH2", "Canis tres", AUTAUGA, 2013, "presumed_native", None),  # invasive in Hawaii only
    ("GH2", "GH2", "Canis tres", HAWAII, 2014, "invasive", "R6"),
    ("KL2", "KL2", "Dahlia quattuor", AUTAUGA, 2015, "presumed_native", None),  # not the subspecies' record
    ("KL3", "KL2", "Dahlia quattuor", AUTAUGA, 2016, "introduced", "R7"),
    ("KL3", None, None, AUTAUGA, 2017, "introduced", "R7"),  # no species key: status, but no species
    ("0", "10", "Homo erraticus", AUTAUGA, 2018, "unresolved", None),  # two faulty keys
    ("vYOrvZV81KuK9xP9V-W", None, None, APPLING, 2019, "unresolved", None),  # a temporary key
    ("1234", "1234", "Oenanthe aquatica", APPLING, 2020, "unresolved", None),  # a key of the old backbone
    ("MN2", "MN2", "Oenanthe oenanthe", APPLING, 2021, "presumed_native", None),
    ("PQ2", "PQ2", "Ficus variegata", CARSON_CITY, 2022, "presumed_native", None),  # homonyms: a plant
    ("PQ3", "PQ3", "Ficus variegata", CARSON_CITY, 2023, "presumed_native", None),  # and a snail
    ("RS2", "RS2", "Elaps quinque", (-89.0, 30.5), 2024, "presumed_native", None),  # on the border of 01001 and 01003
    ("RS2", "RS2", "Elaps quinque", (-89.75, 30.2), 2024, "presumed_native", None),  # where two tribal areas overlap
    ("RS2", "RS2", "Elaps quinque", (-89.6, 30.2), 2024, "presumed_native", None),  # in the second area only
    ("RS2", "RS2", "Elaps quinque", (-90.7, 30.2), 2024, None, None),  # in an area off shore, in no county
    ("WX2", "WX2", "Ficus sex", ALACHUA, 2025, "invasive", "R8"),
    ("WX2", "WX2", "Ficus sex", APPLING, 2026, "invasive", "R8"),
]  # fmt: skip

KEPT = {
    "taxonrank": "SPECIES",
    "countrycode": "US",
    "occurrencestatus": "PRESENT",
    "basisofrecord": "HUMAN_OBSERVATION",
    "license": "CC_BY_4_0",
}
# What one record after another lacks, and the reason under which it must be counted: the first that applies.
DROPPED = [
    ({"countrycode": "CA", "taxonrank": "GENUS"}, "not_in_country"),
    ({"countrycode": None}, "not_in_country"),
    ({"decimallongitude": None, "occurrencestatus": "ABSENT"}, "without_coordinates"),
    ({"decimallatitude": float("nan")}, "without_coordinates"),
    ({"decimallatitude": 91.0}, "without_coordinates"),
    ({"decimallongitude": -180.5}, "without_coordinates"),
    ({"occurrencestatus": "ABSENT", "taxonrank": "GENUS"}, "not_present"),
    ({"occurrencestatus": None}, "not_present"),
    ({"taxonrank": "GENUS", "basisofrecord": "FOSSIL_SPECIMEN"}, "rank_above_species"),
    ({"taxonrank": None}, "rank_above_species"),
    ({"basisofrecord": "FOSSIL_SPECIMEN"}, "other_basis_of_record"),
    ({"basisofrecord": None}, "other_basis_of_record"),
]

SCHEMA = pa.schema(
    [("gbifid", pa.string()), ("class", pa.string()), ("order", pa.string()), ("issue", pa.list_(pa.string()))]
    + [(name, pa.string()) for name in ("taxonkey", "specieskey", "species", "taxonrank", "countrycode")]
    + [(name, pa.string()) for name in ("occurrencestatus", "basisofrecord", "license")]
    + [("decimallatitude", pa.float64()), ("decimallongitude", pa.float64()), ("year", pa.int32())]
)


def occurrence_rows(records, dropped=()):
    rows = []
    for taxonkey, specieskey, species, (longitude, latitude), year, *_ in records:
        place = {"decimallongitude": longitude, "decimallatitude": latitude, "year": year}
        rows.append({"taxonkey": taxonkey, "specieskey": specieskey, "species": species, **place, **KEPT})
    for lacking, _ in dropped:
        rows.append({**rows[0], **lacking})
    return [{**row, "gbifid": str(number), "class": "c", "order": "o", "issue": []} for number, row in enumerate(rows)]


def write_squares(path, columns, rows):
    """Squares from (west, south, east, north, values of the columns)."""
    with shapefile.Writer(str(path)) as writer:
        for column in columns:
            writer.field(column, "C", 100)
        for west, south, east, north, values in rows:
            writer.poly([[[west, south], [west, north], [east, north], [east, south], [west, south]]])
            writer.record(*values)
    path.with_suffix(".prj").write_text(NAD83)


def put_shapefile(s3, path, key):
    for suffix in (".shp", ".shx", ".dbf", ".prj"):
        s3.upload_file(str(path.with_suffix(suffix)), BUCKET, key.replace(".shp", suffix))
    return boundaries.read_dbf_fields(path.with_suffix(".dbf").read_bytes())


def to_csv(header, rows):
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


class World:
    """A bucket, a warehouse and a folder for GBIF's files."""

    def __init__(self, folder):
        self.folder = folder
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.s3.create_bucket(Bucket=BUCKET)
        write_squares(
            folder / "county.shp",
            ["STATEFP", "COUNTYFP", "GEOID", "NAME", "LSAD"],
            [(w, s, w + 1, s + 1, (fp, county, fp + county, name, lsad)) for fp, county, name, lsad, w, s in COUNTIES],
        )
        write_squares(
            folder / "aiannh.shp",
            ["AIANNHCE", "GEOID", "NAME", "LSAD"],
            [(west, 30.1, east, 30.3, (geoid, geoid, name, lsad)) for geoid, name, lsad, west, east in AREAS],
        )
        self.county_fields = put_shapefile(self.s3, folder / "county.shp", "input/county.shp")
        self.aiannh_fields = put_shapefile(self.s3, folder / "aiannh.shp", "input/aiannh.shp")
        self.events = []
        (folder / "occurrence").mkdir()
        (folder / "temporary").mkdir()
        self.warehouse = Warehouse(
            None,
            lambda: self.s3,
            {LOCATION: folder / "occurrence"},
            self.events.append,
            folder / "temporary",
        )

    def prepare(self, month, records, dropped=(), previous=None, schema=SCHEMA):
        """Lay down what annotate_riis would; the context of the month's SQL."""
        rows = occurrence_rows(records, dropped)
        where = self.folder / "occurrence" / month.snapshot_date
        where.mkdir(exist_ok=True)
        half = len(rows) // 2
        pq.write_table(pa.Table.from_pylist(rows[:half], schema), where / "000000")
        pq.write_table(pa.Table.from_pylist(rows[half:], schema), where / "000001")
        (where / "citation.txt").write_text("GBIF.org")
        taxa = to_csv(
            (
                "riis_region",
                "accepted_key",
                "species_key",
                "species",
                "is_species",
                "riis_assessment",
                "riis_occurrence_id",
            ),
            REGISTER,
        )
        self.put(names.summary_key(month, "riis_taxa.csv"), taxa)
        self.put(names.summary_key(month, "taxon_keys.csv"), to_csv(("taxonkey", "accepted_key"), TAXON_KEYS))
        columns = tuple(Column(field.name, str(field.type), redshift_type(str(field.type))) for field in schema)
        snapshot = Snapshot(
            month.name, f"{LOCATION}{month.snapshot_date}/", 2, 1, len(rows), columns, status.COL_XR.key,
            status.COL_XR.name, "1", status.COL_XR.usable, 1, 0.0, 0.0,
        )  # fmt: skip
        return SqlContext(
            month, previous, (), BUCKET, "spectrum", "gbif", ("US", "PR"),
            ("HUMAN_OBSERVATION", "PRESERVED_SPECIMEN"), snapshot, "input/county.shp", "input/aiannh.shp",
            self.county_fields, self.aiannh_fields,
        )  # fmt: skip

    def put(self, key, body):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def run(self, step, context):
        """Do what the step's function does. Returns the counts, or raises AssertionError with the failure."""
        counts = {}
        for statement in statements.render_step(step, context):
            rows = self.query(statement.sql, statement.name)
            if failure := statements.check_expectation(statement, rows):
                raise AssertionError(failure)
            counts |= statements.counts_of(statement, rows)
        return counts

    def query(self, sql, name="query"):
        request = {"WorkgroupName": "w", "Database": "d", "Sql": sql}
        statement = {"Id": self.warehouse.execute_statement(request)["Id"]}
        self.warehouse.wait_until_idle()
        described = self.warehouse.describe_statement(statement)
        if described["Status"] != "FINISHED":
            raise AssertionError(f"{name}: {described['Error']}")
        if not described["HasResultSet"]:
            return []
        result = self.warehouse.get_statement_result(statement)
        columns = [column["name"] for column in result["ColumnMetadata"]]
        return [
            dict(zip(columns, (None if "isNull" in cell else next(iter(cell.values())) for cell in row), strict=True))
            for row in result["Records"]
        ]

    def run_month(self, context):
        return {step: self.run(step, context) for step in SQL_STEPS[:-1]}

    def publish(self, month):
        """Copy the species lists to where the function puts them for people, and for the next month."""
        for table in names.RESULT_TABLES:
            key = names.output_key(month, f"{table}.parquet")
            if found := self.keys(f"summary/{month.name}/{table}/parquet/"):
                self.s3.copy_object(Bucket=BUCKET, CopySource={"Bucket": BUCKET, "Key": found[0]}, Key=key)
            else:
                written = io.BytesIO()
                pq.write_table(empty_table(table), written)
                self.s3.put_object(Bucket=BUCKET, Key=key, Body=written.getvalue())

    def keys(self, prefix):
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def csv(self, month, table):
        keys = self.keys(f"summary/{month.name}/{table}/csv/")
        if not keys and table in names.MAY_BE_EMPTY:
            return []
        (key,) = keys
        text = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
        return list(csv.DictReader(io.StringIO(text)))

    def tables(self):
        return {row["table_name"] for row in self.query("SHOW TABLES FROM SCHEMA dev.public")}


@pytest.fixture
def world(tmp_path, monkeypatch):
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    with mock_aws():
        world = World(tmp_path)
        yield world
        world.warehouse.close()


@pytest.fixture(scope="module")
def november(tmp_path_factory):
    """November's month after October's: what the tests of results read."""
    with pytest.MonkeyPatch.context() as monkeypatch, mock_aws():
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(variable, "testing")
        world = World(tmp_path_factory.mktemp("world"))
        world.run_month(world.prepare(OCTOBER, OCTOBER_RECORDS))
        world.publish(OCTOBER)
        world.context = world.prepare(NOVEMBER, RECORDS, DROPPED, OCTOBER)
        world.counts = world.run_month(world.context)
        yield world
        world.warehouse.close()


OCTOBER_RECORDS = [
    *[
        record
        for record in RECORDS
        if record[2] not in ("Elaps quinque", "Bufo duo", "Canis tres", "Dahlia quattuor", "Oenanthe oenanthe")
    ],
    ("GH9", "GH9", "Canis tres", AUTAUGA, 2013, None, None),  # its key is GH2 in November
    ("TV2", "TV2", "Gallus septem", AUTAUGA, 2000, None, None),  # gone in November
    ("TV2", "TV2", "Gallus septem", AUTAUGA, 2000, None, None),
    ("KL2", "KL2", "Dahlia quattuor", AUTAUGA, 2015, None, None),
    ("GH7", "GH7", "Canis tres", HAWAII, 2014, None, None),  # GH2 in November, and invasive
    ("CR2", "CR2", "Acer unum", APPLING, 2014, None, None),
]


def lines(world, table, month=NOVEMBER):
    return [",".join(row.values()) for row in world.csv(month, table)]


def test_every_row_of_the_snapshot_is_counted_under_its_first_reason(november):
    expected = {reason: sum(1 for _, each in DROPPED if each == reason) for _, reason in DROPPED}
    assert november.counts["create_bison"] == {"snapshot_rows": 43, "us_rows": 31, **expected}


def test_counts_of_the_later_steps(november):
    assert november.counts["load_ancillary"] == {}
    # Thirteen different places, of which the sea and the area off shore lie in no county.
    assert november.counts["intersect_bison"] == {"coordinates": 13, "coordinates_in_no_county": 2}
    assert november.counts["assign_riis"] == {
        "us_rows": 31,
        "rows_in_no_county": 2,
        "rows_in_territory": 1,
        "introduced": 7,
        "invasive": 9,
        "presumed_native": 9,
        "unresolved": 3,
        "faulty_taxonkeys": 4,
        "faulty_specieskeys": 4,
    }
    assert november.counts["aggregate_region"] == {"licenses": {"CC_BY_4_0": 31}}


def test_each_record_gets_the_status_that_the_rules_give(november):
    rows = november.query(
        "SELECT riis_assessment, riis_occurrence_ids FROM bison_2026_11_01 ORDER BY CAST(gbifid AS INTEGER)"
    )
    found = [(row["riis_assessment"], row["riis_occurrence_ids"]) for row in rows]
    assert found == [(assessment, ids) for *_, assessment, ids in RECORDS]


def test_a_point_on_a_border_lies_in_the_polygon_of_the_smallest_key_only(november):
    rows = november.query(
        "SELECT decimallongitude, decimallatitude, county_geoid, aiannh_geoid FROM coordinate_region_2026_11_01"
    )
    regions = {(row["decimallongitude"], row["decimallatitude"]): row for row in rows}
    assert regions[-89.0, 30.5]["county_geoid"] == "01001"
    assert regions[-89.75, 30.2]["aiannh_geoid"] == "1110"
    assert regions[-89.6, 30.2]["aiannh_geoid"] == "1120"
    assert (regions[-90.7, 30.2]["county_geoid"], regions[-90.7, 30.2]["aiannh_geoid"]) == (None, "1130")
    assert regions[SEA]["county_geoid"] is None


def test_points_meet_polygons_in_duckdbs_spatial_join(november):
    """A nested loop would take days where the spatial join takes minutes."""
    plan = {statement.name: statement for statement in statements.render_step("intersect_bison", november.context)}
    sql = to_duckdb(sqlglot.parse_one(plan["build_coordinate_region"].sql, read="redshift"))
    cursor = november.warehouse._engine._connection.cursor()
    cursor.execute("SET schema = 'public'")
    explained = cursor.execute("EXPLAIN " + sql.replace("_building", "_explained")).fetchall()[0][1]
    assert explained.count("SPATIAL_JOIN") == 2


def test_counts_by_state_count_species_once_and_leave_faulty_keys_out(november):
    header = list(november.csv(NOVEMBER, "state_counts")[0])
    assert header == [
        "census_state", "occ_count", "species_count", "introduced_occ_count", "introduced_species_count",
        "invasive_occ_count", "invasive_species_count", "presumed_native_occ_count", "presumed_native_species_count",
        "unresolved_occ_count",
    ]  # fmt: skip
    assert lines(november, "state_counts") == [
        "AK,2,1,2,1,0,0,0,0,0",
        # Acer unum is introduced and invasive, Dahlia quattuor introduced and native: five species all the same.
        "AL,15,5,5,2,4,2,5,3,1",
        "FL,1,1,0,0,1,1,0,0,0",
        "GA,6,3,0,0,3,2,1,1,2",
        "HI,2,2,0,0,1,1,1,1,0",
        "NV,2,2,0,0,0,0,2,2,0",
        "PR,1,1,0,0,0,0,0,0,0",
    ]


def test_counts_by_county_and_by_area(november):
    counties = november.csv(NOVEMBER, "county_counts")
    assert list(counties[0])[:5] == ["state_county", "census_state", "census_county", "county_geoid", "occ_count"]
    assert lines(november, "county_counts") == [
        "AL Autauga County,AL,Autauga County,01001,13,5,4,2,3,2,5,3,1",
        "AL Baldwin County,AL,Baldwin County,01003,2,1,1,1,1,1,0,0,0",
        "AK Anchorage Municipality,AK,Anchorage Municipality,02020,2,1,2,1,0,0,0,0,0",
        "FL Alachua County,FL,Alachua County,12001,1,1,0,0,1,1,0,0,0",
        "GA Appling County,GA,Appling County,13001,6,3,0,0,3,2,1,1,2",
        "HI Hawaii County,HI,Hawaii County,15001,2,2,0,0,1,1,1,1,0",
        "NV Carson City,NV,Carson City,32510,2,2,0,0,0,0,2,2,0",
        "PR Añasco Municipio,PR,Añasco Municipio,72011,1,1,0,0,0,0,0,0,0",
    ]
    assert list(november.csv(NOVEMBER, "aiannh_counts")[0])[:3] == ["aiannh_geoid", "aiannh_name", "occ_count"]
    assert lines(november, "aiannh_counts") == [
        "1110,First Community,1,1,0,0,0,0,1,1,0",
        "1120,Second Reservation,1,1,0,0,0,0,1,1,0",
        "1130,Offshore Hawaiian Home Land,1,1,0,0,0,0,0,0,0",
    ]


def test_species_lists_hold_a_row_a_status_and_unite_the_records_identifiers(november):
    assert list(november.csv(NOVEMBER, "state_x_species_list")[0]) == [
        "census_state", "species_key", "species", "riis_assessment", "riis_occurrence_ids", "occ_count", "first_year",
        "last_year",
    ]  # fmt: skip
    assert lines(november, "state_x_species_list") == [
        "AK,CR2,Acer unum,introduced,R3,2,2005,2006",
        "AL,CR2,Acer unum,introduced,R2,3,1999,2001",
        "AL,CR2,Acer unum,invasive,R1,2,2002,2003",
        "AL,DF2,Bufo duo,invasive,R4|R5|R9,2,2009,2010",
        "AL,GH2,Canis tres,presumed_native,,1,2013,2013",
        "AL,KL2,Dahlia quattuor,introduced,R7,1,2016,2016",
        "AL,KL2,Dahlia quattuor,presumed_native,,1,2015,2015",
        "AL,RS2,Elaps quinque,presumed_native,,3,2024,2024",
        "FL,WX2,Ficus sex,invasive,R8,1,2025,2025",
        "GA,DF2,Bufo duo,invasive,R4|R5,2,2011,2012",
        "GA,MN2,Oenanthe oenanthe,presumed_native,,1,2021,2021",
        "GA,WX2,Ficus sex,invasive,R8,1,2026,2026",
        "HI,CR2,Acer unum,presumed_native,,1,2007,2007",
        "HI,GH2,Canis tres,invasive,R6,1,2014,2014",
        "NV,PQ2,Ficus variegata,presumed_native,,1,2022,2022",
        "NV,PQ3,Ficus variegata,presumed_native,,1,2023,2023",
        "PR,CR2,Acer unum,,,1,2008,2008",
    ]
    counties = lines(november, "county_x_species_list")
    assert counties[:3] == [
        "AL Autauga County,AL,Autauga County,01001,CR2,Acer unum,introduced,R2,2,1999,2001",
        "AL Autauga County,AL,Autauga County,01001,CR2,Acer unum,invasive,R1,1,2002,2002",
        "AL Autauga County,AL,Autauga County,01001,DF2,Bufo duo,invasive,R4|R5|R9,2,2009,2010",
    ]
    assert "AL Baldwin County,AL,Baldwin County,01003,CR2,Acer unum,introduced,R2,1,," in counties
    assert len(counties) == 19
    assert lines(november, "aiannh_x_species_list") == [
        "1110,First Community,RS2,Elaps quinque,presumed_native,,1,2024,2024",
        "1120,Second Reservation,RS2,Elaps quinque,presumed_native,,1,2024,2024",
        "1130,Offshore Hawaiian Home Land,RS2,Elaps quinque,,,1,2024,2024",
    ]


def test_a_changed_key_is_neither_a_new_species_nor_a_gone_one(november):
    assert list(november.csv(NOVEMBER, "whats_new")[0]) == [
        "region_type", "region", "region_name", "species_key", "species", "change", "previous_species_key",
        "previous_occ_count", "occ_count", "previous_riis_assessment", "riis_assessment",
    ]  # fmt: skip
    assert lines(november, "whats_new") == [
        "aiannh,1110,First Community,RS2,Elaps quinque,new,,0,1,,presumed_native",
        "aiannh,1120,Second Reservation,RS2,Elaps quinque,new,,0,1,,presumed_native",
        "aiannh,1130,Offshore Hawaiian Home Land,RS2,Elaps quinque,new,,0,1,,",
        "county,01001,AL Autauga County,DF2,Bufo duo,new,,0,2,,invasive",
        "county,01001,AL Autauga County,GH2,Canis tres,key_changed,GH9,1,1,presumed_native,presumed_native",
        "county,01001,AL Autauga County,KL2,Dahlia quattuor,status_changed,KL2,1,2,presumed_native,introduced",
        "county,01001,AL Autauga County,RS2,Elaps quinque,new,,0,3,,presumed_native",
        "county,01001,AL Autauga County,TV2,Gallus septem,gone,TV2,2,0,presumed_native,",
        "county,13001,GA Appling County,CR2,Acer unum,gone,CR2,1,0,introduced,",
        "county,13001,GA Appling County,DF2,Bufo duo,new,,0,2,,invasive",
        "county,13001,GA Appling County,MN2,Oenanthe oenanthe,new,,0,1,,presumed_native",
        "county,15001,HI Hawaii County,GH2,Canis tres,key_changed,GH7,1,1,presumed_native,invasive",
        "county,15001,HI Hawaii County,GH2,Canis tres,status_changed,GH7,1,1,presumed_native,invasive",
        "state,AL,Alabama,DF2,Bufo duo,new,,0,2,,invasive",
        "state,AL,Alabama,GH2,Canis tres,key_changed,GH9,1,1,presumed_native,presumed_native",
        "state,AL,Alabama,KL2,Dahlia quattuor,status_changed,KL2,1,2,presumed_native,introduced",
        "state,AL,Alabama,RS2,Elaps quinque,new,,0,3,,presumed_native",
        "state,AL,Alabama,TV2,Gallus septem,gone,TV2,2,0,presumed_native,",
        "state,GA,Georgia,CR2,Acer unum,gone,CR2,1,0,introduced,",
        "state,GA,Georgia,DF2,Bufo duo,new,,0,2,,invasive",
        "state,GA,Georgia,MN2,Oenanthe oenanthe,new,,0,1,,presumed_native",
        "state,HI,Hawaii,GH2,Canis tres,key_changed,GH7,1,1,presumed_native,invasive",
        "state,HI,Hawaii,GH2,Canis tres,status_changed,GH7,1,1,presumed_native,invasive",
    ]


def test_the_watch_list_names_invasive_species_next_door_that_are_not_here(november):
    assert list(november.csv(NOVEMBER, "watch_list")[0]) == [
        "census_state", "species_key", "species", "riis_occurrence_ids", "adjacent_states", "occ_count", "last_year",
    ]  # fmt: skip
    # Georgia has Bufo duo itself, Nevada's neighbours are not in the county file, Hawaii has none.
    assert lines(november, "watch_list") == [
        "AL,WX2,Ficus sex,R8,FL|GA,2,2026",
        "FL,CR2,Acer unum,R1,AL,2,2003",
        "FL,DF2,Bufo duo,R4|R5|R9,AL|GA,4,2012",
        "GA,CR2,Acer unum,R1,AL,2,2003",
    ]


def read_parquet(world, key):
    return pq.read_table(io.BytesIO(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()), partitioning=None)


def test_parquet_beside_each_csv_holds_the_same_rows_with_types(november):
    for table in names.RESULT_TABLES:
        (key,) = november.keys(f"summary/2026_11_01/{table}/parquet/")
        content = read_parquet(november, key)
        rows = [",".join("" if value is None else str(value) for value in row.values()) for row in content.to_pylist()]
        assert rows == lines(november, table)
        for field in content.schema:
            is_count, is_year = field.name.endswith("_count"), field.name.endswith("_year")
            assert field.type == (pa.int64() if is_count else pa.int32() if is_year else pa.string()), field
        # Months in which they are empty have files of another origin, which next month's COPY must take as well.
        assert tuple(content.column_names) == names.MAY_BE_EMPTY.get(table, tuple(content.column_names))


def test_occurrences_lie_in_a_folder_a_state_and_none_is_left_out(november):
    keys = november.keys("output/2026_11_01/occurrences/")
    rows = {}
    for key in keys:
        state = re.search(r"/census_state=(\w+)/", key)[1]
        content = read_parquet(november, key)
        assert content.column_names == [
            "gbifid", "taxonkey", "specieskey", "species", "year", "decimallongitude", "decimallatitude",
            "county_geoid", "aiannh_geoid", "riis_region", "riis_assessment", "riis_occurrence_ids",
        ]  # fmt: skip
        rows[state] = content.num_rows
    assert rows == {"AK": 2, "AL": 15, "FL": 1, "GA": 6, "HI": 2, "NV": 2, "PR": 1, "__HIVE_DEFAULT_PARTITION__": 2}


def test_month_tables_are_the_tables_that_the_sql_makes(november):
    """A table that is not listed would never be deleted."""
    text = "".join(path.read_text("utf-8") for path in resources.files("workflow").joinpath("sql").iterdir())
    made = {name.removesuffix("_building") for name in re.findall(r"CREATE TABLE (\w+)_\$\{month\}", text)}
    assert made == set(names.MONTH_TABLES)
    assert {table for table in november.tables() if "2026_11_01" in table} == {
        names.table_name(table, NOVEMBER) for table in names.MONTH_TABLES
    }


def test_a_second_run_changes_nothing_and_a_failed_one_leaves_the_tables_as_they_were(world):
    context = world.prepare(NOVEMBER, RECORDS, DROPPED)
    first = world.run_month(context)
    before = {table: lines(world, table) for table in names.RESULT_TABLES}
    world.query("CREATE TABLE county_2026_11_01_building (left_by_a_failed_attempt INTEGER)")
    with pytest.raises(AssertionError, match="where the files' footers say 44"):
        world.run("create_bison", replace(context, snapshot=replace(context.snapshot, rows=44)))
    assert world.query("SELECT COUNT(*) AS n FROM bison_us_2026_11_01") == [{"n": 31}]
    assert world.run_month(context) == first
    assert {table: lines(world, table) for table in names.RESULT_TABLES} == before
    assert world.query("SELECT COUNT(*) AS n FROM whats_new_2026_11_01") == [{"n": 0}]


def test_what_a_month_replaces_is_deleted_and_its_results_can_be_made_again(world):
    context = world.prepare(NOVEMBER, RECORDS)
    world.run_month(context)
    before = lines(world, "county_x_species_list")
    for left_of_october in ("bison_2026_10_01", "watch_list_2026_10_01_building"):
        world.query(f"CREATE TABLE {left_of_october} (number INTEGER)")
    world.run("delete_obsolete", replace(context, obsolete_months=(OCTOBER,)))
    kept = {"state", "county", "aiannh", "riis_id_list", "bison", *names.RESULT_TABLES}
    assert world.tables() == {names.table_name(table, NOVEMBER) for table in kept}
    world.run("aggregate_region", context)
    assert lines(world, "county_x_species_list") == before


COUNTY_COLUMNS = ["STATEFP", "COUNTYFP", "GEOID", "NAME", "LSAD"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no rows"),
        ([("01", "001", "01001", "A", "06"), ("01", "001", "01001", "B", "06")], "2 rows but only 1 different keys"),
        ([("99", "001", "99001", "A", "06")], "begins with no state's FIPS code, such as 99001"),
        ([("01", "001", "01001", "A", "6X")], "LSAD code is missing or unknown, such as 01001"),
    ],
)
def test_a_faulty_county_file_stops_the_month_in_plain_words(world, rows, message):
    squares = [(number, 0, number + 1, 1, row) for number, row in enumerate(rows)]
    write_squares(world.folder / "faulty.shp", COUNTY_COLUMNS, squares)
    world.county_fields = put_shapefile(world.s3, world.folder / "faulty.shp", "input/county.shp")
    with pytest.raises(AssertionError, match=message):
        world.run("load_ancillary", world.prepare(NOVEMBER, RECORDS))
    assert not {"county_2026_11_01", "aiannh_2026_11_01"} & world.tables()


def test_an_empty_register_does_not_make_every_species_native(world):
    context = world.prepare(NOVEMBER, RECORDS)
    world.put(names.summary_key(NOVEMBER, "riis_taxa.csv"), to_csv(("riis_region",), []))
    with pytest.raises(AssertionError, match="every species would count as native"):
        world.run("load_ancillary", context)


def test_occurrences_that_lie_in_no_county_at_all_stop_the_month(world):
    context = world.prepare(NOVEMBER, [record for record in RECORDS if record[3] == SEA])
    with pytest.raises(AssertionError, match="None of the 1 coordinates lies in a county"):
        world.run_month(context)


def test_a_snapshot_without_us_records_stops_the_month(world):
    context = world.prepare(NOVEMBER, RECORDS)
    with pytest.raises(AssertionError, match="None of the snapshot's 31 rows is a species in GU"):
        world.run("create_bison", replace(context, country_codes=("GU",)))


def test_integer_keys_of_the_backbone_are_read_as_text(world):
    """Until 2025-08 the snapshots' keys were integers."""
    records = [(2480528, 2480528, "Acer unum", AUTAUGA, 2000), (0, 0, "Acer unum", AUTAUGA, 2000)]
    keys = {"gbifid": pa.int64(), "taxonkey": pa.int32(), "specieskey": pa.int32()}
    schema = pa.schema([pa.field(field.name, keys.get(field.name, field.type)) for field in SCHEMA])
    rows = pa.Table.from_pylist([{**row, "gbifid": 1} for row in occurrence_rows(records)], schema)
    context = world.prepare(NOVEMBER, RECORDS)
    (world.folder / "occurrence" / NOVEMBER.snapshot_date / "000000").unlink()
    pq.write_table(rows, world.folder / "occurrence" / NOVEMBER.snapshot_date / "000001")
    columns = tuple(Column(field.name, str(field.type), redshift_type(str(field.type))) for field in schema)
    snapshot = replace(context.snapshot, rows=2, columns=columns, usable_key=status.BACKBONE.usable)
    counts = world.run_month(replace(context, snapshot=snapshot))
    assert (counts["assign_riis"]["presumed_native"], counts["assign_riis"]["unresolved"]) == (1, 1)
    assert lines(world, "state_x_species_list") == ["AL,2480528,Acer unum,presumed_native,,1,2000,2000"]
