"""A month's results, computed a second way: plain Python over the same files, none of the workflow's code.

Written from the rules as the project states them, not from its SQL: loops and dictionaries, shapely for the
polygons, and the statistics by their textbook formulas on a dense matrix. It takes the taxonomy as a list of
taxa and looks names up in it, so it shares no code with the matching either.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import shapefile
import shapely
from shapely.geometry import shape

if TYPE_CHECKING:
    from pathlib import Path

COL_XR = "7ddf754f-d193-4cc9-b351-99906754a03b"
USABLE_COL = re.compile(r"[23456789BCDFGHJKLMNPQRSTVWXYZ]+")
USABLE_BACKBONE = re.compile(r"[1-9]\d*")
BELOW_SPECIES = {"SUBSPECIES", "VARIETY", "SUBVARIETY", "FORM", "SUBFORM"}
BASIS_OF_RECORD = {"HUMAN_OBSERVATION", "OBSERVATION", "OCCURRENCE", "PRESERVED_SPECIMEN"}

DEGREES = {
    "established (category C3)": "introduced",
    "invasive (category D2)": "invasive",
    "widespread invasive (category E)": "invasive",
    "Introduced": "introduced",
    "Invasive": "invasive",
    "Widespread invasive": "invasive",
}

STATES = """
01 AL|02 AK|04 AZ|05 AR|06 CA|08 CO|09 CT|10 DE|11 DC|12 FL|13 GA|15 HI|16 ID|17 IL|18 IN|19 IA|20 KS|21 KY|22 LA|23 ME
24 MD|25 MA|26 MI|27 MN|28 MS|29 MO|30 MT|31 NE|32 NV|33 NH|34 NJ|35 NM|36 NY|37 NC|38 ND|39 OH|40 OK|41 OR|42 PA|44 RI
45 SC|46 SD|47 TN|48 TX|49 UT|50 VT|51 VA|53 WA|54 WV|55 WI|56 WY|60 AS|66 GU|69 MP|72 PR|78 VI
"""
STATE_OF = dict(pair.split() for pair in STATES.strip().replace("\n", "|").split("|"))
TERRITORIES = {"AS", "GU", "MP", "PR", "VI"}
LSAD = {
    "00": "", "03": "City and Borough", "04": "Borough", "05": "Census Area", "06": "County", "07": "District",
    "10": "Island", "12": "Municipality", "13": "Municipio", "15": "Parish", "25": "city",
}  # fmt: skip

# Each border once; a corner that two states share is none.
BORDERS = """
AL-FL AL-GA AL-MS AL-TN AR-LA AR-MO AR-MS AR-OK AR-TN AR-TX AZ-CA AZ-NM AZ-NV AZ-UT CA-NV CA-OR CO-KS CO-NE CO-NM
CO-OK CO-UT CO-WY CT-MA CT-NY CT-RI DC-MD DC-VA DE-MD DE-NJ DE-PA FL-GA GA-NC GA-SC GA-TN IA-IL IA-MN IA-MO IA-NE
IA-SD IA-WI ID-MT ID-NV ID-OR ID-UT ID-WA ID-WY IL-IN IL-KY IL-MO IL-WI IN-KY IN-MI IN-OH KS-MO KS-NE KS-OK KY-MO
KY-OH KY-TN KY-VA KY-WV LA-MS LA-TX MA-NH MA-NY MA-RI MA-VT MD-PA MD-VA MD-WV ME-NH MI-OH MI-WI MN-ND MN-SD MN-WI
MO-NE MO-OK MO-TN MS-TN MT-ND MT-SD MT-WY NC-SC NC-TN NC-VA ND-SD NE-SD NE-WY NH-VT NJ-NY NJ-PA NM-OK NM-TX NV-OR
NV-UT NY-PA NY-VT OH-PA OH-WV OK-TX OR-WA PA-WV SD-WY TN-VA UT-WY VA-WV
"""


@dataclass
class Record:
    """A record of the register and what its name was resolved to; keys are None if it was not."""

    occurrence_id: str
    locality: str
    scientific_name: str
    assessment: str
    rank: str
    accepted_key: str | None = None
    accepted_rank: str | None = None
    species_key: str | None = None

    @property
    def covers_its_species(self) -> bool:
        return self.accepted_rank == "SPECIES" and self.rank.lower() not in ("subspecies", "variety", "form")


@dataclass
class Results:
    """funnel: rows by where they ended. tables: each table's rows, as lists, in the order of its key."""

    register: list[Record]
    status: dict[str, tuple[Any, ...]]
    funnel: dict[str, int]
    licenses: dict[str, int]
    faulty: dict[str, int]
    coordinates: int
    coordinates_in_no_county: int
    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    species_of_region: dict[tuple[str, str], dict[str, dict[str, Any]]] = field(default_factory=dict)


def compute(
    snapshot: Path, riis_csv: Path, county_shp: Path, aiannh_shp: Path, taxonomy: Any, previous: Results | None = None
) -> Results:
    """Everything that a month's result tables say. taxonomy: has checklist_key and taxa."""
    usable = USABLE_COL if taxonomy.checklist_key == COL_XR else USABLE_BACKBONE
    by_key = {taxon.key: taxon for taxon in taxonomy.taxa}
    register = read_register(riis_csv)
    resolve(register, taxonomy.taxa, by_key)
    counties, areas = Polygons(county_shp), Polygons(aiannh_shp)

    rows = []
    funnel: dict[str, int] = defaultdict(int)
    for row in read_snapshot(snapshot):
        funnel["snapshot_rows"] += 1
        reason = left_out_because(row)
        funnel[reason or "us_rows"] += 1
        if reason is None:
            rows.append(row)
    points = sorted({(row["decimallongitude"], row["decimallatitude"]) for row in rows})
    county_of, area_of = counties.locate(points), areas.locate(points)
    county_names = {geoid: county_columns(geoid, record) for geoid, record in counties.records.items()}
    area_names = {geoid: record["NAMELSAD"] for geoid, record in areas.records.items()}

    matches: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in register:
        if record.accepted_key:
            matches["taxon", record.locality, record.accepted_key].append(record)
            if record.covers_its_species:
                matches["species", record.locality, record.accepted_key].append(record)

    results = Results(register, {}, funnel, defaultdict(int), defaultdict(int), len(points), 0)
    results.coordinates_in_no_county = sum(point not in county_of for point in points)
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        point = row["decimallongitude"], row["decimallatitude"]
        county, area = county_of.get(point), area_of.get(point)
        state = STATE_OF[county[:2]] if county else None
        region = None
        if state and state not in TERRITORIES:
            region = state if state in ("AK", "HI") else "L48"
        taxonkey, specieskey = (
            str(row[name]) if row[name] is not None and usable.fullmatch(str(row[name])) else None
            for name in ("taxonkey", "specieskey")
        )
        results.faulty["faulty_taxonkeys"] += taxonkey is None
        results.faulty["faulty_specieskeys"] += specieskey is None
        results.licenses[row["license"]] += 1
        status, ids = None, ()
        if region is not None:
            status, ids = assess(taxonkey, specieskey, region, matches, by_key)
        results.status[row["gbifid"]] = (state, county, area, region, status, ids)
        funnel[status or ("rows_in_territory" if county else "rows_in_no_county")] += 1
        for kind, key in (("state", state), ("county", county), ("aiannh", area)):
            if key:
                groups[kind, key].append((specieskey, row["species"], status, ids, row["year"]))

    for kind in ("state", "county", "aiannh"):
        results.tables[f"{kind}_counts"] = []
        results.tables[f"{kind}_x_species_list"] = []
        for (of_kind, key), records in sorted(groups.items()):
            if of_kind == kind:
                columns: tuple[str, ...] = (key,)
                if kind == "county":
                    columns = county_names[key]
                elif kind == "aiannh":
                    columns = (key, area_names[key])
                results.tables[f"{kind}_counts"].append(columns + count(records))
                species = list_species(records)
                results.tables[f"{kind}_x_species_list"] += [columns + one for one in species]
                results.species_of_region[kind, key] = by_species(species)
    results.tables["watch_list"] = watch_list(results, {STATE_OF[geoid[:2]] for geoid in county_names})
    results.tables["whats_new"] = whats_new(previous, results) if previous else []
    for threshold, suffix in ((1, ""), (3, "_min3")):
        results.tables |= {name + suffix: table for name, table in statistics(results, threshold).items()}
    return results


# ---------------------------------------------------------------------------- input


def read_snapshot(folder: Path) -> list[dict[str, Any]]:
    columns = [
        "gbifid", "taxonkey", "specieskey", "species", "taxonrank", "countrycode", "occurrencestatus", "basisofrecord",
        "decimallatitude", "decimallongitude", "year", "license",
    ]  # fmt: skip
    rows = []
    for path in sorted(folder.rglob("0*")):
        rows += pq.read_table(path, columns=columns).to_pylist()
    return rows


def left_out_because(row: dict[str, Any]) -> str | None:
    if row["countrycode"] != "US":
        return "not_in_country"
    if row["decimallongitude"] is None or row["decimallatitude"] is None:
        return "without_coordinates"
    if row["occurrencestatus"] != "PRESENT":
        return "not_present"
    if row["taxonrank"] != "SPECIES" and row["taxonrank"] not in BELOW_SPECIES:
        return "rank_above_species"
    if row["basisofrecord"] not in BASIS_OF_RECORD:
        return "other_basis_of_record"
    return None


def read_register(path: Path) -> list[Record]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    degree = "degreeOfEstablishment" if "degreeOfEstablishment" in rows[0] else "Introduced or Invasive"
    register = []
    for row in rows:
        record = Record(
            row["occurrenceID"], row["locality"], row["scientificName"], DEGREES[row[degree]], row["taxonRank"]
        )
        record.authorship = row["scientificNameAuthorship"]  # type: ignore[attr-defined]
        record.kingdom = row["kingdom"].replace("Virus", "Viruses")  # type: ignore[attr-defined]
        register.append(record)
    return register


def resolve(register: list[Record], taxa: Any, by_key: dict[str, Any]) -> None:
    """Look each name up, letter by letter; a misspelt one is not there, as only an exact match counts."""
    by_name = defaultdict(list)
    for taxon in taxa:
        by_name[taxon.canonical_name].append(taxon)

    def accepted(taxon: Any) -> Any:
        return by_key[taxon.accepted_key] if taxon.accepted_key else taxon

    def lineage(taxon: Any) -> dict[str, Any]:
        taxon, above = accepted(taxon), {}
        while taxon is not None:
            above[taxon.rank] = taxon
            taxon = by_key.get(taxon.parent_key)
        return above

    for record in register:
        found = [
            taxon
            for taxon in by_name[canonical(record.scientific_name)] or by_name[record.scientific_name]
            if accepted(taxon).rank in {"SPECIES"} | BELOW_SPECIES
        ]
        for same in (
            lambda taxon, record=record: lineage(taxon)["KINGDOM"].canonical_name == record.kingdom,
            lambda taxon, record=record: taxon.authorship == record.authorship,
        ):
            if len(found) > 1:
                found = [taxon for taxon in found if same(taxon)] or found
        if len(found) == 1:
            taxon = accepted(found[0])
            record.accepted_key, record.accepted_rank = taxon.key, taxon.rank
            record.species_key = lineage(taxon)["SPECIES"].key


def canonical(name: str) -> str:
    """Genus and epithets: ``Acer tataricum ssp. ginnala (Maxim.) Wesm.`` is ``Acer tataricum ginnala``."""
    genus, *rest = name.replace("×", "").split()
    epithets = []
    for word in rest:
        if word in ("ssp.", "subsp.", "var.", "f.", "x", "X"):
            continue
        if not re.fullmatch(r"[a-z]+(-[a-z]+)*", word):
            break
        epithets.append(word)
    return " ".join([genus, *epithets])


class Polygons:
    """A shapefile's polygons. records: its rows by GEOID."""

    def __init__(self, path: Path) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        polygons, self.geoids = [], []
        with shapefile.Reader(str(path)) as reader:
            for one in reader.iterShapeRecords():
                record = one.record.as_dict()
                self.records[record["GEOID"]] = record
                self.geoids.append(record["GEOID"])
                polygons.append(shape(one.shape.__geo_interface__))
        self.tree = shapely.STRtree(polygons)

    def locate(self, points: list[tuple[float, float]]) -> dict[tuple[float, float], str]:
        """The polygon of each point that lies in one or on its border; of several that with the smallest GEOID."""
        located: dict[tuple[float, float], str] = {}
        pairs = self.tree.query(shapely.points(points), predicate="intersects")
        for point, polygon in pairs.T:
            geoid = self.geoids[polygon]
            located[points[point]] = min(geoid, located.get(points[point], geoid))
        return located


def county_columns(geoid: str, record: dict[str, Any]) -> tuple[str, str, str, str]:
    """state_county, census_state, census_county, county_geoid."""
    state = STATE_OF[geoid[:2]]
    name = record.get("NAMELSAD") or f"{record['NAME']} {LSAD[record['LSAD']]}".strip()
    return f"{state} {name}", state, name, geoid


# ---------------------------------------------------------------------------- status, counts, lists


def assess(
    taxonkey: str | None,
    specieskey: str | None,
    region: str,
    matches: dict[tuple[str, str, str], list[Record]],
    by_key: dict[str, Any],
) -> tuple[str, tuple[str, ...]]:
    if taxonkey is None and specieskey is None:
        return "unresolved", ()
    accepted = taxonkey
    if taxonkey in by_key and by_key[taxonkey].accepted_key:
        accepted = by_key[taxonkey].accepted_key
    records = matches.get(("taxon", region, accepted or "")) or matches.get(("species", region, specieskey or ""))
    if not records:
        return "presumed_native", ()
    invasive = any(record.assessment == "invasive" for record in records)
    return "invasive" if invasive else "introduced", tuple(sorted(record.occurrence_id for record in records))


def count(records: list[tuple[Any, ...]]) -> tuple[int, ...]:
    """occ_count, species_count, then both for introduced, invasive, presumed_native, then unresolved_occ_count."""
    numbers = [len(records), len({species for species, *_ in records if species})]
    for wanted in ("introduced", "invasive", "presumed_native"):
        chosen = [species for species, _, status, *_ in records if status == wanted]
        numbers += [len(chosen), len({species for species in chosen if species})]
    return (*numbers, sum(status == "unresolved" for _, _, status, *_ in records))


def list_species(records: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """species_key, species, riis_assessment, riis_occurrence_ids, occ_count, first_year, last_year, by key and status.

    Species without status (in a territory) come last among their key's.
    """
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for record in records:
        if record[0]:
            groups[record[0], record[2] or "~"].append(record)
    listed = []
    for (species_key, status), members in sorted(groups.items()):
        ids = sorted({one for member in members for one in member[3]})
        years = [member[4] for member in members if member[4] is not None]
        listed.append(
            (
                species_key,
                max(member[1] for member in members),
                None if status == "~" else status,
                "|".join(ids) or None,
                len(members),
                min(years, default=None),
                max(years, default=None),
            )
        )
    return listed


STRENGTH = (None, "presumed_native", "introduced", "invasive")


def by_species(listed: list[tuple[Any, ...]]) -> dict[str, dict[str, Any]]:
    """What a region's list says of each species: its records, its strongest status and the invasive ones' details."""
    found: dict[str, dict[str, Any]] = {}
    for key, species, status, ids, occ_count, _, last_year in listed:
        one = found.setdefault(key, {"species": species, "count": 0, "status": None, "invasive": None})
        one["count"] += occ_count
        one["species"] = max(one["species"], species)
        one["status"] = max(one["status"], status, key=STRENGTH.index)
        if status == "invasive":
            one["invasive"] = (ids, occ_count, last_year)
    return found


def watch_list(results: Results, covered: set[str]) -> list[tuple[Any, ...]]:
    """census_state, species_key, species, riis_occurrence_ids, adjacent_states, occ_count, last_year."""
    near: dict[str, set[str]] = defaultdict(set)
    for border in BORDERS.split():
        one, other = border.split("-")
        near[one].add(other)
        near[other].add(one)
    rows = []
    for state in sorted(covered):
        here = results.species_of_region.get(("state", state), {})
        there: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for neighbour in sorted(near[state]):
            for key, one in results.species_of_region.get(("state", neighbour), {}).items():
                if one["invasive"] and key not in here:
                    there[key].append((neighbour, one["species"], *one["invasive"]))
        for key, found in sorted(there.items()):
            ids = sorted({one for _, _, listed, _, _ in found for one in listed.split("|")})
            years = [year for *_, year in found if year is not None]
            states = "|".join(neighbour for neighbour, *_ in found)
            total = sum(occ_count for _, _, _, occ_count, _ in found)
            rows.append((state, key, found[0][1], "|".join(ids), states, total, max(years, default=None)))
    return rows


def whats_new(before: Results, now: Results) -> list[tuple[Any, ...]]:
    """region_type, region, species, change, both months' keys, counts and statuses; sorted."""
    rows = []
    for kind, region in before.species_of_region.keys() | now.species_of_region.keys():
        old = before.species_of_region.get((kind, region), {})
        new = now.species_of_region.get((kind, region), {})
        pairs = [(key, key) for key in old.keys() & new.keys()]
        # Keys that only one month has: the same name under another key is no change in nature.
        lost, found = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
        for name in {old[key]["species"] for key in lost} | {new[key]["species"] for key in found}:
            olds = [key for key in lost if old[key]["species"] == name]
            news = [key for key in found if new[key]["species"] == name]
            pairs += zip_longest(olds, news)
        for old_key, new_key in pairs:
            nothing = {"species": None, "count": 0, "status": None}
            one, other = old.get(old_key, nothing), new.get(new_key, nothing)
            changes = []
            if old_key is None:
                changes.append("new")
            elif new_key is None:
                changes.append("gone")
            else:
                changes += ["key_changed"] * (old_key != new_key)
                changes += ["status_changed"] * (one["status"] != other["status"])
            name = other["species"] or one["species"]
            numbers = old_key, one["count"], other["count"], one["status"], other["status"]
            rows += [(kind, region, new_key or old_key, name, change, *numbers) for change in changes]
    return sorted(rows, key=lambda row: (row[0], row[1], row[2], row[4]))


# ---------------------------------------------------------------------------- statistics


def statistics(results: Results, threshold: int) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of site_stats, species_stats and diversity_stats, by the formulas as they stand in the literature."""
    cells = {
        (county, species): one["count"]
        for (kind, county), found in results.species_of_region.items()
        if kind == "county"
        for species, one in found.items()
        if one["count"] >= threshold
    }
    sites = sorted({county for county, _ in cells})
    species = sorted({key for _, key in cells})
    x = np.zeros((len(sites), len(species)))
    row_of, column_of = {one: i for i, one in enumerate(sites)}, {one: i for i, one in enumerate(species)}
    for county, key in cells:
        x[row_of[county], column_of[key]] = 1
    number_of_sites, number_of_species = x.shape
    alpha, omega = x.sum(axis=1), x.sum(axis=0)
    phi, psi = x @ omega, alpha @ x
    relative_omega, relative_alpha = omega / number_of_sites, alpha / number_of_species
    species_covariance = x.T @ x / number_of_sites - np.outer(relative_omega, relative_omega)
    site_covariance = x @ x.T / number_of_species - np.outer(relative_alpha, relative_alpha)
    return {
        "site_stats": [
            (site, int(alpha[i]), relative_alpha[i], int(phi[i]), phi[i] / (number_of_sites * alpha[i]))
            for i, site in enumerate(sites)
        ],
        "species_stats": [
            (key, int(omega[i]), relative_omega[i], int(psi[i]), psi[i] / (number_of_species * omega[i]))
            for i, key in enumerate(species)
        ],
        "diversity_stats": [
            (
                number_of_sites,
                number_of_species,
                number_of_species / relative_omega.sum(),
                number_of_species - relative_omega.sum(),
                omega.sum() - (omega**2).sum() / number_of_sites,
                species_covariance.sum() / np.trace(species_covariance),
                site_covariance.sum() / np.trace(site_covariance),
            )
        ],
    }
