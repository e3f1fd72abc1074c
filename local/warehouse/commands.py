"""Redshift's statements that DuckDB has no word for, read into objects.

Only the options that the month's SQL uses are understood: another one is an error, so that nothing is silently ignored.
Source of the grammar: Amazon Redshift Database Developer Guide, "SQL commands".
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class SqlError(Exception):
    """A statement that Redshift, or this stand-in for it, does not take."""


@dataclass(frozen=True)
class CreateExternalSchema:
    """A schema whose tables lie in S3."""

    schema: str


@dataclass(frozen=True)
class CreateExternalTable:
    """columns: name and declared type, in order. location: ``s3://…/``."""

    schema: str
    table: str
    columns: tuple[tuple[str, str], ...]
    location: str


@dataclass(frozen=True)
class Copy:
    """format: CSV, PARQUET or SHAPEFILE. skip: lines of header."""

    table: str
    source: str
    format: str
    skip: int = 0


@dataclass(frozen=True)
class Unload:
    """query: Redshift's SQL. target: ``s3://…`` that the files' names begin with. partition_by: columns."""

    query: str
    target: str
    format: str
    header: bool
    parallel: bool
    clean_path: bool
    allow_overwrite: bool
    partition_by: tuple[str, ...]


@dataclass(frozen=True)
class ShowTables:
    """like: pattern of LIKE, or None for all."""

    database: str
    schema: str
    like: str | None


Command = CreateExternalSchema | CreateExternalTable | Copy | Unload | ShowTables

_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"|[\w.]+|\S")


def parse_command(sql: str) -> Command | None:
    """The command that ``sql`` is, or None if it is plain SQL. Raises SqlError for an option that is not understood."""
    tokens = _Tokens([token for token in _TOKEN.findall(sql) if not token.startswith("--")])
    if tokens.accept("CREATE", "EXTERNAL", "SCHEMA"):
        return _external_schema(tokens)
    if tokens.accept("CREATE", "EXTERNAL", "TABLE"):
        return _external_table(tokens)
    if tokens.accept("COPY"):
        return _copy(tokens)
    if tokens.accept("UNLOAD"):
        return _unload(tokens)
    if tokens.accept("SHOW", "TABLES", "FROM", "SCHEMA"):
        return _show_tables(tokens)
    return None


class _Tokens:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens

    def accept(self, *words: str) -> bool:
        """Take the words if they come next."""
        if [token.upper() for token in self._tokens[: len(words)]] != list(words):
            return False
        del self._tokens[: len(words)]
        return True

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise self.error()

    def next(self) -> str:
        if not self._tokens:
            raise self.error()
        return self._tokens.pop(0)

    def peek(self) -> str | None:
        return self._tokens[0] if self._tokens else None

    def text(self) -> str:
        """The next token, a string between single quotes."""
        token = self.next()
        if not token.startswith("'"):
            raise SqlError(f'syntax error at or near "{token}": a string in single quotes belongs there')
        return token[1:-1].replace("''", "'")

    def name(self) -> str:
        return self.next().strip('"').lower()

    def names(self) -> tuple[str, ...]:
        """Names between parentheses."""
        self.expect("(")
        names = [self.name()]
        while self.accept(","):
            names.append(self.name())
        self.expect(")")
        return tuple(names)

    def more(self) -> bool:
        return bool(self._tokens)

    def error(self) -> SqlError:
        near = f'at or near "{self._tokens[0]}"' if self._tokens else "at end of input"
        return SqlError(f"syntax error {near}, or an option that the local warehouse does not know")


def _role(tokens: _Tokens) -> bool:
    if not tokens.accept("IAM_ROLE"):
        return False
    if not tokens.accept("DEFAULT"):
        tokens.text()
    return True


def _external_schema(tokens: _Tokens) -> CreateExternalSchema:
    tokens.accept("IF", "NOT", "EXISTS")
    schema = tokens.name()
    tokens.expect("FROM", "DATA", "CATALOG", "DATABASE")
    tokens.text()
    if not _role(tokens):
        raise SqlError("CREATE EXTERNAL SCHEMA needs an IAM_ROLE")
    tokens.accept("CREATE", "EXTERNAL", "DATABASE", "IF", "NOT", "EXISTS")
    if tokens.more():
        raise tokens.error()
    return CreateExternalSchema(schema)


def _external_table(tokens: _Tokens) -> CreateExternalTable:
    schema, _, table = tokens.name().rpartition(".")
    tokens.expect("(")
    columns = [_column(tokens)]
    while tokens.accept(","):
        columns.append(_column(tokens))
    tokens.expect(")")
    tokens.expect("STORED", "AS", "PARQUET", "LOCATION")
    location = tokens.text()
    if tokens.more():
        raise tokens.error()
    if not schema:
        raise SqlError(f"external table {table} needs an external schema")
    return CreateExternalTable(schema, table, tuple(columns), location)


def _column(tokens: _Tokens) -> tuple[str, str]:
    """Name and type: words, and perhaps a number between parentheses."""
    name, words = tokens.name(), [tokens.next()]
    while (following := tokens.peek()) not in (",", ")", None):
        words.append(tokens.next())
        if following == "(":
            words.extend((tokens.next(), tokens.next()))
    return name, " ".join(words).upper()


def _copy(tokens: _Tokens) -> Copy:
    table = tokens.name()
    tokens.expect("FROM")
    source = tokens.text()
    kind, skip, role, empty_as_null = "", 0, False, False
    while tokens.more():
        if _role(tokens):
            role = True
        elif tokens.accept("FORMAT"):
            tokens.accept("AS")
            kind = tokens.next().upper()
        elif tokens.accept("IGNOREHEADER"):
            skip = int(tokens.next())
        elif tokens.accept("EMPTYASNULL"):
            empty_as_null = True
        # Census shapes are far below the size that makes Redshift simplify one.
        elif not tokens.accept("SIMPLIFY", "AUTO"):
            raise tokens.error()
    if not role:
        raise SqlError("COPY needs an IAM_ROLE")
    if kind not in ("CSV", "PARQUET", "SHAPEFILE"):
        raise SqlError(f"the local warehouse loads CSV, PARQUET and SHAPEFILE, not {kind or 'pipe-delimited text'}")
    if kind == "CSV" and not empty_as_null:
        raise SqlError("the local warehouse loads CSV with EMPTYASNULL only")
    return Copy(table, source, kind, skip)


def _unload(tokens: _Tokens) -> Unload:
    tokens.expect("(")
    query = tokens.text()
    tokens.expect(")")
    tokens.expect("TO")
    target = tokens.text()
    kind, partition_by = "", ()  # type: str, tuple[str, ...]
    flags = dict.fromkeys(("role", "header", "serial", "clean", "overwrite"), False)
    while tokens.more():
        if _role(tokens):
            flags["role"] = True
        elif tokens.accept("FORMAT"):
            tokens.accept("AS")
            kind = tokens.next().upper()
        elif tokens.accept("PARTITION", "BY"):
            partition_by = tokens.names()
        elif tokens.accept("PARALLEL", "OFF"):
            flags["serial"] = True
        elif tokens.accept("HEADER"):
            flags["header"] = True
        elif tokens.accept("CLEANPATH"):
            flags["clean"] = True
        elif tokens.accept("ALLOWOVERWRITE"):
            flags["overwrite"] = True
        else:
            raise tokens.error()
    if not flags["role"]:
        raise SqlError("UNLOAD needs an IAM_ROLE")
    if kind not in ("CSV", "PARQUET"):
        raise SqlError(f"the local warehouse unloads CSV and PARQUET, not {kind or 'pipe-delimited text'}")
    if flags["clean"] and flags["overwrite"]:
        raise SqlError("CLEANPATH and ALLOWOVERWRITE exclude each other")
    if flags["header"] and kind == "PARQUET":
        raise SqlError("HEADER is not supported for UNLOAD to PARQUET")
    return Unload(
        query, target, kind, flags["header"], not flags["serial"], flags["clean"], flags["overwrite"], partition_by
    )


def _show_tables(tokens: _Tokens) -> ShowTables:
    database, _, schema = tokens.name().rpartition(".")
    like = tokens.text() if tokens.accept("LIKE") else None
    if tokens.more():
        raise tokens.error()
    return ShowTables(database, schema, like)
