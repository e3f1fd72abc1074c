"""A whole month on the embedded cloud gives the numbers that the independent computation gives."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from month_tables import COLUMNS, KEYS, differences, rows_of
from sample_months import options_of

from local.run import OtherInputsError, run_month

pytestmark = pytest.mark.e2e

COMPUTED = [table for table in COLUMNS if table != "riis_review"]
REGION_NAME = COLUMNS["whats_new"].index("region_name")


@pytest.mark.parametrize("table", COMPUTED)
@pytest.mark.parametrize("which", [0, 1], ids=["first month", "second month"])
def test_every_table_has_the_numbers_of_the_independent_computation(two_months, which, table):
    month = two_months[which]
    found = rows_of(month.out, table)
    if table == "whats_new":
        found = [(*row[:REGION_NAME], *row[REGION_NAME + 1 :]) for row in found]
    assert not differences(found, month.expected.tables[table])


def test_the_sample_puts_every_table_to_the_test(second):
    """An empty table would agree with anything."""
    for table in COMPUTED:
        assert second.expected.tables[table], table
    changes = {row[4] for row in second.expected.tables["whats_new"]}
    assert changes == {"new", "gone", "status_changed", "key_changed"}
    statuses = {status for *_, status, _ in second.expected.status.values()}
    assert statuses == {"introduced", "invasive", "presumed_native", "unresolved", None}


def test_a_first_month_has_nothing_to_compare_with(first):
    assert rows_of(first.out, "whats_new") == []
    assert first.manifest["previous_month"] is None


@pytest.mark.parametrize("table", COLUMNS)
def test_tables_have_the_agreed_columns_are_sorted_and_alike_in_both_forms(second, table):
    content = pq.read_table(second.out / f"{table}.parquet")
    assert tuple(content.column_names) == COLUMNS[table]

    path = second.out / f"{table}.csv"
    assert path.read_bytes().decode("utf-8").split("\n", 1)[0].strip() == ",".join(COLUMNS[table])
    types = {field.name: field.type for field in content.schema}
    from_csv = pa.csv.read_csv(
        path, convert_options=pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    )
    assert not differences(
        [tuple(row.values()) for row in from_csv.to_pylist()], [tuple(row.values()) for row in content.to_pylist()]
    )

    rows = [tuple(row[name] or "" for name in KEYS.get(table, ())) for row in content.to_pylist()]
    if table.endswith("_x_species_list"):  # a territory's species have no status, and come last
        rows = [tuple(value or "~" for value in row) for row in rows]
    assert rows == sorted(rows)
    assert len(set(rows)) == len(rows) or not KEYS.get(table)


def test_region_names_in_whats_new_are_those_of_the_regions(second):
    names = {row[3]: row[0] for row in second.expected.tables["county_counts"]}
    rows = [row for row in rows_of(second.out, "whats_new") if row[0] == "county" and row[1] in names]
    assert rows
    assert all(row[REGION_NAME] == names[row[1]] for row in rows)


def test_every_record_has_the_place_and_status_that_the_rules_give(second):
    content = pa.dataset.dataset(second.out / "occurrences", partitioning="hive").to_table()
    assert set(content.column_names) == {
        "gbifid", "taxonkey", "specieskey", "species", "year", "decimallongitude", "decimallatitude", "census_state",
        "county_geoid", "aiannh_geoid", "riis_region", "riis_assessment", "riis_occurrence_ids",
    }  # fmt: skip
    found = {}
    for row in content.to_pylist():
        ids = row["riis_occurrence_ids"]
        found[row["gbifid"]] = (
            row["census_state"], row["county_geoid"], row["aiannh_geoid"], row["riis_region"], row["riis_assessment"],
            tuple(ids.split("|")) if ids else (),
        )  # fmt: skip
    assert len(found) == content.num_rows
    wrong = {
        gbifid: (found.get(gbifid), status)
        for gbifid, status in second.expected.status.items()
        if found.get(gbifid) != status
    }
    assert not wrong
    assert found.keys() == second.expected.status.keys()
    assert {path.name.split("=")[0] for path in (second.out / "occurrences").iterdir()} == {"census_state"}


def test_a_synonym_of_a_subspecies_counts_for_the_subspecies_record(second):
    """Acer ginnala, Ampelopsis brevipedunculata and the like: lost when keys are only compared."""
    below = {
        record.occurrence_id
        for record in second.expected.register
        if record.accepted_key and not record.covers_its_species
    }
    found = {one for *_, ids in second.expected.status.values() for one in ids}
    assert below & found


# ---------------------------------------------------------------------------- manifest, register, report


def test_the_manifest_accounts_for_every_row_once(second):
    funnel, expected = second.manifest["funnel"], second.expected.funnel
    assert funnel["snapshot_rows"] == expected["snapshot_rows"]
    assert funnel["us_rows"] == expected["us_rows"]
    assert funnel["left_out"] == {
        name: expected[name]
        for name in (
            "not_in_country", "without_coordinates", "not_present", "rank_above_species", "other_basis_of_record",
        )
    }  # fmt: skip
    assert funnel["status"] == {
        name: expected[name]
        for name in (
            "rows_in_no_county", "rows_in_territory", "introduced", "invasive", "presumed_native", "unresolved",
        )
    }  # fmt: skip
    assert funnel["snapshot_rows"] == sum(funnel["left_out"].values()) + sum(funnel["status"].values())


def test_the_manifest_says_what_came_in_and_how_it_was_made(second):
    manifest, expected = second.manifest, second.expected
    taxonomy = second.sample.taxonomies[0]
    assert manifest["month"] == second.month.name
    assert manifest["previous_month"] == second.month.previous.name
    assert manifest["code"]
    snapshot = manifest["snapshot"]
    assert (snapshot["files"], snapshot["rows"]) == (6, expected.funnel["snapshot_rows"])
    assert (snapshot["checklist_key"], snapshot["index_version"]) == (taxonomy.checklist_key, taxonomy.index_version)
    quality = manifest["quality"]
    for name in ("faulty_taxonkeys", "faulty_specieskeys"):
        assert quality[name]["rows"] == expected.faulty[name]
        assert quality[name]["share"] == pytest.approx(expected.faulty[name] / expected.funnel["us_rows"])
    assert quality["coordinates"] == expected.coordinates
    assert quality["coordinates_in_no_county"] == expected.coordinates_in_no_county
    assert manifest["licenses"] == expected.licenses
    assert [step["step"] for step in manifest["steps"]] == [
        "find_current_gbif", "annotate_riis", "load_ancillary", "create_bison", "intersect_bison", "assign_riis",
        "aggregate_region", "delete_obsolete", "calc_stats",
    ]  # fmt: skip
    assert all(step["started"] <= step["finished"] for step in manifest["steps"])


def test_every_register_record_is_resolved_or_in_the_review(second):
    register = second.expected.register
    unresolved = sorted(record.occurrence_id for record in register if record.accepted_key is None)
    review = rows_of(second.out, "riis_review")
    assert [row[0] for row in review] == unresolved
    match_types = {row[2]: row[3] for row in review}
    assert match_types["Nandina domestika"] == "VARIANT"
    assert match_types["Tamarix parviflora"] == "HIGHERRANK"
    assert match_types["Vespa mandarinia"] == "NONE"
    assert all(row[5] for row in review)
    counts = second.manifest["register"]
    assert (counts["records"], counts["in_review"]) == (len(register), len(unresolved))

    (annotated,) = (second.out / ".bison" / "bucket" / "input").glob("*_annotated_*.csv")
    with annotated.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with second.sample.riis_csv.open(encoding="utf-8-sig", newline="") as file:
        original = list(csv.DictReader(file))
    assert [{name: row[name] for name in original[0]} for row in rows] == original
    assert {row["occurrenceID"]: (row["accepted_key"], row["species_key"]) for row in rows} == {
        record.occurrence_id: (record.accepted_key or "", record.species_key or "") for record in register
    }


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            # A link to follow by hand (<a href>) needs the network only when somebody follows it.
            if name in ("src", "srcset", "href", "xlink:href", "data", "poster") and tag != "a":
                self.loaded.append(value or "")

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_needs_no_network_and_says_the_months_numbers(second):
    html = (second.out / "report.html").read_text(encoding="utf-8")
    page = _Links()
    page.feed(html)
    assert not [link for link in page.loaded if not link.startswith(("data:", "#"))]
    assert not re.search(r"url\(\s*['\"]?(?!data:|#)|@import", html)
    text = " ".join(" ".join(page.text).split())
    assert "October 2026" in text
    expected = second.expected
    for number in (expected.funnel["us_rows"], expected.funnel["invasive"], expected.funnel["introduced"]):
        assert f"{number:,}" in text, number
    counties = {row[3] for row in expected.tables["county_counts"]}
    assert len(counties) > 1_000
    for title in ("<title", 'lang="en"', "viewport", "@media print"):
        assert title in html


# ---------------------------------------------------------------------------- again


def test_a_second_run_answers_that_the_month_is_done(first, second):
    before = {path: path.stat().st_mtime_ns for path in second.out.iterdir()}
    result = run_month(options_of(second.month, second.sample, second.out, second.gbif, first.out))
    assert result.already
    assert result.manifest == second.manifest
    assert {path: path.stat().st_mtime_ns for path in second.out.iterdir()} == before


def test_a_second_run_with_other_inputs_says_which_they_are(first, second):
    with pytest.raises(OtherInputsError, match="gbif"):  # another server might answer otherwise
        run_month(options_of(second.month, second.sample, second.out, "http://127.0.0.1:9", first.out))
