"""The register's file and its names: what is wrong with either must be said, with row and column."""

from __future__ import annotations

import pytest

from container.register import Name, authors_agree, canonical, parse_name, read_register
from container.task import TaskError

HEADER = "locality,scientificName,scientificNameAuthorship,taxonRank,degreeOfEstablishment,kingdom,occurrenceID"
ROW = "AK,Acer ginnala,Maxim.,Species,established (category C3),Plantae,R1"
VERSION_1_HEADER = (
    "locality,scientificName,scientificNameAuthorship,taxonRank,Introduced or Invasive,kingdom,occurrenceID"
)


def read(*lines: str, encoding: str = "utf-8"):
    return read_register("\n".join(lines).encode(encoding), "riis.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Acer tataricum ssp. ginnala", Name("Acer tataricum subsp. ginnala", "", True)),
        (
            "Acer tataricum L. subsp. ginnala (Maxim.) Wesm.",
            Name("Acer tataricum subsp. ginnala", "(Maxim.) Wesm.", True),
        ),
        ("Carex stipata Muhl. ex Willd.", Name("Carex stipata", "Muhl. ex Willd.", False)),
        ("Juncus effusus de Candolle", Name("Juncus effusus", "de Candolle", False)),
        ("Potentilla recta L. f.", Name("Potentilla recta", "L. f.", False)),
        ("Aus bus d'Orbigny, 1842", Name("Aus bus", "d'Orbigny, 1842", False)),
        ("Aus bus van Tieghem", Name("Aus bus", "van Tieghem", False)),
        ("Aus bus Östlund", Name("Aus bus", "Östlund", False)),
        ("Aus bus auct. non L.", Name("Aus bus", "auct. non L.", False)),
        ("Salix X pendulina", Name("Salix × pendulina", "", False)),
        ("Salix ×pendulina Wender.", Name("Salix × pendulina", "Wender.", False)),
        ("X Agropogon littoralis", Name("× Agropogon littoralis", "", False)),
        ("Canis lupus familiaris", Name("Canis lupus familiaris", "", True)),
        ("Rosa canina var. dumetorum f. alba", Name("Rosa canina var. dumetorum f. alba", "", True)),
        ("Aus (Bus) cus Smith, 1900", Name("Aus (Bus) cus", "Smith, 1900", False)),
        ("Isoëtes  echinospora", Name("Isoëtes echinospora", "", False)),
        # Each parent alone would be another species.
        ("Salix alba X Salix fragilis", Name("Salix alba × Salix fragilis", "", False)),
        ("Typha angustifolia × latifolia", Name("Typha angustifolia × latifolia", "", False)),
        ("Tomato spotted wilt virus", Name("Tomato spotted wilt virus", "", False)),
        ("Populus × canadensis 'Robusta'", Name("Populus × canadensis 'Robusta'", "", True)),
        ("Carex", Name("Carex", "", False)),
        ("", Name("", "", False)),
    ],
)
def test_names_are_taken_apart(text, expected):
    assert parse_name(text) == expected


def test_the_authorships_own_column_goes_before_the_name():
    assert parse_name("Acer ginnala Maxim.", "Maxim.") == Name("Acer ginnala", "Maxim.", False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acer tataricum subsp. ginnala", "Acer tataricum ginnala"),
        ("Mentha × piperita", "Mentha piperita"),
        ("Capsella bursa-pastoris", "Capsella bursapastoris"),
        ("Isoëtes echinospora", "Isoetes echinospora"),
        ("Kœleria præcox", "Koeleria praecox"),
        ("Aus (Bus) cus", "Aus cus"),
        ("Aus bus subsp. cus var. dus", "Aus bus dus"),
    ],
)
def test_spellings_of_one_name_are_one(one, other):
    assert canonical(one) == canonical(other)


def test_other_names_stay_others():
    spellings = ["Acer tataricum", "Acer tataricum ginnala", "Acer ginnala", "Salix alba × fragilis", "Salix alba"]
    assert len({canonical(name) for name in spellings}) == len(spellings)


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("(L.) Gaertn.", "(Linnaeus) J.Gaertner, 1788", True),
        ("(M. Bieb.) Tzvelev", "(M.Bieb.) Tzvelev", True),
        ("(Cholodkovsky, 1907)", "(Cholodkovsky, 1908)", True),
        ("L.", "Linnaeus, 1758", True),
        ("L.", "Lam.", False),
        ("Blume", "Röding, 1798", False),
        ("", "Röding, 1798", False),
        ("", "", False),
        ("Smith in Jones", "Miller in Brown", False),
    ],
)
def test_authors_agree_if_they_share_a_name(one, other, agree):
    assert authors_agree(one, other) is agree


@pytest.mark.parametrize(
    ("header", "row", "assessment"),
    [
        (HEADER, ROW, "introduced"),
        (HEADER.upper(), ROW, "introduced"),
        (VERSION_1_HEADER, ROW.replace("established (category C3)", "Invasive"), "invasive"),
        (VERSION_1_HEADER, ROW.replace("established (category C3)", "Introduced"), "introduced"),
    ],
)
def test_both_versions_of_the_register_are_read(header, row, assessment):
    register = read(header, row)
    (record,) = register.records
    assert (record.locality, record.occurrence_id, record.assessment) == ("AK", "R1", assessment)
    assert record.name == Name("Acer ginnala", "Maxim.", False)
    assert (record.rank, record.covers_species, record.fault) == ("SPECIES", True, "")
    assert register.columns == tuple(header.split(","))


def test_version_2s_column_holds_where_both_are_there():
    header, row = f"{HEADER},Introduced or Invasive", f"{ROW},Invasive"
    assert read(header, row).records[0].assessment == "introduced"


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_data():
    content = f"{HEADER}\r\n{ROW}\r\n\r\n".encode("utf-8-sig")
    register = read_register(content, "riis.csv")
    assert register.columns[0] == "locality"
    assert register.records[0].cells[-1] == "R1"


def test_columns_of_an_annotated_register_are_not_kept_twice():
    register = read(f"{HEADER},accepted_key,reason", f"{ROW},XYZ,because")
    assert register.columns == tuple(HEADER.split(","))
    assert register.records[0].cells == tuple(ROW.split(","))


@pytest.mark.parametrize(
    ("rank", "name", "asked_rank", "covers"),
    [
        ("Species", "Acer ginnala", "SPECIES", True),
        ("", "Acer ginnala", "", True),
        ("Hybrid", "Salix X pendulina", "", True),
        ("Subspecies", "Acer tataricum ssp. ginnala", "SUBSPECIES", False),
        ("Variety", "Acer tataricum var. ginnala", "VARIETY", False),
        ("Forma", "Acer tataricum f. ginnala", "FORM", False),
        # GBIF's batch call answers HTTP 400 to a rank that it does not know.
        ("Clone", "Acer ginnala", "", False),
        # The name says more than the rank.
        ("Species", "Canis lupus familiaris", "", False),
        ("", "Canis lupus familiaris", "", False),
        ("Genus", "Acer", "GENUS", False),
    ],
)
def test_what_is_below_species_never_covers_its_species(rank, name, asked_rank, covers):
    (record,) = read(HEADER, f"AK,{name},,{rank},established (category C3),Plantae,R1").records
    assert (record.rank, record.covers_species) == (asked_rank, covers)


def test_the_registers_kingdom_virus_is_gbifs_viruses():
    assert read(HEADER, ROW.replace("Plantae", "Virus")).records[0].kingdom == "Viruses"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ROW.replace("AK", "Guam"), ["Guam", "AK, HI, L48"]),
        (ROW.replace("established (category C3)", "casual"), ["casual"]),
        (ROW.replace("established (category C3)", ""), ["degreeOfEstablishment"]),
        (ROW.replace("Acer ginnala", " "), ["no scientific name"]),
    ],
)
def test_what_is_wrong_with_one_record_is_that_records_fault(row, words):
    (record,) = read(HEADER, row).records
    for word in words:
        assert word in record.fault


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([""], ["riis.csv", "empty"]),
        ([HEADER], ["riis.csv", "no records"]),
        ([HEADER.replace("locality", "place"), ROW], ["lacks the column locality", "place"]),
        ([HEADER.replace("degreeOfEstablishment", "degree"), ROW], ["degreeOfEstablishment", "Introduced or Invasive"]),
        ([HEADER.replace(",", ";"), ROW], ["comma-separated"]),
        ([f"{HEADER},Locality", f"{ROW},AK"], ["locality", "twice"]),
        ([HEADER, ROW, ROW.replace("R1", "R2") + ",more"], ["row 3", "8 cells", "7 columns"]),
        ([HEADER, ROW, "AK,Acer"], ["row 3", "2 cells"]),
        ([HEADER, ROW, ROW.replace("Acer", "Bcer")], ["row 3", "R1", "row 2"]),
        ([HEADER, ROW.replace("R1", "")], ["row 2", "occurrenceID", "blank"]),
        ([HEADER, ROW.replace("Acer", '"Acer')], ["row 2"]),
    ],
)  # fmt: skip
def test_what_makes_the_file_doubtful_is_named(lines, words):
    with pytest.raises(TaskError) as error:
        read(*lines)
    for word in words:
        assert word in str(error.value)


def test_a_file_in_another_encoding_is_named_with_its_line():
    with pytest.raises(TaskError, match="not UTF-8: line 3 has the byte 0xf6"):
        read(HEADER, ROW, ROW.replace("R1", "R2").replace("Maxim.", "Röding"), encoding="latin-1")
