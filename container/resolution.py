"""What GBIF's answers mean: which taxon a register's name stands for, and whose keys a snapshot carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from container.gbif import EXACT, HIGHERRANK, REFUSED, Answer, Question, is_for
from container.register import authors_agree
from workflow.status import RANKS, SPECIES_RANK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from container.gbif import Matcher
    from container.register import Record
    from container.snapshot_reader import SnapshotKeys
    from workflow.status import Checklist

Progress = Callable[[str, int, int], None]
"""A label, how much is done, and of how much."""

_KINGDOMS = frozenset({"animalia", "plantae", "fungi", "chromista", "protozoa", "bacteria", "archaea", "viruses"})
SAMPLED_SPECIES = 50
SAMPLED_RECORDS = 40


@dataclass(frozen=True)
class Resolution:
    """What became of a name.

    reason: why it was not taken, in plain words; empty if it was. Then accepted_key, accepted_name and accepted_rank
    are the accepted taxon's, and species_key and species those of its species (empty if the checklist has none above
    it). candidate: what GBIF found instead, or the taxon that was taken. doubted: the answer contradicts the question,
    itself or its checklist, as no sound service's does.
    """

    match_type: str
    accepted_key: str = ""
    accepted_name: str = ""
    accepted_rank: str = ""
    species_key: str = ""
    species: str = ""
    candidate: str = ""
    reason: str = ""
    doubted: bool = False

    @property
    def taken(self) -> bool:
        """Whether the name stands for a taxon."""
        return not self.reason

    def refuse(self, reason: str) -> Resolution:
        """The same name, not taken after all."""
        return Resolution(self.match_type, candidate=self.candidate, reason=reason, doubted=True)


def questions_for(record: Record) -> tuple[Question, ...]:
    """What to ask for a record, the better question first: a wrong kingdom can hide a good match."""
    if not record.name.text:
        return ()
    question = Question(record.name.text, record.name.authorship, record.rank, record.kingdom)
    return (question, replace(question, kingdom="")) if record.kingdom else (question,)


def judge(question: Question, answer: Answer, checklist: Checklist, kingdom: str = "") -> Resolution:
    """Take an exact match at species rank or below; say of everything else why not.

    kingdom: what the register says, whether or not GBIF was asked with it. A match in another kingdom is a homonym,
    unless the authors agree.
    """
    usage, accepted = answer.usage, answer.accepted
    if answer.match_type == REFUSED:
        return Resolution(answer.match_type, reason=f"GBIF did not take the question ({answer.note})")
    if usage is None or accepted is None:
        several = answer.note.startswith("Multiple equal matches")
        reason = "GBIF knows several taxa of this name" if several else "GBIF's checklist has no such name"
        return Resolution(answer.match_type, reason=reason)
    candidate = f"{usage.name} ({usage.rank.lower()}, {usage.key})"
    if accepted.key != usage.key:
        candidate += f" = {accepted.name} ({accepted.rank.lower()}, {accepted.key})"
    refused = Resolution(answer.match_type, candidate=candidate)
    if answer.match_type == HIGHERRANK:
        return replace(refused, reason=f"GBIF's checklist has only the {usage.rank.lower()} {usage.canonical_name}")
    if answer.match_type != EXACT:
        return replace(refused, reason="GBIF's checklist has no such name, only a similar one")
    if not is_for(answer, question):
        return refused.refuse("GBIF answered with another name than it was asked for")
    if accepted.rank not in RANKS:
        return replace(refused, reason=f"the name stands for a {accepted.rank.lower()}, not for a species or less")
    if answer.synonym and accepted.key == usage.key:
        return replace(refused, reason="GBIF calls the name a synonym and does not say of what")
    species = accepted if accepted.rank == SPECIES_RANK else answer.at_rank(SPECIES_RANK)
    in_classification = answer.at_rank(accepted.rank)
    keys = [accepted.key, *([species.key] if species else [])]
    if unfit := [key for key in keys if not checklist.is_usable(key)]:
        return refused.refuse(f"GBIF answered with the key {unfit[0]}, which is none of {checklist.name}")
    if in_classification is not None and in_classification.key != accepted.key:
        return refused.refuse("GBIF's answer contradicts itself: its classification ends in another taxon")
    if _in_another_kingdom(answer, kingdom) and not authors_agree(question.authorship, usage.authorship):
        return replace(refused, reason=f"the only exact match is outside {kingdom}: another taxon of the same name?")
    return Resolution(
        match_type=answer.match_type,
        accepted_key=accepted.key,
        accepted_name=accepted.name,
        accepted_rank=accepted.rank,
        species_key=species.key if species else "",
        species=(species.canonical_name or species.name) if species else "",
        candidate=candidate,
    )


def _in_another_kingdom(answer: Answer, kingdom: str) -> bool:
    """Whether both kingdoms are such as the register has, and differ. GBIF puts viruses and bacteria into others."""
    found = answer.at_rank("KINGDOM")
    both = {kingdom.lower(), found.name.lower() if found else ""}
    return len(both) == 2 and both <= _KINGDOMS


# ---------------------------------------------------------------------------- many records


def resolve(records: Sequence[Record], matcher: Matcher, progress: Progress) -> dict[str, Resolution]:
    """A resolution for each record, by its identifier: its second question is asked where the first brought nothing."""
    asked = {record.occurrence_id: questions_for(record) for record in records}
    found = {record.occurrence_id: Resolution("", reason="the record has no scientific name") for record in records}
    for turn, label in enumerate(("Resolving names", "Asking again without kingdom")):
        open_records = [
            (record, asked[record.occurrence_id][turn])
            for record in records
            if len(asked[record.occurrence_id]) > turn and not found[record.occurrence_id].taken
        ]
        answers = matcher.ask((question for _record, question in open_records), partial(progress, label))
        for record, question in open_records:
            resolution = judge(question, answers[question], matcher.checklist, record.kingdom)
            if turn == 0 or resolution.match_type == EXACT:
                found[record.occurrence_id] = resolution
    return found


def held_against(
    resolutions: Mapping[str, Resolution], keys: SnapshotKeys, checklist: Checklist
) -> dict[str, Resolution]:
    """The resolutions, less those that the snapshot contradicts: it has the species, and under other keys only.

    Such a record would match nothing, and its species become native without a word.
    """
    by_species = keys.keys_of(
        {resolution.species for resolution in resolutions.values() if resolution.species}, checklist
    )
    held = {}
    for record, resolution in resolutions.items():
        there = by_species.get(resolution.species)
        if resolution.taken and there and resolution.species_key not in there:
            resolution = resolution.refuse(
                f"the snapshot has {resolution.species} under the key {', '.join(sorted(there))}, "
                f"GBIF's name matching under {resolution.species_key}"
            )
        held[record] = resolution
    return held


# ---------------------------------------------------------------------------- the snapshot's taxonomy


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against a snapshot's keys being a checklist's.

    same, other: of the snapshot's most frequent species, how many GBIF's matching in this checklist gives the same
    key and how many another. records: how many of the register were asked for; found: whose keys occur in the
    snapshot. A species all of whose keys cannot be the checklist's counts as other; one that GBIF does not know says
    nothing.
    """

    matcher: Matcher
    same: int
    other: int
    records: int
    found: int

    @property
    def weight(self) -> int:
        """Above zero if more names have the snapshot's keys than others. A species may well be absent, so that a
        register's key that does not occur says nothing against the checklist."""
        return self.same + self.found - self.other

    def __str__(self) -> str:
        return (
            f"{self.matcher.checklist.name} ({self.matcher.index_version}): of the snapshot's most frequent species "
            f"{self.same} have the same key there and {self.other} another; of {self.records} names of the register "
            f"{self.found} have a key that occurs in the snapshot"
        )


def weigh(records: Sequence[Record], keys: SnapshotKeys, matcher: Matcher) -> Evidence:
    """Ask for the snapshot's frequent species and for some of the register's names, and compare the keys."""
    checklist = matcher.checklist
    frequent = keys.frequent_species(SAMPLED_SPECIES)
    usable_keys = keys.keys_of(frequent, checklist)
    questions = {species: Question(species, rank=SPECIES_RANK) for species in frequent if species in usable_keys}
    answers = matcher.ask(questions.values())
    same, other = 0, len(frequent) - len(questions)
    for species, question in questions.items():
        resolution = judge(question, answers[question], checklist)
        if resolution.taken and resolution.species_key in usable_keys[species]:
            same += 1
        elif resolution.taken or resolution.doubted:
            other += 1
    sample = records[:: max(1, len(records) // SAMPLED_RECORDS)][:SAMPLED_RECORDS]
    resolutions = [found for found in resolve(sample, matcher, _no_progress).values() if found.taken]
    occurring = keys.occurring({key for found in resolutions for key in (found.accepted_key, found.species_key)})
    found_records = sum(not occurring.isdisjoint((found.accepted_key, found.species_key)) for found in resolutions)
    return Evidence(matcher, same, other, len(sample), found_records)


def _no_progress(_label: str, _done: int, _total: int) -> None:
    pass
