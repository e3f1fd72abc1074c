"""The Data API over DuckDB: each statement that is mapped by hand, and the API's shapes and errors."""

from __future__ import annotations

import io
import json
import threading

import boto3
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapefile
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from moto import mock_aws

from local.warehouse import Warehouse, WarehouseError
from local.warehouse.commands import SqlError, Unload, parse_command

BUCKET = "bison-test"
ROLE = "IAM_ROLE DEFAULT"


class Bench:
    """A warehouse with a bucket, and short words for what the tests do with them."""

    def __init__(self, folder, database=None):
        self.folder = folder
        self.external = folder / "external"
        self.external.mkdir(exist_ok=True)
        (folder / "temporary").mkdir(exist_ok=True)
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.events = []
        self.warehouse = Warehouse(
            database,
            lambda: self.s3,
            {"s3://gbif/occurrence/": self.external},
            self.events.append,
            folder / "temporary",
        )

    def submit(self, sql, **members):
        request = {"WorkgroupName": "bison", "Database": "dev", "Sql": sql, **members}
        return self.warehouse.execute_statement(request)["Id"]

    def describe(self, statement_id):
        assert self.warehouse.wait_until_idle(30)
        return self.warehouse.describe_statement({"Id": statement_id})

    def run(self, sql):
        statement_id = self.submit(sql)
        described = self.describe(statement_id)
        assert described["Status"] == "FINISHED", described.get("Error")
        if not described["HasResultSet"]:
            return described["ResultRows"]
        records = self.warehouse.get_statement_result({"Id": statement_id})["Records"]
        return [tuple(None if "isNull" in cell else next(iter(cell.values())) for cell in row) for row in records]

    def fail(self, sql):
        described = self.describe(self.submit(sql))
        assert described["Status"] == "FAILED"
        return described["Error"]

    def put(self, key, body):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def get(self, key):
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def keys(self, prefix=""):
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def empty_bucket(self):
        for key in self.keys():
            self.s3.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Loading the spatial extension takes longer than a test: one warehouse for all, emptied before each."""
    with pytest.MonkeyPatch.context() as monkeypatch, mock_aws():
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(variable, "testing")
        bench = Bench(tmp_path_factory.mktemp("bench"))
        bench.s3.create_bucket(Bucket=BUCKET)
        yield bench
        bench.warehouse.close()


@pytest.fixture
def bench(shared):
    shared.events.clear()
    shared.empty_bucket()
    for name, kind in shared.run("SELECT table_schema || '.' || table_name, table_type FROM information_schema.tables"):
        shared.run(
            f"DROP TABLE {name}" if kind == "BASE TABLE" or not name.startswith("public") else f"DROP VIEW {name}"
        )
    return shared


# ---------------------------------------------------------------------------- plain SQL


def test_redshifts_words_are_translated(bench):
    bench.run("CREATE TABLE t (name VARCHAR(10), n BIGINT) DISTSTYLE ALL")
    bench.run("INSERT INTO t VALUES ('b', 1), ('a', 2), ('B2', 3), (NULL, 4)")
    assert bench.run("SELECT name FROM t WHERE name ~ '^([a-z]+)$' ORDER BY name") == [("a",), ("b",)]
    listed = "SELECT LISTAGG(name, '|') WITHIN GROUP (ORDER BY name) FROM t"
    assert bench.run(listed) == [("B2|a|b",)]
    assert bench.run("CREATE TABLE u DISTKEY (n) SORTKEY (name) AS SELECT name, n FROM t WHERE n < 3") == 2
    bench.run("ALTER TABLE u RENAME TO v")
    assert bench.run("SELECT COUNT(*) FROM v") == [(2,)]
    assert bench.run("INSERT INTO v SELECT name, n FROM t") == 4


def test_points_and_polygons_meet_whatever_their_srid(bench):
    wkt = "POLYGON((0 0, 0 1, 1 1, 1 0, 0 0))"
    bench.run(f"CREATE TABLE t AS SELECT ST_SetSRID(ST_GeomFromText('{wkt}'), 4326) AS geom")
    sql = "SELECT COUNT(*) FROM t WHERE ST_Intersects(geom, ST_SetSRID(ST_Point({}, {}), 4326))"
    assert bench.run(sql.format(0.5, 0.5)) == [(1,)]
    assert bench.run(sql.format(1, 1)) == [(1,)]
    assert bench.run(sql.format(1, 1.1)) == [(0,)]


def test_several_tables_are_dropped_at_once_or_none(bench):
    bench.run("CREATE TABLE a (n INT)")
    bench.run("CREATE TABLE b (n INT)")
    assert "missing" in bench.fail("DROP TABLE a, missing, b")
    assert bench.run("SHOW TABLES FROM SCHEMA dev.public") == [
        ("dev", "public", "a", "TABLE", None, None),
        ("dev", "public", "b", "TABLE", None, None),
    ]
    bench.run("DROP TABLE IF EXISTS a, missing, b")
    assert bench.run("SHOW TABLES FROM SCHEMA dev.public") == []


def test_show_tables_by_pattern(bench):
    for name in ("county_2026_10_01", "county_2026_11_01", "bison_2026_11_01"):
        bench.run(f"CREATE TABLE {name} (n INT)")
    rows = bench.run("SHOW TABLES FROM SCHEMA dev.public LIKE '%2026_11_01'")
    assert [row[2] for row in rows] == ["bison_2026_11_01", "county_2026_11_01"]


def test_what_is_not_known_is_an_error_and_not_silently_done(bench):
    assert "one statement" in bench.fail("SELECT 1; SELECT 2")
    assert "does not know this statement" in bench.fail("VACUUM t")
    assert "does not exist" in bench.fail("SELECT * FROM nowhere")


# ---------------------------------------------------------------------------- external tables


def mount(bench, columns, location="s3://gbif/occurrence/2026-11-01/"):
    bench.run(
        "CREATE EXTERNAL SCHEMA IF NOT EXISTS spectrum FROM DATA CATALOG DATABASE 'gbif' IAM_ROLE DEFAULT "
        "CREATE EXTERNAL DATABASE IF NOT EXISTS"
    )
    return f"CREATE EXTERNAL TABLE spectrum.occurrence ({columns}) STORED AS PARQUET LOCATION '{location}'"


@pytest.fixture
def snapshot(bench):
    folder = bench.external / "2026-11-01"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    schema = pa.schema([("gbifid", pa.string()), ("order", pa.string()), ("year", pa.int32())])
    for number in range(2):
        table = pa.Table.from_pylist([{"gbifid": str(number), "order": "Sapindales", "year": 2000}], schema)
        pq.write_table(table, folder / f"00000{number}")
    (folder / "citation.txt").write_text("GBIF.org")
    (folder / "_SUCCESS").write_text("")
    return folder


COLUMNS = '"gbifid" VARCHAR(65535), "order" VARCHAR(65535), "year" INT'


def test_an_external_table_reads_all_data_files_of_its_folder(bench, snapshot):
    bench.run("-- a comment\n" + mount(bench, COLUMNS))
    assert bench.run('SELECT gbifid, "order", year FROM spectrum.occurrence ORDER BY gbifid') == [
        ("0", "Sapindales", 2000),
        ("1", "Sapindales", 2000),
    ]
    bench.run("DROP TABLE spectrum.occurrence")
    bench.run("DROP TABLE IF EXISTS spectrum.occurrence")
    assert "does not exist" in bench.fail("SELECT * FROM spectrum.occurrence")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (COLUMNS.replace("INT", "BIGINT"), "for column 'year'. Column type: BIGINT, Parquet schema: int32"),
        (
            '"order" VARCHAR(9), "gbifid" VARCHAR(9), "year" INT',
            "Declared columns: order, gbifid, year. In the file: gbifid",
        ),
        ('"gbifid" VARCHAR(9), "order" VARCHAR(9)', "In the file: gbifid, order, year"),
    ],
)
def test_a_declaration_that_is_not_the_files_is_refused(bench, snapshot, columns, message):
    """Spectrum would give wrong values or an error after hours."""
    assert message in bench.fail(mount(bench, columns))


def test_a_file_of_another_kind_or_schema_is_named(bench, snapshot):
    (snapshot / "000002").write_text("no Parquet")
    assert "File '000002' is no Parquet file" in bench.fail(mount(bench, COLUMNS))
    pq.write_table(pa.table({"gbifid": ["1"]}), snapshot / "000002")
    assert "File '000002' has an incompatible Parquet schema" in bench.fail(mount(bench, COLUMNS))


def test_a_place_that_no_folder_stands_for_is_named(bench, snapshot):
    assert "No folder stands for s3://elsewhere/" in bench.fail(mount(bench, COLUMNS, "s3://elsewhere/"))
    assert "does not exist" in bench.fail(mount(bench, COLUMNS, "s3://gbif/occurrence/1999-01-01/"))


# ---------------------------------------------------------------------------- COPY


def test_copy_csv_with_quotes_line_ends_and_empty_fields(bench):
    bench.run("CREATE TABLE t (name VARCHAR(20), is_species BOOLEAN, n BIGINT)")
    bench.put("summary/t.csv", 'name,is_species,n\r\n"a, ""b""",true,1\r\n,false,\r\nß,true,-3\r\n'.encode())
    copied = f"COPY t FROM 's3://{BUCKET}/summary/t.csv' {ROLE} FORMAT AS CSV IGNOREHEADER 1 EMPTYASNULL"
    assert bench.run(copied) == 3
    assert bench.run("SELECT * FROM t ORDER BY n") == [("ß", True, -3), ('a, "b"', True, 1), (None, False, None)]


def test_copy_csv_of_a_header_only(bench):
    bench.run("CREATE TABLE t (a VARCHAR(20), b VARCHAR(20))")
    bench.put("t.csv", b"a,b\r\n")
    assert bench.run(f"COPY t FROM 's3://{BUCKET}/t.csv' {ROLE} FORMAT AS CSV IGNOREHEADER 1 EMPTYASNULL") == 0


def test_copy_faults_are_named(bench):
    bench.run("CREATE TABLE t (a VARCHAR(20), b INTEGER)")
    bench.put("t.csv", b"a,b\nx,1\ny\n")
    csv = f"{ROLE} FORMAT AS CSV IGNOREHEADER 1 EMPTYASNULL"
    assert "Expected Number of Columns: 2 Found: 1" in bench.fail(f"COPY t FROM 's3://{BUCKET}/t.csv' {csv}")
    assert bench.run("SELECT COUNT(*) FROM t") == [(0,)]
    assert "missing.csv' does not exist" in bench.fail(f"COPY t FROM 's3://{BUCKET}/missing.csv' {csv}")
    assert 'relation "u" does not exist' in bench.fail(f"COPY u FROM 's3://{BUCKET}/t.csv' {csv}")
    assert "needs an IAM_ROLE" in bench.fail(f"COPY t FROM 's3://{BUCKET}/t.csv' FORMAT AS CSV EMPTYASNULL")
    assert 'near "GZIP"' in bench.fail(f"COPY t FROM 's3://{BUCKET}/t.csv' {csv} GZIP")


def parquet_bytes(table):
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_copy_parquet_goes_by_position_and_converts_nothing(bench):
    bench.run("CREATE TABLE t (name VARCHAR(20), n BIGINT)")
    copied = f"COPY t FROM 's3://{BUCKET}/t.parquet' {ROLE} FORMAT AS PARQUET"
    bench.put("t.parquet", parquet_bytes(pa.table({"x": ["a", None], "y": pa.array([1, 2], pa.int64())})))
    assert bench.run(copied) == 2
    bench.put("t.parquet", parquet_bytes(pa.table({"x": ["a"], "y": pa.array([1], pa.int32())})))
    assert "for column n: the table has BIGINT, the file y int32" in bench.fail(copied)
    bench.put("t.parquet", parquet_bytes(pa.table({"x": ["a"]})))
    assert "Unmatched number of columns" in bench.fail(copied)


def put_shapefile(bench, suffixes=(".shp", ".shx", ".dbf"), encoding="utf-8"):
    parts = {suffix: io.BytesIO() for suffix in (".shp", ".shx", ".dbf")}
    with shapefile.Writer(shp=parts[".shp"], shx=parts[".shx"], dbf=parts[".dbf"], encoding=encoding) as writer:
        writer.field("GEOID", "C", 5)
        writer.field("NAME", "C", 20)
        writer.field("ALAND", "N", 14)
        writer.poly([[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]])
        writer.record("72011", "Añasco", 12345678901)
    for suffix in suffixes:
        bench.put("input/county" + suffix, parts[suffix].getvalue())


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_copy_shapefile_in_either_encoding(bench, encoding):
    put_shapefile(bench, encoding=encoding)
    bench.run("CREATE TABLE t (geom GEOMETRY, geoid VARCHAR(20), name VARCHAR(80), aland BIGINT)")
    copied = f"COPY t FROM 's3://{BUCKET}/input/county.shp' {ROLE} FORMAT AS SHAPEFILE SIMPLIFY AUTO"
    assert bench.run(copied) == 1
    assert bench.run("SELECT geoid, name, aland, ST_AsText(geom) FROM t") == [
        ("72011", "Añasco", 12345678901, "POLYGON ((0 0, 0 1, 1 1, 1 0, 0 0))")
    ]


def test_copy_shapefile_faults_are_named(bench):
    put_shapefile(bench, suffixes=(".shp", ".dbf"))
    bench.run("CREATE TABLE t (geom GEOMETRY, geoid VARCHAR(20))")
    copied = f"COPY t FROM 's3://{BUCKET}/input/county.shp' {ROLE} FORMAT AS SHAPEFILE"
    assert "lacks its .shx file" in bench.fail(copied)
    put_shapefile(bench)
    assert "the geometry and 3 columns, the table 2 in all: GEOID, NAME, ALAND" in bench.fail(copied)


# ---------------------------------------------------------------------------- UNLOAD


@pytest.fixture
def counts(bench):
    bench.run("CREATE TABLE t (state VARCHAR(2), name VARCHAR(20), n BIGINT)")
    bench.run("INSERT INTO t VALUES ('GA', 'b, \"c\"', 2), ('AL', 'é', 1), ('AL', NULL, 3)")
    return bench


def test_unload_csv_in_order_with_header(counts):
    counts.run(
        f"UNLOAD ('SELECT state, name, n FROM t WHERE n > 0 AND state <> ''X'' ORDER BY n')"
        f" TO 's3://{BUCKET}/t/csv/' {ROLE} FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH"
    )
    assert counts.keys() == ["t/csv/000"]
    assert counts.get("t/csv/000").decode() == 'state,name,n\nAL,é,1\nGA,"b, ""c""",2\nAL,,3\n'


def test_unload_parquet_that_others_can_read(counts):
    counts.run(f"UNLOAD ('SELECT * FROM t ORDER BY n') TO 's3://{BUCKET}/t/' {ROLE} FORMAT AS PARQUET PARALLEL OFF")
    (key,) = counts.keys()
    assert key == "t/000.parquet"
    table = pq.read_table(io.BytesIO(counts.get(key)))
    assert table.schema.types == [pa.string(), pa.string(), pa.int64()]
    assert table.column("n").to_pylist() == [1, 2, 3]


def test_unload_of_nothing_writes_nothing_and_leaves_what_lies_there(counts):
    """As Redshift does: who takes the file must not count on it."""
    counts.put("C/old", b"")
    for options in ("CSV HEADER", "PARQUET"):
        counts.run(
            f"UNLOAD ('SELECT * FROM t WHERE n > 9') TO 's3://{BUCKET}/{options[0]}/'"
            f" {ROLE} FORMAT AS {options} PARALLEL OFF CLEANPATH"
        )
    assert counts.keys() == ["C/old"]


def test_unload_by_partition_leaves_the_column_to_the_folders_name(counts):
    counts.run("INSERT INTO t VALUES (NULL, 'x', 4)")
    counts.put("t/state=AL/old.parquet", b"")
    counts.put("t/state=WY/old.parquet", b"")
    counts.run(
        f"UNLOAD ('SELECT * FROM t') TO 's3://{BUCKET}/t/' {ROLE} FORMAT AS PARQUET PARTITION BY (state) CLEANPATH"
    )
    # CLEANPATH empties only the partitions that get new files.
    assert counts.keys("t/") == [
        "t/state=AL/0000_part_00.parquet",
        "t/state=GA/0000_part_00.parquet",
        "t/state=WY/old.parquet",
        "t/state=__HIVE_DEFAULT_PARTITION__/0000_part_00.parquet",
    ]
    table = pq.read_table(io.BytesIO(counts.get("t/state=AL/0000_part_00.parquet")), partitioning=None)
    assert table.column_names == ["name", "n"]
    assert sorted(table.column("n").to_pylist()) == [1, 3]


def test_unload_to_a_place_that_is_not_empty(counts):
    unload = f"UNLOAD ('SELECT * FROM t') TO 's3://{BUCKET}/t/' {ROLE} FORMAT AS CSV PARALLEL OFF"
    counts.put("t/001", b"old")
    assert "destination on S3 is not empty" in counts.fail(unload)
    counts.run(unload + " ALLOWOVERWRITE")
    assert counts.keys() == ["t/000", "t/001"]
    counts.run(unload + " CLEANPATH")
    assert counts.keys() == ["t/000"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("FORMAT AS CSV", "needs an IAM_ROLE"),
        (f"{ROLE} FORMAT AS PARQUET HEADER", "HEADER is not supported"),
        (f"{ROLE} FORMAT AS CSV CLEANPATH ALLOWOVERWRITE", "exclude each other"),
        (f"{ROLE} FORMAT AS CSV GZIP", 'near "GZIP"'),
        (ROLE, "not pipe-delimited text"),
    ],
)
def test_unload_options_that_redshift_or_we_do_not_take(options, message):
    with pytest.raises(SqlError, match=message):
        parse_command(f"UNLOAD ('SELECT 1') TO 's3://b/x' {options}")


def test_unload_is_read_past_comments_and_quotes():
    command = parse_command(
        f"-- why\nUNLOAD ('SELECT ''a'' -- x\n') TO 's3://b/x' {ROLE} FORMAT PARQUET PARTITION BY (a, b)"
    )
    assert command == Unload("SELECT 'a' -- x\n", "s3://b/x", "PARQUET", False, True, False, False, ("a", "b"))


# ---------------------------------------------------------------------------- the Data API


def parsed(operation, response):
    """The response as botocore would read it: a member that the service does not have would get lost."""
    model = ServiceModel(Loader().load_service_model("redshift-data", "service-2"), "redshift-data")
    shape = model.operation_model(operation).output_shape
    body = {"status_code": 200, "headers": {}, "body": json.dumps(response).encode()}
    read = create_parser("json").parse(body, shape)
    assert set(read) - {"ResponseMetadata"} == set(response), "members that the service's model does not have"
    return read


def test_a_statements_life_in_the_services_shapes(bench):
    bench.run("CREATE TABLE t (b BOOLEAN, n INTEGER, d DOUBLE PRECISION, s VARCHAR(9), big BIGINT)")
    bench.run("INSERT INTO t VALUES (true, 1, 0.5, 'x', 2), (NULL, NULL, NULL, NULL, NULL)")
    request = {
        "WorkgroupName": "bison",
        "Database": "dev",
        "Sql": "SELECT *, SUM(big) OVER () AS total FROM t ORDER BY n",
    }
    executed = parsed("ExecuteStatement", bench.warehouse.execute_statement(request))
    assert (executed["WorkgroupName"], executed["Database"], executed["CreatedAt"].year >= 2025) == (
        "bison",
        "dev",
        True,
    )
    bench.describe(executed["Id"])
    described = parsed("DescribeStatement", bench.warehouse.describe_statement({"Id": executed["Id"]}))
    assert (described["Status"], described["HasResultSet"], described["ResultRows"]) == ("FINISHED", True, 2)
    result = parsed("GetStatementResult", bench.warehouse.get_statement_result({"Id": executed["Id"]}))
    assert [(column["name"], column["typeName"]) for column in result["ColumnMetadata"]] == [
        ("b", "bool"), ("n", "int4"), ("d", "float8"), ("s", "varchar"), ("big", "int8"), ("total", "numeric"),
    ]  # fmt: skip
    # Redshift's sum of BIGINTs is a NUMERIC, which comes as text.
    total = {"stringValue": "2"}
    assert result["Records"] == [
        [{"booleanValue": True}, {"longValue": 1}, {"doubleValue": 0.5}, {"stringValue": "x"}, {"longValue": 2}, total],
        [*[{"isNull": True}] * 5, total],
    ]
    listed = parsed("ListStatements", bench.warehouse.list_statements({"Status": "ALL"}))
    assert listed["Statements"][0]["Id"] == executed["Id"]


def test_results_come_in_pages(bench):
    statement_id = bench.submit("SELECT range AS n FROM range(2500)")
    bench.describe(statement_id)
    numbers, token = [], {}
    for _ in range(3):
        page = bench.warehouse.get_statement_result({"Id": statement_id, **token})
        numbers += [record[0]["longValue"] for record in page["Records"]]
        token = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert token is None
    assert numbers == list(range(2500))


def test_a_client_token_runs_a_statement_once(bench):
    bench.run("CREATE TABLE t (n INT)")
    first = bench.submit("INSERT INTO t VALUES (1)", ClientToken="token")
    assert bench.submit("INSERT INTO t VALUES (1)", ClientToken="token") == first
    assert bench.submit("INSERT INTO t VALUES (1)", ClientToken="another") != first
    bench.describe(first)
    assert bench.run("SELECT COUNT(*) FROM t") == [(2,)]


def test_events_tell_of_every_end_of_statements_that_ask_for_it(bench):
    finished = bench.submit("SELECT 1", WithEvent=True, StatementName="bison/2026_11_01/create_bison/1/1")
    failed = bench.submit("SELECT nothing", WithEvent=True, StatementName="b")
    bench.submit("SELECT 2", StatementName="c")
    assert bench.warehouse.wait_until_idle(30)
    first, second = bench.events
    assert set(first) == {
        "principal", "statementName", "statementId", "redshiftQueryId", "state", "rows", "expireAt",
    }  # fmt: skip
    assert (first["statementName"], first["statementId"]) == ("bison/2026_11_01/create_bison/1/1", finished)
    assert (first["state"], first["rows"]) == ("FINISHED", 1)
    assert (second["state"], second["statementId"]) == ("FAILED", failed)
    assert "nothing" in bench.warehouse.describe_statement({"Id": failed})["Error"]


def test_an_event_can_submit_the_next_statement(tmp_path):
    """The steps' functions do just that, in the warehouse's own thread."""
    (tmp_path / "temporary").mkdir()
    seen = []

    def submit_next(detail):
        seen.append(detail["statementName"])
        if len(seen) < 3:
            request = {"WorkgroupName": "w", "Database": "d", "Sql": "SELECT 1", "WithEvent": True}
            warehouse.execute_statement({**request, "StatementName": str(len(seen))})

    warehouse = Warehouse(None, lambda: None, {}, submit_next, tmp_path / "temporary")
    request = {"WorkgroupName": "w", "Database": "d", "Sql": "SELECT 1", "WithEvent": True, "StatementName": "0"}
    warehouse.execute_statement(request)
    assert warehouse.wait_until_idle(30)
    assert seen == ["0", "1", "2"]
    warehouse.close()


def test_statements_are_listed_by_prefix_and_only_finished_ones_by_default(bench):
    """Whoever forgets Status=ALL does not see the statement that hangs."""
    for number in range(3):
        bench.submit("SELECT 1", StatementName=f"list/{number}")
    bench.submit("SELECT nothing", StatementName="list/failed")
    bench.submit("SELECT 1", StatementName="other")
    assert bench.warehouse.wait_until_idle(30)

    def names(**members):
        return [item["StatementName"] for item in bench.warehouse.list_statements(members)["Statements"]]

    assert names(StatementName="list/") == ["list/2", "list/1", "list/0"]
    assert names(StatementName="list/", Status="ALL") == ["list/failed", "list/2", "list/1", "list/0"]
    assert names(StatementName="list/", Status="FAILED") == ["list/failed"]
    page = bench.warehouse.list_statements({"StatementName": "list/", "MaxResults": 2})
    assert names(StatementName="list/", MaxResults=2, NextToken=page["NextToken"]) == ["list/0"]


ENDLESS = "SELECT COUNT(*) FROM range(10000000000) AS a, range(1000) AS b WHERE a.range * b.range % 7 = 3"


def test_a_running_statement_and_one_that_waits_can_be_cancelled(bench):
    running = bench.submit(ENDLESS, WithEvent=True, StatementName="running")
    waiting = bench.submit("SELECT 1", WithEvent=True, StatementName="waiting")
    started = threading.Event()
    while not started.wait(0.02):
        if bench.warehouse.describe_statement({"Id": running})["Status"] == "STARTED":
            started.set()
    started.clear()
    started.wait(0.2)
    assert bench.warehouse.cancel_statement({"Id": waiting}) == {"Status": True}
    assert bench.warehouse.cancel_statement({"Id": running}) == {"Status": True}
    assert bench.warehouse.wait_until_idle(30)
    assert [event["state"] for event in bench.events] == ["ABORTED", "ABORTED"]
    with pytest.raises(WarehouseError, match="already in ABORTED state"):
        bench.warehouse.cancel_statement({"Id": running})
    assert bench.run("SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"WorkgroupName": "w", "Database": "d"}, "ValidationException"),
        ({"WorkgroupName": "w", "Sql": "SELECT 1"}, "ValidationException"),
        ({"WorkgroupName": "w", "Database": "d", "Sql": "x" * 200_001}, "ValidationException"),
    ],
)
def test_requests_that_the_service_refuses(bench, request_, code):
    with pytest.raises(WarehouseError) as caught:
        bench.warehouse.execute_statement(request_)
    assert caught.value.code == code


def test_identifiers_that_do_not_exist_and_results_that_are_not_there(bench):
    unknown = {"Id": "00000000-0000-0000-0000-000000000000"}
    for operation in ("describe_statement", "get_statement_result", "cancel_statement"):
        with pytest.raises(WarehouseError) as caught:
            getattr(bench.warehouse, operation)(unknown)
        assert caught.value.code == "ResourceNotFoundException"
        with pytest.raises(WarehouseError) as caught:
            getattr(bench.warehouse, operation)({"Id": "x"})
        assert caught.value.code == "ValidationException"
    statement_id = bench.submit("CREATE TABLE t (n INT)")
    assert bench.describe(statement_id)["HasResultSet"] is False
    with pytest.raises(WarehouseError, match="does not have result"):
        bench.warehouse.get_statement_result({"Id": statement_id})


def test_tables_outlive_the_warehouse_in_its_file(tmp_path):
    with mock_aws():
        first = Bench(tmp_path, tmp_path / "warehouse.duckdb")
        first.run("CREATE TABLE bison_2026_11_01 AS SELECT 'x' AS gbifid")
        first.warehouse.close()
        second = Bench(tmp_path, tmp_path / "warehouse.duckdb")
        assert second.run("SELECT gbifid FROM bison_2026_11_01") == [("x",)]
        second.warehouse.close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        assert connection.sql("SELECT table_schema FROM information_schema.tables").fetchall() == [("public",)]
