"""Step 1: resolve the RIIS register to the taxonomy of the month's GBIF snapshot, and describe the snapshot."""

from __future__ import annotations

import csv
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from container.gbif import EXACT, REFUSED, GbifClient, Matcher, Question, is_for
from container.register import ADDED_COLUMNS, Record, Register, read_register
from container.resolution import Evidence, Resolution, held_against, resolve, weigh
from container.snapshot_reader import Footers, SnapshotKeys, count_keys, list_files, read_footers
from container.task import TaskContext, TaskError
from workflow import names
from workflow.snapshot import Snapshot
from workflow.status import CHECKLISTS, RANKS, SPECIES_RANK, Checklist, get_checklist

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

MONTHS_LOOKED_BACK = 12
MOST_DOUBTED_SHARE, FEWEST_DOUBTED = 0.1, 3
"""Beyond this share of answers that contradict themselves or the question, none can be trusted."""
_TAXONOMIES_DIFFER = (
    "The snapshot's keys are those of another taxonomy than GBIF's name matching gives, so that every species would "
    "become native. GBIF may have changed its taxonomy (see CHECKLISTS in workflow/status.py), its index may lag, "
    "or the server asked is not GBIF's: correct the address, or ask GBIF's helpdesk, then start the step again."
)
_NOTHING_KNOWN = (
    "GBIF's name matching knows neither the register's names nor the snapshot's species, so that every species would "
    "become native. See whether its address is right, and try again later."
)

TAXA_COLUMNS = (
    "riis_region",
    "accepted_key",
    "species_key",
    "species",
    "is_species",
    "riis_assessment",
    "riis_occurrence_id",
)
REVIEW_COLUMNS = ("riis_occurrence_id", "locality", "scientific_name", "match_type", "candidate", "reason")


def run(context: TaskContext) -> dict[str, Any]:
    """Leave what docs/design.md lists for annotate_riis; return the counts for the marker.

    Bad input fails before GBIF is asked. Raises TaskError, in words that a person can act on.
    """
    settings = context.settings
    register = read_register(
        context.download(settings.riis_key).read_bytes(), f"s3://{settings.bucket}/{settings.riis_key}"
    )
    context.log.info("The register has %d records.", len(register.records))
    prefix = names.snapshot_parquet_prefix(context.month)
    files = list_files(context.s3, settings.gbif_bucket, prefix)
    footers = read_footers(context.s3, settings.gbif_bucket, files)
    rows = sum(footers.rows)
    context.log.info("The snapshot has %d rows in %d files.", rows, len(files))
    previous_rows = _previous_rows(context)
    rows_change = _check_rows(context, rows, previous_rows)
    keys = count_keys(
        context.s3,
        settings.gbif_bucket,
        files,
        settings.country_codes,
        partial(context.progress, "Reading the snapshot's keys"),
    )
    context.log.info("%d rows are of the US.", keys.rows)

    client = GbifClient(settings.gbif_api, settings.contact, context.log)
    try:
        matcher = _find_checklist(context, client, register, keys)
        resolutions = resolve(register.records, matcher, context.progress)
        _check_doubted(resolutions.values(), "the register's names", matcher)
        resolutions = _held_against(context, resolutions, keys, matcher)
        taxa = [
            (record, resolutions[record.occurrence_id])
            for record in register.records
            if resolutions[record.occurrence_id].taken and not record.fault
        ]
        taxon_keys = _resolve_taxon_keys(context, matcher, keys, taxa)
    finally:
        client.close()

    _write_snapshot(context, footers, keys, matcher, previous_rows)
    _write_annotated(context, register, resolutions)
    _write_taxa(context, taxa)
    _write_taxon_keys(context, taxon_keys)
    review_records = _write_review(context, register, resolutions)
    counts = {
        "register_records": len(register.records),
        "resolved_records": len(taxa),
        "review_records": review_records,
        "names_asked": matcher.asked,
        "names_cached": matcher.cached,
        "requests": client.requests,
    }
    return counts if rows_change is None else {**counts, "rows_change": rows_change}


# ---------------------------------------------------------------------------- the snapshot


def _previous_rows(context: TaskContext) -> int | None:
    """Rows of the latest earlier snapshot that a manifest tells of, a year back at most."""
    month = context.month
    for _ in range(MONTHS_LOOKED_BACK):
        month = month.previous
        key = names.output_key(month, "manifest.json")
        content = context.read(key)
        if content is None:
            continue
        try:
            return int(json.loads(content)["snapshot"]["rows"])
        except (ValueError, KeyError, TypeError) as error:
            context.log.warning("%s does not tell the snapshot's rows (%r).", key, error)
    return None


def _check_rows(context: TaskContext, rows: int, previous_rows: int | None) -> float | None:
    """How much the rows changed, as a share; a snapshot that is not complete shows by it."""
    if not previous_rows:
        context.log.info("There is no earlier month to compare the rows with.")
        return None
    settings = context.settings
    change = rows / previous_rows - 1
    if not -settings.max_rows_loss <= change <= settings.max_rows_growth:
        text = (
            f"The snapshot has {rows:,} rows and the last one had {previous_rows:,}: a change of {change:+.1%}, "
            f"outside {-settings.max_rows_loss:+.0%} to {settings.max_rows_growth:+.0%}."
        )
        if settings.rows_change_stops:
            raise TaskError(
                f"{text} It may not be complete: compare it with GBIF's own count, then start the step again, with "
                "wider bounds if the change is real."
            )
        context.log.warning("%s", text)
    return round(change, 6)


def _find_checklist(context: TaskContext, client: GbifClient, register: Register, keys: SnapshotKeys) -> Matcher:
    """The checklist whose keys the snapshot carries. Raises TaskError if it is none: all would become native."""
    fixed = context.settings.checklist_key
    try:
        candidates = (get_checklist(fixed),) if fixed else CHECKLISTS
    except ValueError as error:
        raise TaskError(f"The setting checklist_key is wrong. {error}") from error
    evidence: list[Evidence] = []
    for checklist in candidates:
        evidence.append(weigh(register.records, keys, Matcher(context, client, checklist)))
        context.log.info("%s.", evidence[-1])
    best = max(evidence, key=lambda one: (one.convinces, one.weight, -one.faulty))
    if not best.convinces:
        for one in evidence:
            one.matcher.forget()
        known = any(one.resolved + one.same + one.other for one in evidence)
        raise TaskError(f"{_TAXONOMIES_DIFFER if known else _NOTHING_KNOWN} Tried: {'. '.join(map(str, evidence))}.")
    if best.same + best.found == 0:
        context.log.warning(
            "GBIF knows none of the snapshot's frequent species; the snapshot has none of the register's."
        )
    elif best.other > best.same:
        context.log.warning("Most of the snapshot's frequent species have other keys in GBIF's matching.")
    return best.matcher


def _held_against(
    context: TaskContext, resolutions: Mapping[str, Resolution], keys: SnapshotKeys, matcher: Matcher
) -> dict[str, Resolution]:
    """What the snapshot does not contradict. Raises TaskError if it contradicts most of what it could confirm."""
    held = held_against(resolutions, keys, matcher, context.progress)
    missed = [one for record, one in held.items() if resolutions[record].taken and not one.taken]
    occurring = keys.occurring({one.species_key or one.accepted_key for one in held.values() if one.taken})
    confirmed = sum(1 for one in held.values() if one.taken and (one.species_key or one.accepted_key) in occurring)
    if len(missed) >= FEWEST_DOUBTED and len(missed) > confirmed:
        matcher.forget()
        raise TaskError(
            f"{_TAXONOMIES_DIFFER} Of the register's records {confirmed} have a key that occurs in the snapshot, and "
            f"{len(missed)} one that does not, though their species is there. The first: {missed[0].reason}."
        )
    if missed:
        context.log.warning(
            "%d of the register's species have another key in the snapshot: see the review.", len(missed)
        )
    return held


# ---------------------------------------------------------------------------- the taxa


def _check_doubted(resolutions: Collection[Resolution], what: str, matcher: Matcher) -> None:
    doubted = [found for found in resolutions if found.doubted or found.match_type == REFUSED]
    if len(doubted) >= FEWEST_DOUBTED and len(doubted) > MOST_DOUBTED_SHARE * len(resolutions):
        matcher.forget()
        raise TaskError(
            f"GBIF's answers cannot be trusted: {len(doubted)} of {len(resolutions)} on {what} contradict the "
            f"question, themselves or the checklist, or are refusals. The first: "
            f"{': '.join(filter(None, (doubted[0].candidate, doubted[0].reason)))}. Try again later; if it stays so, "
            "ask GBIF's helpdesk."
        )


def _resolve_taxon_keys(
    context: TaskContext, matcher: Matcher, keys: SnapshotKeys, taxa: Sequence[tuple[Record, Resolution]]
) -> dict[str, str]:
    """The accepted key of each occurrence key that has to speak for itself.

    It may be a synonym's, of the very taxon that a record is about. That matters under the species of records that may
    not cover their whole species, and for rows without a usable specieskey.
    """
    species_keys = {found.species_key for record, found in taxa if found.species_key and not _is_species(record, found)}
    under = keys.taxon_keys_under(species_keys, matcher.checklist)
    accepted = {taxon_key: taxon_key for taxon_key, species_key in under.items() if taxon_key == species_key}
    unresolved = (under.keys() | keys.taxon_keys_without_species(matcher.checklist)) - accepted.keys()
    questions = {taxon_key: Question(usage_key=taxon_key) for taxon_key in sorted(unresolved)}
    answers = matcher.ask(questions.values(), partial(context.progress, "Resolving the snapshot's taxon keys"))
    judged = []
    for taxon_key, question in questions.items():
        answer = answers[question]
        found = Resolution(answer.match_type, candidate=taxon_key)
        if answer.match_type == EXACT and answer.accepted is not None:
            if not is_for(answer, question) or not matcher.checklist.is_usable(answer.accepted.key):
                found = found.refuse(f"GBIF answered with the key {answer.accepted.key}")
            elif answer.accepted.rank in RANKS:
                accepted[taxon_key] = answer.accepted.key
        judged.append(found)
    _check_doubted(judged, "the snapshot's taxon keys", matcher)
    if unknown := len(unresolved - accepted.keys()):
        context.log.warning("%d taxon keys of the snapshot stand for no species in GBIF's matching.", unknown)
    return accepted


def _is_species(record: Record, resolution: Resolution) -> bool:
    """Whether the record may cover its whole species: what is below species rank never does."""
    return record.covers_species and resolution.accepted_rank == SPECIES_RANK


# ---------------------------------------------------------------------------- what the step leaves


def _write_snapshot(
    context: TaskContext, footers: Footers, keys: SnapshotKeys, matcher: Matcher, previous_rows: int | None
) -> None:
    checklist: Checklist = matcher.checklist
    snapshot = Snapshot(
        month=context.month.name,
        location=f"s3://{context.settings.gbif_bucket}/{names.snapshot_parquet_prefix(context.month)}",
        files=len(footers.files),
        bytes=sum(file.size for file in footers.files),
        rows=sum(footers.rows),
        columns=footers.columns,
        checklist_key=checklist.key,
        checklist_name=checklist.name,
        index_version=matcher.index_version,
        usable_key=checklist.usable,
        sampled_keys=keys.rows,
        faulty_taxonkeys=keys.faulty_share("taxonkey", checklist),
        faulty_specieskeys=keys.faulty_share("specieskey", checklist),
        previous_rows=previous_rows,
    )
    path = context.workdir / names.SNAPSHOT_JSON
    path.write_text(snapshot.to_json(), encoding="utf-8")
    context.add_output(path, names.summary_key(context.month, names.SNAPSHOT_JSON))


def _write_annotated(context: TaskContext, register: Register, resolutions: Mapping[str, Resolution]) -> None:
    rows = []
    for record in register.records:
        found = resolutions[record.occurrence_id]
        keys = (found.accepted_key, found.accepted_name, found.accepted_rank, found.species_key)
        rows.append((*record.cells, *keys, found.match_type, _reason(record, found)))
    key = names.annotated_riis_key(context.settings.riis_key, context.month)
    path = _write_csv(context, key, (*register.columns, *ADDED_COLUMNS), rows)
    context.add_output(path, key)


def _write_taxa(context: TaskContext, taxa: Sequence[tuple[Record, Resolution]]) -> None:
    rows = [
        (
            record.locality,
            found.accepted_key,
            found.species_key,
            found.species,
            "true" if _is_species(record, found) else "false",
            record.assessment,
            record.occurrence_id,
        )
        for record, found in taxa
    ]
    key = names.summary_key(context.month, names.RIIS_TAXA_CSV)
    order = TAXA_COLUMNS.index("riis_occurrence_id")
    path = _write_csv(context, key, TAXA_COLUMNS, sorted(rows, key=lambda row: (row[0], row[1], row[order])))
    context.add_output(path, key)


def _write_taxon_keys(context: TaskContext, taxon_keys: Mapping[str, str]) -> None:
    key = names.summary_key(context.month, names.TAXON_KEYS_CSV)
    context.add_output(_write_csv(context, key, ("taxonkey", "accepted_key"), sorted(taxon_keys.items())), key)


def _write_review(context: TaskContext, register: Register, resolutions: Mapping[str, Resolution]) -> int:
    """Every record that gives no status, CSV and Parquet; returns their number."""
    rows = []
    for record in register.records:
        found = resolutions[record.occurrence_id]
        if reason := _reason(record, found):
            about = (record.occurrence_id, record.locality, record.scientific_name)
            rows.append((*about, found.match_type, found.candidate, reason))
    rows.sort()
    key = names.output_key(context.month, "riis_review.csv")
    context.add_output(_write_csv(context, key, REVIEW_COLUMNS, rows), key)
    cells = [{name: cell or None for name, cell in zip(REVIEW_COLUMNS, row, strict=True)} for row in rows]
    table = pa.Table.from_pylist(cells, pa.schema([(name, pa.string()) for name in REVIEW_COLUMNS]))
    path = context.workdir / "riis_review.parquet"
    pq.write_table(table, path)
    context.add_output(path, names.output_key(context.month, "riis_review.parquet"))
    return len(rows)


def _reason(record: Record, resolution: Resolution) -> str:
    """Why the record gives no status, or nothing."""
    return "; ".join(dict.fromkeys(filter(None, (record.fault, resolution.reason))))


def _write_csv(context: TaskContext, key: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    path = context.workdir / key.replace("/", "__")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    return path
