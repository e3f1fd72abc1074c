"""A small server that speaks the part of GBIF's name matching (v2) that BISON uses, from a taxonomy in memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Taxon:
    """A name usage of a checklist, in the words of GBIF's answers.

    key: the checklist's own identifier. name: with authorship and rank marker (``Acer tataricum subsp. ginnala
    (Maxim.) Wesm.``). canonical_name: without both (``Acer tataricum ginnala``). rank: GBIF's vocabulary, upper case
    (``SPECIES``). status: ``ACCEPTED``, ``PROVISIONALLY_ACCEPTED``, ``SYNONYM`` …. accepted_key: of a synonym, the
    accepted taxon's. parent_key: of an accepted taxon below kingdom, the next higher taxon's; a synonym has none, its
    classification is that of its accepted taxon.
    """

    key: str
    name: str
    canonical_name: str
    authorship: str
    rank: str
    status: str = "ACCEPTED"
    accepted_key: str | None = None
    parent_key: str | None = None


@dataclass(frozen=True)
class Taxonomy:
    """A checklist as one version of GBIF's index holds it.

    checklist_key: GBIF's checklistKey. index_version: what the metadata names (its ``datasetAlias``). taxa: in any
    order; keys are unique, and every accepted_key and parent_key is among them.
    """

    checklist_key: str
    index_version: str
    taxa: tuple[Taxon, ...]
