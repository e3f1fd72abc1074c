"""What an answer of GBIF means for a record: exact matches at species rank or below, and a reason for all else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from container.gbif import Answer, Question, Usage
from container.resolution import judge
from workflow.status import BACKBONE, COL_XR

KINGDOM = Usage("P", "Plantae", "", "", "KINGDOM")
GENUS = Usage("64G", "Acer L.", "Acer", "L.", "GENUS")
SPECIES = Usage("9BX", "Acer tataricum L.", "Acer tataricum", "L.", "SPECIES")
SUBSPECIES = Usage(
    "9BY", "Acer tataricum subsp. ginnala (Maxim.) Wesm.", "Acer tataricum ginnala", "(Maxim.) Wesm.", "SUBSPECIES"
)
SYNONYM = Usage("9BZ", "Acer ginnala Maxim.", "Acer ginnala", "Maxim.", "SPECIES")
IN_SPECIES = (KINGDOM, GENUS, SPECIES)
IN_SUBSPECIES = (*IN_SPECIES, SUBSPECIES)

OF_SPECIES = Answer("EXACT", SPECIES, SPECIES, classification=IN_SPECIES)
OF_SYNONYM = Answer("EXACT", SYNONYM, SUBSPECIES, synonym=True, classification=IN_SUBSPECIES)
ASKED_SPECIES = Question("Acer tataricum", "L.", "SPECIES", "Plantae")
ASKED_SYNONYM = Question("Acer ginnala", "Maxim.", "SPECIES", "Plantae")


def test_an_accepted_species_is_its_own_species():
    found = judge(ASKED_SPECIES, OF_SPECIES, COL_XR, "Plantae")
    assert found.taken
    assert (found.accepted_key, found.accepted_rank, found.species_key) == ("9BX", "SPECIES", "9BX")
    assert found.species == "Acer tataricum"


def test_a_synonym_stands_for_its_accepted_taxon_below_species():
    found = judge(ASKED_SYNONYM, OF_SYNONYM, COL_XR, "Plantae")
    assert (found.accepted_key, found.accepted_rank, found.species_key) == ("9BY", "SUBSPECIES", "9BX")


def test_a_subspecies_without_its_species_in_the_classification_is_still_a_taxon():
    found = judge(ASKED_SYNONYM, replace(OF_SYNONYM, classification=(KINGDOM, GENUS)), COL_XR)
    assert (found.accepted_key, found.species_key, found.species) == ("9BY", "", "")


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (ASKED_SPECIES, Answer("NONE"), "no such name"),
        (ASKED_SPECIES, Answer("NONE", note="Multiple equal matches for Acer tataricum"), "several taxa"),
        (ASKED_SPECIES, Answer("REFUSED", note="HTTP 400: no"), "HTTP 400"),
        (ASKED_SPECIES, Answer("HIGHERRANK", GENUS, GENUS), "only the genus Acer"),
        (ASKED_SPECIES, replace(OF_SPECIES, match_type="VARIANT"), "similar"),
        (Question("Acer"), Answer("EXACT", GENUS, GENUS, classification=(KINGDOM, GENUS)), "stands for a genus"),
        (ASKED_SYNONYM, Answer("EXACT", SYNONYM, SYNONYM, synonym=True), "does not say of what"),
    ],
)
def test_all_else_goes_to_the_review_list_with_its_reason(question, answer, reason):
    found = judge(question, answer, COL_XR, "Plantae")
    assert not found.taken
    assert not found.doubted
    assert reason in found.reason
    assert (found.accepted_key, found.species_key) == ("", "")


@pytest.mark.parametrize(
    ("question", "answer", "checklist", "reason"),
    [
        (ASKED_SYNONYM, OF_SPECIES, COL_XR, "another name"),
        (ASKED_SPECIES, OF_SPECIES, BACKBONE, "9BX, which is none of"),
        (ASKED_SPECIES, Answer("EXACT", replace(SPECIES, key="101"), replace(SPECIES, key="101")), COL_XR, "101"),
        (
            ASKED_SPECIES,
            replace(OF_SPECIES, classification=(KINGDOM, GENUS, replace(SPECIES, key="4CX"))),
            COL_XR,
            "contradicts itself",
        ),
        (
            ASKED_SYNONYM,
            replace(OF_SYNONYM, classification=(KINGDOM, replace(SPECIES, key="1"), SUBSPECIES)),
            COL_XR,
            "the key 1",
        ),
    ],
)
def test_what_no_sound_service_answers_is_doubted(question, answer, checklist, reason):
    found = judge(question, answer, checklist, "Plantae")
    assert not found.taken
    assert found.doubted
    assert reason in found.reason


@pytest.mark.parametrize(
    ("kingdom", "author", "taken"),
    [
        ("Plantae", "Smith", True),
        ("", "Smith", True),
        ("Animalia", "Smith", False),
        ("Animalia", "", False),
        ("Animalia", "Linnaeus", True),
        # GBIF's kingdoms of viruses and bacteria are others than the register's.
        ("Viruses", "L.", True),
    ],
)
def test_another_kingdom_is_another_taxon_unless_the_authors_agree(kingdom, author, taken):
    question = Question("Acer tataricum", author, "SPECIES")
    assert judge(question, OF_SPECIES, COL_XR, kingdom).taken is taken


@pytest.mark.parametrize(
    ("kingdom", "author", "taken"),
    [("Chromista", "", True), ("Chromista", "Smith", False), ("Animalia", "", False), ("Animalia", "Linnaeus", True)],
)
def test_without_an_author_only_animals_and_others_are_held_apart(kingdom, author, taken):
    """Algae, fungi and protists change their kingdom from checklist to checklist, and stay what they are."""
    asked = Question("Acer tataricum", author, "SPECIES")
    assert judge(asked, OF_SPECIES, COL_XR, kingdom).taken is taken


def test_an_author_within_the_name_counts_as_one():
    """Else a good match under a wrong kingdom goes to review where GBIF leaves the authorship out."""
    bare = replace(SPECIES, canonical_name="", authorship="")
    answer = Answer("EXACT", bare, bare, classification=IN_SPECIES)
    found = judge(Question("Acer tataricum", "Linnaeus"), answer, COL_XR, "Animalia")
    assert found.taken
    assert found.species == "Acer tataricum"
    assert not judge(Question("Acer tataricum", "Smith"), answer, COL_XR, "Animalia").taken


def test_a_taxon_without_a_rank_is_not_taken_for_a_species():
    unranked = replace(SPECIES, rank="")
    found = judge(ASKED_SPECIES, Answer("EXACT", unranked, unranked, classification=(KINGDOM,)), COL_XR)
    assert "rank" in found.reason


def test_a_kingdom_that_the_register_does_not_know_is_no_other():
    virus = replace(KINGDOM, name="Orthornavirae")
    answer = replace(OF_SPECIES, classification=(virus, GENUS, SPECIES))
    assert judge(Question("Acer tataricum"), answer, COL_XR, "Viruses").taken
