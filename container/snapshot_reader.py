"""GBIF's snapshot through S3: its Parquet footers, and the keys of its US rows, without fetching whole files."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from container.task import TaskError
from workflow.snapshot import NEEDED_COLUMNS, Column, kind_of, redshift_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client

US = "US"
TAIL_BYTES = 128 * 1024
"""The footer of one of GBIF's files of 100 MB fits into this; a longer one costs one more request."""
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
        response = self._s3.get_object(Bucket=self._bucket, Key=self._file.key, Range=f"bytes={start}-{end - 1}")
        return response["Body"].read()

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
            name = entry["Key"].removeprefix(prefix)
            # Folder marks and what tools leave beside the data (_SUCCESS, .DS_Store).
            if name and not name.endswith("/") and not name.rsplit("/", 1)[-1].startswith(("_", ".")):
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
    # The Parquet schema, not the Arrow schema that a writer may have stored beside it: Spectrum reads the former.
    schema = metadata.schema.to_arrow_schema()
    return [(field.name, _type_name(field.type)) for field in schema], metadata.num_rows


def _type_name(arrow_type: pa.DataType) -> str:
    # A column of nulls only is stored as a 32-bit integer.
    return "int32" if pa.types.is_null(arrow_type) else str(arrow_type)


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


def count_keys(
    s3: S3Client, bucket: str, files: tuple[DataFile, ...], progress: Callable[[int, int], None]
) -> pa.Table:
    """The distinct (``taxonkey``, ``specieskey``, ``species``) of the US rows, with their number of ``rows``.

    Keys come as strings whatever the snapshot has; a blank key is null. Reads four columns, a batch of rows at a time,
    and keeps no more than the distinct keys. ``progress`` hears of files done and of their number.
    """
    partial: list[pa.Table] = []
    lock = threading.Lock()
    done = 0

    def count(file: DataFile) -> None:
        nonlocal partial, done
        counted = _count_file(s3, bucket, file)
        with lock:
            partial.append(counted)
            done += 1
            if sum(table.num_rows for table in partial) > MERGE_ROWS:
                partial = [_merge(partial)]
            progress(done, len(files))

    with _pool(SCAN_THREADS) as pool:
        list(pool.map(count, files))
    return _merge(partial)


def _count_file(s3: S3Client, bucket: str, file: DataFile) -> pa.Table:
    parquet = pq.ParquetFile(_S3File(s3, bucket, file), pre_buffer=True)
    partial = [_empty()]
    for batch in parquet.iter_batches(BATCH_ROWS, columns=["countrycode", *_KEYS], use_threads=False):
        us_rows = pa.table(batch).filter(pc.field("countrycode") == US).select(_KEYS)
        grouped = us_rows.group_by(list(_KEYS), use_threads=False).aggregate([([], "count_all")])
        keys = [_as_key(grouped["taxonkey"]), _as_key(grouped["specieskey"]), grouped["species"].cast(pa.string())]
        partial.append(pa.table([*keys, grouped["count_all"]], schema=_empty().schema))
    return _merge(partial)


def _as_key(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)


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
