"""Step s8: the county-by-species matrix, its statistics, the results without a row, the manifest and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from container.empty_tables import empty_table
from container.manifest import MANIFEST_JSON, make_manifest, with_this_run
from container.report import render_report
from container.report.county_map import read_county_map
from container.report.inputs import read_report_tables
from container.statistics import (
    CountyBySpecies,
    DiversityStatistics,
    as_table,
    calculate,
    read_county_by_species,
    write_table,
)
from container.task import TaskError
from workflow import names

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from container.task import TaskContext

REPORT_HTML = "report.html"


def run(context: TaskContext) -> dict[str, Any]:
    """Leave matrices, statistics, empty tables, manifest and report; return the counts for the marker.

    Counts: ``sites, species, cells`` of each presence threshold, with its suffix (``cells_min3``).
    Raises TaskError if a result of an earlier step is missing or broken, or if the month's rows do not add up.
    """
    # First, so that a month whose rows do not add up gets no statistics.
    manifest = make_manifest(context)
    counts, diversity = _statistics(context)
    for name in manifest.empty_tables:
        _leave_table(context, name, empty_table(name))
    tables = read_report_tables(context, manifest)
    county_map = read_county_map(_download_shapefile(context))
    manifest = with_this_run(manifest, context)
    _leave(context, MANIFEST_JSON, manifest.to_json())
    _leave(context, REPORT_HTML, render_report(manifest, tables, county_map, diversity))
    return counts


def suffix(threshold: int) -> str:
    """What a threshold's files have at the end of their names."""
    return "" if threshold == 1 else f"_min{threshold}"


def _statistics(context: TaskContext) -> tuple[dict[str, int], list[tuple[int, DiversityStatistics, str]]]:
    """Write matrices and statistics; return the marker's counts, and each threshold's diversity and suffix."""
    path = context.download(names.output_key(context.month, "county_x_species_list.parquet"))
    matrix = read_county_by_species(path, lambda done, total: context.progress("Reading species lists", done, total))
    path.unlink()
    context.log.info("%s counties, %s species, %s cells", *matrix.cells.shape, matrix.cells.nnz)
    counts: dict[str, int] = {}
    diversity = []
    for threshold in context.settings.presence_thresholds:
        presence = matrix.presence(threshold)
        end = suffix(threshold)
        counts |= {
            f"sites{end}": presence.cells.shape[0],
            f"species{end}": presence.cells.shape[1],
            f"cells{end}": int(presence.cells.nnz),
        }
        diversity.append((threshold, _write_statistics(context, presence, end), end))
        context.log.info("Statistics for at least %s records: %s", threshold, diversity[-1][1])
    return counts, diversity


def _write_statistics(context: TaskContext, presence: CountyBySpecies, end: str) -> DiversityStatistics:
    npz = f"county_x_species_matrix{end}.npz"
    presence.save(context.workdir / npz)
    context.add_output(context.workdir / npz, names.summary_key(context.month, npz))
    statistics = calculate(presence)
    for name, part in (
        ("site_stats", statistics.sites),
        ("species_stats", statistics.species),
        ("diversity_stats", statistics.diversity),
    ):
        _leave_table(context, f"{name}{end}", as_table(part))
    return statistics.diversity


def _download_shapefile(context: TaskContext) -> Path:
    key = context.settings.county_key
    if not key.endswith(".shp"):
        raise TaskError(f"The county boundaries {key!r} are no shapefile: the setting county_key must end in .shp.")
    for sibling in (".shx", ".dbf"):
        context.download(key.removesuffix(".shp") + sibling)
    return context.download(key)


def _leave_table(context: TaskContext, name: str, table: pa.Table) -> None:
    for path in write_table(table, context.workdir / name):
        context.add_output(path, names.output_key(context.month, path.name))


def _leave(context: TaskContext, name: str, text: str) -> None:
    path = context.workdir / name
    path.write_text(text, encoding="utf-8")
    context.add_output(path, names.output_key(context.month, name))
