"""Presence and absence of species in counties, and the biodiversity statistics that follow from them.

X is the matrix of N counties (sites) by S species, 1 where a species is present. Everything comes from X's row and
column sums: no product of X with itself is ever made, so 3,200 counties by 60,000 species fit into a small machine.

Sources: Soberón & Cavner 2015, doi 10.17161/bi.v10i0.4801; Arita et al. 2008; Whittaker 1960; Lande 1996; Legendre &
De Cáceres 2013; Schluter 1984.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from scipy import sparse

from container.task import TaskError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

COUNTY, SPECIES, COUNT = "county_geoid", "species_key", "occ_count"

_BATCH_ROWS = 250_000


@dataclass(frozen=True)
class CountyBySpecies:
    """A sparse matrix of counties by species and what its rows and columns stand for, both sorted.

    cells: N x S; occurrences in each cell (``read_county_by_species``), or 1 where present (``presence``).
    county_geoids: N labels of the rows. species_keys: S labels of the columns. Both are text: ``01001`` keeps its zero.
    """

    cells: sparse.csr_array[Any, tuple[int, int]]
    county_geoids: npt.NDArray[np.str_]
    species_keys: npt.NDArray[np.str_]

    def presence(self, threshold: int) -> CountyBySpecies:
        """1 where a species has at least ``threshold`` occurrences in a county.

        Counties and species that are left with no presence go, together with their labels.
        """
        kept = self.cells.data >= threshold
        starts = np.concatenate(([0], np.cumsum(kept)))[self.cells.indptr]
        columns = self.cells.indices[kept]
        site_kept = np.diff(starts) > 0
        species_kept = np.bincount(columns, minlength=self.cells.shape[1]) > 0
        columns = (np.cumsum(species_kept, dtype=columns.dtype) - 1)[columns]
        # A county without a presence begins where the next one does, so dropping its start leaves the cells in place.
        starts = np.append(starts[:-1][site_kept], starts[-1])
        county_geoids, species_keys = self.county_geoids[site_kept], self.species_keys[species_kept]
        cells = sparse.csr_array(
            (np.ones(columns.size, dtype=np.uint8), columns, starts), shape=(county_geoids.size, species_keys.size)
        )
        return CountyBySpecies(cells, county_geoids, species_keys)

    def save(self, path: Path) -> None:
        """Write a file that ``scipy.sparse.load_npz`` and ``numpy.load`` both read.

        The former gives the matrix; the latter also the labels, under ``county_geoid`` and ``species_key``.
        """
        sparse.save_npz(path, self.cells)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, labels in ((COUNTY, self.county_geoids), (SPECIES, self.species_keys)):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, labels, allow_pickle=False)


class _Labels:
    """Numbers labels in the order of their first appearance, across batches that each have their own dictionary."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, column: pa.DictionaryArray) -> npt.NDArray[np.int32]:
        numbers = self.numbers
        of_dictionary = np.array(
            [numbers.setdefault(label, len(numbers)) for label in column.dictionary.to_pylist()], dtype=np.int32
        )
        indices: npt.NDArray[np.int32] = column.indices.to_numpy(zero_copy_only=False)
        return of_dictionary[indices]

    def in_order(self) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int32]]:
        """The labels sorted, and for each number its place among them."""
        labels = np.array(list(self.numbers), dtype=np.str_)
        order = np.argsort(labels)
        places = np.empty(labels.size, dtype=np.int32)
        places[order] = np.arange(labels.size, dtype=np.int32)
        return labels[order], places


def read_county_by_species(path: Path, progress: Callable[[int, int], None] | None = None) -> CountyBySpecies:
    """Read the county species list (Parquet: ``county_geoid, species_key, occ_count`` and others) in batches.

    Several rows of one county and species, one for each status, are added up. Rows without a county or without a
    species key (unresolved records) are in no cell. progress: called with rows read and rows in all after each batch.

    Raises TaskError if the file is no Parquet or a column is missing or of the wrong type.
    """
    try:
        present = pq.read_schema(path).names
        missing = [name for name in (COUNTY, SPECIES, COUNT) if name not in present]
        if missing:
            raise TaskError(f"The county species list {path.name} has no column {', '.join(missing)}.")
        file = pq.ParquetFile(path, read_dictionary=[COUNTY, SPECIES])
    except (pa.ArrowInvalid, OSError) as error:
        raise TaskError(f"The county species list {path.name} is no readable Parquet file: {error}") from error
    schema = file.schema_arrow
    for name in (COUNTY, SPECIES):
        if not pa.types.is_dictionary(schema.field(name).type):
            raise TaskError(
                f"Column {name} of {path.name} is {schema.field(name).type}, not text: leading zeros would be lost."
            )
    if not pa.types.is_integer(schema.field(COUNT).type):
        raise TaskError(f"Column {COUNT} of {path.name} is {schema.field(COUNT).type}, not a whole number.")

    counties, species = _Labels(), _Labels()
    rows: list[npt.NDArray[np.int32]] = []
    columns: list[npt.NDArray[np.int32]] = []
    counts: list[Integers] = []
    read = 0
    for batch in file.iter_batches(_BATCH_ROWS, columns=[COUNTY, SPECIES, COUNT]):
        read += batch.num_rows
        named = batch.drop_null() if any(column.null_count for column in batch.columns) else batch
        rows.append(counties.number(named[COUNTY]))
        columns.append(species.number(named[SPECIES]))
        counts.append(named[COUNT].to_numpy().astype(np.int64))
        if progress is not None:
            progress(read, file.metadata.num_rows)

    county_geoids, county_places = counties.in_order()
    species_keys, species_places = species.in_order()
    shape = (county_geoids.size, species_keys.size)
    cells = sparse.csr_array(shape, dtype=np.int64)
    if read:
        row, column = county_places[_joined(rows)], species_places[_joined(columns)]
        cells = sparse.coo_array((_joined(counts), (row, column)), shape=shape).tocsr()
    return CountyBySpecies(cells, county_geoids, species_keys)


def _joined(parts: list[Any]) -> Any:
    """The parts as one array; they are let go, since together they are the largest thing in memory."""
    joined = np.concatenate(parts)
    parts.clear()
    return joined


@dataclass(frozen=True)
class SiteStatistics:
    """One value for each county; arrays of N.

    alpha: species present (row sums of X). alpha_proportional: alpha / S.
    phi: sum of the range sizes of the species present (X omega). phi_average_proportional: phi / (N alpha).
    """

    county_geoid: npt.NDArray[np.str_]
    alpha: Integers
    alpha_proportional: npt.NDArray[np.float64]
    phi: Integers
    phi_average_proportional: npt.NDArray[np.float64]


@dataclass(frozen=True)
class SpeciesStatistics:
    """One value for each species; arrays of S.

    omega: counties where it is present, its range size (column sums of X). omega_proportional: omega / N.
    psi: sum of the richness of these counties (alpha X). psi_average_proportional: psi / (S omega).
    """

    species_key: npt.NDArray[np.str_]
    omega: Integers
    omega_proportional: npt.NDArray[np.float64]
    psi: Integers
    psi_average_proportional: npt.NDArray[np.float64]


@dataclass(frozen=True)
class DiversityStatistics:
    """One value for the whole matrix; None where the formula divides by zero.

    With omega* = omega / N and alpha* = alpha / S:
    whittaker: S / sum(omega*), how many times richer the whole is than a mean county.
    lande: S - sum(omega*), how many more species the whole has than a mean county.
    legendre: sum(omega) - sum(omega²) / N, the total variation of X.
    schluter_species: sum / trace of the covariance matrix of species, XᵀX / N - omega* omega*ᵀ. Above 1: species
    occur together more than by chance; below 1: less.
    schluter_sites: the same of sites, XXᵀ / S - alpha* alpha*ᵀ.
    """

    num_sites: int
    num_species: int
    whittaker: float | None
    lande: float | None
    legendre: float | None
    schluter_species: float | None
    schluter_sites: float | None


@dataclass(frozen=True)
class Statistics:
    """What a presence-absence matrix gives."""

    sites: SiteStatistics
    species: SpeciesStatistics
    diversity: DiversityStatistics


def calculate(matrix: CountyBySpecies) -> Statistics:
    """The statistics of a presence-absence matrix without empty rows or columns (``CountyBySpecies.presence``).

    Closed forms only: the sum of XᵀX is sum(alpha²) and its trace sum(omega), that of XXᵀ sum(omega²) and sum(alpha).
    All sums are whole numbers, so Schluter's ratios lose nothing where large terms cancel.
    """
    presence = matrix.cells
    sites, species = presence.shape
    alpha: Integers = np.diff(presence.indptr).astype(np.int64)
    omega: Integers = np.bincount(presence.indices, minlength=species).astype(np.int64)
    phi: Integers = presence @ omega
    psi: Integers = alpha @ presence

    filled = int(alpha.sum())
    alpha_squares, omega_squares = int(alpha @ alpha), int(omega @ omega)
    return Statistics(
        SiteStatistics(matrix.county_geoids, alpha, alpha / max(species, 1), phi, phi / (sites * alpha)),
        SpeciesStatistics(matrix.species_keys, omega, omega / max(sites, 1), psi, psi / (species * omega)),
        DiversityStatistics(
            num_sites=sites,
            num_species=species,
            whittaker=_ratio(species * sites, filled),
            lande=species - filled / sites if sites else None,
            legendre=filled - omega_squares / sites if sites else None,
            schluter_species=_ratio(sites * alpha_squares - filled**2, sites * filled - omega_squares),
            schluter_sites=_ratio(species * omega_squares - filled**2, species * filled - alpha_squares),
        ),
    )


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def as_table(statistics: SiteStatistics | SpeciesStatistics | DiversityStatistics) -> pa.Table:
    """The statistics as a table: a column for each field, in their order; DiversityStatistics gives one row."""
    whole = isinstance(statistics, DiversityStatistics)
    columns = {}
    for name, value in vars(statistics).items():
        kind = pa.int64() if name.startswith("num_") else pa.float64()
        columns[name] = pa.array([value], kind) if whole else pa.array(value)
    return pa.table(columns)


def write_table(table: pa.Table, path: Path) -> tuple[Path, Path]:
    """Write ``path`` with the suffixes .csv (UTF-8, a header, empty where null) and .parquet; return both."""
    csv, parquet = path.with_name(f"{path.name}.csv"), path.with_name(f"{path.name}.parquet")
    pyarrow.csv.write_csv(table, csv, pyarrow.csv.WriteOptions(quoting_header="none", quoting_style="needed"))
    pq.write_table(table, parquet)
    return csv, parquet
