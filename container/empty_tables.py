"""Result tables without a row: Redshift unloads no file for them, and a result is always there, with its header."""

from __future__ import annotations

import pyarrow as pa

from workflow import names


def empty_table(name: str) -> pa.Table:
    """The table without rows, with the columns and types that aggregate_region gives it. name: of names.MAY_BE_EMPTY.

    Next month's COPY wants these very types: an INTEGER column takes no 64-bit numbers from Parquet.
    """
    return pa.schema([(column, _type(column)) for column in names.MAY_BE_EMPTY[name]]).empty_table()


def _type(column: str) -> pa.DataType:
    if column.endswith("_count"):
        return pa.int64()
    return pa.int32() if column.endswith("_year") else pa.string()
