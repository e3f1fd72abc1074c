"""Reading a SQL file, rendering it, and judging results."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import sqlglot

from local.warehouse.commands import parse_command
from workflow import names, regions
from workflow.boundaries import DbfField
from workflow.month import Month
from workflow.snapshot import Column, Snapshot
from workflow.statements import SqlContext, Statement, check_expectation, counts_of, render, render_step
from workflow.steps import STEPS, Kind

SNAPSHOT = Snapshot(
    "2026_11_01", "s3://gbif/occurrence/", 1, 1, 100,
    (Column("gbifid", "string", "VARCHAR(65535)"), Column("order", "string", "VARCHAR(65535)")),
    "key", "name", "1", "[1-9][0-9]*", 1, 0.0, 0.0,
)  # fmt: skip
COUNTY_FIELDS = tuple(DbfField(name, "C", 10, 0) for name in ("statefp", "countyfp", "geoid", "name", "lsad"))
AIANNH_FIELDS = tuple(DbfField(name, "C", 10, 0) for name in ("aiannhce", "comptyp", "namelsad"))
CONTEXT = SqlContext(
    Month(2026, 11), Month(2026, 10), (Month(2026, 10),), "bison", "spectrum", "gbif", ("US", "PR"), ("OBSERVATION",),
    SNAPSHOT, "input/county.shp", "input/aiannh.shp", COUNTY_FIELDS, AIANNH_FIELDS,
)  # fmt: skip
SQL_STEPS = [step.name for step in STEPS if step.kind is Kind.SQL]


def by_name(step, context=CONTEXT):
    return {statement.name: statement for statement in render_step(step, context)}


def test_options_and_placeholders():
    text = """-- The file's own comment.

-- name: first
-- expect: rows = 0: There are {rows} in ${bucket}.
-- expect: rows <= 5: Too many.
-- record: pairs
-- A comment on the statement; with a semicolon.
SELECT 'a;b' FROM t_${month};

-- name: second
SELECT 1;
"""
    first, second = render(text, CONTEXT, "x.sql")
    assert first == Statement(
        "first",
        "-- A comment on the statement; with a semicolon.\nSELECT 'a;b' FROM t_2026_11_01",
        ("rows = 0: There are {rows} in bison.", "rows <= 5: Too many."),
        "pairs",
    )
    assert second == Statement("second", "SELECT 1")


def test_a_statement_is_left_out_when_its_condition_does_not_hold():
    text = "-- name: a\n-- when: previous_month\nSELECT ${previous_month};\n-- name: b\nSELECT 2;\n"
    assert [statement.name for statement in render(text, CONTEXT, "x.sql")] == ["a", "b"]
    alone = replace(CONTEXT, previous_month=None)
    assert [statement.name for statement in render(text, alone, "x.sql")] == ["b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- name: a\nSELECT ${nothing};", r"x\.sql, statement a: \$\{nothing\} is no placeholder"),
        ("-- name: a\n-- expct: rows = 0: x\nSELECT 1;", "'expct' is no option"),
        ("-- name: a\n-- when: full_moon\nSELECT 1;", "'full_moon' is no condition"),
        ("-- name: a\n-- expect: rows < 0: x\nSELECT 1;", "is no expectation"),
        ("-- name: a\n-- record: all\nSELECT 1;", "record is columns or pairs"),
        ("-- name: a\nSELECT 1", "ends with a semicolon"),
        ("-- name: a\nSELECT 1; SELECT 2;", "expected one statement"),
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "different names"),
        ("SELECT 1;", "different names, found none"),
        ("-- name: a\nSELECT '" + "x" * 200_000 + "';", "more than the Data API takes"),
    ],
)
def test_faults_of_a_file_are_named(text, message):
    """A misspelt option would silently leave a check out."""
    with pytest.raises(ValueError, match=message):
        render(text, CONTEXT, "x.sql")


def test_what_a_step_needs_of_the_context_is_asked_for():
    with pytest.raises(ValueError, match="snapshot's description is missing"):
        render_step("create_bison", replace(CONTEXT, snapshot=None))
    with pytest.raises(ValueError, match=r"input/county\.shp lacks the column"):
        render_step("load_ancillary", replace(CONTEXT, county_fields=()))
    with pytest.raises(ValueError, match="no SQL step"):
        render_step("calc_stats", CONTEXT)


@pytest.mark.parametrize("step", SQL_STEPS)
def test_every_statement_is_one_that_redshift_can_parse_and_a_plan_survives_json(step):
    for statement in render_step(step, CONTEXT):
        if parse_command(statement.sql) is None:
            assert len(sqlglot.parse(statement.sql, read="redshift")) == 1
        assert "${" not in statement.sql
        body = json.loads(json.dumps(asdict(statement)))
        assert Statement(**{**body, "expect": tuple(body["expect"])}) == statement


def test_texts_are_quoted():
    """A county file called o'brien.shp must not end a string in the SQL."""
    context = replace(CONTEXT, county_key="input/o'brien.shp")
    assert "'s3://bison/input/o''brien.shp'" in by_name("load_ancillary", context)["load_county_file"].sql
    context = replace(CONTEXT, county_key="input/o'brien{1}.shp")
    failure = check_expectation(by_name("load_ancillary", context)["check_county"], [{"counties": 0}])
    assert failure.startswith("The county file input/o'brien{1}.shp has no rows")
    with pytest.raises(ValueError, match="no name for a schema"):
        render_step("create_bison", replace(CONTEXT, external_schema="a; DROP"))


def test_the_external_table_has_every_column_in_the_files_order():
    sql = by_name("create_bison")["mount"].sql
    assert '"gbifid" VARCHAR(65535),\n    "order" VARCHAR(65535)\n' in sql


def test_county_names_and_keys_come_from_what_the_file_has():
    sql = by_name("load_ancillary")["build_county"].sql
    assert "WHEN '06' THEN \"name\" || ' County'" in sql
    assert "WHEN '00' THEN \"name\" WHEN" in sql
    with_full_name = replace(
        CONTEXT, county_fields=tuple(DbfField(name, "C", 10, 0) for name in ("statefp", "countyfp", "namelsad"))
    )
    sql = by_name("load_ancillary", with_full_name)["build_county"].sql
    assert '"statefp" || "countyfp" AS county_geoid, "namelsad" AS census_county' in sql
    assert '"aiannhce" || "comptyp" AS aiannh_geoid' in by_name("load_ancillary")["build_aiannh"].sql


def test_all_states_are_there_with_their_neighbours():
    sql = by_name("load_ancillary")["build_state"].sql
    assert sql.count("SELECT") == len(regions.STATES) == 56
    assert "CAST('FL GA MS TN' AS VARCHAR(64)) AS adjacent_states" in sql


def test_every_result_table_is_unloaded_in_both_formats():
    plan = by_name("aggregate_region")
    for table in names.RESULT_TABLES:
        for form in ("csv", "parquet"):
            assert f"'s3://bison/summary/2026_11_01/{table}/{form}/'" in plan[f"unload_{table}_{form}"].sql


def test_obsolete_tables_are_dropped_with_what_was_under_construction():
    plan = by_name("delete_obsolete")
    assert "    bison_2026_10_01,\n    bison_2026_10_01_building" in plan["drop_obsolete"].sql
    assert "drop_obsolete" not in by_name("delete_obsolete", replace(CONTEXT, obsolete_months=()))
    assert " bison_2026_11_01," not in plan["drop_intermediate"].sql


def expecting(*expectations):
    return Statement("check", "SELECT 1", expectations)


def test_expectations_compare_sums_of_columns_numbers_and_rows():
    rows = [{"a": 1, "b": 2, "c": 3, "name": "x"}, {"a": 9, "b": 9, "c": 9, "name": "y"}]
    assert check_expectation(expecting("a + b = c: no"), rows) is None
    assert check_expectation(expecting("rows = 2: no", "c >= a + 2: no", "a <= 1: no"), rows) is None
    assert check_expectation(expecting("a + b = 4: {name} has {a} of {rows} rows"), rows) == "x has 1 of 2 rows"
    assert check_expectation(expecting("a = 1: no", "b >= 3: too few"), rows) == "too few"
    assert check_expectation(expecting("rows = 0: no"), []) is None
    # SUM of nothing is NULL; NUMERIC comes as text.
    assert check_expectation(expecting("a = 0: no", "b = 7: no"), [{"a": None, "b": "7"}]) is None


def test_an_expectation_of_a_column_that_is_not_there_is_a_fault():
    with pytest.raises(ValueError, match="check has no column d"):
        check_expectation(expecting("d = 0: no"), [{"a": 1}])
    with pytest.raises(ValueError, match="no column a"):
        check_expectation(expecting("a = 0: no"), [])


def test_counts_by_columns_and_by_pairs():
    assert counts_of(Statement("n", "", record="columns"), [{"a": 1, "b": None}]) == {"a": 1, "b": 0}
    rows = [{"license": "CC0", "n": 2}, {"license": "CC_BY", "n": 3}]
    assert counts_of(Statement("licenses", "", record="pairs"), rows) == {"licenses": {"CC0": 2, "CC_BY": 3}}
    assert counts_of(Statement("n", ""), rows) == {}
    with pytest.raises(ValueError, match="one row of counts and gave 2"):
        counts_of(Statement("n", "", record="columns"), rows)
