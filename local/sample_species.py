"""The sample month's names: real species of the United States, their synonyms, and a register that lists some.

The species, their authorships and rough ranges lie in ``local/data``; every key is made up from the name. Like GBIF's,
the sample's Catalogue of Life keys change now and then for a species, its backbone keys never do.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from local.gbif_server import RANK_MARKERS, Taxon, Taxonomy
from workflow.month import Month
from workflow.status import BACKBONE, COL_XR, RANKS_BELOW_SPECIES, Checklist

DATA = Path(__file__).parent / "data"
SEED = 20_261_001
FIRST_COL_XR_MONTH = Month(2026, 8)
"""From this snapshot on, GBIF's keys are those of the Catalogue of Life eXtended Release."""
FIRST_CHANGE = Month(2026, 1)
"""From this month on, the sample's register changes one record's status a month."""

HIGHER_RANKS = ("kingdom", "phylum", "class", "order", "family")
COL_CHARACTERS = "23456789BCDFGHJKLMNPQRSTVWXYZ"

# A key of digits only, and the keys of FACTS' worked case: Acer ginnala, a species' name for a subspecies.
FIXED_COL_KEYS = {"Animalia": "N", "Plantae": "P", "Fungi": "F", "Aves": "V2", "Turdus migratorius": "35"}
FIXED_BACKBONE_KEYS = {
    "Animalia": "1",
    "Plantae": "6",
    "Fungi": "5",
    "Viruses": "8",
    "Acer ginnala": "3189845",
    "Acer tataricum ginnala": "4925890",
    "Acer tataricum": "3189843",
}

REGISTER_COLUMNS = (
    "locality", "scientificName", "scientificNameAuthorship", "vernacularName", "taxonRank", "establishmentMeans",
    "degreeOfEstablishment", "isHybrid", "pathway", "habitat", "Biocontrol", "associatedTaxa", "eventRemarks",
    "IntroDateNumber", "taxonRemarks", "kingdom", "phylum", "class", "order", "family", "taxonomicStatus", "ITIS_TSN",
    "GBIF_taxonKey", "taxonID", "Authority", "WebLink", "associatedReferences", "eventDate", "modified",
    "Update_Remarks", "occurrenceRemarks", "occurrenceID",
)  # fmt: skip
"""Columns of the register's version 2, in its order."""
DEGREES = {
    "C3": "established (category C3)",
    "D2": "invasive (category D2)",
    "E": "widespread invasive (category E)",
}

_GROUPS = {
    "northeast": "CT DE DC ME MD MA NH NJ NY PA RI VT",
    "southeast": "AL AR FL GA KY LA MS NC SC TN VA WV",
    "midwest": "IL IN IA MI MN MO OH WI",
    "plains": "KS NE ND OK SD TX",
    "rockies": "CO ID MT NV UT WY",
    "southwest": "AZ NM",
    "pacific": "CA OR WA",
}
GROUPS = _GROUPS | {
    "east": " ".join(_GROUPS[group] for group in ("northeast", "southeast", "midwest")),
    "west": " ".join(_GROUPS[group] for group in ("rockies", "southwest", "pacific")),
    "all": " ".join(_GROUPS.values()),
}
"""Words that a species' range may use in place of states' abbreviations."""


@dataclass(frozen=True)
class Name:
    """A scientific name that an occurrence may carry.

    full: with rank marker and authorship. accepted, species: places in ``Catalogue.names`` of the accepted taxon and
    of its species. change: the month in which the name's Catalogue of Life key last changed, "" for never.
    """

    full: str
    canonical: str
    authorship: str
    rank: str
    family: str
    accepted: int
    species: int
    change: str = ""

    @property
    def genus(self) -> str:
        """The first word."""
        return self.canonical.split()[0]


@dataclass(frozen=True)
class Species:
    """An accepted species. states: where it lives. degrees: its degree of establishment by locality, if registered.

    name: its place in ``Catalogue.names``; usages: the places of all names under it, its own first.
    """

    name: int
    vernacular_name: str
    states: frozenset[str]
    degrees: dict[str, str]
    usages: tuple[int, ...]


@dataclass(frozen=True)
class Catalogue:
    """Every name and species, and each family's classification by rank (ranks that it lacks are left out)."""

    names: tuple[Name, ...]
    species: tuple[Species, ...]
    families: dict[str, dict[str, str]]


def read_data(name: str) -> list[dict[str, str]]:
    """The rows of ``local/data/<name>.csv``."""
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def catalogue() -> Catalogue:
    """The sample's names and species, the same for every month."""
    families = {row["family"]: {rank: row[rank] for rank in HIGHER_RANKS if row[rank]} for row in read_data("families")}
    rows = read_data("species")
    names = [_name(row, "SPECIES", row["family"], families, place, place) for place, row in enumerate(rows)]
    usages: list[list[int]] = [[place] for place in range(len(rows))]
    places = {row["scientific_name"]: place for place, row in enumerate(rows)}
    for row in read_data("usages"):
        place, above = len(names), places[row["accepted_or_parent"]]
        species = names[above].species
        accepted = place if row["status"] == "ACCEPTED" else above
        names.append(_name(row, row["rank"], names[above].family, families, accepted, species))
        usages[species].append(place)
        places[row["scientific_name"]] = place
    every_species = tuple(
        Species(
            place,
            row["vernacular_name"],
            frozenset(" ".join(GROUPS.get(word, word) for word in row["range"].split()).split()),
            {locality: row[locality.lower()] for locality in ("AK", "HI", "L48") if row[locality.lower()]},
            tuple(usages[place]),
        )
        for place, row in enumerate(rows)
    )
    return Catalogue(tuple(names), every_species, families)


def _name(
    row: dict[str, str], rank: str, family: str, families: dict[str, dict[str, str]], accepted: int, species: int
) -> Name:
    written = row["scientific_name"]
    words = [word for word in written.split() if word not in RANK_MARKERS]
    if families[family]["kingdom"] == "Animalia":  # zoologists write a subspecies without a marker
        written = " ".join(words)
    full = f"{written} {row['authorship']}".strip()
    return Name(full, " ".join(words).replace("×", ""), row["authorship"], rank, family, accepted, species)


# ---------------------------------------------------------------------------- keys and taxonomies


def checklist_of(month: Month) -> Checklist:
    """The taxonomy whose keys the month's snapshot carries."""
    return COL_XR if month >= FIRST_COL_XR_MONTH else BACKBONE


def names_of(month: Month) -> tuple[Name, ...]:
    """The catalogue's names, with the changes of keys up to the month."""
    names = list(catalogue().names)
    at = FIRST_COL_XR_MONTH
    while at < month:
        at = at.next
        for place in _changed_species(at):
            names[place] = replace(names[place], change=at.name)
    return tuple(names)


def _changed_species(month: Month) -> tuple[int, int]:
    """A registered and another species whose Catalogue of Life key is new in the month."""
    rng = np.random.default_rng([SEED, month.year, month.month])
    species = catalogue().species
    registered = [one.name for one in species if "L48" in one.degrees]
    others = [one.name for one in species if not one.degrees]
    return int(rng.choice(registered)), int(rng.choice(others))


class _Keys:
    """Gives each name one key of the checklist, made from the name; two that fall on one key are told apart."""

    def __init__(self, checklist: Checklist) -> None:
        self.is_col = checklist == COL_XR
        self.fixed = FIXED_COL_KEYS if self.is_col else FIXED_BACKBONE_KEYS
        self.given = set(self.fixed.values())

    def of(self, canonical: str, source: str) -> str:
        if canonical in self.fixed:
            return self.fixed[canonical]
        salt = 0
        while (key := self._made_from(f"{source}#{salt}")) in self.given:
            salt += 1
        self.given.add(key)
        return key

    def _made_from(self, source: str) -> str:
        number = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8])
        if not self.is_col:
            return str(2_000_000 + number % 8_000_000)
        characters = []
        for _ in range(5):
            number, place = divmod(number, len(COL_CHARACTERS))
            characters.append(COL_CHARACTERS[place])
        return "".join(characters)


@dataclass(frozen=True)
class Keyed:
    """A taxonomy and where the sample's own names lie in it.

    name_keys: a key for each of ``names``. genus_keys, family_keys: keys of these higher taxa, by (genus, family) and
    by family.
    """

    taxonomy: Taxonomy
    names: tuple[Name, ...]
    name_keys: tuple[str, ...]
    genus_keys: dict[tuple[str, str], str]
    family_keys: dict[str, str]


@cache
def keyed(checklist: Checklist, month: Month) -> Keyed:
    """The checklist as GBIF's index holds it in the month."""
    keys = _Keys(checklist)
    taxa: list[Taxon] = []
    given: dict[tuple[str, ...], str] = {}
    for family, ranks in catalogue().families.items():
        path: tuple[str, ...] = ()
        for rank in HIGHER_RANKS:
            taxon_name = family if rank == "family" else ranks.get(rank, "")
            if not taxon_name:
                continue
            parent, path = given.get(path), (*path, taxon_name)
            if path not in given:
                given[path] = keys.of(taxon_name, "/".join(path))
                taxa.append(Taxon(given[path], taxon_name, taxon_name, "", rank.upper(), parent_key=parent))
    family_keys = {taxon.canonical_name: taxon.key for taxon in taxa if taxon.rank == "FAMILY"}

    names = names_of(month)
    genus_keys: dict[tuple[str, str], str] = {}
    for name in names:
        if (name.genus, name.family) not in genus_keys:
            key = keys.of(name.genus, f"{name.family}/{name.genus}")
            genus_keys[name.genus, name.family] = key
            taxa.append(Taxon(key, name.genus, name.genus, "", "GENUS", parent_key=family_keys[name.family]))
    changes = [name.change if checklist == COL_XR else "" for name in names]
    name_keys = tuple(
        keys.of(name.canonical, f"{name.family}/{name.full}{change}")
        for name, change in zip(names, changes, strict=True)
    )
    for place, name in enumerate(names):
        if name.accepted != place:
            status, accepted_key, parent_key = "SYNONYM", name_keys[name.accepted], None
        else:
            status, accepted_key = "ACCEPTED", None
            below = name.rank in RANKS_BELOW_SPECIES
            parent_key = name_keys[name.species] if below else genus_keys[name.genus, name.family]
        taxa.append(
            Taxon(
                name_keys[place],
                name.full,
                name.canonical,
                name.authorship,
                name.rank,
                status,
                accepted_key,
                parent_key,
            )
        )
    version = f"COL{month.year % 100}.{month.month:02d}XR" if checklist == COL_XR else "GBIF backbone 2023-08-28"
    return Keyed(Taxonomy(checklist.key, version, tuple(taxa)), names, name_keys, genus_keys, family_keys)


# ---------------------------------------------------------------------------- the register


def write_register(path: Path, month: Month) -> None:
    """Write the register as it stands in the month: version 2's columns, UTF-8 with a byte-order mark."""
    rows = _register_rows(month)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, REGISTER_COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _register_rows(month: Month) -> list[dict[str, str]]:
    names = catalogue().names
    backbone = keyed(BACKBONE, month).name_keys
    rows: list[dict[str, str]] = []
    for species in catalogue().species:
        name = names[species.name]
        for locality, degree in species.degrees.items():
            # As in the real register, some names carry their authorship already.
            written = name.full if len(rows) % 25 == 7 else name.canonical
            kingdom = catalogue().families[name.family]["kingdom"]
            rows.append(
                _register_row(
                    len(rows), locality, written, name.authorship, species.vernacular_name, "Species", kingdom,
                    name.family, degree, backbone[species.name],
                )
            )  # fmt: skip
    candidates = [place for place, row in enumerate(rows) if row["degreeOfEstablishment"] == DEGREES["C3"]]
    at = FIRST_CHANGE
    while at <= month:
        changed = rows[int(np.random.default_rng([SEED, at.year, at.month, 1]).choice(candidates))]
        changed["degreeOfEstablishment"] = DEGREES["D2"]
        changed["Update_Remarks"] = f"Changed to invasive in {at}"
        at = at.next
    for fault in read_data("register_faults"):
        rows.append(
            _register_row(
                len(rows), fault["locality"], fault["scientific_name"], fault["authorship"],
                fault["vernacular_name"], fault["rank"], fault["kingdom"], fault["family"], fault["degree"], "",
            )
        )  # fmt: skip
    return rows


def _register_row(
    number: int,
    locality: str,
    scientific_name: str,
    authorship: str,
    vernacular_name: str,
    rank: str,
    kingdom: str,
    family: str,
    degree: str,
    backbone_key: str,
) -> dict[str, str]:
    classification = catalogue().families.get(family, {})
    return {
        "locality": locality,
        "scientificName": scientific_name,
        "scientificNameAuthorship": authorship,
        "vernacularName": vernacular_name,
        "taxonRank": rank,
        "establishmentMeans": "introduced (category C)",
        "degreeOfEstablishment": DEGREES[degree],
        "isHybrid": "hybrid" if rank == "Hybrid" else "",
        "kingdom": kingdom,
        **{rank: classification.get(rank, "") for rank in ("phylum", "class", "order")},
        "family": family,
        "taxonomicStatus": "accepted",
        "GBIF_taxonKey": backbone_key,
        "Authority": "Generated sample, not the register",
        "occurrenceID": f"USRIIS-{locality}-{kingdom}{5000 + number}",
    }
