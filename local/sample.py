"""A generated month: a snapshot like GBIF's, a register, Census files and the taxonomies for GBIF's API.

Real: the species' names and rough ranges, and the county polygons. Made up: every occurrence, key and tribal area.
Deterministic: a month is always the same, and shares most of its records with the month before it, as GBIF's do.
"""

from __future__ import annotations

import shutil
from base64 import urlsafe_b64encode
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import _plotly_geo
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapefile

from local.sample_species import (
    FIRST_COL_XR_MONTH,
    HIGHER_RANKS,
    SEED,
    catalogue,
    checklist_of,
    keyed,
    write_register,
)
from workflow.month import Month
from workflow.regions import ADJACENT_STATES, BY_FIPS, STATES
from workflow.status import BACKBONE, COL_XR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from local.gbif_server import Taxonomy

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Objects = NDArray[np.object_]

FILES = 6
REFERENCE_MONTH = Month(2026, 10)
"""The month that has the rows asked for; each later one has ROWS_GROWTH of these more, each earlier one fewer."""
ROWS_GROWTH = 0.015
LEAST_ROWS = 0.85
STRING_KEYS_SINCE = Month(2025, 8)
TERRITORIES = frozenset(state.census_state for state in STATES if state.riis_region is None)
MOST_USAGES = max(len(one.usages) for one in catalogue().species)
ARRIVAL_MONTHS = 12
ARRIVALS = 8
ARRIVAL_ROWS = 6

NAD83 = (
    'GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137,298.257222101]],'
    'PRIMEM["Greenwich",0],UNIT["Degree",0.017453292519943295]]'
)
COUNTY_FILE = "cb_2016_us_county_500k"
PACKAGED_COUNTIES = Path(_plotly_geo.__file__).parent / "package_data" / f"{COUNTY_FILE}.shp"

# How often a record is what it should not be, or lies where it should not.
OTHER_COUNTRY = 0.05
AT_SEA = 0.004
IN_TERRITORY = 0.012
WITHOUT_COORDINATES = 0.025
ON_A_BORDER = 0.003
AT_A_HOTSPOT = 0.35
ABSENT = 0.01
HIGHER_RANK = 0.03
OTHER_NAME = 0.22
MOSTLY_OTHER_NAME = 0.9
MOSTLY_BELOW_SPECIES = ("Ampelopsis glandulosa", "Dreissena rostriformis", "Pueraria montana")
"""Species whose records mostly carry a synonym or a taxon below species rank."""
HOTSPOTS = 5

BASIS_OF_RECORD = {
    "HUMAN_OBSERVATION": 0.76, "PRESERVED_SPECIMEN": 0.17, "OCCURRENCE": 0.015, "OBSERVATION": 0.015,
    "MACHINE_OBSERVATION": 0.01, "MATERIAL_SAMPLE": 0.01, "MATERIAL_CITATION": 0.005, "FOSSIL_SPECIMEN": 0.01,
    "LIVING_SPECIMEN": 0.005,
}  # fmt: skip
LICENSES = {"CC_BY_NC_4_0": 0.62, "CC_BY_4_0": 0.23, "CC0_1_0": 0.15}
DATASETS = {
    # name: (datasetkey, publishingorgkey, institution, collection)
    "observations": ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-9000-000000000001", "SAMPLE", "Obs"),
    "birds": ("00000000-0000-4000-8000-000000000002", "00000000-0000-4000-9000-000000000002", "SAMPLE", "Birds"),
    "museum": ("00000000-0000-4000-8000-000000000003", "00000000-0000-4000-9000-000000000003", "SMPL", "Museum"),
    "herbarium": ("00000000-0000-4000-8000-000000000004", "00000000-0000-4000-9000-000000000003", "SMPL", "Plants"),
}
OTHER_COUNTRIES = {
    "CA": (-95.0, 54.0), "MX": (-101.0, 22.0), "GB": (-1.5, 53.0), "AU": (147.0, -33.0), "BR": (-51.0, -15.0),
    "ZA": (25.0, -30.0),
}  # fmt: skip
SEAS = ((-94.0, 26.2, -86.0, 28.2), (-73.0, 30.0, -70.0, 35.0), (-130.0, 35.0, -126.0, 45.0))
"""(west, south, east, north) of water far from any county."""

# What is wrong with a record's keys: up to which draw, which fault.
KEY_FAULTS = (
    (0.004, "taxonkey 0"),
    (0.007, "both from the backbone"),
    (0.010, "taxonkey from the backbone"),
    (0.016, "temporary taxonkey"),
    (0.020, "temporary taxonkey, no specieskey"),
    (0.023, "no taxonkey"),
    (0.026, "no specieskey"),
    (0.028, "both 0"),
)
FAULTS_OF_ANY_TAXONOMY = ("no taxonkey", "no specieskey")

_STRINGS = pa.list_(pa.field("array_element", pa.string()))
SCHEMA = pa.schema(
    [(name, pa.string()) for name in (
        "gbifid", "datasetkey", "occurrenceid", "kingdom", "phylum", "class", "order", "family", "genus", "species",
        "infraspecificepithet", "taxonrank", "scientificname", "verbatimscientificname",
        "verbatimscientificnameauthorship", "countrycode", "locality", "stateprovince", "occurrencestatus",
    )]
    + [("individualcount", pa.int32()), ("publishingorgkey", pa.string())]
    + [(name, pa.float64()) for name in (
        "decimallatitude", "decimallongitude", "coordinateuncertaintyinmeters", "coordinateprecision", "elevation",
        "elevationaccuracy", "depth", "depthaccuracy",
    )]
    + [("eventdate", pa.timestamp("ms")), ("day", pa.int32()), ("month", pa.int32()), ("year", pa.int32())]
    + [(name, pa.string()) for name in (
        "taxonkey", "specieskey", "basisofrecord", "institutioncode", "collectioncode", "catalognumber",
        "recordnumber",
    )]
    + [("identifiedby", _STRINGS), ("dateidentified", pa.timestamp("ms")), ("license", pa.string())]
    + [("rightsholder", pa.string()), ("recordedby", _STRINGS), ("typestatus", _STRINGS)]
    + [("establishmentmeans", pa.string()), ("lastinterpreted", pa.timestamp("ms")), ("mediatype", _STRINGS)]
    + [("issue", _STRINGS)]
)  # fmt: skip
"""The 50 columns of a snapshot's files, in their order."""


@dataclass(frozen=True)
class Sample:
    """A month's input.

    snapshot_dir: the snapshot's data files (``000000``, ``000001`` …) and ``citation.txt``. riis_csv: the register.
    county_shp, aiannh_shp: shapefiles. taxonomies: what GBIF's API answers from, the snapshot's own first.
    """

    snapshot_dir: Path
    riis_csv: Path
    county_shp: Path
    aiannh_shp: Path
    taxonomies: tuple[Taxonomy, ...]


def build_sample(folder: Path, month: Month, rows: int = 60_000) -> Sample:
    """Write a month's input below ``folder`` and say where it lies.

    rows: how many records the snapshot of October 2026 has, about; later months have more, earlier ones fewer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sample = Sample(
        folder / "snapshot",
        folder / "US-RIIS_sample.csv",
        counties(folder),
        folder / "aiannh_sample.shp",
        tuple(
            keyed(checklist, month).taxonomy
            for checklist in sorted((COL_XR, BACKBONE), key=lambda checklist: checklist != checklist_of(month))
        ),
    )
    write_register(sample.riis_csv, month)
    _write_areas(sample.aiannh_shp)
    _write_snapshot(sample.snapshot_dir, month, _table(month, rows))
    return sample


def counties(folder: Path) -> Path:
    """Copy the Census county polygons of 2016 that plotly-geo ships, add their projection, and return the .shp."""
    for suffix in (".shp", ".shx", ".dbf"):
        shutil.copyfile(PACKAGED_COUNTIES.with_suffix(suffix), folder / f"{COUNTY_FILE}{suffix}")
    (folder / f"{COUNTY_FILE}.prj").write_text(NAD83, encoding="ascii")
    return folder / f"{COUNTY_FILE}.shp"


# ---------------------------------------------------------------------------- tribal areas

AREA_COLUMNS = (
    ("AIANNHCE", "C", 4), ("AIANNHNS", "C", 8), ("AFFGEOID", "C", 13), ("GEOID", "C", 4), ("NAME", "C", 100),
    ("NAMELSAD", "C", 100), ("LSAD", "C", 2), ("ALAND", "N", 14), ("AWATER", "N", 14),
)  # fmt: skip
"""Columns of the Census Bureau's cartographic boundary file of 2021."""

SHARED_BORDER = -100.6
"""Longitude of the border between the first two areas."""
SHARED_BORDER_LATITUDES = (43.0, 43.9)
AREAS = (
    # (west, south, east, north)
    (-101.5, 43.0, SHARED_BORDER, 43.9),
    (SHARED_BORDER, 43.0, -99.7, 43.9),
    (-111.6, 36.2, -110.2, 37.7),  # across the line between Arizona and Utah
    (-108.2, 45.0, -107.0, 45.9),
    (-121.2, 45.8, -120.2, 46.6),
    (-107.8, 34.6, -106.6, 35.5),
    (-96.4, 35.3, -95.3, 36.4),
    (-95.6, 47.4, -94.4, 48.3),
    (-117.3, 33.2, -116.2, 34.1),
    (-151.5, 60.1, -149.2, 61.4),
    (-149.0, 64.4, -146.5, 65.3),
    (-156.0, 19.4, -155.3, 20.0),
)


def _write_areas(path: Path) -> None:
    writer: Any = shapefile.Writer(str(path), shapeType=shapefile.POLYGON, encoding="utf-8")
    with closing(writer):
        for name, kind, size in AREA_COLUMNS:
            writer.field(name, kind, size)
        for number, (west, south, east, north) in enumerate(AREAS, start=1):
            if number <= 2:
                corners = [(west, south), (west, north), (east, north), (east, south)]
            else:  # with its corners cut off
                across, up = (east - west) / 4, (north - south) / 5
                corners = [
                    (west, south + up), (west, north - up), (west + across, north), (east - across, north),
                    (east, north - up), (east, south + up), (east - across, south), (west + across, south),
                ]  # fmt: skip
            writer.poly([[*corners, corners[0]]])
            geoid = f"99{number:02d}"
            name = f"Sample Area {number:02d} (generated)"
            writer.record(geoid, f"{number:08d}", f"2500000US{geoid}", geoid, name, name, "86", 0, 0)
    path.with_suffix(".prj").write_text(NAD83, encoding="ascii")


# ---------------------------------------------------------------------------- counties to draw points in


@dataclass(frozen=True)
class _Counties:
    """What points are drawn from.

    states: abbreviation of each county's state. vertices: of every county's largest ring, one after the other;
    starts, sizes: where each begins in them, and how many it has.
    """

    states: tuple[str, ...]
    vertices: Floats
    starts: Integers
    sizes: Integers

    @classmethod
    @cache
    def read(cls) -> _Counties:
        states, rings = [], []
        reader: Any = shapefile.Reader(str(PACKAGED_COUNTIES))
        with closing(reader):
            for shape, record in zip(reader.iterShapes(), reader.iterRecords(fields=["STATEFP"]), strict=True):
                states.append(BY_FIPS[record["STATEFP"]].census_state)
                edges = [*shape.parts, len(shape.points)]
                start, end = max(pairwise(edges), key=lambda edge: edge[1] - edge[0])
                rings.append(np.array(shape.points[start:end]))
        sizes = np.array([len(ring) for ring in rings])
        return cls(tuple(states), np.concatenate(rings), np.cumsum(sizes) - sizes, sizes)

    def centres(self) -> Floats:
        centres: Floats = np.add.reduceat(self.vertices, self.starts) / self.sizes[:, None]
        return centres

    def points(self, county: Integers, draws: Floats) -> Floats:
        """A point of each county: somewhere between three vertices. draws: six numbers from 0 to 1 a point."""
        places = self.starts[county, None] + (draws[:, :3] * self.sizes[county, None]).astype(np.int64)
        weights = -np.log1p(-draws[:, 3:])
        weights /= weights.sum(axis=1, keepdims=True)
        points: Floats = np.einsum("ij,ijk->ik", weights, self.vertices[places])
        return points

    def border_points(self, county: Integers, draws: Floats) -> Floats:
        """A vertex of each county, which its neighbour has too."""
        return self.vertices[self.starts[county] + (draws * self.sizes[county]).astype(np.int64)]


@dataclass(frozen=True)
class _Draws:
    """Streams of random numbers by name. A longer stream begins with a shorter one, so that months share records."""

    seed: tuple[int, ...]
    count: int

    def __call__(self, name: str) -> Floats:
        return np.random.default_rng([*self.seed, crc32(name.encode())]).random(self.count)

    def choice(self, name: str, shares: Mapping[Any, float]) -> Integers:
        """Places in ``shares``, each as often as it says."""
        return np.searchsorted(np.cumsum(list(shares.values()))[:-1], self(name), side="right").astype(
            np.int64, copy=False
        )


@dataclass(frozen=True)
class _Ranges:
    """Where each species is found. cumulative: a row for each species, running sums over the counties from 0 to 1."""

    popularity: Floats
    cumulative: Floats

    def counties_of(self, species: Integers, draws: Floats) -> Integers:
        return _choose(self.cumulative, species, draws)


def _choose(cumulative: Floats, row: Integers, draws: Floats) -> Integers:
    """For each (row, draw) the column of ``cumulative`` (rows of running sums that end in 1) that the draw falls on."""
    columns = cumulative.shape[1]
    flat = (cumulative + np.arange(len(cumulative))[:, None]).ravel()
    place = np.searchsorted(flat, row + draws, side="right") - row * columns
    chosen: Integers = np.minimum(place, columns - 1)
    return chosen


@cache
def _ranges() -> _Ranges:
    counties = _Counties.read()
    rng = np.random.default_rng([SEED, 1])
    species = catalogue().species
    state_names = sorted(set(counties.states))
    state_of = np.array([state_names.index(state) for state in counties.states])
    lives_in = np.array([[state in one.states for state in state_names] for one in species])[:, state_of]
    # Who record what they see: some counties more than others, and a state with few counties more in each of them.
    people = rng.lognormal(0, 0.9, len(counties.states)) / np.bincount(state_of)[state_of] ** 0.45
    people *= np.array([{"CA": 3.0, "HI": 6.0, "AK": 2.5}.get(state, 1.0) for state in counties.states])
    centres = counties.centres()
    weights = np.full(lives_in.shape, 0.12)
    for _ in range(3):
        heart = np.array([rng.choice(np.flatnonzero(row)) for row in lives_in])
        width = rng.uniform(1.0, 3.5, len(species))
        apart = ((centres[heart][:, None] - centres[None]) ** 2).sum(axis=2)
        weights += np.exp(-apart / (2 * width[:, None] ** 2))
    weights *= lives_in * people
    popularity = rng.lognormal(0, 1.1, len(species)) * np.sqrt((lives_in * people).sum(axis=1))
    cumulative = np.cumsum(weights, axis=1)
    return _Ranges(popularity / popularity.sum(), cumulative / cumulative[:, -1:])


# ---------------------------------------------------------------------------- occurrences


def _table(month: Month, rows: int) -> pa.Table:
    """The month's records in SCHEMA's columns: those of every month, and what came and went since."""
    counties, ranges = _Counties.read(), _ranges()
    draws = _Draws((SEED, 2), _row_count(month, rows))
    species = np.searchsorted(np.cumsum(ranges.popularity)[:-1], draws("species"), side="right").astype(np.int64)
    county = ranges.counties_of(species, draws("county"))
    first = _Batch(counties, month, draws, 4_000_000_000, species, county, np.full(draws.count, 2025))
    batches = [first.table().filter(pa.array(~_gone(first, month)))]
    at = month
    for _ in range(ARRIVAL_MONTHS):
        batches.append(_arrivals(counties, month, at).table())
        at = at.previous
    return pa.concat_tables(batches)


def _gone(batch: _Batch, month: Month) -> NDArray[np.bool_]:
    """Which records the month lacks: a few single ones, and for half a year each some species' last ones in a state."""
    withdrawn = batch.gbifid % 300 == _ordinal(month) % 300
    numbers = {state.census_state: int(state.statefp) for state in STATES}
    place = batch.species * 100 + np.array([numbers.get(state, 0) for state in batch.states])
    rare = np.bincount(place)[place] <= 3
    gone: NDArray[np.bool_] = withdrawn | (rare & ((_ordinal(month) - place * 2654435761 % 2**32) % 240 < 6))
    return gone


def _arrivals(counties: _Counties, month: Month, at: Month) -> _Batch:
    """Records of invasive species that reached a state next to theirs in the month ``at``."""
    rng = np.random.default_rng([SEED, at.year, at.month, 2])
    invasive = [place for place, one in enumerate(catalogue().species) if one.degrees.get("L48") in ("D2", "E")]
    species: list[int] = []
    county: list[int] = []
    for place in rng.permutation(invasive):
        states = catalogue().species[place].states
        near = sorted({near for state in states for near in ADJACENT_STATES[state]} - states)
        if near and len(species) < ARRIVALS * ARRIVAL_ROWS:
            state = rng.choice(near)
            there = [index for index, name in enumerate(counties.states) if name == state]
            county += list(rng.choice(rng.choice(there, 3), ARRIVAL_ROWS))
            species += [place] * ARRIVAL_ROWS
    draws = _Draws((SEED, at.year, at.month, 3), len(species))
    first_id = 5_000_000_000 + 1000 * _ordinal(at)
    return _Batch(counties, month, draws, first_id, np.array(species), np.array(county), np.full(draws.count, at.year))


class _Batch:
    """Records of given species in given counties, with everything else drawn."""

    def __init__(
        self,
        counties: _Counties,
        month: Month,
        draws: _Draws,
        first_id: int,
        species: Integers,
        county: Integers,
        last_year: Integers,
    ) -> None:
        self.counties = counties
        self.month = month
        self.draws = draws
        self.species = species
        self.gbifid = first_id + np.arange(draws.count)
        self.last_year = last_year
        self.country = np.full(draws.count, "US", dtype=object)
        self.county = self._move_some_to_territories(county)
        self.states = np.array(counties.states, dtype=object)[self.county]
        self.points = self._points()

    def _move_some_to_territories(self, county: Integers) -> Integers:
        territories = np.array([i for i, state in enumerate(self.counties.states) if state in TERRITORIES])
        moved = self.draws("territory") < IN_TERRITORY
        there = territories[(self.draws("which territory") * len(territories)).astype(np.int64)]
        own_code = moved & (self.draws("territory's code") < 0.7)
        self.country[own_code] = np.array(self.counties.states, dtype=object)[there[own_code]]
        return np.where(moved, there, county)

    def _points(self) -> Floats:
        """Longitude and latitude, NaN where there are none. Draws countries too."""
        draws, counties = self.draws, self.counties
        numbers = np.column_stack([draws(f"point {number}") for number in range(6)])
        hotspots = np.random.default_rng([SEED, 3]).random((len(counties.states), HOTSPOTS, 6))
        at_hotspot = draws("at a hotspot") < AT_A_HOTSPOT
        which = (draws("which hotspot") * HOTSPOTS).astype(np.int64)
        numbers[at_hotspot] = hotspots[self.county[at_hotspot], which[at_hotspot]]
        points = np.round(counties.points(self.county, numbers), 5)

        on_border = draws("on a border") < ON_A_BORDER
        points[on_border] = counties.border_points(self.county[on_border], draws("border")[on_border])
        between_areas = (self.states == "SD") & (draws("between areas") < 0.03)
        south, north = SHARED_BORDER_LATITUDES
        points[between_areas, 0] = SHARED_BORDER
        points[between_areas, 1] = np.round(south + (north - south) * draws("latitude")[between_areas], 5)

        away = draws("away") < OTHER_COUNTRY + AT_SEA
        at_sea = draws("away") < AT_SEA
        across, up = draws("across"), draws("up")
        boxes = np.array(SEAS)[(draws("sea") * len(SEAS)).astype(np.int64)]
        sea = boxes[:, :2] + np.column_stack([across, up]) * (boxes[:, 2:] - boxes[:, :2])
        code = (draws("country") * len(OTHER_COUNTRIES)).astype(np.int64)
        land = np.array(list(OTHER_COUNTRIES.values()))[code] + 4 * np.column_stack([across - 0.5, up - 0.5])
        points[away] = np.round(np.where(at_sea[:, None], sea, land)[away], 5)
        abroad = away & ~at_sea
        self.country[abroad] = np.array(list(OTHER_COUNTRIES), dtype=object)[code[abroad]]
        self.states = np.where(away, "", self.states)
        points[draws("without coordinates") < WITHOUT_COORDINATES] = np.nan
        return points

    def table(self) -> pa.Table:
        columns = self._taxon_columns() | self._place_columns() | self._record_columns()
        table = pa.table({name: columns.get(name, pa.nulls(len(self.gbifid))) for name in SCHEMA.names})
        return table.cast(_schema(self.month))

    def _taxon_columns(self) -> dict[str, pa.Array]:
        draws, species = self.draws, catalogue().species
        current = keyed(checklist_of(self.month), self.month)
        names = current.names
        usage = np.array([one.usages + (0,) * (MOST_USAGES - len(one.usages)) for one in species])
        name = usage[self.species, _choose(_usage_shares(), self.species, draws("usage"))]
        accepted_species = np.array([one.name for one in species])[self.species]

        higher = draws("higher rank") < HIGHER_RANK
        genus_only = higher & (draws("genus or family") < 0.6)
        family_only = higher & ~genus_only
        own = [names[one.name] for one in species]

        def of_species(values: Sequence[str | None]) -> Objects:
            column: Objects = np.asarray(values, dtype=object)[self.species]
            return column

        def of_name(values: Sequence[str | None]) -> Objects:
            column: Objects = np.asarray(values, dtype=object)[name]
            return column

        genus, family = of_species([one.genus for one in own]), of_species([one.family for one in own])
        rank = of_name([one.rank for one in names])
        scientific_name = of_name([one.full for one in names])
        taxonkey = of_name(current.name_keys)
        specieskey = np.array(current.name_keys, dtype=object)[accepted_species]
        for mask, named, rank_name, keys in (
            (genus_only, genus, "GENUS", [current.genus_keys[one.genus, one.family] for one in own]),
            (family_only, family, "FAMILY", [current.family_keys[one.family] for one in own]),
        ):
            scientific_name[mask] = named[mask]
            rank[mask] = rank_name
            taxonkey[mask] = of_species(keys)[mask]
        specieskey[higher] = None
        taxonkey, specieskey = self._spoil_keys(taxonkey, specieskey, name, accepted_species)
        families = catalogue().families
        epithets = [one.canonical.split()[2] if one.canonical.count(" ") == 2 else None for one in names]
        columns = {
            **{
                rank_name: of_species([families[one.family].get(rank_name) or None for one in own])
                for rank_name in HIGHER_RANKS[:-1]
            },
            "family": family,
            "genus": _without(genus, family_only),
            "species": _without(of_species([one.canonical for one in own]), higher),
            "infraspecificepithet": _without(of_name(epithets), higher),
            "taxonrank": rank,
            "scientificname": scientific_name,
            "verbatimscientificname": np.where(higher, scientific_name, of_name([one.canonical for one in names])),
            "verbatimscientificnameauthorship": _without(of_name([one.authorship for one in names]), higher),
            "taxonkey": taxonkey,
            "specieskey": specieskey,
        }
        return {column: pa.array(values, pa.string()) for column, values in columns.items()}

    def _spoil_keys(
        self, taxonkey: Objects, specieskey: Objects, name: Integers, accepted_species: Integers
    ) -> tuple[Objects, Objects]:
        """Put in the faults that snapshots were seen to have (KEY_FAULTS)."""
        draw = self.draws("key fault")
        old = np.array(keyed(BACKBONE, self.month).name_keys, dtype=object)
        lower = 0.0
        for upper, fault in KEY_FAULTS:
            mask = (draw >= lower) & (draw < upper)
            lower = upper
            if self.month < FIRST_COL_XR_MONTH and fault not in FAULTS_OF_ANY_TAXONOMY:
                continue
            if "0" in fault:
                taxonkey[mask] = "0"
            if "backbone" in fault:
                taxonkey[mask] = old[name[mask]]
            if "temporary" in fault:
                taxonkey[mask] = [_temporary_key(gbifid) for gbifid in self.gbifid[mask]]
            if fault == "both 0":
                specieskey[mask] = "0"
            if fault == "both from the backbone":
                specieskey[mask] = old[accepted_species[mask]]
            if "no taxonkey" in fault:
                taxonkey[mask] = None
            if "no specieskey" in fault:
                specieskey[mask] = None
        return taxonkey, specieskey

    def _place_columns(self) -> dict[str, pa.Array]:
        longitude, latitude = self.points.T
        uncertainty = np.round(10 ** (1 + 3 * self.draws("uncertainty")))
        elevation = np.round(2000 * self.draws("elevation") ** 2)
        full_names = {state.census_state: state.name for state in STATES}
        return {
            "decimallongitude": pa.array(longitude, from_pandas=True),
            "decimallatitude": pa.array(latitude, from_pandas=True),
            "coordinateuncertaintyinmeters": pa.array(uncertainty, mask=self.draws("uncertain") < 0.3),
            "elevation": pa.array(elevation, mask=self.draws("elevated") < 0.8),
            "countrycode": pa.array(self.country, pa.string()),
            "stateprovince": pa.array([full_names.get(state) for state in self.states], pa.string()),
        }

    def _record_columns(self) -> dict[str, pa.Array]:
        draws = self.draws
        basis = draws.choice("basis", BASIS_OF_RECORD)
        observed = basis == list(BASIS_OF_RECORD).index("HUMAN_OBSERVATION")
        families = catalogue().families
        ranks = [families[catalogue().names[one.name].family] for one in catalogue().species]
        is_bird = np.array([one.get("class") == "Aves" for one in ranks])[self.species]
        is_plant = np.array([one["kingdom"] == "Plantae" for one in ranks])[self.species]
        dataset = np.select([observed & is_bird, observed, is_plant], [1, 0, 3], default=2)
        keys, publishers, institutions, collections = zip(*DATASETS.values(), strict=True)

        age = np.floor(np.where(observed, -8, -45) * np.log1p(-draws("age"))).astype(np.int64)
        age[self.gbifid >= 5_000_000_000] = 0  # an arrival is new
        year = np.clip(np.minimum(self.last_year, self.month.year) - age, 1880, None)
        month, day = 1 + (draws("month") * 12).astype(np.int64), 1 + (draws("day") * 28).astype(np.int64)
        undated = draws("undated") < 0.02
        date = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1)
        date = (date.astype("M8[D]") + (day - 1)).astype("M8[ms]")
        interpreted = np.datetime64(f"{self.month.snapshot_date}", "ms") - (draws("interpreted") * 2e9).astype("m8[ms]")
        gbifid = pc.cast(pa.array(self.gbifid), pa.string())
        person = (draws("person") * 50).astype(np.int64)
        people = pa.array([[f"Sample recorder {number + 1}"] for number in range(50)], SCHEMA.field("recordedby").type)

        def some(name: str, choices: Mapping[Any, float]) -> pa.Array:
            """One of the values, or a list that holds it alone or nothing, each as often as said."""
            values: list[Any] = list(choices)
            kind = SCHEMA.field(name).type
            if pa.types.is_list(kind):
                values = [[value] if value else [] for value in values]
            return pa.array(values, kind).take(pa.array(draws.choice(name, choices)))

        return {
            "gbifid": gbifid,
            "occurrenceid": pc.binary_join_element_wise("sample", gbifid, ":"),
            "catalognumber": gbifid,
            "datasetkey": pa.array(keys).take(pa.array(dataset)),
            "publishingorgkey": pa.array(publishers).take(pa.array(dataset)),
            "institutioncode": pa.array(institutions).take(pa.array(dataset)),
            "collectioncode": pa.array(collections).take(pa.array(dataset)),
            "occurrencestatus": some("occurrencestatus", {"PRESENT": 1 - ABSENT, "ABSENT": ABSENT}),
            "basisofrecord": pa.array(list(BASIS_OF_RECORD)).take(pa.array(basis)),
            "license": some("license", LICENSES),
            "rightsholder": some("rightsholder", {None: 0.6, "Sample recorders": 0.4}),
            "establishmentmeans": some("establishmentmeans", {None: 0.9, "NATIVE": 0.05, "INTRODUCED": 0.05}),
            "individualcount": pa.array(1 + (draws("individuals") ** 4 * 30).astype(np.int32), mask=draws("one") < 0.8),
            "eventdate": pa.array(date, mask=undated),
            "year": pa.array(year, mask=undated),
            "month": pa.array(month, mask=undated),
            "day": pa.array(day, mask=undated),
            "lastinterpreted": pa.array(interpreted),
            "recordedby": people.take(pa.array(person, mask=draws("by someone") < 0.05)),
            "identifiedby": people.take(pa.array(person, mask=draws("identified") < 0.5)),
            "typestatus": some("typestatus", {None: 0.999, "HOLOTYPE": 0.001}),
            "mediatype": some("mediatype", {None: 0.55, "StillImage": 0.44, "Sound": 0.01}),
            "issue": some("issue", {None: 0.3, "GEODETIC_DATUM_ASSUMED_WGS84": 0.5, "COORDINATE_ROUNDED": 0.2}),
        }


def _without(values: Objects, mask: NDArray[np.bool_]) -> Objects:
    """A copy of ``values`` with None where the mask says so."""
    values = values.copy()
    values[mask] = None
    return values


def _usage_shares() -> Floats:
    """For each species the running sums of how often each of its names is used, padded with 1."""
    shares = np.ones((len(catalogue().species), MOST_USAGES))
    for place, one in enumerate(catalogue().species):
        others = len(one.usages) - 1
        if others:
            mostly = catalogue().names[one.name].canonical in MOSTLY_BELOW_SPECIES
            share = MOSTLY_OTHER_NAME if mostly else OTHER_NAME
            shares[place, : others + 1] = 1 - share + share * np.arange(others + 1) / others
    return shares


def _temporary_key(gbifid: int) -> str:
    """Like ``vYOrvZV81KuK9xP9V-W``, which the snapshot of September 2026 had by the million."""
    return urlsafe_b64encode(sha256(str(gbifid).encode()).digest()).decode()[:17] + "-W"


def _schema(month: Month) -> pa.Schema:
    """SCHEMA, with the integer keys that snapshots had until July 2025."""
    if month >= STRING_KEYS_SINCE:
        return SCHEMA
    return pa.schema(
        [pa.field(one.name, pa.int32()) if one.name in ("taxonkey", "specieskey") else one for one in SCHEMA]
    )


def _write_snapshot(folder: Path, month: Month, table: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-table.num_rows // FILES)
    for number in range(FILES):
        pq.write_table(table.slice(number * size, size), folder / f"{number:06d}")
    (folder / "citation.txt").write_text(
        f"Generated in the form of GBIF's occurrence snapshot of {month.snapshot_date}. No data: do not cite.\n",
        encoding="utf-8",
    )


def _ordinal(month: Month) -> int:
    return month.year * 12 + month.month


def _row_count(month: Month, rows: int) -> int:
    return round(rows * max(LEAST_ROWS, 1 + ROWS_GROWTH * (_ordinal(month) - _ordinal(REFERENCE_MONTH))))
