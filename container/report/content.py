"""What the report says: sentences, figures and short tables, each bounded however large the month is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from container.manifest import LEFT_OUT, STATUS
from workflow.month import Month
from workflow.regions import BY_ABBREVIATION, L48
from workflow.status import INTRODUCED, INVASIVE, PRESUMED_NATIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from container.manifest import Manifest
    from container.report.inputs import ReportTables
    from container.statistics import DiversityStatistics

MOST_ROWS = 15
"""Rows of a table in the report: the whole is in the CSV file that the table names."""

MOST_REASONS = 10
"""Reasons of the review list, the commonest first."""

MOST_WATCHED = 4
"""Species of a state's watch list that the report names."""

REGION_WORDS = {"state": "States", "county": "Counties", "aiannh": "Tribal areas"}

ASSESSED = (INTRODUCED, INVASIVE, PRESUMED_NATIVE)

STATUS_WORDS = {
    INTRODUCED: "introduced",
    INVASIVE: "invasive",
    PRESUMED_NATIVE: "presumed native",
    "unresolved": "unresolved",
}

FUNNEL_WORDS = {
    "not_in_country": "outside the United States",
    "without_coordinates": "without coordinates",
    "not_present": "records of absence",
    "rank_above_species": "not identified to species",
    "other_basis_of_record": "other kinds of record (fossils, living collections, samples …)",
    "rows_in_no_county": "points in no county (mostly at sea)",
    "rows_in_territory": "points in a territory, which the register does not cover",
    "introduced": "introduced",
    "invasive": "invasive",
    "presumed_native": "presumed native",
    "unresolved": "unresolved: GBIF's keys cannot be used",
}

LICENSE_WORDS = {
    "unspecified": "not stated",
    "CC0_1_0": "CC0 1.0",
    "CC_BY_4_0": "CC BY 4.0",
    "CC_BY_NC_4_0": "CC BY-NC 4.0",
}


@dataclass(frozen=True)
class Column:
    """kind: ``text``, ``species``, ``status``, ``number`` or ``share`` (0 to 1): how the template writes a cell."""

    label: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """rows: a cell for each column, the first one heads its row. total: rows of the whole, which lies in ``file``."""

    caption: str
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    total: int
    file: str


@dataclass(frozen=True)
class Bar:
    """A part of a whole: share is 0 to 1, None if the whole is empty."""

    label: str
    rows: int
    share: float | None
    kept: bool = False


@dataclass(frozen=True)
class Changes:
    """since: the month compared with. totals: rows of whats_new by region and change. key_changes: rows of these."""

    since: str
    totals: Table
    nature: list[Table]
    key_changes: Table


@dataclass(frozen=True)
class WatchedState:
    """species: (name, where it is) of those with most records next door."""

    state: str
    total: int
    species: list[tuple[str, str]]


@dataclass(frozen=True)
class CountyShare:
    """share: of the county's species that are introduced or invasive; None where there is no number to show."""

    share: float | None
    text: str


@dataclass(frozen=True)
class Content:
    """Everything that the template places; it computes nothing itself."""

    month: str
    manifest: Manifest
    figures: list[tuple[int, str]]
    headlines: list[str]
    changes: Changes | None
    states: Table
    widespread: Table
    tribal_areas: Table
    watched: list[WatchedState]
    watch_total: int
    kept_bars: list[Bar]
    status_bars: list[Bar]
    licenses: list[Bar]
    review: list[tuple[Bar, str]]
    review_rest: int
    review_first: Table
    statistics: list[tuple[int, DiversityStatistics, str]]
    statistics_sentences: list[str]


def month_name(month: str) -> str:
    """``2026_11_01`` as people write it: ``November 2026``."""
    return f"{datetime.fromisoformat(Month.parse(month).snapshot_date):%B %Y}"


def counted(number: int, one: str, many: str) -> str:
    """``1 county``, ``3,233 counties``."""
    return f"{number:,} {one if number == 1 else many}"


def percent(share: float) -> str:
    """``12.3%``; a small share that is not zero never reads as zero, nor a large one as all."""
    if 0 < share < 0.001:
        return "under 0.1%"
    if 0.999 < share < 1:
        return "over 99.9%"
    return f"{share:.1%}"


def make_content(
    manifest: Manifest, tables: ReportTables, statistics: Sequence[tuple[int, DiversityStatistics, str]]
) -> Content:
    """Everything that the report says.

    statistics: for each presence threshold the numbers and the suffix of their files.
    """
    listed = _listed_species(tables.state_x_species_list)
    changes = _changes(manifest, tables.whats_new)
    watched = _watched(tables.watch_list)
    review, review_rest = _review(tables.riis_review)
    records = _total(tables.state_counts, "occ_count")
    counties = tables.county_counts.num_rows
    species = _distinct(tables.state_x_species_list, "species_key")
    invasive, introduced = _distinct_listed(listed, INVASIVE), _distinct_listed(listed, INTRODUCED)
    return Content(
        month=month_name(manifest.month),
        manifest=manifest,
        figures=[
            (records, "records placed in a county"),
            (counties, "counties with records"),
            (species, "species"),
            (introduced, "introduced in at least one state"),
            (invasive, "invasive in at least one state"),
        ],
        headlines=[
            *_change_headlines(manifest, tables.whats_new),
            *_state_headlines(tables.state_counts),
            *_watch_headlines(watched, tables.watch_list.num_rows),
            *_quality_headlines(manifest),
        ],
        changes=changes,
        states=_states(tables.state_counts),
        widespread=_widespread(listed),
        tribal_areas=_tribal_areas(tables.aiannh_counts),
        watched=watched,
        watch_total=tables.watch_list.num_rows,
        kept_bars=_kept_bars(manifest),
        status_bars=[
            _bar(FUNNEL_WORDS[name], manifest.funnel.status[name], manifest.funnel.us_rows, kept=name in ASSESSED)
            for name in STATUS
        ],
        licenses=[
            _bar(LICENSE_WORDS.get(name, name), rows, manifest.funnel.us_rows)
            for name, rows in sorted(manifest.licenses.items(), key=lambda item: -item[1])
        ],
        review=review,
        review_rest=review_rest,
        review_first=_review_first(tables.riis_review),
        statistics=list(statistics),
        statistics_sentences=_statistics_sentences(statistics),
    )


# ---------------------------------------------------------------------------- headlines


def _change_headlines(manifest: Manifest, whats_new: pa.Table) -> list[str]:
    if manifest.previous_month is None:
        return ["This is the first month with results: there is none before it to compare with."]
    since = month_name(manifest.previous_month)
    sentences = []
    for status in (INVASIVE, INTRODUCED):
        rows = _where(whats_new, region_type="state", change="new", riis_assessment=status)
        species = _distinct(rows, "species_key")
        if species == 0:
            sentences.append(f"No {status} species was new to a state since {since}.")
            continue
        most = _largest(rows, "occ_count", ("region", "species_key"), most=1)[0]
        sentences.append(
            f"{counted(species, f'{status} species was', f'{status} species were')} newly recorded in "
            f"{'a state' if rows.num_rows == 1 else 'states'} that had no record of "
            f"{'it' if species == 1 else 'them'} in {since}: "
            f"{counted(rows.num_rows, 'new state record', 'new state records')}, most of all "
            f"{most['species']} in {most['region_name']} ({counted(int(most['occ_count']), 'record', 'records')})."
        )
    changed = _distinct(_where(whats_new, region_type="state", change="status_changed"), "species_key")
    if changed:
        sentences.append(
            f"{counted(changed, 'species has', 'species have')} another status in a state than in {since}, "
            "because the register, or what its names resolve to, has changed."
        )
    keys = _distinct(_where(whats_new, change="key_changed"), "species_key")
    if keys:
        sentences.append(
            f"{counted(keys, 'species has', 'species have')} another identifier at GBIF than in {since}. "
            "This is no change in nature; the report keeps it apart."
        )
    return sentences


def _state_headlines(state_counts: pa.Table) -> list[str]:
    shares = [
        (share, row["census_state"])
        for row in state_counts.to_pylist()
        if (share := _listed_share(row)) is not None and _covered(row["census_state"])
    ]
    if not shares:
        return []
    highest, state = max(shares)
    if highest == 0:
        return ["No introduced or invasive species of the register was recorded in any state."]
    return [
        f"{_state_name(state)} has the highest share of introduced and invasive species among those recorded: "
        f"{percent(highest)}. The median state has {percent(float(np.median([share for share, _ in shares])))}."
    ]


def _watch_headlines(watched: list[WatchedState], total: int) -> list[str]:
    if not watched:
        return ["No state has an invasive species next door that is not in the state itself."]
    longest = max(watched, key=lambda state: state.total)
    return [
        f"The watch list names {counted(total, 'arrival', 'arrivals')} that may come next to "
        f"{counted(len(watched), 'state', 'states')}; {longest.state} has the longest list "
        f"({counted(longest.total, 'species', 'species')})."
    ]


def _quality_headlines(manifest: Manifest) -> list[str]:
    us_rows, status = manifest.funnel.us_rows, manifest.funnel.status
    if us_rows == 0:
        return ["The snapshot has no records of the United States."]
    assessed = sum(status[name] for name in ASSESSED)
    register = manifest.register
    resolved = (
        f"; {percent(register.resolved / register.records)} of the register's records were found in GBIF's taxonomy"
        if register.records
        else ""
    )
    return [f"{percent(assessed / us_rows)} of the {us_rows:,} US records could be given a status{resolved}."]


# ---------------------------------------------------------------------------- changes since last month

_REGION, _SPECIES, _STATUS = Column("Where"), Column("Species", "species"), Column("Status", "status")
_RECORDS = Column("Records", "number")


def _changes(manifest: Manifest, whats_new: pa.Table) -> Changes | None:
    if manifest.previous_month is None:
        return None
    since = month_name(manifest.previous_month)
    nature = [
        _change_table(
            whats_new,
            f"New in a {place}: {status} species",
            {"region_type": region_type, "change": "new", "riis_assessment": status},
            {"region_name": _REGION, "species": _SPECIES, "occ_count": _RECORDS},
        )
        for region_type, place in (("state", "state"), ("aiannh", "tribal area"), ("county", "county"))
        for status in (INVASIVE, INTRODUCED)
        if region_type == "state" or status == INVASIVE
    ]
    nature += [
        _change_table(
            whats_new,
            f"Another status than in {since}, by state",
            {"region_type": "state", "change": "status_changed"},
            {
                "region_name": _REGION,
                "species": _SPECIES,
                "previous_riis_assessment": Column(since, "status"),
                "riis_assessment": Column("Now", "status"),
                "occ_count": _RECORDS,
            },
        ),
        _change_table(
            whats_new,
            f"No longer recorded in a state: introduced and invasive species that had records in {since}",
            {"region_type": "state", "change": "gone", "previous_riis_assessment": [INTRODUCED, INVASIVE]},
            {
                "region_name": _REGION,
                "species": _SPECIES,
                "previous_riis_assessment": _STATUS,
                "previous_occ_count": Column(f"Records in {since}", "number"),
            },
        ),
    ]
    return Changes(
        since=since,
        totals=_change_totals(whats_new),
        nature=[table for table in nature if table.total],
        key_changes=_change_table(
            whats_new,
            "Only the identifier changed, by state",
            {"region_type": "state", "change": "key_changed"},
            {
                "region_name": _REGION,
                "species": _SPECIES,
                "previous_species_key": Column(f"Key in {since}"),
                "species_key": Column("Key now"),
                "occ_count": _RECORDS,
            },
        ),
    )


def _change_totals(whats_new: pa.Table) -> Table:
    changes = {
        "new": "New",
        "gone": "No longer recorded",
        "status_changed": "Another status",
        "key_changed": "Only the identifier",
    }
    rows = [
        (
            region_words,
            *(_where(whats_new, region_type=region_type, change=change).num_rows for change in changes),
        )
        for region_type, region_words in REGION_WORDS.items()
    ]
    columns = (Column("Species lists of"), *(Column(label, "number") for label in changes.values()))
    return Table("Changes in all, of all species and statuses", columns, rows, len(rows), "whats_new.csv")


def _change_table(
    whats_new: pa.Table, caption: str, conditions: dict[str, str | list[str]], columns: dict[str, Column]
) -> Table:
    """The rows of whats_new that meet the conditions, those with most records first."""
    found = _where(whats_new, **conditions)
    by = "previous_occ_count" if "previous_occ_count" in columns else "occ_count"
    rows = _largest(found, by, ("region", "species_key"))
    return Table(
        caption,
        tuple(columns.values()),
        [tuple(row[name] for name in columns) for row in rows],
        found.num_rows,
        "whats_new.csv",
    )


# ---------------------------------------------------------------------------- places


def _states(state_counts: pa.Table) -> Table:
    rows = [
        (
            _state_name(row["census_state"]),
            row["occ_count"],
            row["species_count"],
            *(
                (row["introduced_species_count"], row["invasive_species_count"], _listed_share(row))
                if _covered(row["census_state"])
                else (None, None, None)
            ),
            row["invasive_occ_count"] if _covered(row["census_state"]) else None,
            row["unresolved_occ_count"],
        )
        for row in state_counts.to_pylist()
    ]
    return Table(
        "Records and species by state, District of Columbia and territory",
        (
            Column("State"),
            Column("Records", "number"),
            Column("Species", "number"),
            Column("Introduced species", "number"),
            Column("Invasive species", "number"),
            Column("Share introduced or invasive", "share"),
            Column("Records of invasive species", "number"),
            Column("Unresolved records", "number"),
        ),
        sorted(rows),
        len(rows),
        "state_counts.csv",
    )


def _tribal_areas(aiannh_counts: pa.Table) -> Table:
    columns = {
        "aiannh_name": Column("Area"),
        "introduced_species_count": Column("Introduced species", "number"),
        "invasive_species_count": Column("Invasive species", "number"),
    }
    rows = _largest(aiannh_counts, "invasive_species_count", ("aiannh_name",))
    return Table(
        "Tribal areas with most invasive species recorded",
        tuple(columns.values()),
        [tuple(row[name] for name in columns) for row in rows],
        aiannh_counts.num_rows,
        "aiannh_counts.csv",
    )


def county_shares(county_counts: pa.Table) -> dict[str, CountyShare]:
    """By county_geoid, what the map shows and says of a county with records."""
    shares = {}
    for row in county_counts.to_pylist():
        name = row["state_county"] or row["county_geoid"]
        records = counted(int(row["occ_count"]), "record", "records")
        species = counted(int(row["species_count"]), "species", "species")
        covered = _covered(row["census_state"])
        share = _listed_share(row) if covered else None
        if not covered:
            text = f"{name}: {species}, {records}. Territories are not in the register."
        elif share is None:
            text = f"{name}: no species, {records}."
        else:
            listed = int(row["introduced_species_count"]) + int(row["invasive_species_count"])
            text = f"{name}: {percent(share)} ({listed:,} of {species}) introduced or invasive; {records}."
        shares[row["county_geoid"]] = CountyShare(share, text)
    return shares


def _covered(census_state: str) -> bool:
    """Whether the register covers the state. A state that the Census does not know is taken for one of the 48."""
    state = BY_ABBREVIATION.get(census_state)
    return (state.riis_region if state else L48) is not None


def _listed_share(row: dict[str, Any]) -> float | None:
    """Share of a region's species that are introduced or invasive.

    A species with records of both statuses counts in both, so the sum can exceed the species by a few.
    """
    if not row["species_count"]:
        return None
    listed = row["introduced_species_count"] + row["invasive_species_count"]
    return min(1.0, float(listed) / float(row["species_count"]))


def _state_name(census_state: str) -> str:
    state = BY_ABBREVIATION.get(census_state)
    return state.name if state else census_state


# ---------------------------------------------------------------------------- species


def _listed_species(state_x_species_list: pa.Table) -> pa.Table:
    """Introduced and invasive species, one row for each status: ``species_key, species, riis_assessment, …``."""
    listed = _where(state_x_species_list, riis_assessment=[INTRODUCED, INVASIVE])
    return listed.group_by(["species_key", "riis_assessment"]).aggregate(
        [("species", "min"), ("census_state", "count_distinct"), ("occ_count", "sum")]
    )


def _distinct_listed(listed: pa.Table, status: str) -> int:
    return _distinct(_where(listed, riis_assessment=status), "species_key")


def _widespread(listed: pa.Table) -> Table:
    invasive = _where(listed, riis_assessment=INVASIVE)
    rows = _largest(invasive, "census_state_count_distinct", ("occ_count_sum", "species_key"))
    rows.sort(key=lambda row: (-row["census_state_count_distinct"], -row["occ_count_sum"]))
    return Table(
        "The most widespread invasive species, by states where they are recorded",
        (_SPECIES, Column("States", "number"), _RECORDS),
        [(row["species_min"], row["census_state_count_distinct"], row["occ_count_sum"]) for row in rows],
        invasive.num_rows,
        "state_x_species_list.csv",
    )


def _watched(watch_list: pa.Table) -> list[WatchedState]:
    by_state: dict[str, list[dict[str, Any]]] = {}
    for row in watch_list.to_pylist():
        by_state.setdefault(row["census_state"], []).append(row)
    watched = []
    for state, rows in by_state.items():
        rows.sort(key=lambda row: (-(row["occ_count"] or 0), row["species_key"]))
        watched.append(
            WatchedState(_state_name(state), len(rows), [(row["species"], _nearby(row)) for row in rows[:MOST_WATCHED]])
        )
    return sorted(watched, key=lambda state: state.state)


def _nearby(row: dict[str, Any]) -> str:
    states = row["adjacent_states"]
    where = ", ".join(states.replace("|", " ").split() if isinstance(states, str) else states)
    seen = f" to {row['last_year']}" if row["last_year"] else ""
    return f"{where}: {counted(int(row['occ_count']), 'record', 'records')}{seen}"


# ---------------------------------------------------------------------------- quality


def _kept_bars(manifest: Manifest) -> list[Bar]:
    rows = manifest.funnel.snapshot_rows
    return [
        *(_bar(FUNNEL_WORDS[name], manifest.funnel.left_out[name], rows) for name in LEFT_OUT),
        _bar("kept: records of the United States", manifest.funnel.us_rows, rows, kept=True),
    ]


def _bar(label: str, rows: int, whole: int, kept: bool = False) -> Bar:
    return Bar(label, rows, rows / whole if whole else None, kept)


def _review(riis_review: pa.Table) -> tuple[list[tuple[Bar, str]], int]:
    """The commonest reasons with an example each, and how many records have another reason."""
    examples: dict[str, list[str]] = {}
    for row in riis_review.to_pylist():
        reason = _without_candidate(row["reason"] or "", row["candidate"] or "")
        examples.setdefault(reason, []).append(row["scientific_name"] or "")
    commonest = sorted(examples.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        (_bar(reason, len(found), riis_review.num_rows), found[0]) for reason, found in commonest[:MOST_REASONS]
    ], sum(len(found) for _, found in commonest[MOST_REASONS:])


def _without_candidate(reason: str, candidate: str) -> str:
    """The reason as it is the same for many records: without the candidate's name at its end."""
    words = reason.split()
    for start in range(1, len(words)):
        if candidate.startswith(" ".join(words[start:])):
            return " ".join([*words[:start], "…"])
    return reason


def _review_first(riis_review: pa.Table) -> Table:
    columns = {
        "scientific_name": Column("Name in the register", "species"),
        "locality": Column("Locality"),
        "match_type": Column("GBIF's match"),
        "candidate": Column("Candidate", "species"),
        "reason": Column("Reason"),
    }
    return Table(
        "Register records without an exact match",
        tuple(columns.values()),
        [tuple(row[name] for name in columns) for row in riis_review.slice(0, 15).to_pylist()],
        riis_review.num_rows,
        "riis_review.csv",
    )


def _statistics_sentences(statistics: Sequence[tuple[int, DiversityStatistics, str]]) -> list[str]:
    threshold, numbers, _ = statistics[0]
    sentences = [
        f"A species counts as present in a county that has at least "
        f"{counted(threshold, 'record', 'records')} of it: {counted(numbers.num_sites, 'county', 'counties')} and "
        f"{counted(numbers.num_species, 'species', 'species')}."
    ]
    if numbers.whittaker is not None and numbers.lande is not None:
        mean = numbers.num_species / numbers.whittaker
        sentences.append(
            f"A mean county has {mean:,.0f} species. The whole is {numbers.whittaker:,.1f} times as rich "
            f"(Whittaker's beta), that is {numbers.lande:,.0f} species more (Lande's)."
        )
    if numbers.schluter_species is not None:
        tendency = (
            "tend to occur in the same counties"
            if numbers.schluter_species > 1
            else "are spread more evenly over the counties than chance would have it"
        )
        sentences.append(
            f"The species {tendency} (Schluter's ratio of species {numbers.schluter_species:,.2f}; 1 is chance). "
            "Much of this is where people look: richness follows the number of records."
        )
    return sentences


# ---------------------------------------------------------------------------- tables


def _where(table: pa.Table, **conditions: str | list[str]) -> pa.Table:
    """The rows in which each column has the value, or one of the values."""
    for name, value in conditions.items():
        table = table.filter(pc.is_in(table[name], pa.array([value] if isinstance(value, str) else value)))
    return table


def _largest(table: pa.Table, by: str, then: tuple[str, ...], most: int = MOST_ROWS) -> list[dict[str, Any]]:
    """The rows with the largest values, in an order that the same data always give."""
    order = pc.sort_indices(table, sort_keys=[(by, "descending"), *((name, "ascending") for name in then)])
    rows: list[dict[str, Any]] = table.take(order[:most]).to_pylist()
    return rows


def _distinct(table: pa.Table, name: str) -> int:
    return int(pc.count_distinct(table[name]).as_py())


def _total(table: pa.Table, name: str) -> int:
    return int(pc.sum(table[name]).as_py() or 0)
