"""The statistics against the worked example, against dense matrices, and on what breaks labels and divisions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from container import statistics
from container.statistics import CountyBySpecies, as_table, calculate, read_county_by_species, write_table
from container.task import TaskError

EXAMPLE = [[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0]]


def labelled(cells) -> CountyBySpecies:
    dense = np.asarray(cells, dtype=np.int64)
    counties = np.array([f"{number:05d}" for number in range(dense.shape[0])], dtype=np.str_)
    species = np.array([f"S{number}" for number in range(dense.shape[1])], dtype=np.str_)
    return CountyBySpecies(sparse.csr_array(dense), counties, species)


def species_list(tmp_path, rows, name="list.parquet", **types):
    columns = {
        "county_geoid": pa.array([row[0] for row in rows], types.get("county_geoid", pa.string())),
        "species_key": pa.array([row[1] for row in rows], pa.string()),
        "riis_assessment": pa.array(["introduced"] * len(rows), pa.string()),
        "occ_count": pa.array([row[2] for row in rows], types.get("occ_count", pa.int64())),
    }
    pq.write_table(pa.table(columns), tmp_path / name)
    return tmp_path / name


def test_worked_example():
    found = calculate(labelled(EXAMPLE).presence(1))
    assert found.sites.alpha.tolist() == [2, 2, 2, 1]
    assert found.species.omega.tolist() == [3, 2, 2]
    assert found.sites.phi.tolist() == [5, 5, 4, 3]
    assert found.species.psi.tolist() == [5, 4, 4]
    assert found.sites.alpha_proportional == pytest.approx([2 / 3, 2 / 3, 2 / 3, 1 / 3])
    assert found.species.omega_proportional == pytest.approx([3 / 4, 2 / 4, 2 / 4])
    assert found.sites.phi_average_proportional == pytest.approx([5 / 8, 5 / 8, 4 / 8, 3 / 4])
    assert found.species.psi_average_proportional == pytest.approx([5 / 9, 4 / 6, 4 / 6])
    whole = found.diversity
    assert (whole.num_sites, whole.num_species) == (4, 3)
    assert [whole.whittaker, whole.lande, whole.legendre] == pytest.approx([1.714286, 1.25, 2.75], abs=1e-6)
    assert [whole.schluter_species, whole.schluter_sites] == pytest.approx([0.272727, 0.25], abs=1e-6)


matrices = arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 5))


@settings(max_examples=80, deadline=None)
@given(matrices, st.integers(1, 4))
def test_against_dense_matrices(counts, threshold):
    """A closed form that is right only for the example; labels that stay when their row or column goes."""
    sparse_presence = labelled(counts).presence(threshold)
    kept_sites = [i for i, row in enumerate(counts) if any(value >= threshold for value in row)]
    kept_species = [j for j, column in enumerate(counts.T) if any(value >= threshold for value in column)]
    dense = (counts[np.ix_(kept_sites, kept_species)] >= threshold).astype(float)
    assert sparse_presence.county_geoids.tolist() == [f"{i:05d}" for i in kept_sites]
    assert sparse_presence.species_keys.tolist() == [f"S{j}" for j in kept_species]
    assert sparse_presence.cells.toarray().tolist() == dense.tolist()

    found = calculate(sparse_presence)
    alpha, omega = dense.sum(axis=1), dense.sum(axis=0)
    assert found.sites.phi.tolist() == (dense @ omega).tolist()
    assert found.species.psi.tolist() == (dense.T @ alpha).tolist()
    assert found.sites.phi.sum() == (omega**2).sum()
    assert found.species.psi.sum() == (alpha**2).sum()
    if not dense.size:
        assert found.diversity.whittaker is None
        return
    covariances = {
        "schluter_species": np.cov(dense, rowvar=False, bias=True).reshape(dense.shape[1], -1),
        "schluter_sites": np.cov(dense, rowvar=True, bias=True).reshape(dense.shape[0], -1),
    }
    for name, covariance in covariances.items():
        value = getattr(found.diversity, name)
        if np.trace(covariance) < 1e-12:
            assert value is None
        else:
            assert value == pytest.approx(covariance.sum() / np.trace(covariance), abs=1e-9)
    # Legendre: the sum of squared deviations from the species' means. Lande and Whittaker: from mean richness.
    assert found.diversity.legendre == pytest.approx(((dense - dense.mean(axis=0)) ** 2).sum())
    assert found.diversity.lande == pytest.approx(dense.shape[1] - alpha.mean())
    assert found.diversity.whittaker == pytest.approx(dense.shape[1] / alpha.mean())


@pytest.mark.parametrize("cells", [[[1]], [[1, 1, 1]], [[1], [1]], [[1, 1], [1, 1]]])
def test_full_matrices_have_no_ratio(cells):
    """One county, one species or all present: the covariance's trace is 0, which is no crash and no infinity."""
    whole = calculate(labelled(cells).presence(1)).diversity
    assert (whole.schluter_species, whole.schluter_sites) == (None, None)
    assert whole.whittaker == 1


def test_no_species_reaches_the_threshold(tmp_path):
    found = calculate(labelled([[1, 2], [0, 1]]).presence(3))
    assert as_table(found.diversity).to_pylist() == [
        {"num_sites": 0, "num_species": 0}
        | dict.fromkeys(("whittaker", "lande", "legendre", "schluter_species", "schluter_sites"))
    ]
    csv, _ = write_table(as_table(found.sites), tmp_path / "site_stats")
    assert csv.read_text() == "county_geoid,alpha,alpha_proportional,phi,phi_average_proportional\n"


def test_statuses_are_added_up_before_the_threshold(tmp_path):
    """A species with two records of one status and one of another has three in its county."""
    path = species_list(tmp_path, [("01001", "K1", 2), ("01001", "K1", 1), ("01001", "K2", 2), ("01003", "K2", 3)])
    presence = read_county_by_species(path).presence(3)
    assert presence.county_geoids.tolist() == ["01001", "01003"]
    assert presence.species_keys.tolist() == ["K1", "K2"]
    assert presence.cells.toarray().tolist() == [[1, 0], [0, 1]]


def test_batches_share_their_labels(tmp_path, monkeypatch):
    """Each batch brings its own dictionary: a number of one batch means another label in the next."""
    monkeypatch.setattr(statistics, "_BATCH_ROWS", 2)
    rows = [("20003", "Z", 1), ("01001", "B", 2), ("20003", "B", 4), ("01001", "A", 8), ("20003", "Z", 16)]
    seen = []
    matrix = read_county_by_species(species_list(tmp_path, rows), lambda done, total: seen.append((done, total)))
    assert matrix.county_geoids.tolist() == ["01001", "20003"]
    assert matrix.species_keys.tolist() == ["A", "B", "Z"]
    assert matrix.cells.toarray().tolist() == [[8, 2, 0], [0, 4, 17]]
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_rows_without_county_or_species_are_in_no_cell(tmp_path):
    matrix = read_county_by_species(species_list(tmp_path, [("01001", None, 5), (None, "A", 5), ("01001", "A", 1)]))
    assert matrix.cells.toarray().tolist() == [[1]]


def test_empty_list(tmp_path):
    matrix = read_county_by_species(species_list(tmp_path, []))
    assert matrix.presence(1).cells.shape == (0, 0)
    assert calculate(matrix.presence(1)).diversity.num_sites == 0


def test_file_keeps_matrix_and_labels(tmp_path):
    """The labels in the file are those of its rows and columns, leading zeros and all."""
    presence = labelled([[0, 3, 1], [0, 0, 0], [5, 0, 0]]).presence(1)
    presence.save(tmp_path / "matrix.npz")
    assert sparse.load_npz(tmp_path / "matrix.npz").toarray().tolist() == [[0, 1, 1], [1, 0, 0]]
    with np.load(tmp_path / "matrix.npz", allow_pickle=False) as file:
        assert file["county_geoid"].tolist() == ["00000", "00002"]
        assert file["species_key"].tolist() == ["S0", "S1", "S2"]


def test_tables_keep_leading_zeros_and_say_nothing_for_null(tmp_path):
    found = calculate(labelled([[1, 1]]).presence(1))
    csv, parquet = write_table(as_table(found.sites), tmp_path / "site_stats")
    assert csv.read_text().splitlines()[1].split(",")[0].strip('"') == "00000"
    assert pq.read_table(parquet)["county_geoid"].to_pylist() == ["00000"]
    csv, _ = write_table(as_table(found.diversity), tmp_path / "diversity_stats")
    assert csv.read_text().splitlines()[1] == "1,2,1,0,0,,"


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({"county_geoid": pa.int64()}, "county_geoid of list.parquet is int64, not text"),
        ({"occ_count": pa.float64()}, "occ_count of list.parquet is double, not a whole number"),
    ],
)
def test_wrong_types_are_named(tmp_path, types, words):
    """GEOIDs that have become numbers have lost their zeros."""
    with pytest.raises(TaskError, match=words):
        read_county_by_species(
            species_list(tmp_path, [(1, "A", 1)] if "county_geoid" in types else [("1", "A", 1)], **types)
        )


def test_missing_column_and_broken_file_are_named(tmp_path):
    pq.write_table(pa.table({"county_geoid": ["01001"]}), tmp_path / "short.parquet")
    with pytest.raises(TaskError, match="has no column species_key, occ_count"):
        read_county_by_species(tmp_path / "short.parquet")
    (tmp_path / "none.parquet").write_text("county_geoid,species_key\n")
    with pytest.raises(TaskError, match=r"none\.parquet is no readable Parquet file"):
        read_county_by_species(tmp_path / "none.parquet")
