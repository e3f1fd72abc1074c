"""The month's manifest: what came in, what became of every row, how good the data are, and how it was made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from container.task import TaskError
from workflow import names
from workflow.markers import Marker
from workflow.snapshot import Snapshot
from workflow.status import INTRODUCED, INVASIVE, PRESUMED_NATIVE, UNRESOLVED
from workflow.steps import month_steps

if TYPE_CHECKING:
    from container.task import TaskContext

MANIFEST_JSON = "manifest.json"

LEFT_OUT = ("not_in_country", "without_coordinates", "not_present", "rank_above_species", "other_basis_of_record")
"""Why create_bison leaves a row of the snapshot out, in the order in which it asks."""

STATUS = ("rows_in_no_county", "rows_in_territory", INTRODUCED, INVASIVE, PRESUMED_NATIVE, UNRESOLVED)
"""What assign_riis makes of a row."""

RIIS_CITATION = (
    "Simpson, A., Fuller, P., Faccenda, K., Evenhuis, N., Matsunaga, J., and Bowser, M., 2022, United States Register "
    "of Introduced and Invasive Species (US-RIIS) (ver. 2.0, November 2022): U.S. Geological Survey data release, "
    "https://doi.org/10.5066/P9KFFTOD."
)
"""As ScienceBase gives it for version 2; the DOI stands for all versions."""

CENSUS_CITATION = (
    "U.S. Census Bureau, Cartographic Boundary Files: counties; American Indian, Alaska Native and Native Hawaiian "
    "areas. https://www.census.gov/geographies/mapping-files.html."
)


@dataclass(frozen=True)
class SnapshotSource:
    """The snapshot that the month is made of, from ``summary/<month>/snapshot.json``.

    location: ``s3://bucket/prefix/`` of its files. bytes, rows: of all files, rows from the Parquet footers.
    checklist_key, checklist_name, index_version: the taxonomy of its keys.
    """

    location: str
    files: int
    bytes: int
    rows: int
    checklist_key: str
    checklist_name: str
    index_version: str


@dataclass(frozen=True)
class Funnel:
    """Every row of the snapshot once: snapshot_rows = sum(left_out) + us_rows, and us_rows = sum(status).

    left_out: rows by the first reason of LEFT_OUT that holds. status: rows by STATUS.
    """

    snapshot_rows: int
    left_out: dict[str, int]
    us_rows: int
    status: dict[str, int]


@dataclass(frozen=True)
class Share:
    """rows: how many of the US rows. share: of all US rows, 0 to 1; None if there are no US rows."""

    rows: int
    share: float | None


@dataclass(frozen=True)
class Quality:
    """faulty keys do not fit the snapshot's checklist; coordinates are the distinct ones of the US rows."""

    faulty_taxonkeys: Share
    faulty_specieskeys: Share
    in_no_county: Share
    coordinates: int
    coordinates_in_no_county: int


@dataclass(frozen=True)
class Register:
    """Records of the US-RIIS: all, those with an exact match in the taxonomy, and those in the review list."""

    records: int
    resolved: int
    in_review: int


@dataclass(frozen=True)
class StepRun:
    """A step's successful attempt. started, finished: ISO 8601 in UTC. code: image digest or code hash."""

    step: str
    title: str
    attempt: int
    started: str
    finished: str
    seconds: float
    code: str


@dataclass(frozen=True)
class Citations:
    """How to cite the sources. gbif: the snapshot's own ``citation.txt``, or a citation by date if it has none."""

    gbif: str
    riis: str
    census: str


@dataclass(frozen=True)
class Manifest:
    """``output/<month>/manifest.json``; each member is one of the file's.

    month: ``2026_11_01``. previous_month: the month that whats_new compares with, or None. code: of calc_stats.
    licenses: US rows by licence (``CC_BY_4_0``). presence_thresholds: of the statistics.
    empty_tables: results without a row this month.
    steps: in their order, calc_stats last, finished when the manifest was written.
    """

    month: str
    previous_month: str | None
    code: str
    snapshot: SnapshotSource
    funnel: Funnel
    quality: Quality
    licenses: dict[str, int]
    register: Register
    presence_thresholds: tuple[int, ...]
    empty_tables: tuple[str, ...]
    steps: tuple[StepRun, ...]
    citations: Citations

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def make_manifest(context: TaskContext) -> Manifest:
    """Read the month's markers and the snapshot's description, and add up. The steps are those before this one.

    Raises TaskError if a marker or a count is missing, or if rows got lost or doubled on the way.
    """
    markers = _read_markers(context)
    snapshot_key = names.summary_key(context.month, names.SNAPSHOT_JSON)
    snapshot_text = context.read(snapshot_key)
    if snapshot_text is None:
        raise TaskError(f"{snapshot_key} is missing: run annotate_riis of {context.month} again.")
    snapshot = Snapshot.from_json(snapshot_text)
    create, assign = markers["create_bison"], markers["assign_riis"]
    intersect, annotate = markers["intersect_bison"], markers["annotate_riis"]
    aggregate = markers["aggregate_region"]

    funnel = Funnel(
        snapshot_rows=_count(create, "snapshot_rows"),
        left_out={name: _count(create, name) for name in LEFT_OUT},
        us_rows=_count(create, "us_rows"),
        status={name: _count(assign, name) for name in STATUS},
    )
    licenses = {str(name): int(rows) for name, rows in _counts(aggregate, "licenses").items()}
    _check(
        ("Parquet footers of the snapshot", snapshot.rows),
        ("snapshot_rows of create_bison", funnel.snapshot_rows),
    )
    _check(
        ("snapshot_rows of create_bison", funnel.snapshot_rows),
        ("rows left out and us_rows of create_bison", sum(funnel.left_out.values()) + funnel.us_rows),
    )
    _check(("us_rows of create_bison", funnel.us_rows), ("us_rows of assign_riis", _count(assign, "us_rows")))
    _check(("us_rows of assign_riis", funnel.us_rows), ("its rows by status", sum(funnel.status.values())))
    _check(("us_rows of assign_riis", funnel.us_rows), ("licenses of aggregate_region", sum(licenses.values())))

    def share(rows: int) -> Share:
        return Share(rows, rows / funnel.us_rows if funnel.us_rows else None)

    return Manifest(
        month=context.month.name,
        previous_month=_previous_month(context, aggregate),
        code=context.settings.code,
        snapshot=SnapshotSource(
            location=snapshot.location,
            files=snapshot.files,
            bytes=snapshot.bytes,
            rows=snapshot.rows,
            checklist_key=snapshot.checklist_key,
            checklist_name=snapshot.checklist_name,
            index_version=snapshot.index_version,
        ),
        funnel=funnel,
        quality=Quality(
            faulty_taxonkeys=share(_count(assign, "faulty_taxonkeys")),
            faulty_specieskeys=share(_count(assign, "faulty_specieskeys")),
            in_no_county=share(funnel.status["rows_in_no_county"]),
            coordinates=_count(intersect, "coordinates"),
            coordinates_in_no_county=_count(intersect, "coordinates_in_no_county"),
        ),
        licenses=dict(sorted(licenses.items())),
        register=Register(
            records=_count(annotate, "register_records"),
            resolved=_count(annotate, "resolved_records"),
            in_review=_count(annotate, "review_records"),
        ),
        presence_thresholds=context.settings.presence_thresholds,
        empty_tables=tuple(aggregate.counts.get("empty_tables", ())),
        steps=tuple(_step_run(marker) for marker in markers.values()),
        citations=Citations(_gbif_citation(context, snapshot), RIIS_CITATION, CENSUS_CITATION),
    )


def with_this_run(manifest: Manifest, context: TaskContext) -> Manifest:
    """The manifest with this step as the last one, finished now."""
    settings = context.settings
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    marker = Marker(context.month.name, settings.step, settings.attempt, context.started, finished, code=settings.code)
    return replace(manifest, steps=(*manifest.steps, _step_run(marker)))


def _read_markers(context: TaskContext) -> dict[str, Marker]:
    """The success markers of the steps before this one, by step, in their order."""
    markers = {}
    for step in month_steps():
        if step.name == context.settings.step:
            continue
        key = names.success_key(context.month, step.name)
        text = context.read(key)
        if text is None:
            raise TaskError(f"{key} is missing: {step.name} of {context.month} has to succeed before the statistics.")
        try:
            markers[step.name] = Marker.from_json(text)
        except ValueError as error:
            raise TaskError(f"{key} cannot be read ({error}): run {step.name} again.") from error
    return markers


def _count(marker: Marker, name: str) -> int:
    try:
        return int(marker.counts[name])
    except (KeyError, TypeError, ValueError) as error:
        raise TaskError(f"{marker.key} has no count {name!r}: run {marker.step} again.") from error


def _counts(marker: Marker, name: str) -> dict[str, int]:
    counts = marker.counts.get(name)
    if not isinstance(counts, dict):
        raise TaskError(f"{marker.key} has no counts {name!r}: run {marker.step} again.")
    return counts


def _previous_month(context: TaskContext, aggregate: Marker) -> str | None:
    """The month that aggregate_region compared with, from the plan of the attempt that succeeded."""
    key = names.log_key(context.month, aggregate.step, aggregate.attempt, "statements.json")
    plan = context.read(key)
    if plan is None:
        raise TaskError(f"{key} is missing: run {aggregate.step} of {context.month} again.")
    month: str | None = json.loads(plan)["previous_month"]
    return month


def _check(before: tuple[str, int], after: tuple[str, int]) -> None:
    if before[1] != after[1]:
        raise TaskError(
            f"The rows do not add up: {before[0]}: {before[1]:,}, but {after[0]}: {after[1]:,}. Rows were lost or "
            "counted twice between these; look at the steps' logs before the results are used."
        )


def _step_run(marker: Marker) -> StepRun:
    return StepRun(
        step=marker.step,
        title=next(step.title for step in month_steps() if step.name == marker.step),
        attempt=marker.attempt,
        started=marker.started,
        finished=marker.finished,
        seconds=round((_moment(marker.finished) - _moment(marker.started)).total_seconds(), 3),
        code=marker.code,
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _gbif_citation(context: TaskContext, snapshot: Snapshot) -> str:
    """The snapshot's ``citation.txt``; without one, its usual form with the place instead of the unknown DOI."""
    key = f"{names.snapshot_prefix(context.month)}citation.txt"
    try:
        text = context.s3.get_object(Bucket=context.settings.gbif_bucket, Key=key)["Body"].read()
        citation = " ".join(text.decode("utf-8", errors="replace").split())
        if citation:
            return citation
    except (ClientError, BotoCoreError) as error:
        context.log.warning("s3://%s/%s cannot be read (%s).", context.settings.gbif_bucket, key, error)
    date = datetime.fromisoformat(context.month.snapshot_date)
    return f"GBIF.org ({date.day} {date:%B %Y}) GBIF Occurrence Data {snapshot.location}"
