"""GBIF's client: its manners, and how it tells answers from what only looks like them."""

from __future__ import annotations

import itertools
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Thread

import pytest
from annotation_world import BACKBONE_TAXONOMY, COL, MONTH

from container import gbif
from container.gbif import Answer, GbifClient, GbifUnavailableError, Matcher, Question, is_for
from container.register import canonical
from container.task import TaskContext, TaskError
from local.gbif_server import Faults, GbifServer
from workflow.status import BACKBONE, COL_XR

LOG = logging.getLogger("test")
ACER = Question("Acer ginnala", "Maxim.", "SPECIES", "Plantae")


@pytest.fixture
def waits():
    return []


def client_of(server, waits, **options):
    return GbifClient(server.url, "bison@example.org", LOG, sleep=waits.append, **options)


# A synonym, in the shape of GBIF's recorded answers: no status in acceptedUsage, no empty members.
SYNONYM = {
    "usage": {
        "key": "9BZ",
        "name": "Acer ginnala Maxim.",
        "canonicalName": "Acer ginnala",
        "authorship": "Maxim.",
        "rank": "SPECIES",
        "code": "BOTANICAL",
        "status": "SYNONYM",
        "genericName": "Acer",
        "specificEpithet": "ginnala",
        "type": "SCIENTIFIC",
        "formattedName": "<i>Acer</i> <i>ginnala</i> Maxim.",
    },
    "acceptedUsage": {
        "key": "9BY",
        "name": "Acer tataricum subsp. ginnala (Maxim.) Wesm.",
        "canonicalName": "Acer tataricum ginnala",
        "authorship": "(Maxim.) Wesm.",
        "rank": "SUBSPECIES",
        "type": "SCIENTIFIC",
    },
    "classification": [
        {"key": "P", "name": "Plantae", "rank": "KINGDOM"},
        {"key": "9BX", "name": "Acer tataricum", "rank": "SPECIES"},
        {"key": "9BY", "name": "Acer tataricum ginnala", "rank": "SUBSPECIES"},
    ],
    "diagnostics": {"matchType": "EXACT", "confidence": 98, "timeTaken": 17, "timings": {"nameParse": 1}},
    "additionalStatus": [{"datasetAlias": "IUCN", "statusCode": "LC"}],
    "synonym": True,
}


def test_an_answer_is_read():
    answer = Answer.from_json(SYNONYM)
    assert (answer.match_type, answer.usage.key, answer.accepted.key) == ("EXACT", "9BZ", "9BY")
    assert answer.synonym
    assert answer.at_rank("SPECIES").key == "9BX"
    assert answer.at_rank("FAMILY") is None
    assert is_for(answer, ACER)
    assert not is_for(answer, Question("Acer tataricum"))


@pytest.mark.parametrize("name", ["usage", "accepted"])
def test_names_are_told_from_authors_where_gbif_does_not_do_it(name):
    """Without canonicalName every answer seemed to be for another name, and the month was refused."""
    bare = {**SYNONYM}
    for member in ("usage", "acceptedUsage"):
        bare[member] = {
            key: value for key, value in SYNONYM[member].items() if key not in ("canonicalName", "authorship")
        }
    found, whole = (getattr(Answer.from_json(body), name) for body in (bare, SYNONYM))
    assert found.canonical_name == found.authorship == ""
    assert found.author == whole.authorship
    assert canonical(found.bare_name) == canonical(whole.canonical_name)
    assert is_for(Answer.from_json(bare), ACER)


def test_null_members_and_other_letter_case_are_read_as_what_they_mean():
    body = {
        **SYNONYM,
        "acceptedUsage": None,
        "additionalStatus": None,
        "synonym": None,
        "usage": {**SYNONYM["usage"], "key": 9, "rank": "species", "status": "Accepted", "authorship": None},
        "diagnostics": {"matchType": "exact", "note": None},
    }
    answer = Answer.from_json(body)
    assert (answer.match_type, answer.usage.key, answer.usage.rank, answer.note) == ("EXACT", "9", "SPECIES", "")
    assert answer.accepted == answer.usage
    assert not answer.synonym
    nothing = {"usage": None, "acceptedUsage": None, "classification": None, "diagnostics": {"matchType": "NONE"}}
    assert Answer.from_json(nothing).usage is None


def test_a_synonym_is_told_by_its_status_too():
    """Else a synonym's own key would be taken for an accepted one."""
    body = {name: value for name, value in SYNONYM.items() if name not in ("acceptedUsage", "synonym")}
    assert Answer.from_json(body).synonym


def test_a_missing_rank_is_that_of_the_same_key_in_the_classification():
    body = {**SYNONYM, "acceptedUsage": {"key": "9BY", "name": "Acer tataricum subsp. ginnala (Maxim.) Wesm."}}
    assert Answer.from_json(body).accepted.rank == "SUBSPECIES"


def test_no_match_has_no_usage():
    answer = Answer.from_json({"diagnostics": {"matchType": "NONE", "issues": [], "confidence": 100}, "synonym": False})
    assert (answer.match_type, answer.usage, answer.accepted) == ("NONE", None, None)


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        "EXACT",
        {},
        {"diagnostics": {}},
        {"diagnostics": {"matchType": "SURE"}},
        {"diagnostics": {"matchType": "EXACT"}},
        {"usage": {"name": "Acer"}, "diagnostics": {"matchType": "EXACT"}},
        {"usage": {"key": None, "name": "Acer"}, "diagnostics": {"matchType": "EXACT"}},
        {"usage": {"key": "9BX"}, "diagnostics": {"matchType": None}},
        {"matchType": "EXACT", "usageKey": 3189846},
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(body):
    """The last is version 1's shape."""
    with pytest.raises(ValueError, match=r"."):
        Answer.from_json(body)


def test_the_checklist_is_always_named_and_so_is_the_contact(waits):
    with GbifServer((COL, BACKBONE_TAXONOMY)) as server:
        seen = []
        index = server.index
        server.index = lambda parameters: seen.append(parameters.get("checklistKey")) or index(parameters)
        client = client_of(server, waits)
        assert client.ask(COL_XR, ACER)["acceptedUsage"]["key"] == "9BY"
        assert client.index_version(BACKBONE) == "GBIF Backbone 2023"
        client.ask_batch(COL_XR, [ACER])
        agent = client._http.headers["User-Agent"]
    assert seen == [COL_XR.key, BACKBONE.key, COL_XR.key]
    assert agent.startswith("BISON-workflow/")
    assert agent.endswith("(mailto:bison@example.org)")


def test_the_batch_call_is_asked_in_its_own_words():
    """Unknown fields have no effect and raise no error: kingdom must be in the classification, authorship so named."""
    assert ACER.query() == {
        "scientificName": "Acer ginnala",
        "authorship": "Maxim.",
        "rank": "SPECIES",
        "classification": {"kingdom": "Plantae"},
    }
    assert ACER.parameters() == {
        "scientificName": "Acer ginnala",
        "scientificNameAuthorship": "Maxim.",
        "taxonRank": "SPECIES",
        "kingdom": "Plantae",
    }


class Failing:
    """Makes the server's first requests fail in a given way."""

    def __init__(self, server, fault, times):
        self.left = times
        self.fault = fault
        self.server = server
        server.fault = self

    def __call__(self):
        self.server.requests += 1
        self.left -= 1
        return self.fault if self.left >= 0 else None


@pytest.mark.parametrize("fault", ["too_many", "unavailable", "cut_off", "html", "hang"])
def test_a_fault_is_waited_out_longer_each_time(waits, fault):
    with GbifServer((COL,), faults=Faults(hang_seconds=1)) as server:
        Failing(server, fault, 3)
        client = client_of(server, waits, get_timeout=0.1)
        assert client.ask(COL_XR, ACER)["usage"]["key"] == "9BZ"
    assert client.requests == 4
    assert len(waits) == 3
    for wait, base in zip(waits, (0.5, 1, 2), strict=True):
        assert base <= wait <= base * 1.2


def test_retry_after_is_honoured_in_seconds(waits):
    with GbifServer((COL,), faults=Faults(retry_after="7")) as server:
        Failing(server, "too_many", 1)
        client_of(server, waits).ask(COL_XR, ACER)
    assert 7 <= waits[0] <= 8.4


def test_retry_after_is_honoured_as_a_date(waits):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with GbifServer((COL,), faults=Faults(retry_after=later)) as server:
        Failing(server, "unavailable", 1)
        client_of(server, waits).ask(COL_XR, ACER)
    assert 27 <= waits[0] <= 36


def test_a_retry_after_of_hours_ends_the_attempt(waits):
    faults = Faults(unavailable=1, retry_after="7200")
    with GbifServer((COL,), faults=faults) as server, pytest.raises(GbifUnavailableError, match="120 minutes"):
        client_of(server, waits).ask(COL_XR, ACER)
    assert not waits


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), (" 7 ", 7), ("1.5", 1.5), ("soon", 0), ("", 0), (None, 0), ("²", 0), ("-5", 0)],
)
def test_a_retry_after_of_any_form_is_no_error(header, seconds):
    assert gbif._retry_after(header) == seconds


def test_a_service_that_hangs_is_given_up_within_minutes(waits, monkeypatch):
    clock = itertools.count(step=8)
    monkeypatch.setattr(gbif.time, "monotonic", lambda: next(clock))
    with GbifServer((COL,), faults=Faults(hang=1, hang_seconds=1)) as server:
        with pytest.raises(GbifUnavailableError, match="no answer in time"):
            client_of(server, waits, get_timeout=0.05).ask(COL_XR, ACER)
        assert 4 <= server.requests < 12


def test_a_service_that_is_not_version_2_is_told_at_once(waits, monkeypatch):
    with GbifServer((COL,)) as server:
        monkeypatch.setattr(server, "match", lambda _index, _parameters: {"matchType": "EXACT", "usageKey": 3189846})
        with pytest.raises(GbifUnavailableError, match="version 2"):
            client_of(server, waits).ask(COL_XR, ACER)
        assert server.requests == gbif.FORM_ATTEMPTS


def test_an_index_without_readable_metadata_is_one_without_a_name(waits, monkeypatch):
    """A page in place of the metadata, for ever, must not stop a month whose names are answered."""
    with GbifServer((COL,)) as server:
        Failing(server, "html", gbif.METADATA_ATTEMPTS)
        client = client_of(server, waits)
        assert client.index_version(COL_XR) is None
        assert client.ask(COL_XR, ACER)["usage"]["key"] == "9BZ"


def test_a_service_that_stays_down_is_given_up(waits):
    with GbifServer((COL,), faults=Faults(unavailable=1)) as server:
        with pytest.raises(GbifUnavailableError, match="12 times in a row, the last time with: HTTP 503"):
            client_of(server, waits).ask(COL_XR, ACER)
        assert server.requests == 12
    assert sum(waits) < 240


def test_nobody_listening_is_said_to_be_so(waits):
    client = GbifClient("http://127.0.0.1:9/v2", "a@example.org", LOG, sleep=waits.append)
    with pytest.raises(GbifUnavailableError, match=r"127\.0\.0\.1:9"):
        client.ask(COL_XR, ACER)


def test_a_trickling_answer_does_not_hold_the_task_for_ever(waits):
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def trickle():
        connection, _address = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(20):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.05)

    thread = Thread(target=trickle, daemon=True)
    thread.start()
    client = GbifClient(
        f"http://127.0.0.1:{listener.getsockname()[1]}/v2", "a@example.org", LOG, sleep=waits.append, get_timeout=0.2
    )
    client._failures = gbif.FAILURES_IN_A_ROW - 1
    with pytest.raises(GbifUnavailableError, match="no answer in time"):
        client.ask(COL_XR, ACER)
    listener.close()


def test_an_address_without_scheme_is_a_setting_to_correct():
    with pytest.raises(TaskError, match="https://"):
        GbifClient("api.gbif.org/v2", "a@example.org", LOG)


@pytest.fixture
def context(world, tmp_path):
    return TaskContext(world.settings(), MONTH, world.s3, tmp_path, "2026-10-05T00:00:00+00:00", LOG)


QUESTIONS = [
    Question(name, author, "SPECIES", kingdom)
    for name, author, kingdom in (
        ("Acer ginnala", "Maxim.", "Plantae"),
        ("Acer tataricum", "L.", "Plantae"),
        ("Bromus tectorum", "L.", "Plantae"),
        ("Bromus tectorun", "L.", "Plantae"),
        ("Bromus unheardus", "", "Plantae"),
        ("Sturnus vulgaris", "Linnaeus, 1758", "Animalia"),
        ("Ficus variegata", "Blume", "Plantae"),
        ("Nomen nudum", "", "Animalia"),
    )
]


def test_batch_and_single_calls_give_the_same(context, waits):
    with GbifServer((COL,)) as server:
        batch = Matcher(context, client_of(server, waits), COL_XR).ask(QUESTIONS)
        requests_by_batch = server.requests
    for key in context.s3.list_objects_v2(Bucket=context.settings.bucket, Prefix="cache/")["Contents"]:
        context.s3.delete_object(Bucket=context.settings.bucket, Key=key["Key"])
    with GbifServer((COL,), batch=False) as server:
        single = Matcher(context, client_of(server, waits), COL_XR).ask(QUESTIONS)
    assert batch == single
    found = [answer.match_type for answer in batch.values()]
    assert found == ["EXACT", "EXACT", "EXACT", "VARIANT", "HIGHERRANK", "EXACT", "EXACT", "NONE"]
    assert requests_by_batch > 0


def test_a_thousand_names_take_few_requests(context, waits):
    questions = [*QUESTIONS, *(Question(f"Nomen nudum{number}") for number in range(1500))]
    with GbifServer((COL,)) as server:
        matcher = Matcher(context, client_of(server, waits), COL_XR)
        answers = matcher.ask([*questions, *questions])
        assert server.requests < 40
    assert len(answers) == len(questions)


class FailingPosts:
    """Makes every POST fail in a given way."""

    def __init__(self, server, monkeypatch, fault):
        self.posts = 0
        answer = server.match_batch

        def post(index, queries):
            self.posts += 1
            return fault(answer(index, queries))

        monkeypatch.setattr(server, "match_batch", post)


def _no_answer(_answers):
    raise ConnectionResetError


@pytest.mark.parametrize(
    "fault",
    [
        _no_answer,
        lambda answers: {"message": "no list"},
        lambda answers: [{**answer, "diagnostics": {}} for answer in answers],
        lambda answers: [{"diagnostics": {"matchType": "NONE"}}] * len(answers),
        lambda answers: [answers[0]] * len(answers),
    ],
    ids=["reset", "no list", "senseless", "nothing found", "one for all"],
)
def test_a_batch_call_that_fails_is_left_for_single_calls(context, waits, monkeypatch, capfd, fault):
    """Whatever is wrong with POST, GET decides whether GBIF is there; other checklists need not try POST again."""
    with GbifServer((COL, BACKBONE_TAXONOMY)) as server:
        posts = FailingPosts(server, monkeypatch, fault)
        client = client_of(server, waits)
        answers = Matcher(context, client, COL_XR).ask(QUESTIONS)
        assert 1 <= posts.posts <= gbif.BATCH_ATTEMPTS
        before = posts.posts
        Matcher(context, client, BACKBONE).ask(QUESTIONS)
        assert posts.posts == before
    assert [answer.match_type for answer in answers.values()][:4] == ["EXACT", "EXACT", "EXACT", "VARIANT"]
    assert answers[ACER].usage.key == "9BZ"


def test_a_batch_for_another_checklist_is_found_out_though_its_names_are_right(context, waits, monkeypatch):
    """The names first compared are in no checklist; the first exact match tells whose keys the batch gives."""
    nonsense = [Question(f"Nomen nudum{number}", "Nemo", "SPECIES", "Plantae") for number in range(20)]
    with GbifServer((COL, BACKBONE_TAXONOMY)) as server:
        answer = server.match_batch
        monkeypatch.setattr(
            server, "match_batch", lambda _index, queries: answer(server.indexes[BACKBONE.key], queries)
        )
        answers = Matcher(context, client_of(server, waits), COL_XR).ask([*nonsense, *QUESTIONS])
    assert answers[ACER].usage.key == "9BZ"


def test_a_name_that_gets_no_sensible_answer_does_not_stop_the_others(context, waits, monkeypatch):
    with GbifServer((COL,), batch=False) as server:
        match = server.match

        def senseless(index, parameters):
            body = match(index, parameters)
            return {"usage": body["usage"]} if parameters["scientificName"] == "Bromus tectorum" else body

        monkeypatch.setattr(server, "match", senseless)
        matcher = Matcher(context, client_of(server, waits), COL_XR)
        answers = matcher.ask(QUESTIONS)
    refused = answers.pop(QUESTIONS[2])
    assert refused.match_type == "REFUSED"
    assert "none of GBIF's" in refused.note
    assert answers[ACER].usage.key == "9BZ"
    assert "REFUSED" not in {answer.match_type for answer in answers.values()}


def test_an_answer_for_another_name_is_not_kept_for_the_next_attempt(context, waits, monkeypatch):
    with GbifServer((COL,), batch=False) as server:
        honest = server.match
        monkeypatch.setattr(
            server, "match", lambda index, _parameters: honest(index, {"scientificName": "Acer tataricum"})
        )
        assert not is_for(Matcher(context, client_of(server, waits), COL_XR).ask([ACER])[ACER], ACER)
        monkeypatch.setattr(server, "match", honest)
        assert is_for(Matcher(context, client_of(server, waits), COL_XR).ask([ACER])[ACER], ACER)


def test_a_batch_that_hangs_gives_way_to_single_calls(context, waits):
    with GbifServer((COL,), per_name=0.1) as server:
        client = client_of(server, waits, batch_timeout=0.1)
        answers = Matcher(context, client, COL_XR).ask(QUESTIONS)
    assert answers[ACER].usage.key == "9BZ"


def test_a_question_that_gbif_refuses_is_reported_and_not_kept(context, waits):
    with GbifServer((COL,)) as server:
        matcher = Matcher(context, client_of(server, waits), BACKBONE)
        answers = matcher.ask(QUESTIONS[:2])
        assert [answer.match_type for answer in answers.values()] == ["REFUSED", "REFUSED"]
        assert "404" in answers[ACER].note
        assert matcher.asked == 0


def test_usage_keys_are_asked_in_batches_too(context, waits):
    with GbifServer((COL,)) as server:
        matcher = Matcher(context, client_of(server, waits), COL_XR)
        answers = matcher.ask([Question(usage_key=key) for key in ("9BZ", "9BY", "6PR", "NT3", "NN9", "D3K")])
    accepted = [answer.accepted and answer.accepted.key for answer in answers.values()]
    assert accepted == ["9BY", "9BY", "6PQ", "NT3", None, "D3K"]


def test_answers_of_another_index_version_are_not_used(context, waits):
    from local.gbif_server import Taxonomy

    with GbifServer((COL,)) as server:
        Matcher(context, client_of(server, waits), COL_XR).ask(QUESTIONS)
    with GbifServer((Taxonomy(COL_XR.key, "COL26.11 XR", COL.taxa),)) as server:
        matcher = Matcher(context, client_of(server, waits), COL_XR)
        matcher.ask(QUESTIONS)
    assert matcher.cached == 0
    assert matcher.asked >= len(QUESTIONS)
