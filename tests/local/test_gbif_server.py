"""The local GBIF server: the shapes of GBIF's own answers, so that what is tested against it holds there."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from local.gbif_server import Faults, GbifServer, Taxon, Taxonomy
from workflow.status import BACKBONE, COL_XR

TAXONOMY = Taxonomy(
    BACKBONE.key,
    "GBIF Backbone",
    (
        Taxon("6", "Plantae", "Plantae", "", "KINGDOM"),
        Taxon("1", "Animalia", "Animalia", "", "KINGDOM"),
        Taxon("2689420", "Sphenolobus (Lindb.) Berggr.", "Sphenolobus", "(Lindb.) Berggr.", "GENUS", parent_key="6"),
        Taxon(
            "2689422",
            "Sphenolobus minutus (Schreb. ex Cranz) Berggr.",
            "Sphenolobus minutus",
            "(Schreb. ex Cranz) Berggr.",
            "SPECIES",
            parent_key="2689420",
        ),
        Taxon(
            "4277323",
            "Anastrophyllum minutum (Schreb. ex Cranz) R.M.Schust.",
            "Anastrophyllum minutum",
            "(Schreb. ex Cranz) R.M.Schust.",
            "SPECIES",
            "SYNONYM",
            accepted_key="2689422",
        ),
        Taxon("1427007", "Calopteryx Leach, 1815", "Calopteryx", "Leach, 1815", "GENUS", parent_key="1"),
        Taxon(
            "1427067",
            "Calopteryx splendens (Harris, 1780)",
            "Calopteryx splendens",
            "(Harris, 1780)",
            "SPECIES",
            parent_key="1427007",
        ),
        Taxon("7763613", "Thibaudia Ruiz & Pav.", "Thibaudia", "Ruiz & Pav.", "GENUS", parent_key="6"),
        Taxon("3234109", "Calopteryx A.C.Sm.", "Calopteryx", "A.C.Sm.", "GENUS", "SYNONYM", accepted_key="7763613"),
        Taxon("11", "Ficus variegata Blume", "Ficus variegata", "Blume", "SPECIES", parent_key="6"),
        Taxon("12", "Ficus variegata Röding, 1798", "Ficus variegata", "Röding, 1798", "SPECIES", parent_key="1"),
        Taxon("13", "Mentha × piperita L.", "Mentha piperita", "L.", "SPECIES", parent_key="6"),
    ),
)


@pytest.fixture(scope="module")
def server():
    with GbifServer((TAXONOMY, Taxonomy(COL_XR.key, "COL26.10 XR", TAXONOMY.taxa[:1]))) as running:
        yield running


def get(server, path="/species/match", **parameters):
    with urllib.request.urlopen(f"{server.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as response:
        return json.load(response)


def post(server, queries, checklist=BACKBONE.key):
    request = urllib.request.Request(
        f"{server.url}/species/match?checklistKey={checklist}",
        json.dumps(queries).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_a_synonym_is_answered_like_gbif_does(server):
    """The members of GBIF's answer to this question, recorded in November 2025, but for times and formatted names."""
    answer = get(server, scientificName="Anastrophyllum minutum")
    assert {
        name: answer["usage"][name] for name in ("key", "name", "canonicalName", "authorship", "rank", "status")
    } == {
        "key": "4277323",
        "name": "Anastrophyllum minutum (Schreb. ex Cranz) R.M.Schust.",
        "canonicalName": "Anastrophyllum minutum",
        "authorship": "(Schreb. ex Cranz) R.M.Schust.",
        "rank": "SPECIES",
        "status": "SYNONYM",
    }
    assert answer["acceptedUsage"]["key"] == "2689422"
    assert "status" not in answer["acceptedUsage"]
    assert [(taxon["key"], taxon["rank"]) for taxon in answer["classification"]] == [
        ("6", "KINGDOM"),
        ("2689420", "GENUS"),
        ("2689422", "SPECIES"),
    ]
    assert answer["diagnostics"]["matchType"] == "EXACT"
    assert answer["synonym"] is True


def test_an_accepted_name_has_no_accepted_usage_and_no_empty_members(server):
    answer = get(server, scientificName="Calopteryx splendens")
    assert "acceptedUsage" not in answer
    assert answer["synonym"] is False
    assert "authorship" not in get(server, usageKey="6")["usage"]


@pytest.mark.parametrize(
    ("question", "match_type", "key"),
    [
        ({"scientificName": "Calopteryx splendens"}, "EXACT", "1427067"),
        ({"scientificName": "calopteryx SPLENDENS"}, "EXACT", "1427067"),
        ({"scientificName": "Calopteryx splendens (Harris, 1780)"}, "EXACT", "1427067"),
        ({"scientificName": "Calopteryx splendans"}, "VARIANT", "1427067"),
        # A wrong kingdom hides a good match: GBIF gives the plant genus of the name, with a confidence of 96.
        ({"scientificName": "Calopteryx splendens", "kingdom": "Plantae"}, "HIGHERRANK", "3234109"),
        ({"scientificName": "Calopteryx nonsensus"}, "HIGHERRANK", "1427007"),
        ({"scientificName": "Sphenolobus minutus subsp. nonsensus"}, "HIGHERRANK", "2689422"),
        ({"scientificName": "Nomen nudum"}, "NONE", None),
        ({"scientificName": "Ficus variegata", "scientificNameAuthorship": "Roding, 1798"}, "NONE", None),
        ({"scientificName": "Ficus variegata", "scientificNameAuthorship": "Röding, 1798"}, "EXACT", "12"),
        ({"scientificName": "Ficus variegata", "kingdom": "Plantae"}, "EXACT", "11"),
        ({"scientificName": "Ficus variegata"}, "NONE", None),
        ({"scientificName": "Mentha × piperita"}, "EXACT", "13"),
        ({"scientificName": "Mentha X piperita"}, "EXACT", "13"),
        ({"usageKey": "4277323", "scientificName": "ignored"}, "EXACT", "4277323"),
        ({"usageKey": "nonsense"}, "NONE", None),
    ],
)
def test_match_types(server, question, match_type, key):
    answer = get(server, **question)
    assert answer["diagnostics"]["matchType"] == match_type
    assert answer.get("usage", {}).get("key") == key


def test_equal_matches_are_none_with_a_note(server):
    answer = get(server, scientificName="Ficus variegata")
    assert answer["diagnostics"]["confidence"] == 100
    assert answer["diagnostics"]["note"].startswith("Multiple equal matches")


def test_the_batch_call_reads_its_own_fields_and_no_others(server):
    answers = post(
        server,
        [
            {"scientificName": "Ficus variegata", "classification": {"kingdom": "Animalia"}},
            {"scientificName": "Ficus variegata", "authorship": "Blume"},
            {"scientificName": "Ficus variegata", "scientificNameAuthorship": "Blume", "kingdom": "Animalia"},
            {"usageKey": "13"},
        ],
    )
    assert [answer.get("usage", {}).get("key") for answer in answers] == ["12", "11", None, "13"]


@pytest.mark.parametrize("queries", [[], {}, [{"scientificName": "Acer"}] * 1001, [{"rank": "CLONE"}]])
def test_the_batch_call_refuses_what_gbif_refuses(server, queries):
    with pytest.raises(urllib.error.HTTPError) as error:
        post(server, queries)
    assert error.value.code == 400


def test_metadata_name_the_checklists_index(server):
    index = get(server, "/species/match/metadata", checklistKey=COL_XR.key)["mainIndex"]
    assert (index["datasetKey"], index["datasetAlias"], index["nameUsageCount"]) == (COL_XR.key, "COL26.10 XR", 1)


def test_an_unknown_checklist_is_not_found(server):
    with pytest.raises(urllib.error.HTTPError) as error:
        get(server, scientificName="Acer", checklistKey="nonsense")
    assert error.value.code == 404


def test_requests_and_names_are_counted():
    with GbifServer((TAXONOMY,)) as server:
        get(server, scientificName="Calopteryx splendens")
        post(server, [{"scientificName": "Calopteryx splendens"}, {"usageKey": "13"}])
        assert server.requests == 2
        assert server.asked == {"Calopteryx splendens": 2, "13": 1}


def test_faults_come_in_their_share():
    with GbifServer((TAXONOMY,), faults=Faults(too_many=0.5, retry_after="3")) as server:
        throttled = []
        for _ in range(60):
            try:
                get(server, scientificName="Calopteryx splendens")
            except urllib.error.HTTPError as error:
                throttled.append((error.code, error.headers["Retry-After"]))
    assert set(throttled) == {(429, "3")}
    assert 15 < len(throttled) < 45


def test_a_batch_takes_its_time_for_each_name():
    with GbifServer((TAXONOMY,), latency=0.05, per_name=0.01) as server:
        started = time.monotonic()
        post(server, [{"usageKey": "13"}] * 10)
        assert time.monotonic() - started >= 0.15
