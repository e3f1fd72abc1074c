"""Runs Redshift's SQL on DuckDB, one statement at a time."""
# ruff: noqa: S608 (SQL is what this module makes; names and texts in it are quoted)

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import duckdb
import pyarrow.lib
import pyarrow.parquet
import sqlglot
from botocore.exceptions import ClientError
from sqlglot import expressions as exp

from local.warehouse.commands import (
    Copy,
    CreateExternalSchema,
    CreateExternalTable,
    ShowTables,
    SqlError,
    Unload,
    parse_command,
)
from workflow import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client

# sqlglot warns of each DISTKEY and SORTKEY that it leaves out, which is what is wanted here.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

SHAPEFILE_NEEDED = (".shp", ".shx", ".dbf")
SHAPEFILE_OPTIONAL = (".prj", ".cpg")


@dataclass(frozen=True)
class Result:
    """columns: name and DuckDB type of each, or None if the statement has no result set. affected: rows written."""

    columns: tuple[tuple[str, str], ...] | None = None
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    affected: int = 0


class Engine:
    """A DuckDB database that takes Redshift's SQL.

    database: its file, or None for memory. s3_client_factory: makes a client for COPY and UNLOAD.
    external_locations: ``s3://bucket/prefix/`` of external tables, and the folder that stands for it. temporary: an
    existing folder for what does not fit into memory, and for files on their way to or from S3. memory_limit: ``2GB``.
    """

    def __init__(
        self,
        database: Path | None,
        s3_client_factory: Callable[[], S3Client],
        external_locations: Mapping[str, Path],
        temporary: Path,
        memory_limit: str,
        threads: int,
    ) -> None:
        self._s3_client_factory = s3_client_factory
        self._external_locations = external_locations
        self._temporary = temporary
        self._connection = duckdb.connect(
            str(database) if database else ":memory:",
            config={
                "memory_limit": memory_limit,
                "threads": threads,
                "temp_directory": str(temporary),
                # Without it, large results that have no order need not be held back.
                "preserve_insertion_order": False,
            },
        )
        # From the package, not from the home folder, where two processes may be unpacking it at once.
        extension = resources.files("duckdb_extension_spatial").joinpath(
            "extensions", f"v{duckdb.__version__}", "spatial.duckdb_extension"
        )
        self._connection.execute(f"LOAD {_literal(str(extension))}")
        self._connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        self._connection.execute("SET schema = 'public'")

    def close(self) -> None:
        """Let go of the database's file."""
        self._connection.close()

    def interrupt(self) -> None:
        """End the statement that another thread is running: there, ``execute`` raises SqlError."""
        self._connection.interrupt()

    def execute(self, sql: str) -> Result:
        """Run one statement. Raises SqlError with DuckDB's message, or one in Redshift's words."""
        try:
            command = parse_command(sql)
            match command:
                case None:
                    return self._plain(sql)
                case CreateExternalSchema():
                    self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(command.schema)}")
                    return Result()
                case CreateExternalTable():
                    return self._mount(command)
                case ShowTables():
                    return self._show_tables(command)
                case Copy():
                    return self._copy(command)
                case Unload():
                    return self._unload(command)
        except (duckdb.Error, sqlglot.errors.SqlglotError, OSError, ClientError) as error:
            raise SqlError(str(error)) from error

    # ------------------------------------------------------------------------ plain SQL

    def _plain(self, sql: str) -> Result:
        statements = [statement for statement in sqlglot.parse(sql, read="redshift") if statement is not None]
        if len(statements) != 1:
            raise SqlError(f"expected one statement, got {len(statements)}")
        statement = statements[0]
        if isinstance(statement, exp.Command):
            raise SqlError(f"the local warehouse does not know this statement: {sql[:60]}")
        if isinstance(statement, exp.Drop):
            return self._drop(statement)
        cursor = self._connection.execute(to_duckdb(statement))
        if isinstance(statement, exp.Query):
            return Result(tuple((column[0], str(column[1])) for column in cursor.description or ()), cursor.fetchall())
        counted = cursor.fetchall() if isinstance(statement, (exp.Create, exp.Insert)) else []
        return Result(affected=counted[0][0] if counted else 0)

    def _drop(self, statement: exp.Drop) -> Result:
        """DuckDB drops one table at a time, and calls an external table a view."""
        self._connection.begin()
        try:
            for table in statement.args["tables"]:
                schema, name = table.db or "public", table.name
                (found,) = self._query(
                    "SELECT COUNT(*) FROM duckdb_views() WHERE schema_name = ? AND view_name = ?", [schema, name]
                )
                kind = "VIEW" if found[0] else "TABLE"
                condition = "IF EXISTS " if statement.args.get("exists") else ""
                self._connection.execute(f"DROP {kind} {condition}{_name(schema)}.{_name(name)}")
        except duckdb.Error:
            self._connection.rollback()
            raise
        self._connection.commit()
        return Result()

    def _query(self, sql: str, parameters: list[str]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    def _show_tables(self, command: ShowTables) -> Result:
        rows = self._query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_name LIKE ?"
            " ORDER BY table_name",
            [command.schema, command.like or "%"],
        )
        columns = ("database_name", "schema_name", "table_name", "table_type", "table_acl", "remarks")
        return Result(
            tuple((column, "VARCHAR") for column in columns),
            [(command.database, command.schema, name, "TABLE", None, None) for (name,) in rows],
        )

    # ------------------------------------------------------------------------ external tables

    def _mount(self, command: CreateExternalTable) -> Result:
        files = [
            path
            for path in sorted(self._folder(command.location).iterdir())
            # Spectrum passes over names that begin so; GBIF's citation lies beside its data.
            if path.is_file() and not path.name.startswith((".", "_")) and path.name != "citation.txt"
        ]
        if not files:
            raise SqlError(f"Spectrum Scan Error: no files found at {command.location}")
        for path in files:
            _check_parquet(path, command.columns)
        paths = ", ".join(_literal(str(path)) for path in files)
        self._connection.execute(
            f"CREATE VIEW {_name(command.schema)}.{_name(command.table)} AS"
            f" SELECT * FROM read_parquet([{paths}], hive_partitioning = false)"
        )
        return Result()

    def _folder(self, location: str) -> Path:
        for prefix, folder in sorted(self._external_locations.items(), key=lambda item: -len(item[0])):
            if location.startswith(prefix):
                found = folder / location.removeprefix(prefix)
                if found.is_dir():
                    return found
                raise SqlError(f"The folder {found}, which stands for {location}, does not exist")
        raise SqlError(f"No folder stands for {location}: known are {', '.join(self._external_locations) or 'none'}")

    # ------------------------------------------------------------------------ COPY

    def _copy(self, command: Copy) -> Result:
        bucket, prefix = _split_uri(command.source)
        columns = self._query(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'public' AND table_name = ?"
            " ORDER BY column_index",
            [command.table],
        )
        if not columns:
            raise SqlError(f'relation "{command.table}" does not exist')
        client = self._s3_client_factory()
        keys = list(_list_keys(client, bucket, prefix))
        if not keys:
            raise SqlError(f"The specified S3 prefix '{prefix}' does not exist: s3://{bucket}/{prefix}")
        affected = 0
        with tempfile.TemporaryDirectory(dir=self._temporary) as folder:
            if command.format == "SHAPEFILE":
                source = self._shapefile(client, bucket, prefix, Path(folder), columns)
                affected += self._insert(command.table, source)
            else:
                for number, key in enumerate(keys):
                    path = Path(folder) / str(number)
                    client.download_file(bucket, key, str(path))
                    affected += self._insert(command.table, _file_source(command, path, columns))
        return Result(affected=affected)

    def _insert(self, table: str, source: str) -> int:
        return int(self._connection.execute(f"INSERT INTO {_name(table)} {source}").fetchall()[0][0])

    def _shapefile(self, client: S3Client, bucket: str, key: str, folder: Path, columns: list[tuple[Any, ...]]) -> str:
        """Fetch a shapefile's parts; the query for its rows, the geometry first, then the columns of the .dbf."""
        base = key.removesuffix(".shp")
        present = set(_list_keys(client, bucket, base))
        for suffix in SHAPEFILE_NEEDED:
            if base + suffix not in present:
                raise SqlError(
                    f"The shapefile s3://{bucket}/{key} lacks its {suffix} file: s3://{bucket}/{base}{suffix}"
                )
        for suffix in (*SHAPEFILE_NEEDED, *SHAPEFILE_OPTIONAL):
            if base + suffix in present:
                client.download_file(bucket, base + suffix, str(folder / f"layer{suffix}"))
        options = ""
        if base + ".cpg" not in present and not _is_utf8(folder / "layer.dbf"):
            options = ", open_options = ['ENCODING=ISO-8859-1']"
        source = f"ST_Read({_literal(str(folder / 'layer.shp'))}{options})"
        described = self._query(f"DESCRIBE SELECT * EXCLUDE (OGC_FID, geom) FROM {source}", [])
        if len(described) + 1 != len(columns):
            raise SqlError(
                f"The shapefile has the geometry and {len(described)} columns, the table {len(columns)} in all: "
                + ", ".join(row[0] for row in described)
            )
        values = [
            f"CAST({_name(row[0])} AS {data_type})" for row, (_, data_type) in zip(described, columns[1:], strict=True)
        ]
        # The file's coordinate system is dropped: a Redshift geometry's SRID is set by the SQL.
        return "SELECT " + ", ".join(["CAST(geom AS GEOMETRY)", *values]) + f" FROM {source}"

    # ------------------------------------------------------------------------ UNLOAD

    def _unload(self, command: Unload) -> Result:
        bucket, prefix = _split_uri(command.target)
        query = to_duckdb(sqlglot.parse_one(command.query, read="redshift"))
        client = self._s3_client_factory()
        with tempfile.TemporaryDirectory(dir=self._temporary) as folder:
            files = Path(folder) / "files"
            options = "FORMAT csv" if command.format == "CSV" else "FORMAT parquet, COMPRESSION snappy"
            if command.format == "CSV":
                options += f", HEADER {str(command.header).lower()}"
            if command.partition_by:
                options += f", PARTITION_BY ({', '.join(_name(column) for column in command.partition_by)})"
                target = files
            else:
                files.mkdir()
                target = files / "0"
            cursor = self._connection.execute(f"COPY ({query}) TO {_literal(str(target))} ({options})")
            affected = cursor.fetchall()[0][0]
            # Redshift writes no file for no rows.
            uploads = list(_name_parts(command, files, prefix)) if affected else []
            self._make_way(client, command, bucket, prefix, [key for _, key in uploads])
            for path, key in uploads:
                client.upload_file(str(path), bucket, key)
        return Result(affected=affected)

    def _make_way(self, client: S3Client, command: Unload, bucket: str, prefix: str, keys: list[str]) -> None:
        """CLEANPATH empties the path, or only those partitions that get new files; without it nothing may lie there."""
        if command.clean_path:
            for path in sorted({key.rpartition("/")[0] + "/" for key in keys}):
                for key in list(_list_keys(client, bucket, path)):
                    client.delete_object(Bucket=bucket, Key=key)
        elif not command.allow_overwrite and any(_list_keys(client, bucket, prefix)):
            raise SqlError(
                "Specified unload destination on S3 is not empty. Consider using a different bucket / prefix, manually "
                f"removing the target files in S3, or using the ALLOWOVERWRITE option: {command.target}"
            )


def to_duckdb(statement: exp.Expr) -> str:
    """DuckDB's words for a Redshift statement. Geometries have no SRID there, and need none."""

    def without_srid(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Anonymous) and node.name.upper() == "ST_SETSRID":
            geometry: exp.Expr = node.expressions[0]
            return geometry
        return node

    return statement.transform(without_srid, copy=False).sql(dialect="duckdb", copy=False)


def _name_parts(command: Unload, files: Path, prefix: str) -> Iterator[tuple[Path, str]]:
    """(file, key) of each file: ``000`` when serial, else ``0000_part_00``, in folders by partition."""
    suffix = ".parquet" if command.format == "PARQUET" else ""
    if not command.partition_by:
        yield files / "0", prefix + ("0000_part_00" if command.parallel else "000") + suffix
        return
    for folder in sorted({path.parent for path in files.rglob("*") if path.is_file()}):
        for number, path in enumerate(sorted(folder.iterdir())):
            yield path, f"{prefix}{folder.relative_to(files)}/{number:04d}_part_00{suffix}"


def _file_source(command: Copy, path: Path, columns: list[tuple[Any, ...]]) -> str:
    if command.format == "PARQUET":
        _check_parquet_types(path, columns, command.source)
        return f"SELECT * FROM read_parquet({_literal(str(path))})"
    types = ", ".join(f"{_literal(name)}: {_literal(data_type)}" for name, data_type in columns)
    return (
        f"SELECT * FROM read_csv({_literal(str(path))}, columns = {{{types}}}, header = false, skip = {command.skip},"
        " auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = '')"
    )


_REDSHIFT_TYPE = {
    "VARCHAR": "VARCHAR",
    "BIGINT": "BIGINT",
    "INTEGER": "INT",
    "SMALLINT": "SMALLINT",
    "DOUBLE": "DOUBLE PRECISION",
    "FLOAT": "REAL",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
}


def _parquet_schema(path: Path) -> pyarrow.lib.Schema:
    return pyarrow.parquet.read_schema(path)


def _check_parquet_types(path: Path, columns: list[tuple[Any, ...]], source: str) -> None:
    """COPY from Parquet goes by position and converts nothing."""
    schema = _parquet_schema(path)
    if len(schema) != len(columns):
        raise SqlError(
            f"Unmatched number of columns between table and file: {len(columns)} and {len(schema)} ({source})"
        )
    for (name, data_type), parquet_field in zip(columns, schema, strict=True):
        if _REDSHIFT_TYPE.get(data_type) != _base_type(snapshot.redshift_type(str(parquet_field.type))):
            raise SqlError(
                f"{source} has an incompatible Parquet schema for column {name}: "
                f"the table has {data_type}, the file {parquet_field.name} {parquet_field.type}"
            )


def _check_parquet(path: Path, declared: tuple[tuple[str, str], ...]) -> None:
    """Spectrum converts nothing either: names, order and types must be the file's."""
    try:
        schema = _parquet_schema(path)
    except pyarrow.lib.ArrowInvalid as error:
        raise SqlError(f"Spectrum Scan Error: File '{path.name}' is no Parquet file: {error}") from error
    if [column for column, _ in declared] != [column.lower() for column in schema.names]:
        raise SqlError(
            f"Spectrum Scan Error: File '{path.name}' has an incompatible Parquet schema. "
            f"Declared columns: {', '.join(column for column, _ in declared)}. In the file: {', '.join(schema.names)}"
        )
    for (column, declared_type), parquet_field in zip(declared, schema, strict=True):
        if _base_type(declared_type) != _base_type(snapshot.redshift_type(str(parquet_field.type))):
            raise SqlError(
                f"Spectrum Scan Error: File '{path.name}' has an incompatible Parquet schema for column '{column}'. "
                f"Column type: {declared_type}, Parquet schema: {parquet_field.type} {column}"
            )


def _base_type(redshift_type: str) -> str:
    """``VARCHAR`` for ``VARCHAR ( 65535 )``."""
    return redshift_type.partition("(")[0].strip().upper()


def _is_utf8(path: Path) -> bool:
    # The header's length tells where text begins; binary numbers before it need not be UTF-8.
    content = path.read_bytes()
    try:
        content[int.from_bytes(content[8:10], "little") :].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _split_uri(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise SqlError(f"{uri!r} is no place in S3 (s3://bucket/key)")
    return parts.netloc, parts.path.removeprefix("/")


def _list_keys(client: S3Client, bucket: str, prefix: str) -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            yield item["Key"]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
