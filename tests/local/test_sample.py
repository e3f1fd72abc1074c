"""The sample month: what the README and the local run promise of it, and what makes it a hard month to get right."""

from __future__ import annotations

import csv
import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapefile

from local.sample import Sample, build_sample, counties
from local.sample_species import catalogue, keyed
from workflow.month import Month
from workflow.snapshot import NEEDED_COLUMNS, kind_of, redshift_type
from workflow.status import BACKBONE, COL_XR

MONTH = Month(2026, 10)
ROWS = 20_000


def read(sample: Sample) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(sample.snapshot_dir.glob("0*")))


def register_of(sample: Sample) -> list[dict[str, str]]:
    with sample.riis_csv.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Sample:
    return build_sample(tmp_path_factory.mktemp("sample"), MONTH, ROWS)


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> Sample:
    return build_sample(tmp_path_factory.mktemp("before"), MONTH.previous, ROWS)


@pytest.fixture(scope="module")
def rows(sample) -> list[dict]:
    return read(sample).to_pylist()


def test_a_month_is_always_the_same_and_has_the_rows_asked_for(sample, tmp_path):
    again = build_sample(tmp_path, MONTH, ROWS)
    assert read(again).equals(read(sample))
    assert register_of(again) == register_of(sample)
    assert abs(read(sample).num_rows / ROWS - 1) < 0.05


def test_files_are_named_as_gbif_names_them(sample):
    assert sorted(path.name for path in sample.snapshot_dir.iterdir()) == [
        *(f"{number:06d}" for number in range(6)),
        "citation.txt",
    ]


def test_the_columns_are_those_of_a_snapshot_and_redshift_has_a_type_for_each(sample):
    schema = pq.read_schema(sample.snapshot_dir / "000000")
    kinds = Counter(
        "array" if pa.types.is_list(field.type) else "time" if pa.types.is_timestamp(field.type) else str(field.type)
        for field in schema
    )
    assert kinds == {"string": 30, "array": 5, "double": 8, "int32": 4, "time": 3}
    for field in schema:
        redshift_type(str(field.type))
    for name, allowed in NEEDED_COLUMNS.items():
        assert kind_of(str(schema.field(name).type)) in allowed


def test_keys_were_integers_until_july_2025(tmp_path):
    """The month's code must not rely on one schema: the files' own footers tell theirs."""
    old = build_sample(tmp_path, Month(2025, 7), 2000)
    assert pq.read_schema(old.snapshot_dir / "000000").field("taxonkey").type == pa.int32()
    assert old.taxonomies[0].checklist_key == BACKBONE.key


@pytest.mark.parametrize("month", [Month(2026, 7), MONTH])
def test_the_snapshot_carries_the_keys_of_its_own_months_taxonomy(tmp_path, month):
    small = build_sample(tmp_path, month, 2000)
    own = {taxon.key for taxon in small.taxonomies[0].taxa}
    keys = [row["taxonkey"] for row in read(small).to_pylist()]
    assert sum(key in own for key in keys) > 0.95 * len(keys)
    checklist = BACKBONE if month < Month(2026, 8) else COL_XR
    assert small.taxonomies[0].checklist_key == checklist.key
    assert all(checklist.is_usable(key) for key in own)


def test_taxonomies_hold_together(sample):
    for taxonomy in sample.taxonomies:
        by_key = {taxon.key: taxon for taxon in taxonomy.taxa}
        assert len(by_key) == len(taxonomy.taxa)
        for taxon in taxonomy.taxa:
            assert (taxon.status == "SYNONYM") == (taxon.accepted_key is not None)
            if taxon.accepted_key:
                assert by_key[taxon.accepted_key].status == "ACCEPTED"
            elif taxon.rank != "KINGDOM":
                assert by_key[taxon.parent_key].status == "ACCEPTED"


def test_the_backbone_has_the_case_of_acer_ginnala_as_gbif_has_it():
    by_key = {taxon.key: taxon for taxon in keyed(BACKBONE, MONTH).taxonomy.taxa}
    synonym, subspecies = by_key["3189845"], by_key["4925890"]
    assert (synonym.canonical_name, synonym.rank, synonym.accepted_key) == ("Acer ginnala", "SPECIES", "4925890")
    assert (subspecies.name, subspecies.parent_key) == ("Acer tataricum subsp. ginnala (Maxim.) Wesm.", "3189843")


def test_the_register_is_in_the_form_of_version_2_with_its_faults(sample):
    register = register_of(sample)
    assert list(register[0])[:7] == [
        "locality",
        "scientificName",
        "scientificNameAuthorship",
        "vernacularName",
        "taxonRank",
        "establishmentMeans",
        "degreeOfEstablishment",
    ]
    assert len(register[0]) == 32
    assert len(register) > 300
    assert len({row["scientificName"] for row in register}) > 200
    assert len({row["occurrenceID"] for row in register}) == len(register)
    assert {row["locality"] for row in register} == {"AK", "HI", "L48"}
    assert {row["degreeOfEstablishment"] for row in register} == {
        "established (category C3)",
        "invasive (category D2)",
        "widespread invasive (category E)",
    }
    assert {"Species", "Subspecies", "Variety", "Hybrid", "Clone", "Genus"} <= {row["taxonRank"] for row in register}
    names = [row["scientificName"] for row in register]
    assert any(" ssp. " in name for name in names)
    assert any(" X " in name for name in names)
    assert any(
        row["scientificNameAuthorship"] and row["scientificName"].endswith(row["scientificNameAuthorship"])
        for row in register
    )
    assert "Virus" in {row["kingdom"] for row in register}


def test_the_months_records_have_every_reason_to_be_left_out(rows):
    def some(column: str, value: object) -> int:
        return sum(row[column] == value for row in rows)

    assert some("occurrencestatus", "ABSENT") > 50
    assert some("decimallatitude", None) > 100
    assert some("taxonrank", "GENUS") > 100
    assert some("taxonrank", "FAMILY") > 50
    assert {row["basisofrecord"] for row in rows} >= {"FOSSIL_SPECIMEN", "MATERIAL_SAMPLE", "OCCURRENCE", "OBSERVATION"}
    assert {"CA", "MX", "PR", "GU", "US"} <= {row["countrycode"] for row in rows}
    assert len({row["license"] for row in rows}) == 3


def test_the_faults_of_real_keys_are_there(rows):
    """Each of them must end in its place: a usable specieskey still counts, neither key means unresolved."""
    spoilt = [row for row in rows if row["taxonkey"] and not COL_XR.is_usable(row["taxonkey"])]
    assert any(row["taxonkey"] == "0" and COL_XR.is_usable(row["specieskey"]) for row in spoilt)
    assert any(row["taxonkey"] == row["specieskey"] == "0" for row in spoilt)
    assert any(row["taxonkey"].isdigit() and len(row["taxonkey"]) == 7 for row in spoilt)
    assert any(re.search(r"[a-z_-]", row["taxonkey"]) and row["specieskey"] is None for row in spoilt)
    assert any(row["taxonkey"] is None and row["specieskey"] for row in rows)
    assert any(row["taxonkey"] and row["specieskey"] is None and row["taxonrank"] == "SPECIES" for row in rows)
    assert any(row["taxonkey"] == "35" for row in rows), "a valid key of digits only"


def test_records_carry_synonyms_and_taxa_below_species(sample, rows):
    taxa = {taxon.key: taxon for taxon in sample.taxonomies[0].taxa}
    used = Counter(
        (taxa[row["taxonkey"]].status, taxa[row["taxonkey"]].rank) for row in rows if row["taxonkey"] in taxa
    )
    for kind in (
        ("SYNONYM", "SPECIES"),
        ("SYNONYM", "SUBSPECIES"),
        ("ACCEPTED", "SUBSPECIES"),
        ("ACCEPTED", "VARIETY"),
    ):
        assert used[kind] > 1, kind


def test_names_that_two_organisms_share_are_kept_apart():
    by_name = Counter((taxon.canonical_name, taxon.rank) for taxon in keyed(COL_XR, MONTH).taxonomy.taxa)
    assert by_name["Ficus variegata", "SPECIES"] == 2
    assert by_name["Morus", "GENUS"] == 2


def test_points_lie_in_most_counties_and_on_borders(sample, rows):
    with shapefile.Reader(str(sample.county_shp)) as reader:
        vertices = Counter()
        for shape in reader.iterShapes():
            vertices.update(set(map(tuple, shape.points)))
    shared = {point for point, times in vertices.items() if times > 1}
    points = {(row["decimallongitude"], row["decimallatitude"]) for row in rows}
    assert len(points & shared) >= 10
    assert len({row["stateprovince"] for row in rows if row["countrycode"] == "US"}) >= 51


def test_the_next_month_keeps_most_and_changes_a_little(sample, before, rows):
    """A comparison that finds nothing, or finds everything new, would hide its own faults."""
    old = {row["gbifid"]: row for row in read(before).to_pylist()}
    new = {row["gbifid"]: row for row in rows}
    assert 1.005 < len(new) / len(old) < 1.05
    assert len(old.keys() & new.keys()) > 0.97 * len(old)
    assert old.keys() - new.keys()

    species = [(one[gbifid]["species"], one[gbifid]["specieskey"]) for one in (old, new) for gbifid in one]
    keys_of = Counter(name for name, key in set(species) if name and key and COL_XR.is_usable(key))
    assert [name for name, keys in keys_of.items() if keys > 1 and name != "Ficus variegata"]

    degrees = [
        {row["occurrenceID"]: row["degreeOfEstablishment"] for row in register_of(one)} for one in (before, sample)
    ]
    changed = [number for number in degrees[0] if degrees[0][number] != degrees[1][number]]
    assert len(changed) == 1


def test_counties_are_the_packages_with_a_projection(tmp_path):
    path = counties(tmp_path)
    assert "North_American_1983" in path.with_suffix(".prj").read_text()
    with shapefile.Reader(str(path)) as reader:
        assert len(reader) == 3233


def test_areas_have_the_census_files_columns_and_no_real_names(sample):
    with shapefile.Reader(str(sample.aiannh_shp)) as reader:
        names = [field.name for field in reader.fields if field.name != "DeletionFlag"]
        assert names == ["AIANNHCE", "AIANNHNS", "AFFGEOID", "GEOID", "NAME", "NAMELSAD", "LSAD", "ALAND", "AWATER"]
        assert len(reader) == 12
        assert all("generated" in record["NAME"] for record in reader.iterRecords())


def test_every_species_lives_somewhere_and_has_a_classification():
    for species in catalogue().species:
        assert species.states
        assert all(re.fullmatch("[A-Z]{2}", state) for state in species.states), species
