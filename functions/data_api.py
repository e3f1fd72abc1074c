"""Redshift's Data API: submit a named statement, ask how it ended, fetch its result."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from functions.aws import error_code, error_text

if TYPE_CHECKING:
    from mypy_boto3_redshift_data import RedshiftDataAPIServiceClient
    from mypy_boto3_redshift_data.type_defs import ColumnMetadataTypeDef, FieldTypeDef

    from workflow.names import StatementName

ENDED = ("FINISHED", "FAILED", "ABORTED")


class StatementRefusedError(Exception):
    """The Data API will never take this request: asking again is no use."""


@dataclass(frozen=True)
class StatementEnd:
    """How a statement stands. state: SUBMITTED, PICKED, STARTED, FINISHED, FAILED or ABORTED.

    error: Redshift's words, if it failed. seconds: how long it ran. rows: how many it gave or changed.
    has_result: whether there is a result to fetch.
    """

    state: str
    error: str | None
    seconds: float
    rows: int
    has_result: bool

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


class DataApi:
    """Statements of one database. Raises StatementRefusedError for a request that is wrong for good; errors of
    the moment (throttling, too many statements, 5xx) pass through, so that Lambda tries again.
    """

    def __init__(self, client: RedshiftDataAPIServiceClient, workgroup: str, database: str) -> None:
        self._client = client
        self._workgroup = workgroup
        self._database = database

    def submit(self, name: StatementName, sql: str) -> str:
        """Have the statement run and its end told by an event. A repeat within 8 hours gets the same identifier."""
        try:
            return self._client.execute_statement(
                WorkgroupName=self._workgroup,
                Database=self._database,
                Sql=sql,
                StatementName=str(name),
                ClientToken=name.client_token,
                WithEvent=True,
            )["Id"]
        except ClientError as error:
            if error_code(error) == "ValidationException":
                raise StatementRefusedError(error_text(error)) from error
            raise

    def describe(self, statement_id: str) -> StatementEnd:
        """How the statement stands. An identifier that the Data API forgot (after 24 hours) counts as aborted."""
        try:
            answer = self._client.describe_statement(Id=statement_id)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return StatementEnd("ABORTED", "The Data API no longer knows the statement.", 0.0, 0, False)
            raise
        return StatementEnd(
            state=answer["Status"],
            error=answer.get("Error"),
            seconds=round(answer.get("Duration", 0) / 1e9, 3),  # nanoseconds
            rows=answer.get("ResultRows", 0),
            has_result=answer.get("HasResultSet", False),
        )

    def result(self, statement_id: str) -> list[dict[str, Any]]:
        """The result's rows, each a dict by column in the order of the columns; all pages."""
        rows: list[dict[str, Any]] = []
        for page in self._client.get_paginator("get_statement_result").paginate(Id=statement_id):
            columns = page["ColumnMetadata"]
            rows += (
                {column["name"]: _value(column, cell) for column, cell in zip(columns, record, strict=True)}
                for record in page["Records"]
            )
        return rows

    def cancel(self, statement_id: str) -> None:
        """End the statement; one that is over already is no error."""
        try:
            self._client.cancel_statement(Id=statement_id)
        except ClientError as error:
            if error_code(error) not in ("ValidationException", "ResourceNotFoundException"):
                raise


def _value(column: ColumnMetadataTypeDef, cell: FieldTypeDef) -> str | int | float | bool | None:
    if cell.get("isNull"):
        return None
    ((kind, value),) = cell.items()
    # SUM of a BIGINT is a NUMERIC in Redshift, and the Data API gives NUMERIC as text.
    if kind == "stringValue" and column.get("typeName", "").lower() in ("numeric", "decimal"):
        number = Decimal(str(value))
        return int(number) if number == number.to_integral_value() else float(number)
    return value  # type: ignore[return-value]
