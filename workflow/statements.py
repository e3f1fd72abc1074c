"""The statements of a SQL step: read from ``workflow/sql/<step>.sql``, rendered for a month, judged by their results.

A statement begins with ``-- name: <name>`` and may have more comment lines of this kind right after it:

``-- when: previous_month``
    Left out of the plan unless the condition holds (see ``_CONDITIONS``).
``-- expect: us_rows >= 1: words for people``
    What must be true of the result. Both sides are sums (``a + b``) of whole numbers, columns of the first row, or
    ``rows``, the number of rows; between them stands =, >= or <=. The words may hold ``{column}`` of the first row.
``-- record: columns`` or ``-- record: pairs``
    One row whose columns become counts, or rows of name and value that become counts under the statement's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from workflow import boundaries, names, regions, status
from workflow.steps import Kind, get_step

if TYPE_CHECKING:
    from workflow.boundaries import BoundaryColumns, DbfField
    from workflow.month import Month
    from workflow.snapshot import Snapshot

MAX_STATEMENT_BYTES = 200_000
"""The Data API takes at most 200 KB of SQL a statement."""


@dataclass(frozen=True)
class SqlContext:
    """Everything that a plan is rendered from.

    previous_month: the most recent earlier month whose aggregate_region succeeded. obsolete_months: earlier months that
    left tables. country_codes, basis_of_record: what the US subset keeps. snapshot: None before annotate_riis.
    county_key, aiannh_key: keys in the data bucket that end in ``.shp``. county_fields, aiannh_fields: the columns of
    their ``.dbf`` files; empty where a step does not load them.
    """

    month: Month
    previous_month: Month | None
    obsolete_months: tuple[Month, ...]
    bucket: str
    external_schema: str
    glue_database: str
    country_codes: tuple[str, ...]
    basis_of_record: tuple[str, ...]
    snapshot: Snapshot | None
    county_key: str
    aiannh_key: str
    county_fields: tuple[DbfField, ...]
    aiannh_fields: tuple[DbfField, ...]


@dataclass(frozen=True)
class Statement:
    """One SQL statement, ready for the Data API.

    expect: what must be true of its result. record: ``columns``, ``pairs`` or None: which of its result are counts.
    """

    name: str
    sql: str
    expect: tuple[str, ...] = ()
    record: str | None = None


def render_step(step: str, context: SqlContext) -> tuple[Statement, ...]:
    """The step's plan: its statements in order, all placeholders filled.

    Raises ValueError if the step is no SQL step, its file is not well-formed, or the context lacks what it needs.
    """
    if get_step(step).kind is not Kind.SQL:
        raise ValueError(f"{step} is no SQL step.")
    text = resources.files("workflow").joinpath("sql", f"{get_step(step).name}.sql").read_text("utf-8")
    return render(text, context, f"{step}.sql")


def render(text: str, context: SqlContext, file: str) -> tuple[Statement, ...]:
    """The statements of a SQL file's text, rendered; ``file`` is its name for messages. Raises ValueError."""
    values, message_values = _Placeholders(context), _Placeholders(context, in_message=True)
    statements = []
    for name, options, sql in _split(text, file):
        where = f"{file}, statement {name}"
        conditions = options.pop("when", [])
        if unknown := set(conditions) - set(_CONDITIONS):
            raise ValueError(f"{where}: {unknown.pop()!r} is no condition ({', '.join(_CONDITIONS)}).")
        if not all(_CONDITIONS[condition](context) for condition in conditions):
            continue
        try:
            rendered = Template(sql).substitute(values)
            expectations = tuple(Template(line).substitute(message_values) for line in options.pop("expect", []))
            for expectation in expectations:
                _parse_expectation(expectation)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{where}: {error.args[0]}") from error
        record = options.pop("record", [None])
        if len(record) > 1 or record[0] not in (None, "columns", "pairs"):
            raise ValueError(f"{where}: record is columns or pairs, once.")
        if options:
            raise ValueError(f"{where}: {next(iter(options))!r} is no option (when, expect, record).")
        if len(rendered.encode()) > MAX_STATEMENT_BYTES:
            raise ValueError(f"{where}: {len(rendered.encode())} bytes are more than the Data API takes.")
        statements.append(Statement(name, rendered, expectations, record[0]))
    return tuple(statements)


_OPTION = re.compile(r"^-- (\w+): (.*\S)\s*$")
_COMMENT_OR_TEXT = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"")


def _split(text: str, file: str) -> list[tuple[str, dict[str, list[str]], str]]:
    """(name, options, SQL without its semicolon) of each statement. Lines before the first name are the file's own."""
    parts = re.split(r"^(?=-- name: )", text, flags=re.MULTILINE)
    statements = []
    for part in parts[1:]:
        lines = part.splitlines()
        options: dict[str, list[str]] = {}
        while lines and (match := _OPTION.match(lines[0])):
            options.setdefault(match.group(1), []).append(match.group(2))
            lines.pop(0)
        (name,) = options.pop("name")
        sql = "\n".join(lines).strip()
        bare = _COMMENT_OR_TEXT.sub("", sql).strip()
        if not bare.endswith(";") or bare.count(";") != 1:
            raise ValueError(f"{file}, statement {name}: expected one statement that ends with a semicolon.")
        statements.append((name, options, sql.removesuffix(";")))
    twice = {name for name, *_ in statements if [each[0] for each in statements].count(name) > 1}
    if not statements or twice:
        raise ValueError(f"{file}: expected statements of different names, found {twice or 'none'}.")
    return statements


_CONDITIONS: dict[str, Callable[[SqlContext], bool]] = {
    "previous_month": lambda context: context.previous_month is not None,
    "obsolete_months": lambda context: bool(context.obsolete_months),
}

# ---------------------------------------------------------------------------- placeholders


def _text(value: str) -> str:
    """For a place between single quotes."""
    return value.replace("'", "''")


def _literals(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{_text(value)}'" for value in values)


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name for a schema: use small letters, digits and _.")
    return name


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _states() -> str:
    """The states as a query, since Redshift takes no VALUES list in FROM. ``adjacent_states`` is like ``FL GA``."""
    columns = ("statefp", "census_state", "state_name", "riis_region", "adjacent_states")
    selects = []
    for state in regions.STATES:
        adjacent = " ".join(regions.ADJACENT_STATES[state.census_state])
        cells = (state.statefp, state.census_state, state.name, state.riis_region, adjacent)
        # Redshift takes the columns' types from the first query of a union.
        literals = [f"CAST({'NULL' if cell is None else _literals((cell,))} AS VARCHAR(64))" for cell in cells]
        selects.append("SELECT " + ", ".join(f"{cell} AS {name}" for cell, name in zip(literals, columns, strict=True)))
    return "\n    UNION ALL ".join(selects)


def _snapshot(context: SqlContext) -> Snapshot:
    if context.snapshot is None:
        raise ValueError("the snapshot's description is missing: annotate_riis makes it.")
    return context.snapshot


def _dbf_columns(fields: tuple[DbfField, ...]) -> str:
    return ",\n    ".join(f"{_quoted(field.name)} {boundaries.redshift_column_type(field)}" for field in fields)


def _full_name(columns: BoundaryColumns, suffixes: Mapping[str, str], otherwise: str) -> str:
    name = _quoted(columns.name)
    if columns.lsad is None:
        return name
    cases = " ".join(
        f"WHEN '{code}' THEN {name}" + (f" || ' {_text(suffix)}'" if suffix else "")
        for code, suffix in suffixes.items()
    )
    return f"CASE {_quoted(columns.lsad)} {cases} ELSE {otherwise} END"


def _county(context: SqlContext) -> BoundaryColumns:
    return boundaries.county_columns(context.county_fields, context.county_key)


def _aiannh(context: SqlContext) -> BoundaryColumns:
    return boundaries.aiannh_columns(context.aiannh_fields, context.aiannh_key)


def _concatenated(columns: tuple[str, ...]) -> str:
    return " || ".join(_quoted(column) for column in columns)


def _aiannh_name(context: SqlContext) -> str:
    columns = _aiannh(context)
    return _full_name(columns, boundaries.AIANNH_LSAD_SUFFIX, _quoted(columns.name))


def _tables(tables: tuple[str, ...], months: tuple[Month, ...]) -> str:
    """Tables of months, and what a failed attempt may have left of them under construction."""
    whole = [names.table_name(table, month) for month in months for table in tables]
    return ",\n    ".join(name for table in whole for name in (table, f"{table}_{names.BUILDING}"))


_VALUES: dict[str, Callable[[SqlContext], str]] = {
    "month": lambda context: context.month.name,
    "previous_month": lambda context: context.previous_month.name if context.previous_month else "",
    "bucket": lambda context: _text(context.bucket),
    "external_schema": lambda context: _identifier(context.external_schema),
    "glue_database": lambda context: _text(context.glue_database),
    "country_codes": lambda context: _literals(context.country_codes),
    "country_words": lambda context: ", ".join(context.country_codes),
    "basis_of_record": lambda context: _literals(context.basis_of_record),
    "ranks": lambda _: _literals(status.RANKS),
    "states": lambda _: _states(),
    "snapshot_columns": lambda context: ",\n    ".join(
        f"{_quoted(column.name)} {column.redshift_type}" for column in _snapshot(context).columns
    ),
    "snapshot_location": lambda context: _text(_snapshot(context).location),
    "snapshot_rows": lambda context: str(_snapshot(context).rows),
    "usable_key": lambda context: _text(_snapshot(context).usable_key),
    "county_key": lambda context: _text(context.county_key),
    "county_columns": lambda context: _dbf_columns(context.county_fields),
    "county_geoid": lambda context: _concatenated(_county(context).geoid),
    "county_name": lambda context: _full_name(_county(context), regions.LSAD_SUFFIX, "NULL"),
    "aiannh_key": lambda context: _text(context.aiannh_key),
    "aiannh_columns": lambda context: _dbf_columns(context.aiannh_fields),
    "aiannh_geoid": lambda context: _concatenated(_aiannh(context).geoid),
    "aiannh_name": _aiannh_name,
    "intermediate_tables": lambda context: _tables(names.INTERMEDIATE_TABLES, (context.month,)),
    "obsolete_tables": lambda context: _tables(names.MONTH_TABLES, context.obsolete_months),
}


class _Placeholders(Mapping[str, str]):
    """Values made when they are asked for: a context need hold only what its step uses."""

    def __init__(self, context: SqlContext, in_message: bool = False) -> None:
        self._context = context
        self._in_message = in_message

    def __getitem__(self, name: str) -> str:
        if name not in _VALUES:
            raise KeyError(f"${{{name}}} is no placeholder.")
        value = _VALUES[name](self._context)
        # In a message, single quotes end nothing, and braces would name a column.
        return value.replace("''", "'").replace("{", "{{").replace("}", "}}") if self._in_message else value

    def __iter__(self) -> Any:
        return iter(_VALUES)

    def __len__(self) -> int:
        return len(_VALUES)


# ---------------------------------------------------------------------------- results

_SUM = r"\w+(?: \+ \w+)*"
_EXPECTATION = re.compile(rf"^(?P<left>{_SUM}) (?P<operator>=|>=|<=) (?P<right>{_SUM}): (?P<message>.+)$")
_OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "=": lambda left, right: left == right,
    ">=": lambda left, right: left >= right,
    "<=": lambda left, right: left <= right,
}


def _parse_expectation(expectation: str) -> re.Match[str]:
    match = _EXPECTATION.match(expectation)
    if match is None:
        raise ValueError(f"{expectation!r} is no expectation (<sum> =, >= or <= <sum>: <words>).")
    return match


def check_expectation(statement: Statement, rows: list[dict[str, object]]) -> str | None:
    """What is wrong with a statement's result, in words for people; None if nothing is.

    rows: the result, a dict by column each. Raises ValueError if an expectation speaks of a column that is not there.
    """
    for expectation in statement.expect:
        match = _parse_expectation(expectation)
        left, right = (_evaluate(match[side], statement, rows) for side in ("left", "right"))
        if not _OPERATORS[match["operator"]](left, right):
            return match["message"].format_map({**(rows[0] if rows else {}), "rows": len(rows)})
    return None


def _evaluate(terms: str, statement: Statement, rows: list[dict[str, object]]) -> int:
    total = 0
    for term in terms.split(" + "):
        if term.isdigit():
            total += int(term)
        elif term == "rows":
            total += len(rows)
        elif rows and term in rows[0]:
            total += int(str(rows[0][term] or 0))
        else:
            raise ValueError(f"The result of {statement.name} has no column {term}.")
    return total


def counts_of(statement: Statement, rows: list[dict[str, object]]) -> dict[str, Any]:
    """The counts that a statement's result adds to the step's marker; empty if it records none.

    Raises ValueError if the result does not have the form that ``record`` says.
    """
    if statement.record == "columns":
        if len(rows) != 1:
            raise ValueError(f"{statement.name} was to give one row of counts and gave {len(rows)}.")
        return {name: value or 0 for name, value in rows[0].items()}
    if statement.record == "pairs":
        return {statement.name: {str(name): value for name, value in (tuple(row.values()) for row in rows)}}
    return {}
