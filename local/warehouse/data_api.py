"""The Redshift Data API's operations, with its shapes and its errors."""

from __future__ import annotations

import decimal
import logging
import queue
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.warehouse.commands import SqlError
from local.warehouse.engine import Engine, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

MAX_SQL_BYTES = 200_000
RESULT_LIFETIME_SECONDS = 24 * 3600
PAGE_ROWS = 1000
MAX_LISTED = 100

_ID = re.compile(r"[a-z0-9]{8}(-[a-z0-9]{4}){3}-[a-z0-9]{12}(:\d+)?")
_ENDED = ("FINISHED", "FAILED", "ABORTED")
_TYPE_NAMES = {
    "BOOLEAN": "bool",
    "SMALLINT": "int2",
    "INTEGER": "int4",
    "BIGINT": "int8",
    "FLOAT": "float4",
    "DOUBLE": "float8",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    # What Redshift makes of the sum of BIGINTs.
    "HUGEINT": "numeric",
}

log = logging.getLogger(__name__)


class WarehouseError(Exception):
    """An error of the Data API: ``code`` is like ``ValidationException``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class _Statement:
    id: str
    query_id: int
    sql: str
    name: str
    workgroup: str
    database: str
    with_event: bool
    created: float
    updated: float
    status: str = "SUBMITTED"
    error: str | None = None
    started: float = 0.0
    duration: float = 0.0
    result: Result = field(default_factory=Result)

    def set_status(self, status: str) -> None:
        self.updated = time.time()
        self.status = status

    @property
    def result_rows(self) -> int:
        return self.result.affected if self.result.columns is None else len(self.result.rows)


class Warehouse:
    """Redshift Serverless's Data API over a DuckDB database; statements run one after the other, in another thread.

    Each operation takes the request's members and returns the response's, both as in the service's JSON (times are
    seconds since 1970), and raises WarehouseError.

    database: DuckDB file, or None for memory. s3_client_factory: makes a client for COPY and UNLOAD.
    external_locations: ``s3://bucket/prefix/`` of external tables to the folder with the files. on_event: gets the
    ``detail`` of EventBridge's "Redshift Data Statement Status Change" for statements WithEvent, in the warehouse's
    thread. temporary: an existing folder. memory_limit, threads: what DuckDB may use; the rest goes to ``temporary``.
    """

    def __init__(
        self,
        database: Path | None,
        s3_client_factory: Callable[[], S3Client],
        external_locations: Mapping[str, Path],
        on_event: Callable[[dict[str, Any]], None],
        temporary: Path,
        memory_limit: str = "2GB",
        threads: int = 2,
    ) -> None:
        self._engine = Engine(database, s3_client_factory, external_locations, temporary, memory_limit, threads)
        self._on_event = on_event
        self._statements: dict[str, _Statement] = {}
        self._tokens: dict[str, _Statement] = {}
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._pending = 0
        self._queue: queue.Queue[_Statement | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="warehouse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the running statement, forget those that wait, close the database."""
        with self._lock:
            waiting = [each for each in self._statements.values() if each.status not in _ENDED]
        for statement in waiting:
            self._abort(statement)
        self._queue.put(None)
        self._thread.join()
        self._engine.close()

    def wait_until_idle(self, timeout: float | None = None) -> bool:
        """Wait for the end of all statements, their events included. False if ``timeout`` seconds did not do."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, timeout)

    # ------------------------------------------------------------------------ operations

    def execute_statement(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ExecuteStatement: queues the statement. The same ClientToken gets the first request's answer."""
        for member in ("Sql", "WorkgroupName", "Database"):
            if not request.get(member):
                raise WarehouseError("ValidationException", f"{member} is needed")
        if len(request["Sql"].encode()) > MAX_SQL_BYTES:
            raise WarehouseError("ValidationException", "Query string is longer than 200 KB")
        if "Parameters" in request:
            raise WarehouseError("ValidationException", "The local warehouse takes no Parameters")
        token = request.get("ClientToken")
        with self._lock:
            statement = self._tokens.get(token) if token else None
            if statement is None:
                now = time.time()
                statement = _Statement(
                    id=str(uuid.uuid4()),
                    query_id=len(self._statements) + 1,
                    sql=request["Sql"],
                    name=request.get("StatementName", ""),
                    workgroup=request["WorkgroupName"],
                    database=request["Database"],
                    with_event=bool(request.get("WithEvent")),
                    created=now,
                    updated=now,
                )
                self._statements[statement.id] = statement
                if token:
                    self._tokens[token] = statement
                self._pending += 1
                self._queue.put(statement)
        return {
            "Id": statement.id,
            "CreatedAt": statement.created,
            "Database": statement.database,
            "WorkgroupName": statement.workgroup,
        }

    def describe_statement(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """DescribeStatement: status, error, times in nanoseconds, rows."""
        with self._lock:
            statement = self._find(request)
            description: dict[str, Any] = {
                "Id": statement.id,
                "WorkgroupName": statement.workgroup,
                "Database": statement.database,
                "QueryString": statement.sql,
                "Status": statement.status,
                "CreatedAt": statement.created,
                "UpdatedAt": statement.updated,
                "Duration": round(statement.duration * 1e9),
                "HasResultSet": statement.status == "FINISHED" and statement.result.columns is not None,
                "ResultRows": statement.result_rows if statement.status == "FINISHED" else -1,
                "ResultSize": -1,
                "RedshiftPid": 1,
                "RedshiftQueryId": statement.query_id,
            }
            if statement.error is not None:
                description["Error"] = statement.error
            return description

    def get_statement_result(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """GetStatementResult: a page of records."""
        with self._lock:
            statement = self._find(request)
            columns, rows = statement.result.columns, statement.result.rows
            if statement.status != "FINISHED" or columns is None:
                raise WarehouseError(
                    "ResourceNotFoundException",
                    "Query does not have result. Please check query status with DescribeStatement.",
                )
        start = _offset(request)
        response: dict[str, Any] = {
            "ColumnMetadata": [
                {"name": name, "label": name, "typeName": _TYPE_NAMES.get(data_type, "varchar"), "nullable": 1}
                for name, data_type in columns
            ],
            "Records": [
                [_field(value, data_type) for value, (_, data_type) in zip(row, columns, strict=True)]
                for row in rows[start : start + PAGE_ROWS]
            ],
            "TotalNumRows": len(rows),
        }
        if start + PAGE_ROWS < len(rows):
            response["NextToken"] = str(start + PAGE_ROWS)
        return response

    def list_statements(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListStatements: newest first, by prefix of the name; only finished ones unless Status says otherwise."""
        status = request.get("Status", "FINISHED")
        prefix = request.get("StatementName", "")
        start, size = _offset(request), request.get("MaxResults", MAX_LISTED)
        with self._lock:
            chosen = [
                statement
                for statement in reversed(self._statements.values())
                if statement.name.startswith(prefix) and status in ("ALL", statement.status)
            ]
            response: dict[str, Any] = {
                "Statements": [
                    {
                        "Id": statement.id,
                        "StatementName": statement.name,
                        "QueryString": statement.sql,
                        "Status": statement.status,
                        "CreatedAt": statement.created,
                        "UpdatedAt": statement.updated,
                        "IsBatchStatement": False,
                    }
                    for statement in chosen[start : start + size]
                ]
            }
        if start + size < len(chosen):
            response["NextToken"] = str(start + size)
        return response

    def cancel_statement(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """CancelStatement: a statement that waits or runs is aborted."""
        with self._lock:
            statement = self._find(request)
            if statement.status in _ENDED:
                raise WarehouseError(
                    "ValidationException",
                    f"Could not cancel a query that is already in {statement.status} state with ID: {statement.id}",
                )
        self._abort(statement)
        return {"Status": True}

    # ------------------------------------------------------------------------ what happens behind them

    def _find(self, request: Mapping[str, Any]) -> _Statement:
        statement_id = request.get("Id", "")
        if not _ID.fullmatch(statement_id):
            raise WarehouseError("ValidationException", f"id must satisfy regex pattern: ^{_ID.pattern}$")
        if statement_id not in self._statements:
            raise WarehouseError("ResourceNotFoundException", "Query does not exist.")
        return self._statements[statement_id]

    def _abort(self, statement: _Statement) -> None:
        with self._lock:
            if statement.status == "STARTED":
                # Under the lock: once it is free, another statement may be the one that runs.
                self._engine.interrupt()
            statement.set_status("ABORTED")

    def _work(self) -> None:
        while (statement := self._queue.get()) is not None:
            with self._lock:
                if statement.status == "SUBMITTED":
                    statement.set_status("STARTED")
            if statement.status == "STARTED":
                self._run(statement)
            try:
                if statement.with_event:
                    self._on_event(self._event(statement))
            except Exception:
                log.exception("The event of statement %s could not be delivered", statement.name)
            with self._idle:
                self._pending -= 1
                self._idle.notify_all()

    def _run(self, statement: _Statement) -> None:
        started = time.monotonic()
        try:
            result = self._engine.execute(statement.sql)
        except Exception as error:
            # A fault of this stand-in must end the statement too, or its step would wait for ever.
            if not isinstance(error, SqlError):
                log.exception("Statement %s", statement.name)
            with self._lock:
                statement.duration = time.monotonic() - started
                if statement.status != "ABORTED":
                    statement.error = f"ERROR: {error}"
                    statement.set_status("FAILED")
            return
        with self._lock:
            statement.duration = time.monotonic() - started
            if statement.status != "ABORTED":
                statement.result = result
                statement.set_status("FINISHED")

    def _event(self, statement: _Statement) -> dict[str, Any]:
        return {
            "principal": "arn:aws:sts::123456789012:assumed-role/local/warehouse",
            "statementName": statement.name,
            "statementId": statement.id,
            "redshiftQueryId": statement.query_id,
            "state": statement.status,
            "rows": statement.result_rows,
            "expireAt": round(statement.created) + RESULT_LIFETIME_SECONDS,
        }


def _offset(request: Mapping[str, Any]) -> int:
    token = request.get("NextToken", "0")
    if not token.isdigit():
        raise WarehouseError("ValidationException", "Invalid NextToken")
    return int(token)


def _field(value: Any, data_type: str) -> dict[str, Any]:
    if value is None:
        return {"isNull": True}
    # A NUMERIC comes as text, as from Redshift.
    if data_type == "HUGEINT" or isinstance(value, decimal.Decimal):
        return {"stringValue": str(value)}
    if isinstance(value, bool):
        return {"booleanValue": value}
    if isinstance(value, int):
        return {"longValue": value}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}
