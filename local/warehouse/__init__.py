"""Redshift Serverless on one machine: the Data API's answers, by DuckDB.

``Warehouse`` speaks the Data API. Behind it, ``commands`` reads the statements that DuckDB has no word for, ``engine``
carries them out, and everything else is translated by sqlglot.
"""

from local.warehouse.data_api import Warehouse, WarehouseError

__all__ = ["Warehouse", "WarehouseError"]
