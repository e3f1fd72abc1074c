"""Which occurrence gets which status, and which taxon keys can be trusted: the rules, in one place.

Per RIIS region, an occurrence gets the assessment of the register records that match it:

1. records whose accepted key is the accepted taxon of the occurrence's ``taxonkey``;
2. else records of species rank whose accepted key is the occurrence's ``specieskey``.

Invasive beats introduced, and every record's identifier is kept. No match means presumed native. An occurrence whose
``taxonkey`` is not usable goes by its ``specieskey``; one with neither is unresolved. A point in a territory, or in
no county, is in no RIIS region and gets no status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INTRODUCED = "introduced"
INVASIVE = "invasive"
PRESUMED_NATIVE = "presumed_native"
UNRESOLVED = "unresolved"
ASSESSMENTS = (INTRODUCED, INVASIVE, PRESUMED_NATIVE, UNRESOLVED)

_DEGREES = {
    "established (category c3)": INTRODUCED,
    "invasive (category d2)": INVASIVE,
    "widespread invasive (category e)": INVASIVE,
    # Version 1's column "Introduced or Invasive".
    "introduced": INTRODUCED,
    "invasive": INVASIVE,
    "widespread invasive": INVASIVE,
}


def assess(degree_of_establishment: str) -> str:
    """``introduced`` or ``invasive``, from the register's degreeOfEstablishment (version 1: Introduced or Invasive).

    Raises ValueError for a value that no version of the register uses.
    """
    try:
        return _DEGREES[" ".join(degree_of_establishment.lower().split())]
    except KeyError:
        raise ValueError(
            f"degreeOfEstablishment {degree_of_establishment!r} is not one that the register uses."
        ) from None


@dataclass(frozen=True)
class Checklist:
    """A taxonomy whose keys a snapshot can carry.

    key: GBIF's checklistKey. usable: regular expression (whole key) of the keys that belong to it, in the words that
    Python and Redshift's POSIX operator ``~`` share.
    """

    key: str
    name: str
    usable: str

    def is_usable(self, taxon_key: str | None) -> bool:
        """Whether the key can be one of this taxonomy's; None never is."""
        return taxon_key is not None and re.fullmatch(self.usable, taxon_key) is not None


COL_XR = Checklist(
    "7ddf754f-d193-4cc9-b351-99906754a03b",
    "Catalogue of Life eXtended Release",
    # [U] that the identifiers have no other characters: GBIF's issue 574 counts those that do as faulty.
    "[23456789BCDFGHJKLMNPQRSTVWXYZ]+",
)
BACKBONE = Checklist("d7dddbf4-2cf0-4f39-9b2a-bb099caae36c", "GBIF Backbone Taxonomy (frozen)", "[1-9][0-9]*")
CHECKLISTS: tuple[Checklist, ...] = (COL_XR, BACKBONE)


def get_checklist(key: str) -> Checklist:
    """The checklist of that checklistKey. Raises ValueError that lists those there are."""
    for checklist in CHECKLISTS:
        if checklist.key == key:
            return checklist
    known = ", ".join(f"{checklist.key} ({checklist.name})" for checklist in CHECKLISTS)
    raise ValueError(f"{key!r} is no checklist that BISON knows: {known}.")


SPECIES_RANK = "SPECIES"
RANKS_BELOW_SPECIES: tuple[str, ...] = (
    "INFRASPECIFIC_NAME", "SUBSPECIES", "INFRASUBSPECIFIC_NAME", "GREX", "CULTIVAR_GROUP", "CONVARIETY", "PROLES",
    "RACE", "NATIO", "ABERRATION", "MORPH", "VARIETY", "SUBVARIETY", "FORM", "SUBFORM", "PATHOVAR", "BIOVAR",
    "CHEMOVAR", "MORPHOVAR", "PHAGOVAR", "SEROVAR", "CHEMOFORM", "FORMA_SPECIALIS", "LUSUS", "MUTATIO", "CULTIVAR",
    "STRAIN", "ISOLATE",
)  # fmt: skip
"""Ranks of GBIF's rank vocabulary (org.gbif.api.vocabulary.Rank and COL's) that lie below species."""

RANKS: tuple[str, ...] = (SPECIES_RANK, *RANKS_BELOW_SPECIES)
"""Species rank or below: what BISON keeps, and what a register's name may resolve to."""
