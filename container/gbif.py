"""GBIF's name matching (v2): its client with manners, a cache of its answers, and the batch call that is checked.

Sources: https://techdocs.gbif.org/en/openapi/v1/species, gbif/matching-ws, gbif-api's issues 204 and 227.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.metadata
import json
import random
import re
import time
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

import httpx

from container.register import canonical, parse_name
from container.task import TaskContext, TaskError
from workflow import names

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Sequence

    from workflow.status import Checklist

BATCH_QUESTIONS = 1000
"""The most that one POST may ask."""
FEW_QUESTIONS = 3
"""So few are asked one by one: trying the batch call first would cost more."""
COMPARED_QUESTIONS = 5
LOOKED_FOR_EXACT = 5
"""How many more are asked singly in search of an exact match: only such a one tells what the batch call reads."""
REFUSALS = 5
"""When GBIF refused so many questions and answered none, the others are not asked."""
CHECKED_IN_BATCH, CHECKED_EXACT = 3, 2
SINGLE_QUESTIONS = 50
"""How many are asked one by one before progress is told."""
SAVE_EVERY = 2000

GET_TIMEOUT = 15.0
BATCH_TIMEOUT = 90.0
FAILURES_IN_A_ROW = 12
TROUBLE_SECONDS = 180.0
"""So long may failures in a row take, waits that GBIF asked for left out."""
METADATA_ATTEMPTS = FORM_ATTEMPTS = 4
BATCH_ATTEMPTS, BATCH_TIMEOUTS = 5, 2
SENSELESS_ANSWERS = 10
"""So many names may be answered in a form that is not GBIF's before the service is given up."""
EFFORT_SECONDS = 2 * 3600.0
"""The step's limit is three hours: what is left is for the snapshot."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0
LONGEST_RETRY_AFTER = 900.0
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

EXACT, VARIANT, HIGHERRANK, NONE, REFUSED = "EXACT", "VARIANT", "HIGHERRANK", "NONE", "REFUSED"
_MATCH_TYPES = frozenset({EXACT, VARIANT, "FUZZY", "CANONICAL", "AMBIGUOUS", HIGHERRANK, NONE})


class GbifUnavailableError(Exception):
    """GBIF did not answer within the effort that the client makes."""


class _BatchUnusableError(Exception):
    """The batch call is not there, or its answers are not those of the single call."""


class _RefusedError(Exception):
    """GBIF says that the question is at fault (a 4xx other than those that ask for patience)."""


class _BadAnswerError(ValueError):
    """An answer of a form that is not GBIF's."""


class _GivenUpError(Exception):
    """No answer within the attempts that this call is worth."""


# ---------------------------------------------------------------------------- questions and answers


@dataclass(frozen=True)
class Question:
    """What GBIF is asked: a name with what is known of it, or a taxon's key alone (``usage_key``)."""

    scientific_name: str = ""
    authorship: str = ""
    rank: str = ""
    kingdom: str = ""
    usage_key: str = ""

    def parameters(self) -> dict[str, str]:
        """GET's parameters."""
        named = {
            "scientificName": self.scientific_name,
            "scientificNameAuthorship": self.authorship,
            "taxonRank": self.rank,
            "kingdom": self.kingdom,
            "usageKey": self.usage_key,
        }
        return {name: value for name, value in named.items() if value}

    def query(self) -> dict[str, Any]:
        """POST's member of the array, whose fields are named otherwise (matching-ws, NameUsageQuery)."""
        named = {
            "scientificName": self.scientific_name,
            "authorship": self.authorship,
            "rank": self.rank,
            "classification": {"kingdom": self.kingdom} if self.kingdom else None,
            "usageKey": self.usage_key,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True)
class Usage:
    """A name usage of the checklist. canonical_name and authorship may be empty: ``bare_name`` and ``author`` are not,
    if the name tells them."""

    key: str
    name: str
    canonical_name: str
    authorship: str
    rank: str

    @property
    def bare_name(self) -> str:
        """The name without its authorship."""
        return self.canonical_name or parse_name(self.name).text

    @property
    def author(self) -> str:
        """The name's authorship."""
        return self.authorship or parse_name(self.name).authorship


@dataclass(frozen=True)
class Answer:
    """GBIF's answer. usage: the name found; accepted: what it stands for (itself, unless it is a synonym).

    synonym: what GBIF says, so that a synonym without an accepted taxon can be told. classification: of the accepted
    taxon, from the top. note: GBIF's own words on a failure. REFUSED is our match type for a question that GBIF did
    not take.
    """

    match_type: str
    usage: Usage | None = None
    accepted: Usage | None = None
    synonym: bool = False
    classification: tuple[Usage, ...] = ()
    note: str = ""

    def at_rank(self, rank: str) -> Usage | None:
        """The member of the classification that has this rank."""
        return next((taxon for taxon in self.classification if taxon.rank == rank), None)

    @classmethod
    def from_json(cls, body: Any) -> Self:
        """Read a single answer. Raises ValueError if it is none of GBIF's."""
        try:
            match_type = body["diagnostics"]["matchType"].upper()
            if match_type not in _MATCH_TYPES:
                raise _BadAnswerError(f"the match type {match_type!r} is unknown")
            classification = tuple(_usage(taxon) for taxon in body.get("classification") or ())
            usage = _usage(body["usage"], classification) if body.get("usage") else None
            accepted = _usage(body["acceptedUsage"], classification) if body.get("acceptedUsage") else usage
            if usage is None and match_type != NONE:
                raise _BadAnswerError(f"{match_type} without a usage")
            status = str((body.get("usage") or {}).get("status") or "").upper()
            return cls(
                match_type=match_type,
                usage=usage,
                accepted=accepted,
                synonym=bool(body.get("synonym")) or accepted is not usage or "SYNONYM" in status,
                classification=classification,
                note=str(body["diagnostics"].get("note") or ""),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _BadAnswerError(f"an answer lacks {error}") from error


def _usage(body: dict[str, Any], classification: tuple[Usage, ...] = ()) -> Usage:
    if body["key"] in (None, ""):
        raise _BadAnswerError("a taxon's key is empty")
    key = str(body["key"])
    return Usage(
        key=key,
        name=str(body.get("name") or body.get("canonicalName") or ""),
        canonical_name=str(body.get("canonicalName") or ""),
        authorship=str(body.get("authorship") or ""),
        rank=str(body.get("rank") or next((taxon.rank for taxon in classification if taxon.key == key), "")).upper(),
    )


def is_for(answer: Answer, question: Question) -> bool:
    """Whether an exact match's usage is what was asked, by name or by key."""
    if answer.usage is None:
        return True
    if question.usage_key:
        return answer.usage.key == question.usage_key
    asked = canonical(question.scientific_name)
    return asked in (canonical(answer.usage.bare_name), canonical(answer.usage.name))


# ---------------------------------------------------------------------------- the client


class GbifClient:
    """One session with GBIF: one request at a time, with back-off, time limits and a User-Agent that has a contact.

    api: root of the API, ending in ``/v2``. requests: how many were sent. batch_usable: until the batch call turns out
    not to be there, or not to answer as the single call does.
    """

    def __init__(
        self,
        api: str,
        contact: str,
        log: logging.Logger,
        *,
        sleep: Callable[[float], None] = time.sleep,
        get_timeout: float = GET_TIMEOUT,
        batch_timeout: float = BATCH_TIMEOUT,
    ) -> None:
        if not api.startswith(("http://", "https://")):
            raise TaskError(f"GBIF's address {api!r} must begin with https:// (or http://) and end in /v2.")
        self.requests = 0
        self.batch_usable = True
        self._api = api.rstrip("/")
        self._log = log
        self._sleep = sleep
        self._get_timeout = get_timeout
        self._batch_timeout = batch_timeout
        self._failures = 0
        self._trouble = 0.0
        self._senseless = 0
        self._answered = False
        self._started = time.monotonic()
        self._http = httpx.Client(
            headers={"User-Agent": f"BISON-workflow/{_version()} (mailto:{contact})", "Accept": "application/json"},
            follow_redirects=True,
        )

    def close(self) -> None:
        """End the session."""
        self._http.close()

    def index_version(self, checklist: Checklist) -> str | None:
        """The version of GBIF's index of a checklist, as its metadata names it; None if it names none."""
        parameters = {"checklistKey": checklist.key}
        try:
            body = self._ask("GET", "/species/match/metadata", parameters, attempts=METADATA_ATTEMPTS)
        except (_RefusedError, _GivenUpError) as error:
            self._log.warning("GBIF's metadata: %s.", error)
            return None
        index = body.get("mainIndex") if isinstance(body, dict) else None
        if not isinstance(index, dict):
            return None
        parts = (index.get("datasetAlias"), index.get("clbDatasetKey"), body.get("created"))
        return " ".join(str(part) for part in parts if part) or None

    def ask(self, checklist: Checklist, question: Question) -> dict[str, Any]:
        """One question by GET; the answer's JSON, whose form is checked.

        Raises GbifUnavailableError, and _RefusedError if this question gets no sensible answer.
        """
        parameters = {**question.parameters(), "checklistKey": checklist.key}
        body: dict[str, Any] = self._ask("GET", "/species/match", parameters, check=Answer.from_json)
        self._answered = True
        return body

    def ask_batch(
        self, checklist: Checklist, questions: Sequence[Question], *, trial: bool = False
    ) -> list[dict[str, Any]]:
        """Up to BATCH_QUESTIONS by POST; the answers' JSON in the questions' order, as GBIF promises.

        trial: few questions, which need no more time than one.

        Raises _BatchUnusableError if the call is not there or does not answer each question.
        """
        queries = [question.query() for question in questions]
        try:
            body = self._ask(
                "POST",
                "/species/match",
                {"checklistKey": checklist.key},
                queries=queries,
                attempts=BATCH_ATTEMPTS,
                timeout=self._get_timeout if trial else self._batch_timeout,
            )
            if not isinstance(body, list) or len(body) != len(questions):
                count = len(body) if isinstance(body, list) else "no list of"
                raise _BatchUnusableError(f"it gave {count} answers to {len(questions)} questions")
            for answer in body:
                Answer.from_json(answer)
        except (_RefusedError, _GivenUpError, _BadAnswerError) as error:
            raise _BatchUnusableError(str(error)) from error
        return body

    def _ask(
        self,
        method: str,
        path: str,
        parameters: dict[str, str],
        *,
        queries: list[dict[str, Any]] | None = None,
        check: Callable[[Any], object] = lambda _body: None,
        attempts: int | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Send until there is an answer that ``check`` takes. A success ends the row of failures.

        Raises _GivenUpError after so many ``attempts`` (if not given, the client's own limits hold).
        """
        tried = timeouts = senseless = 0
        while True:
            tried += 1
            wanted_wait = 0.0
            begun = time.monotonic()
            try:
                response, content = self._send(method, path, parameters, queries, timeout or self._get_timeout)
                if response.status_code == httpx.codes.OK:
                    body = json.loads(content)
                    check(body)
                    self._failures, self._trouble = 0, 0.0
                    return body
                problem = f"HTTP {response.status_code}"
                if response.status_code not in _RETRIED_STATUS:
                    raise _RefusedError(f"{problem}: {' '.join(content.decode(errors='replace').split())[:200]}")
                wanted_wait = _retry_after(response.headers.get("Retry-After"))
            except httpx.TimeoutException:
                timeouts += 1
                problem = "no answer in time"
            except httpx.RequestError as error:
                problem = f"{type(error).__name__}: {error}"
            except (json.JSONDecodeError, UnicodeDecodeError):
                kind = response.headers.get("Content-Type", "no content type")
                problem = f"an answer that is no JSON ({kind})"
            except _BadAnswerError as error:
                problem = f"an answer that is none of GBIF's: {error}"
                senseless += 1
                if senseless >= FORM_ATTEMPTS:
                    self._senseless += 1
                    if not self._answered or self._senseless > SENSELESS_ANSWERS:
                        raise GbifUnavailableError(
                            f"GBIF ({self._api}) gave {problem}. Is this the address of version 2 of its API?"
                        ) from None
                    raise _RefusedError(problem) from None
                self._log.warning("GBIF: %s; asking again.", problem)
                self._sleep(FIRST_WAIT)
                continue
            if attempts and (tried >= attempts or (queries is not None and timeouts >= BATCH_TIMEOUTS)):
                self._failures += 1
                raise _GivenUpError(f"{problem}, {tried} times")
            self._wait(problem, wanted_wait, time.monotonic() - begun)

    def _send(
        self, method: str, path: str, parameters: dict[str, str], queries: list[dict[str, Any]] | None, timeout: float
    ) -> tuple[httpx.Response, bytes]:
        self.requests += 1
        deadline = time.monotonic() + timeout
        content = bytearray()
        with self._http.stream(method, self._api + path, params=parameters, json=queries, timeout=timeout) as response:
            for chunk in response.iter_bytes():
                content += chunk
                # httpx's own limit is for each read: a trickle would pass it.
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("too slow")
        return response, bytes(content)

    def _wait(self, problem: str, wanted: float, spent: float) -> None:
        self._failures += 1
        self._trouble += spent
        if self._failures >= FAILURES_IN_A_ROW or self._trouble > TROUBLE_SECONDS:
            raise GbifUnavailableError(
                f"GBIF ({self._api}) failed {self._failures} times in a row, the last time with: {problem}."
            )
        if wanted > LONGEST_RETRY_AFTER:
            raise GbifUnavailableError(
                f"GBIF ({self._api}) asks to come back in {wanted / 60:.0f} minutes ({problem})."
            )
        if time.monotonic() - self._started > EFFORT_SECONDS:
            raise GbifUnavailableError(
                f"GBIF ({self._api}) was asked for {EFFORT_SECONDS / 3600:.0f} hours, the last time with: {problem}."
            )
        own_wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self._failures - 1))
        self._trouble += own_wait if own_wait > wanted else 0.0
        wait = max(wanted, own_wait) * random.uniform(1.0, 1.2)
        self._log.warning("GBIF: %s; asking again in %.1f s.", problem, wait)
        self._sleep(wait)


def _retry_after(header: str | None) -> float:
    """Seconds to wait: the header is a number of them or an HTTP date (RFC 9110, 10.2.3)."""
    if not header:
        return 0.0
    if re.fullmatch(r"\s*[0-9]+(\.[0-9]*)?\s*", header):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _version() -> str:
    try:
        return importlib.metadata.version("bison-workflow")
    except importlib.metadata.PackageNotFoundError:
        # The image has the code, not the installed package.
        return "image"


# ---------------------------------------------------------------------------- the cache


class AnswerCache:
    """GBIF's answers to one version of one checklist, in S3: what was asked once is not asked again.

    An exact match of another name than asked holds for this run only: the next one asks again.
    """

    def __init__(self, context: TaskContext, checklist: Checklist, index_version: str) -> None:
        version = re.sub(r"[^0-9A-Za-z.-]+", "_", index_version)
        self.key = f"{names.CACHE}gbif/{checklist.key}/{version}.jsonl.gz"
        self._context = context
        self._bodies: dict[Question, dict[str, Any]] = {}
        self._strange: set[Question] = set()
        self._unsaved = 0
        content = context.read(self.key)
        if content is not None:
            try:
                for line in gzip.decompress(content).splitlines():
                    question, body = json.loads(line)
                    Answer.from_json(body)
                    self._bodies[Question(*question)] = body
            except (OSError, EOFError, ValueError, TypeError) as error:
                context.log.warning("The cache %s cannot be read (%s): its names are asked anew.", self.key, error)
                self._bodies.clear()

    def __contains__(self, question: Question) -> bool:
        return question in self._bodies

    def __getitem__(self, question: Question) -> Answer:
        return Answer.from_json(self._bodies[question])

    def __len__(self) -> int:
        return len(self._bodies)

    def questions(self) -> frozenset[Question]:
        """What it has answers to."""
        return frozenset(self._bodies)

    def body(self, question: Question) -> dict[str, Any]:
        """The answer's JSON, but for members that nobody reads."""
        return self._bodies[question]

    def add(self, question: Question, body: dict[str, Any]) -> None:
        """Keep an answer; now and then all of them go to S3."""
        self._bodies[question] = _trim(body)
        answer = self[question]
        if answer.match_type == EXACT and not is_for(answer, question):
            self._strange.add(question)
        self._unsaved += 1
        if self._unsaved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the cache, if it has grown."""
        if not self._unsaved:
            return
        lines = (
            json.dumps([astuple(question), body], ensure_ascii=False)
            for question, body in self._bodies.items()
            if question not in self._strange
        )
        content = gzip.compress("\n".join(lines).encode(), compresslevel=5)
        self._context.s3.put_object(Bucket=self._context.settings.bucket, Key=self.key, Body=content)
        self._unsaved = 0

    def forget(self) -> None:
        """Drop all answers, in S3 too: an attempt that did not trust them must not leave them to the next one."""
        self._bodies.clear()
        self._unsaved = 1
        self.save()


def _trim(body: dict[str, Any]) -> dict[str, Any]:
    """The members of an answer that Answer reads."""
    usage = ("key", "name", "canonicalName", "authorship", "rank", "status")
    trimmed: dict[str, Any] = {
        member: {name: body[member][name] for name in usage if name in body[member]}
        for member in ("usage", "acceptedUsage")
        if body.get(member)
    }
    trimmed["classification"] = [
        {name: taxon[name] for name in usage if name in taxon} for taxon in body.get("classification") or ()
    ]
    trimmed["diagnostics"] = {
        name: body["diagnostics"][name] for name in ("matchType", "note") if name in body["diagnostics"]
    }
    return trimmed | ({"synonym": body["synonym"]} if "synonym" in body else {})


# ---------------------------------------------------------------------------- many questions


class Matcher:
    """A checklist's answers to many questions: from the cache, by the batch call where it can be trusted, or singly.

    index_version: of GBIF's index of the checklist.
    """

    def __init__(self, context: TaskContext, client: GbifClient, checklist: Checklist) -> None:
        self.checklist = checklist
        self._client = client
        self._context = context
        try:
            version = client.index_version(checklist)
        except GbifUnavailableError as error:
            raise TaskError(f"{error} No name was asked yet; it is safe to retry.") from error
        if version is None:
            context.log.warning("GBIF names no index version of %s: the cache is kept for this month.", checklist.name)
        self.index_version = version or f"unnamed, {context.month}"
        self._cache = AnswerCache(context, checklist, self.index_version)
        self._singles_only = False
        self._proven: set[str] = set()
        self._random = random.Random(context.month.name)
        self._known = self._cache.questions()
        self._cached: set[Question] = set()

    @property
    def asked(self) -> int:
        """How many questions GBIF answered this time."""
        return len(self._cache.questions() - self._known)

    @property
    def cached(self) -> int:
        """How many were answered by what an earlier attempt or month had asked."""
        return len(self._cached)

    def forget(self) -> None:
        """Drop the answers from the cache: they cannot be trusted."""
        self._cache.forget()

    def ask(
        self, questions: Iterable[Question], progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> dict[Question, Answer]:
        """An answer to each question. What is answered stays in the cache whatever happens then.

        Raises TaskError if GBIF fails for too long: how many questions are left, and that a retry goes on from there.
        """
        wanted = list(dict.fromkeys(questions))
        open_questions = [question for question in wanted if question not in self._cache]
        self._cached.update(question for question in wanted if question in self._known)
        refused: dict[Question, Answer] = {}
        total = len(open_questions)
        try:
            while open_questions:
                unproven = [q for q in open_questions if not self._proven.issuperset(q.query())]
                one_by_one = self._singles_only or not self._client.batch_usable
                if one_by_one or len(open_questions) <= FEW_QUESTIONS:
                    self._ask_singly(open_questions[:SINGLE_QUESTIONS], refused)
                elif unproven:
                    self._try_batch(unproven)
                else:
                    self._ask_batch(open_questions[:BATCH_QUESTIONS])
                open_questions = [q for q in open_questions if q not in self._cache and q not in refused]
                if len(refused) >= REFUSALS and not len(self._cache):
                    # The checklist is none of this server's.
                    refused.update(dict.fromkeys(open_questions, next(iter(refused.values()))))
                    open_questions = []
                progress(total - len(open_questions), total)
        except GbifUnavailableError as error:
            left = sum(question not in self._cache and question not in refused for question in open_questions)
            raise TaskError(
                f"{error} {left} of {len(wanted)} names are left to ask. It is safe to retry: the {len(self._cache)} "
                f"answers so far are kept in s3://{self._context.settings.bucket}/{self._cache.key}."
            ) from error
        finally:
            self._cache.save()
        return {question: refused.get(question) or self._cache[question] for question in wanted}

    def _ask_singly(self, questions: Sequence[Question], refused: dict[Question, Answer]) -> None:
        for question in questions:
            try:
                self._cache.add(question, self._client.ask(self.checklist, question))
            except _RefusedError as error:
                refused[question] = Answer(REFUSED, note=str(error))
            if len(refused) >= REFUSALS and not len(self._cache):
                break

    def _try_batch(self, questions: Sequence[Question]) -> None:
        """Ask a few questions both ways, until each field of theirs has been asked so.

        A field that the batch call does not know has no effect and raises no error.
        """
        fields: set[str] = set()
        sample: list[Question] = []
        for question in sorted(questions, key=lambda question: -len(question.query())):
            if len(sample) < COMPARED_QUESTIONS or not fields.issuperset(question.query()):
                sample.append(question)
                fields.update(question.query())
        if sample[0].kingdom:
            # The wrong kingdom must hide what the right one finds: only so is it seen that the batch reads it.
            wrong = "Plantae" if sample[0].kingdom == "Animalia" else "Animalia"
            sample.append(replace(sample[0], kingdom=wrong))
        bodies: dict[Question, dict[str, Any]] = {}
        refused = 0
        for question in [*sample, *[question for question in questions if question not in sample][:LOOKED_FOR_EXACT]]:
            if refused >= REFUSALS or (len(bodies) >= len(sample) and any(map(_is_exact, bodies.values()))):
                break
            try:
                bodies[question] = self._cache_or_single(question)
            except _RefusedError:
                refused += 1
        if not fields.issubset(set().union(*(question.query() for question in bodies))):
            self._singles_only = True
            return
        # The wrong kingdom must hide what the right one finds: only so is it seen that the batch reads it.
        with_kingdom = [question for question in bodies if question.kingdom]
        for question in sorted(with_kingdom, key=lambda question: not _is_exact(bodies[question]))[:1]:
            elsewhere = replace(question, kingdom="Plantae" if question.kingdom == "Animalia" else "Animalia")
            with contextlib.suppress(_RefusedError):
                bodies[elsewhere] = self._cache_or_single(elsewhere)
        try:
            batch = self._client.ask_batch(self.checklist, list(bodies), trial=True)
            for (question, one), other in zip(bodies.items(), batch, strict=True):
                if not _same(one, other):
                    raise _BatchUnusableError(f"{question.scientific_name or question.usage_key} is answered otherwise")
            self._proven |= fields
        except _BatchUnusableError as error:
            self._distrust_batch(error)

    def _cache_or_single(self, question: Question) -> dict[str, Any]:
        if question not in self._cache:
            self._cache.add(question, self._client.ask(self.checklist, question))
        return self._cache.body(question)

    def _ask_batch(self, questions: Sequence[Question]) -> None:
        try:
            bodies = self._client.ask_batch(self.checklist, questions)
            self._check(questions, bodies)
        except (_BatchUnusableError, _RefusedError) as error:
            self._distrust_batch(error)
            return
        for question, body in zip(questions, bodies, strict=True):
            self._cache.add(question, body)

    def _check(self, questions: Sequence[Question], bodies: Sequence[dict[str, Any]]) -> None:
        """Ask again singly: exact matches of other names than asked, and a few of the others."""
        strange, poor, exact = [], [], []
        for question, body in zip(questions, bodies, strict=True):
            answer = Answer.from_json(body)
            if answer.match_type != EXACT:
                poor.append((question, body))
            elif not is_for(answer, question):
                strange.append((question, body))
            else:
                exact.append((question, body))
        drawn = [
            *strange[:CHECKED_IN_BATCH],
            *self._random.sample(poor, min(CHECKED_IN_BATCH, len(poor))),
            *self._random.sample(exact, min(CHECKED_EXACT, len(exact))),
        ]
        for question, body in drawn:
            if not _same(self._cache_or_single(question), body):
                raise _BatchUnusableError(f"{question.scientific_name or question.usage_key} is answered otherwise")

    def _distrust_batch(self, reason: Exception) -> None:
        self._client.batch_usable = False
        self._context.log.warning("GBIF's batch call is not used: %s. Names are asked one by one.", reason)


def _is_exact(body: dict[str, Any]) -> bool:
    return Answer.from_json(body).match_type == EXACT


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two answers say the same of a name; confidence, times and notes may differ."""
    first, second = Answer.from_json(one), Answer.from_json(other)
    return (first.match_type, first.usage and first.usage.key, first.accepted and first.accepted.key) == (
        second.match_type,
        second.usage and second.usage.key,
        second.accepted and second.accepted.key,
    )
