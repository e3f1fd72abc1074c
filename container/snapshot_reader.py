"""GBIF's snapshot through S3: its Parquet footers, and the keys of its US rows, without fetching whole files."""

from __future__ import annotations

import io
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from container.register import canonical
from container.task import TaskError
from workflow.snapshot import NEEDED_COLUMNS, Column, kind_of, redshift_type

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from mypy_boto3_s3 import S3Client

    from workflow.status import Checklist

TAIL_BYTES = 128 * 1024
"""The footer of one of GBIF's files of 100 MB fits into this; a longer one costs one more request."""
READ_ATTEMPTS = 4
THREADS = 8
SCAN_THREADS = 3
BATCH_ROWS = 256 * 1024
MERGE_ROWS = 2_000_000
"""When so many distinct keys, repeats among files counted, have come together, they are merged (about 100 MB)."""

_KEYS = ("taxonkey", "specieskey", "species")


@dataclass(frozen=True)
class DataFile:
    """An object of the snapshot: its key and size in bytes."""

    key: str
    size: int


@dataclass(frozen=True)
class Footers:
    """What the files' footers say. columns: of all files alike, in file order. rows: by file, in the files' order."""

    files: tuple[DataFile, ...]
    columns: tuple[Column, ...]
    rows: tuple[int, ...]


class _S3File(io.RawIOBase):
    """An object as a seekable file, by ranged reads; its last bytes, where the footer is, are fetched once."""

    def __init__(self, s3: S3Client, bucket: str, file: DataFile) -> None:
        self._s3, self._bucket, self._file = s3, bucket, file
        self._position = 0
        self._tail_start = max(0, file.size - TAIL_BYTES)
        self._tail = self._fetch(self._tail_start, file.size)

    def _fetch(self, start: int, end: int) -> bytes:
        for attempt in range(READ_ATTEMPTS):
            response = self._s3.get_object(Bucket=self._bucket, Key=self._file.key, Range=f"bytes={start}-{end - 1}")
            try:
                return response["Body"].read()
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                # boto3 repeats requests, not the reading of a body that breaks off.
                if attempt == READ_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        end = self._file.size if size is None or size < 0 else min(self._file.size, self._position + size)
        start, self._position = self._position, max(end, self._position)
        if start >= end:
            return b""
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        return self._fetch(start, end)


def list_files(s3: S3Client, bucket: str, prefix: str) -> tuple[DataFile, ...]:
    """The snapshot's data files, by key. Raises TaskError if there are none, or one is empty."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    files = []
    for page in pages:
        for entry in page.get("Contents", ()):
            parts = entry["Key"].removeprefix(prefix).split("/")
            # Folder marks and what tools leave beside the data (_SUCCESS, .DS_Store).
            if parts[-1] and not any(part.startswith(("_", ".")) for part in parts):
                files.append(DataFile(entry["Key"], entry["Size"]))
    if not files:
        raise TaskError(f"There are no data files under s3://{bucket}/{prefix}: has GBIF published this month?")
    if empty := [file.key for file in files if file.size == 0]:
        raise TaskError(f"s3://{bucket}/{empty[0]} is empty (0 bytes): the snapshot is not complete. Try again later.")
    return tuple(sorted(files, key=lambda file: file.key))


def read_footers(s3: S3Client, bucket: str, files: tuple[DataFile, ...]) -> Footers:
    """Read every file's footer, a few at a time.

    Raises TaskError that names the file, and its columns, for: no Parquet, a needed column missing or of another
    type, a type that Redshift Spectrum has no word for, files that differ in their columns, no rows at all.
    """
    with _pool(THREADS) as pool:
        read = list(pool.map(lambda file: _read_footer(s3, bucket, file), files))
    first_columns = read[0][0]
    place = f"s3://{bucket}/"
    for file, (columns, _rows) in zip(files, read, strict=True):
        if columns != first_columns:
            ours, theirs = dict(first_columns), dict(columns)
            differing = [
                f"{name} ({ours.get(name, 'missing')} there, {theirs.get(name, 'missing')} here)"
                for name in dict.fromkeys([*ours, *theirs])
                if ours.get(name) != theirs.get(name)
            ]
            raise TaskError(
                f"{place}{file.key} has other columns than {files[0].key}: "
                f"{', '.join(differing) or 'their order differs'}. A snapshot's files must agree."
            )
    rows = tuple(rows for _columns, rows in read)
    if sum(rows) == 0:
        raise TaskError(f"The snapshot under {place}{files[0].key.rsplit('/', 1)[0]}/ has no rows.")
    return Footers(files, _describe(first_columns, f"{place}{files[0].key}"), rows)


def _read_footer(s3: S3Client, bucket: str, file: DataFile) -> tuple[list[tuple[str, str]], int]:
    try:
        metadata = pq.ParquetFile(_S3File(s3, bucket, file)).metadata
    except (pa.ArrowException, OSError) as error:
        raise TaskError(
            f"s3://{bucket}/{file.key} is no Parquet file ({error}). The snapshot must hold Parquet files only."
        ) from error
    schema = metadata.schema.to_arrow_schema()
    return [(field.name, _type_name(field.type)) for field in schema], metadata.num_rows


def _type_name(arrow_type: pa.DataType) -> str:
    """The type as it lies in the file: a writer's Arrow schema may remember how it was held in memory."""
    if pa.types.is_dictionary(arrow_type):
        return _type_name(arrow_type.value_type)
    if pa.types.is_null(arrow_type):
        return "int32"
    return "string" if arrow_type in (pa.large_string(), pa.string_view()) else str(arrow_type)


def _describe(columns: list[tuple[str, str]], source: str) -> tuple[Column, ...]:
    types = dict(columns)
    if missing := [name for name in NEEDED_COLUMNS if name not in types]:
        raise TaskError(
            f"{source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. It must be GBIF's "
            f"monthly occurrence snapshot, with column names in lower case; it has: {', '.join(types)}."
        )
    for name, kinds in NEEDED_COLUMNS.items():
        if kind_of(types[name]) not in kinds:
            raise TaskError(
                f"{source}: the column {name} is of type {types[name]}, and the month needs {' or '.join(kinds)}. "
                "GBIF may have changed its schema: see NEEDED_COLUMNS in workflow/snapshot.py."
            )
    described = []
    for name, parquet_type in columns:
        try:
            described.append(Column(name, parquet_type, redshift_type(parquet_type)))
        except ValueError as error:
            raise TaskError(f"{source}: the column {name} cannot be mounted. {error}") from error
    return tuple(described)


class SnapshotKeys:
    """The distinct (``taxonkey``, ``specieskey``, ``species``) of the US rows, with their number of ``rows``.

    Keys are strings whatever the snapshot has; a blank key is null.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.rows: int = pc.sum(table["rows"]).as_py() or 0

    def faulty_share(self, column: str, checklist: Checklist) -> float:
        """The share of rows (0 to 1) whose key does not fit the checklist.

        A missing ``taxonkey`` is faulty; a missing ``specieskey`` is not, since a row above species rank has none.
        """
        fits = pc.match_substring_regex(self._table[column], f"^({checklist.usable})$")
        fits = fits.fill_null(column == "specieskey")
        faulty = pc.sum(self._table["rows"].filter(pc.invert(fits))).as_py() or 0
        return faulty / self.rows if self.rows else 0.0

    def frequent_species(self, number: int, checklist: Checklist) -> list[str]:
        """The species with most rows that have a usable ``specieskey``, most frequent first."""
        usable = pc.match_substring_regex(self._table["specieskey"], f"^({checklist.usable})$")
        named = self._table.filter(pc.and_(usable.fill_null(False), pc.is_valid(self._table["species"])))
        counted = named.group_by(["species"], use_threads=False).aggregate([("rows", "sum")])
        top = counted.sort_by([("rows_sum", "descending"), ("species", "ascending")]).slice(0, number)
        species: list[str] = top["species"].to_pylist()
        return species

    @cached_property
    def _spellings(self) -> dict[str, list[str]]:
        """The names in the column ``species``, by what their spellings share."""
        spellings: dict[str, list[str]] = defaultdict(list)
        for name in pc.unique(self._table["species"].drop_null()).to_pylist():
            spellings[canonical(name)].append(name)
        return spellings

    def has_species(self, name: str) -> bool:
        """Whether rows are of the species that the name, without authorship, is of."""
        return " ".join(canonical(name).split()[:2]) in self._spellings

    def keys_of(self, species: Collection[str], checklist: Checklist) -> dict[str, set[str]]:
        """The usable ``specieskey`` values under which each of these species occurs, by ``canonical`` name."""
        wanted = {spelling for name in species for spelling in self._spellings.get(canonical(name), ())}
        rows = self._table.filter(pc.is_in(self._table["species"], pa.array(sorted(wanted), pa.string())))
        keys: dict[str, set[str]] = defaultdict(set)
        for name, key in zip(rows["species"].to_pylist(), rows["specieskey"].to_pylist(), strict=True):
            if checklist.is_usable(key):
                keys[canonical(name)].add(key)
        return dict(keys)

    def occurring(self, keys: Collection[str]) -> set[str]:
        """Which of these keys a row has as its ``taxonkey`` or ``specieskey``."""
        wanted = pa.array(sorted(keys), pa.string())
        found: set[str] = set()
        for column in ("taxonkey", "specieskey"):
            found.update(self._table[column].filter(pc.is_in(self._table[column], wanted)).to_pylist())
        return found

    def taxon_keys_under(self, species_keys: Collection[str], checklist: Checklist) -> dict[str, str]:
        """The usable ``taxonkey`` values of rows with one of these ``specieskey`` values, each with its own."""
        rows = self._table.filter(pc.is_in(self._table["specieskey"], pa.array(sorted(species_keys), pa.string())))
        pairs = sorted(zip(rows["taxonkey"].to_pylist(), rows["specieskey"].to_pylist(), strict=True), key=str)
        return {taxon_key: species_key for taxon_key, species_key in pairs if checklist.is_usable(taxon_key)}

    def taxon_keys_without_species(self, checklist: Checklist) -> set[str]:
        """The usable ``taxonkey`` values of rows that name a species and have no usable ``specieskey``."""
        usable = pc.match_substring_regex(self._table["specieskey"], f"^({checklist.usable})$").fill_null(False)
        rows = self._table.filter(pc.and_(pc.is_valid(self._table["species"]), pc.invert(usable)))
        return {key for key in pc.unique(rows["taxonkey"]).to_pylist() if checklist.is_usable(key)}


def count_keys(
    s3: S3Client,
    bucket: str,
    files: tuple[DataFile, ...],
    country_codes: Sequence[str],
    progress: Callable[[int, int], None],
) -> SnapshotKeys:
    """Read the keys of the rows of these countries (of the US, in what follows).

    Reads four columns, a batch of rows at a time, and keeps no more than the distinct keys. ``progress`` hears of
    files done and of their number. Raises TaskError if no row is of the US.
    """
    partial: list[pa.Table] = []
    lock = threading.Lock()
    done = 0

    def count(file: DataFile) -> None:
        nonlocal partial, done
        try:
            counted = _count_file(s3, bucket, file, country_codes)
        except (pa.ArrowException, OSError) as error:
            raise TaskError(
                f"s3://{bucket}/{file.key} cannot be read to its end ({error}). If a retry fails too, ask GBIF."
            ) from error
        with lock:
            partial.append(counted)
            done += 1
            if sum(table.num_rows for table in partial) > MERGE_ROWS:
                partial = [_merge(partial)]
            progress(done, len(files))

    with _pool(SCAN_THREADS) as pool:
        list(pool.map(count, files))
    keys = SnapshotKeys(_merge(partial))
    if not keys.rows:
        raise TaskError(
            f"No row of the snapshot in s3://{bucket}/ has the countrycode {' or '.join(country_codes)}: "
            "is it GBIF's, and whole?"
        )
    return keys


def _count_file(s3: S3Client, bucket: str, file: DataFile, country_codes: Sequence[str]) -> pa.Table:
    columns = ["countrycode", *_KEYS]
    # As dictionaries, so that only US rows become strings.
    parquet = pq.ParquetFile(_S3File(s3, bucket, file), pre_buffer=True, read_dictionary=columns)
    partial = [_empty()]
    countries = pa.array(country_codes, pa.string())
    for batch in parquet.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
        us_rows = batch.filter(pc.is_in(batch["countrycode"].cast(pa.string()), countries))
        keys = pa.table([us_rows[name].cast(pa.string()) for name in _KEYS], names=list(_KEYS))
        counted = keys.group_by(list(_KEYS), use_threads=False).aggregate([([], "count_all")])
        blanked = [_blank_to_null(counted[name]) for name in _KEYS]
        partial.append(pa.table([*blanked, counted["count_all"]], schema=_empty().schema))
    return _merge(partial)


def _blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(column, ""), None, column)


def _empty() -> pa.Table:
    return pa.schema([*((name, pa.string()) for name in _KEYS), ("rows", pa.int64())]).empty_table()


def _merge(tables: list[pa.Table]) -> pa.Table:
    merged = pa.concat_tables(tables).group_by(list(_KEYS), use_threads=False).aggregate([("rows", "sum")])
    return merged.rename_columns([*_KEYS, "rows"])


@contextmanager
def _pool(threads: int) -> Iterator[Any]:
    """A thread pool that an interruption leaves at once, without the files that still wait."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
