"""What GBIF's answers mean: which taxon a register's name stands for, and whose keys a snapshot carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from container.gbif import EXACT, HIGHERRANK, REFUSED, Answer, Question, is_for
from container.register import authors_agree, canonical
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
_CODES_APART = tuple({"animalia", other} for other in ("plantae", "fungi", "chromista"))
SAMPLED_SPECIES = 50
SAMPLED_RECORDS = 40


@dataclass(frozen=True)
class Resolution:
    """What became of a name.

    reason: why it was not taken, in plain words; empty if it was. Then accepted_key, accepted_name and accepted_rank
    are the accepted taxon's, and species_key and species those of its species (empty if the checklist has none above
    it). kingdom: the accepted taxon's, if the answer tells it. candidate: what GBIF found instead, or the taxon that
    was taken. doubted: the answer contradicts the question, itself or its checklist, as no sound service's does.
    """

    match_type: str
    accepted_key: str = ""
    accepted_name: str = ""
    accepted_rank: str = ""
    species_key: str = ""
    species: str = ""
    kingdom: str = ""
    candidate: str = ""
    reason: str = ""
    doubted: bool = False

    @property
    def taken(self) -> bool:
        """Whether the name stands for a taxon."""
        return not self.reason

    def refuse(self, reason: str, *, doubted: bool = True) -> Resolution:
        """The same name, not taken after all."""
        return Resolution(self.match_type, candidate=self.candidate, reason=reason, doubted=doubted)


def questions_for(record: Record) -> tuple[Question, ...]:
    """What to ask for a record, the better question first: a wrong kingdom can hide a good match."""
    if not record.name.text:
        return ()
    question = Question(record.name.text, record.name.authorship, record.rank, record.kingdom)
    return (question, replace(question, kingdom="")) if record.kingdom else (question,)


def judge(question: Question, answer: Answer, checklist: Checklist, kingdom: str = "") -> Resolution:
    """Take an exact match at species rank or below; say of everything else why not.

    kingdom: what the register says, whether or not GBIF was asked with it. A match in another kingdom can be a homonym.
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
        return replace(refused, reason=f"GBIF's checklist has only the {usage.rank.lower()} {usage.bare_name}")
    if answer.match_type != EXACT:
        return replace(refused, reason="GBIF's checklist has no such name, only a similar one")
    if not is_for(answer, question):
        return refused.refuse("GBIF answered with another name than it was asked for")
    if not accepted.rank:
        return replace(refused, reason="GBIF does not say of which rank the name is")
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
    if _is_homonym(question, answer, kingdom):
        return replace(refused, reason=f"the only exact match is outside {kingdom}: another taxon of the same name?")
    return Resolution(
        match_type=answer.match_type,
        accepted_key=accepted.key,
        accepted_name=accepted.name,
        accepted_rank=accepted.rank,
        species_key=species.key if species else "",
        species=species.bare_name if species else "",
        kingdom=_kingdom(answer),
        candidate=candidate,
    )


def _kingdom(answer: Answer) -> str:
    found = answer.at_rank("KINGDOM")
    return found.bare_name.lower() if found else ""


def _is_homonym(question: Question, answer: Answer, kingdom: str) -> bool:
    """Whether the match is another taxon of the same name: in another kingdom, and by another author.

    If one of the two authors is not known, animals and others are held apart, whose names may be alike by their codes;
    other kingdoms differ from checklist to checklist. GBIF puts viruses and bacteria into kingdoms of its own.
    """
    both = {kingdom.lower(), _kingdom(answer)}
    if answer.usage is None or len(both) == 1 or not both <= _KINGDOMS:
        return False
    if question.authorship and answer.usage.author:
        return not authors_agree(question.authorship, answer.usage.author)
    return "animalia" in both


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
    resolutions: Mapping[str, Resolution], keys: SnapshotKeys, matcher: Matcher, progress: Progress
) -> dict[str, Resolution]:
    """The resolutions, less those that the snapshot contradicts: it has the species, and under other keys only.

    Such a record would match nothing, and its species become native without a word. A homonym of another kingdom, which
    GBIF knows by the snapshot's key, is no contradiction.
    """
    checklist = matcher.checklist
    taken = [resolution for resolution in resolutions.values() if resolution.taken]
    by_species = keys.keys_of({resolution.species for resolution in taken if resolution.species}, checklist)
    occurring = keys.occurring({resolution.accepted_key for resolution in taken})
    there = {
        record: by_species[canonical(found.species)]
        for record, found in resolutions.items()
        if found.taken
        and by_species.get(canonical(found.species))
        and found.species_key not in by_species[canonical(found.species)]
        and found.accepted_key not in occurring
    }
    questions = {key: Question(usage_key=key) for key in sorted(set().union(*there.values()))}
    answers = matcher.ask(questions.values(), partial(progress, "Asking for the snapshot's keys of these species"))
    kingdoms = {
        key: _kingdom(answers[question])
        for key, question in questions.items()
        if answers[question].match_type == EXACT and is_for(answers[question], question)
    }
    held = dict(resolutions)
    for record, species_keys in there.items():
        found = resolutions[record]
        if all({kingdoms.get(key, ""), found.kingdom} in _CODES_APART for key in species_keys):
            continue
        held[record] = found.refuse(
            f"the snapshot has {found.species} under the key {', '.join(sorted(species_keys))}, "
            f"GBIF's name matching under {found.species_key}",
            doubted=False,
        )
    return held


# ---------------------------------------------------------------------------- the snapshot's taxonomy


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against a snapshot's keys being a checklist's.

    frequent: the snapshot's most frequent species that have a usable key; same, other: how many of them GBIF's matching
    in this checklist gives the same key and how many another. records: how many of the register were asked for, those
    first whose names the snapshot has; resolved: how many stand for a taxon; found: whose keys occur in the snapshot;
    missed: whose species occurs under other keys only. A species that GBIF does not know says nothing, nor does one
    that the snapshot has not. faulty: share of the snapshot's rows whose taxonkey does not fit. refused: what GBIF said
    when it did not take a question.
    """

    matcher: Matcher
    frequent: int
    same: int
    other: int
    records: int
    resolved: int
    found: int
    missed: int
    faulty: float
    refused: str

    @property
    def weight(self) -> int:
        """Above zero if more names have the snapshot's keys than others."""
        return self.same + self.found - self.other - self.missed

    @property
    def convinces(self) -> bool:
        """Whether the snapshot's keys are this checklist's, as far as can be told.

        Where GBIF knows none of the snapshot's species and the snapshot none of the register's, nothing can be missed:
        then it is enough that GBIF knows the register's names and that most of the snapshot's keys have the form.
        """
        if self.same + self.found + self.other + self.missed == 0:
            return self.resolved > 0 and self.faulty < 0.5
        return self.weight > 0

    def __str__(self) -> str:
        text = (
            f"{self.matcher.checklist.name} ({self.matcher.index_version}): of the snapshot's {self.frequent} most "
            f"frequent species {self.same} have the same key there and {self.other} another; of {self.records} names "
            f"of the register {self.resolved} stand for a taxon, {self.found} for one whose key occurs in the snapshot "
            f"and {self.missed} for one that has another key there; {self.faulty:.0%} of the snapshot's rows have a "
            "key of another form"
        )
        return f"{text}; GBIF did not take questions ({self.refused})" if self.refused else text


def weigh(records: Sequence[Record], keys: SnapshotKeys, matcher: Matcher) -> Evidence:
    """Ask for the snapshot's frequent species and for some of the register's names, and compare the keys."""
    checklist = matcher.checklist
    frequent = keys.frequent_species(SAMPLED_SPECIES, checklist)
    usable_keys = keys.keys_of(frequent, checklist)
    questions = {species: Question(species, rank=SPECIES_RANK) for species in frequent}
    answers = matcher.ask(questions.values())
    same = other = 0
    for species, question in questions.items():
        resolution = judge(question, answers[question], checklist)
        if resolution.taken and resolution.species_key in usable_keys[canonical(species)]:
            same += 1
        elif resolution.taken or resolution.doubted:
            other += 1
    sample = _sample(records, keys)
    resolutions = [found for found in resolve(sample, matcher, no_progress).values() if found.taken]
    occurring = keys.occurring({key for found in resolutions for key in (found.accepted_key, found.species_key)})
    by_species = keys.keys_of({found.species for found in resolutions}, checklist)
    found_records = [
        found for found in resolutions if not occurring.isdisjoint((found.accepted_key, found.species_key))
    ]
    missed = sum(
        1
        for found in resolutions
        if occurring.isdisjoint((found.accepted_key, found.species_key)) and by_species.get(canonical(found.species))
    )
    return Evidence(
        matcher=matcher,
        frequent=len(frequent),
        same=same,
        other=other,
        records=len(sample),
        resolved=len(resolutions),
        found=len(found_records),
        missed=missed,
        faulty=keys.faulty_share("taxonkey", checklist),
        refused=next((answer.note for answer in answers.values() if answer.match_type == REFUSED), ""),
    )


def _sample(records: Sequence[Record], keys: SnapshotKeys) -> list[Record]:
    """Some records from all over the register, first those whose names the snapshot has."""
    there = [record for record in records if keys.has_species(record.name.text)]
    spread = [one for some in (there, records) for one in some[:: max(1, len(some) // SAMPLED_RECORDS)]]
    return list({record.occurrence_id: record for record in spread}.values())[:SAMPLED_RECORDS]


def no_progress(_label: str, _done: int, _total: int) -> None:
    """For a few questions, which are soon asked."""
