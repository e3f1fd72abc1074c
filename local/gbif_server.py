"""A small server that speaks the part of GBIF's name matching (v2) that BISON uses, from a taxonomy in memory.

It answers in the shape of GBIF's own answers, and on request it throttles, breaks off, hangs and lies like a service
on a bad day.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from workflow.status import BACKBONE, RANKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RANK_MARKERS = frozenset({"subsp.", "ssp.", "var.", "f.", "subvar.", "subf.", "nothosubsp.", "nothovar."})
HIGHER_RANKS = frozenset({"DOMAIN", "KINGDOM", "PHYLUM", "CLASS", "ORDER", "FAMILY", "GENUS"})
MOST_QUERIES = 1000
"""The longest batch that GBIF takes."""
VARIANT_SIMILARITY = 0.88


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


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as shares (0 to 1) of the requests; drawn anew for each request, from a fixed seed.

    too_many: 429. unavailable: 503. cut_off: a body that ends early. hang: no answer for ``hang_seconds``. html: a
    page in place of JSON. retry_after: the header of 429 and 503, None for none.
    """

    too_many: float = 0.0
    unavailable: float = 0.0
    cut_off: float = 0.0
    hang: float = 0.0
    html: float = 0.0
    retry_after: str | None = None
    hang_seconds: float = 60.0


@dataclass(frozen=True)
class Lies:
    """Answers that look right and are not.

    shuffled_batch: a batch's answers in another order. short_batch: one answer too few. ignores_classification: a
    batch's kingdoms have no effect. other_names: every answer is for the taxonomy's first species. wrong_keys: keys
    that no snapshot has. ignores_checklist: the first taxonomy answers for all.
    """

    shuffled_batch: bool = False
    short_batch: bool = False
    ignores_classification: bool = False
    other_names: bool = False
    wrong_keys: bool = False
    ignores_checklist: bool = False


class _Index:
    """A taxonomy's taxa by key and by canonical name."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.by_key = {taxon.key: taxon for taxon in taxonomy.taxa}
        self.by_name: dict[str, list[Taxon]] = {}
        self.by_genus: dict[str, list[Taxon]] = {}
        for taxon in taxonomy.taxa:
            words = taxon.canonical_name.lower().split()
            self.by_name.setdefault(" ".join(words), []).append(taxon)
            if len(words) > 1:
                self.by_genus.setdefault(words[0], []).append(taxon)

    def match(
        self, name: str, authorship: str = "", rank: str = "", kingdom: str = "", usage_key: str = ""
    ) -> dict[str, Any]:
        """The answer's JSON for one question."""
        if usage_key:
            note = "All provided names were ignored since the usageKey was provided"
            taxon = self.by_key.get(usage_key)
            return self._answer(taxon, "EXACT", 100, note) if taxon else _no_match(note)
        words = [
            word
            for word in name.replace("×", " ").split()
            if word not in ("x", "X") and word.lower() not in RANK_MARKERS
        ]
        higher: Taxon | None = None
        for length in range(len(words), 0, -1):
            taxa = [
                taxon
                for taxon in self.by_name.get(" ".join(words[:length]).lower(), ())
                if not kingdom or self._kingdom(taxon) == kingdom.lower()
            ]
            rest = words[length:]
            if not taxa:
                continue
            if rest and (length == 1 or rest[0][0].islower()):
                higher = higher or taxa[0]
                continue
            chosen = _narrow(taxa, authorship or " ".join(rest), rank)
            if len(chosen) > 1:
                return _no_match(f"Multiple equal matches for {name}")
            return self._answer(chosen[0], "EXACT", 98)
        if similar := self._most_similar(" ".join(words[:3]).lower(), kingdom):
            return self._answer(similar, "VARIANT", 85)
        return self._answer(higher, "HIGHERRANK", 94) if higher else _no_match()

    def _most_similar(self, name: str, kingdom: str) -> Taxon | None:
        scored = [
            (SequenceMatcher(None, name, taxon.canonical_name.lower()).ratio(), taxon.key, taxon)
            for taxon in self.by_genus.get(name.partition(" ")[0], ())
            if not kingdom or self._kingdom(taxon) == kingdom.lower()
        ]
        best = max(scored, default=None)
        return best[2] if best and best[0] >= VARIANT_SIMILARITY else None

    def _lineage(self, taxon: Taxon) -> list[Taxon]:
        """From the kingdom down to the accepted taxon."""
        lineage = [self._accepted(taxon)]
        while lineage[0].parent_key is not None:
            lineage.insert(0, self.by_key[lineage[0].parent_key])
        return lineage

    def _accepted(self, taxon: Taxon) -> Taxon:
        return taxon if taxon.accepted_key is None else self.by_key[taxon.accepted_key]

    def _kingdom(self, taxon: Taxon) -> str:
        return next((above.canonical_name.lower() for above in self._lineage(taxon) if above.rank == "KINGDOM"), "")

    def _answer(self, taxon: Taxon, match_type: str, confidence: int, note: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = {"usage": {**_usage(taxon), "status": taxon.status}}
        if taxon.accepted_key is not None:
            answer["acceptedUsage"] = _usage(self._accepted(taxon))
        answer["classification"] = [
            {"key": above.key, "name": above.canonical_name, "rank": above.rank} for above in self._lineage(taxon)
        ]
        answer["diagnostics"] = {"matchType": match_type, "confidence": confidence, "timeTaken": 0}
        if note:
            answer["diagnostics"]["note"] = note
        answer["synonym"] = taxon.accepted_key is not None
        return answer


def _narrow(taxa: list[Taxon], authorship: str, rank: str) -> list[Taxon]:
    """Of homonyms, those that authorship, rank and status speak for, in this order."""
    for speaks_for in (
        lambda taxon: authorship and _letters(taxon.authorship) == _letters(authorship),
        lambda taxon: taxon.rank == rank.upper(),
        lambda taxon: taxon.status == "ACCEPTED",
    ):
        taxa = [taxon for taxon in taxa if speaks_for(taxon)] or taxa
    return taxa


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _usage(taxon: Taxon) -> dict[str, str]:
    members = {
        "key": taxon.key,
        "name": taxon.name,
        "canonicalName": taxon.canonical_name,
        "authorship": taxon.authorship,
        "rank": taxon.rank,
        "type": "SCIENTIFIC",
    }
    return {name: value for name, value in members.items() if value}


def _no_match(note: str = "") -> dict[str, Any]:
    diagnostics: dict[str, Any] = {"matchType": "NONE", "issues": [], "confidence": 100, "timeTaken": 0}
    if note:
        diagnostics["note"] = note
    return {"diagnostics": diagnostics, "synonym": False}


class _BadRequestError(Exception):
    pass


class GbifServer:
    """GBIF's name matching on 127.0.0.1, at ``url`` (ending in ``/v2``), for as long as the ``with`` block lasts.

    taxonomies: the checklists that it knows; another one gets 404, a missing checklistKey GBIF's backbone. latency:
    seconds a request; per_name: seconds for each name of a batch beside that. batch: whether POST is there.
    requests: how many came; asked: how often each name (or usage key) was asked, by whatever way.
    """

    def __init__(
        self,
        taxonomies: Iterable[Taxonomy],
        *,
        latency: float = 0.0,
        per_name: float = 0.0,
        batch: bool = True,
        faults: Faults | None = None,
        lies: Lies | None = None,
        seed: int = 0,
    ) -> None:
        self.indexes = {taxonomy.checklist_key: _Index(taxonomy) for taxonomy in taxonomies}
        self.latency = latency
        self.per_name = per_name
        self.batch = batch
        self.faults = faults or Faults()
        self.lies = lies or Lies()
        self.random = random.Random(seed)
        self.requests = 0
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"gbif": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """What TaskSettings calls ``gbif_api``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v2"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def fault(self) -> str | None:
        """What goes wrong with this request, if anything."""
        with self.lock:
            self.requests += 1
            draw = self.random.random()
        for name in ("too_many", "unavailable", "cut_off", "hang", "html"):
            draw -= getattr(self.faults, name)
            if draw < 0:
                return name
        return None

    def index(self, parameters: Mapping[str, str]) -> _Index | None:
        """The checklist that the address names, or None."""
        if self.lies.ignores_checklist:
            return next(iter(self.indexes.values()))
        return self.indexes.get(parameters.get("checklistKey", BACKBONE.key))

    def metadata(self, index: _Index) -> dict[str, Any]:
        """The answer to ``/match/metadata``."""
        ranks = Counter(taxon.rank for taxon in index.taxonomy.taxa)
        return {
            "mainIndex": {
                "datasetKey": index.taxonomy.checklist_key,
                "datasetAlias": index.taxonomy.index_version,
                "nameUsageCount": len(index.taxonomy.taxa),
                "nameUsageByRankCount": dict(ranks),
            }
        }

    def match(self, index: _Index, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Answer GET's parameters."""
        name = " ".join(filter(None, (parameters.get(part) for part in ("genericName", "specificEpithet"))))
        return self._match(
            index,
            name=parameters.get("scientificName", name),
            authorship=parameters.get("scientificNameAuthorship", ""),
            rank=parameters.get("taxonRank", ""),
            kingdom=parameters.get("kingdom", ""),
            usage_key=parameters.get("usageKey", ""),
        )

    def match_batch(self, index: _Index, queries: Any) -> list[dict[str, Any]]:
        """Answer POST's array. Its fields have other names than GET's; those that it does not know have no effect."""
        if not isinstance(queries, list) or not queries:
            raise _BadRequestError("No queries provided")
        if len(queries) > MOST_QUERIES:
            raise _BadRequestError(f"Too many queries provided, max {MOST_QUERIES}")
        answers = []
        for query in queries:
            rank = query.get("rank", "")
            if rank and rank not in RANKS and rank not in HIGHER_RANKS:
                raise _BadRequestError(f"JSON parse error: no Rank {rank!r}")
            kingdom = "" if self.lies.ignores_classification else query.get("classification", {}).get("kingdom", "")
            answers.append(
                self._match(
                    index,
                    name=query.get("scientificName", ""),
                    authorship=query.get("authorship", ""),
                    rank=rank,
                    kingdom=kingdom,
                    usage_key=query.get("usageKey", ""),
                )
            )
        if self.lies.shuffled_batch:
            self.random.shuffle(answers)
        return answers[1:] if self.lies.short_batch else answers

    def _match(self, index: _Index, **question: str) -> dict[str, Any]:
        with self.lock:
            self.asked[question["usage_key"] or question["name"]] += 1
        answer = index.match(**question)
        if self.lies.other_names:
            first = next(taxon for taxon in index.taxonomy.taxa if taxon.rank == "SPECIES")
            answer = index.match("", usage_key=first.key)
        if self.lies.wrong_keys:
            # Still of the checklist's own characters, so that only the snapshot can tell.
            parts = [part for part in (answer.get("usage"), answer.get("acceptedUsage")) if part]
            for part in (*parts, *answer.get("classification", ())):
                part["key"] = part["key"] + "99"
        return answer


class _Handler(BaseHTTPRequestHandler):
    gbif: GbifServer
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    """Head and body leave together: as two packets each would wait for the other's acknowledgement."""

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._post)

    def _get(self, path: str, parameters: Mapping[str, str], _body: bytes) -> tuple[int, Any]:
        index = self.gbif.index(parameters)
        if index is None or path not in ("/v2/species/match", "/v2/species/match/metadata"):
            return HTTPStatus.NOT_FOUND, {"message": "Not found"}
        if path.endswith("/metadata"):
            return HTTPStatus.OK, self.gbif.metadata(index)
        return HTTPStatus.OK, self.gbif.match(index, parameters)

    def _post(self, path: str, parameters: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        index = self.gbif.index(parameters)
        if index is None or path != "/v2/species/match":
            return HTTPStatus.NOT_FOUND, {"message": "Not found"}
        if not self.gbif.batch:
            return HTTPStatus.METHOD_NOT_ALLOWED, {"message": "Request method 'POST' is not supported"}
        try:
            queries = json.loads(body)
            answers = self.gbif.match_batch(index, queries)
        except (_BadRequestError, json.JSONDecodeError) as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error)}
        time.sleep(self.gbif.per_name * len(queries))
        return HTTPStatus.OK, answers

    def _serve(self, answer: Any) -> None:
        url = urlsplit(self.path)
        parameters = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.gbif.fault()
        time.sleep(self.gbif.latency)
        if fault == "hang":
            self.gbif.closing.wait(self.gbif.faults.hang_seconds)
            self.close_connection = True
        elif fault in ("too_many", "unavailable"):
            status = HTTPStatus.TOO_MANY_REQUESTS if fault == "too_many" else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, json.dumps({"message": status.phrase}), "application/json", throttled=True)
        elif fault == "html":
            self._send(HTTPStatus.OK, "<html><body>Down for maintenance</body></html>", "text/html")
        else:
            status, content = answer(url.path, parameters, body)
            self._send(status, json.dumps(content, ensure_ascii=False), "application/json", cut=fault == "cut_off")

    def _send(self, status: int, text: str, content_type: str, *, throttled: bool = False, cut: bool = False) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if throttled and self.gbif.faults.retry_after is not None:
            self.send_header("Retry-After", self.gbif.faults.retry_after)
        self.end_headers()
        self.close_connection = self.close_connection or cut
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on standard error."""
