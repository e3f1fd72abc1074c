"""The snapshot through S3: footers and keys, without fetching whole files."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_world import GBIF_BUCKET, MONTH, ROWS, parquet_bytes, snapshot_table

from container import snapshot_reader
from container.snapshot_reader import DataFile, count_keys, list_files, read_footers
from container.task import TaskError
from workflow.names import snapshot_parquet_prefix, snapshot_prefix
from workflow.status import BACKBONE, COL_XR

PREFIX = snapshot_parquet_prefix(MONTH)


def footers_of(world):
    return read_footers(world.s3, GBIF_BUCKET, list_files(world.s3, GBIF_BUCKET, PREFIX))


def keys_of(world):
    return count_keys(
        world.s3, GBIF_BUCKET, list_files(world.s3, GBIF_BUCKET, PREFIX), ("US",), lambda done, total: None
    )


def test_only_data_files_are_listed(world):
    for name in ("_SUCCESS", ".DS_Store", "", "_temporary/0"):
        world.put(PREFIX + name, b"x", GBIF_BUCKET)
    world.put(f"{snapshot_prefix(MONTH)}citation.txt", b"GBIF.org", GBIF_BUCKET)
    world.put(f"{PREFIX}000001", b"xyz", GBIF_BUCKET)
    files = list_files(world.s3, GBIF_BUCKET, PREFIX)
    assert [file.key.removeprefix(PREFIX) for file in files] == ["000000", "000001"]
    assert files[1].size == 3


def test_an_empty_file_means_an_incomplete_snapshot(world):
    world.put(f"{PREFIX}000007", b"", GBIF_BUCKET)
    with pytest.raises(TaskError, match="000007 is empty"):
        list_files(world.s3, GBIF_BUCKET, PREFIX)


def test_no_files_name_the_place(world):
    with pytest.raises(TaskError, match="s3://gbif-test/nowhere/"):
        list_files(world.s3, GBIF_BUCKET, "nowhere/")


def test_columns_come_in_file_order_with_their_redshift_types(world):
    footers = footers_of(world)
    by_name = {column.name: column for column in footers.columns}
    assert list(by_name) == snapshot_table().column_names
    assert (by_name["year"].parquet_type, by_name["year"].redshift_type) == ("int32", "INT")
    assert by_name["decimallatitude"].redshift_type == "DOUBLE PRECISION"
    assert by_name["gbifid"].redshift_type == "VARCHAR(65535)"
    assert footers.rows == (len(ROWS),)


def test_types_are_those_that_spectrum_sees_not_those_that_arrow_remembers(world):
    """Arrow stores its own schema in the footer; a dictionary or a large string is a plain string to Spectrum."""
    table = snapshot_table()
    for name, kind in (
        ("license", pa.dictionary(pa.int32(), pa.string())),
        ("species", pa.large_string()),
        ("countrycode", pa.string_view()),
    ):
        position = table.column_names.index(name)
        table = table.set_column(position, name, table[name].cast(pa.string()).cast(kind))
    nothing = pa.nulls(table.num_rows)
    world.put_snapshot(table.append_column("depth", nothing))
    types = {column.name: column.redshift_type for column in footers_of(world).columns}
    assert (types["license"], types["species"], types["depth"]) == ("VARCHAR(65535)", "VARCHAR(65535)", "INT")
    assert keys_of(world).frequent_species(1, COL_XR) == ["Acer tataricum"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns(["species", "year"]), ["lacks the columns species, year", "lower case"]),
        (lambda table: table.rename_columns([name.upper() for name in table.column_names]), ["GBIFID"]),
        (
            lambda table: table.set_column(8, "decimallatitude", pa.array(["40"] * table.num_rows)),
            ["decimallatitude", "string", "double"],
        ),
        (
            lambda table: table.append_column("odd", pa.array([b"x"] * table.num_rows)),
            ["the column odd", "binary"],
        ),
    ],
    ids=["missing", "upper case", "wrong type", "unknown type"],
)
def test_a_schema_that_the_month_cannot_use_is_named(world, change, words):
    world.put_snapshot(change(snapshot_table()))
    with pytest.raises(TaskError) as error:
        footers_of(world)
    for word in ("000000", *words):
        assert word in str(error.value)


def test_files_that_disagree_are_named_with_the_column(world):
    other = snapshot_table().drop_columns(["recordedby"]).append_column("extra", pa.array([1] * len(ROWS), pa.int32()))
    world.put_snapshot(snapshot_table(), snapshot_table(), other)
    with pytest.raises(TaskError) as error:
        footers_of(world)
    for word in ("000002", "recordedby", "extra (missing there, int32 here)"):
        assert word in str(error.value)


def test_a_file_cut_off_is_no_parquet(world):
    world.put(f"{PREFIX}000001", parquet_bytes(snapshot_table())[:-10], GBIF_BUCKET)
    with pytest.raises(TaskError, match="000001 is no Parquet file"):
        footers_of(world)


def test_keys_are_counted_over_files_and_only_in_the_us(world):
    world.put_snapshot(snapshot_table(), snapshot_table())
    keys = keys_of(world)
    assert keys.rows == 2 * 10
    assert keys.frequent_species(2, COL_XR) == ["Acer tataricum", "Bromus tectorum"]
    assert keys.occurring({"9BZ", "52S", "4CX", "ZZZ"}) == {"9BZ", "52S"}
    assert keys.taxon_keys_under({"9BX", "52S"}, COL_XR) == {"9BX": "9BX", "9BY": "9BX", "9BZ": "9BX", "52S": "52S"}
    assert keys.keys_of({"Acer tataricum", "Passer domesticus"}, COL_XR) == {"acer tataricum": {"9BX"}}


def test_faulty_keys_are_shares_of_rows(world):
    rows = [
        ("0", "52S", "s", "US"),
        ("vYOrvZV81KuK9xP9V-W", "vYOrvZV81KuK9xP9V-W", "s", "US"),
        (None, None, None, "US"),
    ]
    world.put_snapshot(snapshot_table([*rows, *[("52S", "52S", "s", "US")] * 5]))
    keys = keys_of(world)
    # Of 8 rows: 0, a temporary key and none at all are no taxon keys; only the temporary one is a faulty species key.
    assert keys.faulty_share("taxonkey", COL_XR) == pytest.approx(3 / 8)
    assert keys.faulty_share("specieskey", COL_XR) == pytest.approx(1 / 8)
    assert keys.faulty_share("taxonkey", BACKBONE) == 1


def test_keys_that_must_speak_for_themselves_are_those_without_a_species_key(world):
    """A synonym's record would pass as native if nobody asked what its key stands for."""
    rows = [
        ("4CX", None, "Acer ginnala", "US"),
        ("52S", "vYOrvZV81KuK9xP9V-W", "Bromus tectorum", "US"),
        ("9BZ", "9BX", "Acer tataricum", "US"),
        ("35", None, None, "US"),  # above species rank
        ("0", None, "Bromus tectorum", "US"),
        ("4CY", None, "Acer ginnala", "CA"),
    ]
    world.put_snapshot(snapshot_table(rows))
    assert keys_of(world).taxon_keys_without_species(COL_XR) == {"4CX", "52S"}


@pytest.mark.parametrize("key_type", [pa.int32(), pa.int64(), pa.string()])
def test_integer_keys_are_strings_like_the_others(world, key_type):
    world.put_snapshot(snapshot_table([("3189845", "3189843", "Acer tataricum", "US")], key_type))
    assert keys_of(world).taxon_keys_under({"3189843"}, BACKBONE) == {"3189845": "3189843"}


def test_merging_on_the_way_counts_the_same(world, monkeypatch):
    world.put_snapshot(*[snapshot_table()] * 5)
    whole = keys_of(world).frequent_species(10, COL_XR)
    monkeypatch.setattr(snapshot_reader, "MERGE_ROWS", 3)
    monkeypatch.setattr(snapshot_reader, "BATCH_ROWS", 2)
    keys = keys_of(world)
    assert keys.rows == 50
    assert keys.frequent_species(10, COL_XR) == whole


def test_only_the_needed_columns_are_fetched(world, monkeypatch):
    """A snapshot is 180 GB: what is read is the footer and four columns."""
    count = 300_000
    noise = np.random.default_rng(1).random(count)
    table = snapshot_table([("52S", "52S", "Sturnus vulgaris", "US")] * count)
    table = table.set_column(8, "decimallatitude", pa.array(noise))
    content = io.BytesIO()
    pq.write_table(table, content)
    world.put(f"{PREFIX}000000", content.getvalue(), GBIF_BUCKET)
    fetched = []
    fetch = snapshot_reader._S3File._fetch
    monkeypatch.setattr(
        snapshot_reader._S3File,
        "_fetch",
        lambda self, start, end: fetched.append(end - start) or fetch(self, start, end),
    )
    file = DataFile(f"{PREFIX}000000", len(content.getvalue()))
    keys = count_keys(world.s3, GBIF_BUCKET, (file,), ("US",), lambda done, total: None)
    assert keys.rows == count
    assert len(content.getvalue()) > 2_000_000
    assert sum(fetched) < 400_000


def test_a_body_that_breaks_off_is_read_again(world, monkeypatch):
    """boto3 repeats requests only; one broken connection in a hundred thousand reads must not end the task."""
    from botocore.exceptions import IncompleteReadError
    from botocore.response import StreamingBody

    real_read = StreamingBody.read
    broken = []

    def read(self, *arguments, **options):
        if len(broken) < 3:
            broken.append(self)
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)
        return real_read(self, *arguments, **options)

    files = list_files(world.s3, GBIF_BUCKET, PREFIX)
    monkeypatch.setattr(StreamingBody, "read", read)
    assert count_keys(world.s3, GBIF_BUCKET, files, ("US",), lambda done, total: None).rows == 10


def test_a_damaged_data_file_is_named(world):
    content = bytearray(parquet_bytes(snapshot_table(ROWS * 1000)))
    chunk = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(1)
    assert chunk.path_in_schema == "taxonkey"
    start = chunk.dictionary_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    world.put(f"{PREFIX}000000", bytes(content), GBIF_BUCKET)
    assert footers_of(world).rows == (11_000,)
    with pytest.raises(TaskError, match="000000 cannot be read to its end"):
        keys_of(world)
