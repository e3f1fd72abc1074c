"""The month on one machine: AWS by moto, Redshift by DuckDB, GBIF by a small server, and sample data."""
