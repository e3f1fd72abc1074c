"""annotate_riis from the environment to the marker, on a month that can be reckoned by hand."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_world import (
    BACKBONE_TAXONOMY,
    BUCKET,
    COL,
    GBIF_BUCKET,
    INTRODUCED,
    INVASIVE,
    MONTH,
    REGISTER,
    RIIS_HEADER,
    RIIS_KEY,
    ROWS,
    numbered,
    riis_csv,
    snapshot_table,
)

from container import entrypoint, gbif
from container.tasks import annotate_riis
from local.gbif_server import Faults, GbifServer, Lies, Taxonomy
from workflow import names
from workflow.snapshot import Snapshot
from workflow.status import BACKBONE, COL_XR

TAXA_CSV = names.summary_key(MONTH, names.RIIS_TAXA_CSV)
TAXON_KEYS_CSV = names.summary_key(MONTH, names.TAXON_KEYS_CSV)
REVIEW_CSV = names.output_key(MONTH, "riis_review.csv")
ANNOTATED_CSV = names.annotated_riis_key(RIIS_KEY, MONTH)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, aws):
    """Waits of milliseconds, one client for all runs, and a look back no further than these tests' manifests."""
    monkeypatch.setattr(entrypoint.boto3, "client", lambda _service, **_options: aws)
    monkeypatch.setattr(annotate_riis, "MONTHS_LOOKED_BACK", 4)
    monkeypatch.setattr(gbif, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(gbif, "LONGEST_WAIT", 0.004)


def serve(world, *taxonomies, **options):
    server = GbifServer(taxonomies or (COL, BACKBONE_TAXONOMY), **options)
    world.gbif_api = server.url
    return server


def test_each_record_gets_its_taxon_or_its_reason(world):
    with serve(world) as server:
        assert world.run() == 0

    # Reckoned from annotation_world.TAXA by hand. R6: the kingdom decides between homonyms.
    taxa = [tuple(row.values()) for row in world.rows(TAXA_CSV)]
    assert taxa == [
        ("AK", "6PQ", "6PQ", "Agropyron cristatum", "false", "introduced", "R3"),
        ("HI", "4CX", "4CX", "Passer domesticus", "true", "introduced", "R5"),
        ("HI", "FVN", "FVN", "Ficus variegata", "true", "introduced", "R6"),
        ("HI", "SXP", "SXP", "Salix pendulina", "true", "introduced", "R7"),
        ("L48", "52S", "52S", "Sturnus vulgaris", "true", "invasive", "R4"),
        ("L48", "9BY", "9BX", "Acer tataricum", "false", "invasive", "R1"),
        ("L48", "NT3", "NT3", "Bromus tectorum", "true", "invasive", "R2"),
    ]
    review = {row["riis_occurrence_id"]: row for row in world.rows(REVIEW_CSV)}
    assert list(review) == ["R10", "R8", "R9"]
    assert "PR" in review["R10"]["reason"]
    assert "sort of invasive" in review["R9"]["reason"]
    assert review["R8"]["match_type"] == "HIGHERRANK"
    assert "genus Bromus" in review["R8"]["reason"]
    # The species' keys of R1 and R3, which must not cover their whole species.
    assert [tuple(row.values()) for row in world.rows(TAXON_KEYS_CSV)] == [
        ("6PR", "6PQ"),
        ("9BX", "9BX"),
        ("9BY", "9BY"),
        ("9BZ", "9BY"),
    ]
    counts = world.marker().counts
    assert counts["register_records"] == 10
    assert (counts["resolved_records"], counts["review_records"]) == (7, 3)
    assert counts["names_cached"] == 0
    assert counts["requests"] == server.requests


def test_a_homonym_of_another_kingdom_is_taken_only_if_the_author_agrees(world):
    """A kingdom's retry that takes any homonym would make a plant's status an animal's."""
    animal_only = Taxonomy(COL_XR.key, "v", tuple(taxon for taxon in COL.taxa if taxon.key != "FVP"))
    records = [
        *REGISTER[:5],
        ("HI", "Ficus variegata", "Blume", "Species", INTRODUCED, "Plantae", "OTHER"),
        ("HI", "Ficus variegata", "Röding", "Species", INTRODUCED, "Plantae", "SAME"),
        ("HI", "Ficus variegata", "", "Species", INTRODUCED, "Plantae", "NOBODY"),
    ]
    world.put(RIIS_KEY, riis_csv(records))
    with serve(world, animal_only):
        assert world.run() == 0
    taken = {row["riis_occurrence_id"]: row["accepted_key"] for row in world.rows(TAXA_CSV)}
    assert taken["SAME"] == "FVN"
    review = {row["riis_occurrence_id"]: row for row in world.rows(REVIEW_CSV)}
    assert sorted(review) == ["NOBODY", "OTHER"]
    assert "outside Plantae" in review["OTHER"]["reason"]
    assert "Röding" in review["OTHER"]["candidate"]


def test_all_columns_of_the_register_are_kept(world):
    header = [*RIIS_HEADER, "Update_Remarks"]
    world.put(RIIS_KEY, riis_csv([(*record, 'said "so", twice') for record in REGISTER], header))
    with serve(world):
        assert world.run() == 0
    rows = world.rows(ANNOTATED_CSV)
    added = ["accepted_key", "accepted_name", "accepted_rank", "species_key", "match_type", "reason"]
    assert list(rows[0]) == [*header, *added]
    assert [row["occurrenceID"] for row in rows] == [record[-1] for record in REGISTER]
    assert rows[0]["Update_Remarks"] == 'said "so", twice'
    assert rows[0]["accepted_name"] == "Acer tataricum subsp. ginnala (Maxim.) Wesm."
    assert (rows[0]["accepted_rank"], rows[0]["species_key"], rows[0]["reason"]) == ("SUBSPECIES", "9BX", "")


def test_the_parquet_review_says_what_the_csv_says(world):
    with serve(world):
        world.run()
    table = pq.read_table(io.BytesIO(world.read(names.output_key(MONTH, "riis_review.parquet"))))
    assert table.to_pylist() == world.rows(REVIEW_CSV)


def test_the_snapshot_is_described_as_its_footers_say(world):
    world.put_snapshot(snapshot_table(), snapshot_table(ROWS[:4]))
    with serve(world):
        assert world.run() == 0
    snapshot = Snapshot.from_json(world.read(names.summary_key(MONTH, names.SNAPSHOT_JSON)))
    assert (snapshot.files, snapshot.rows) == (2, 15)
    assert snapshot.checklist_key == COL_XR.key
    assert snapshot.index_version == "COL26.10 XR"
    assert [column.name for column in snapshot.columns][:3] == ["gbifid", "taxonkey", "specieskey"]
    assert snapshot.columns[-1].redshift_type == "SUPER"
    # 14 of the rows are of the US; one has the key 0.
    assert snapshot.sampled_keys == 14
    assert snapshot.faulty_taxonkeys == pytest.approx(1 / 14)
    assert snapshot.faulty_specieskeys == 0


def test_integer_keys_of_an_old_snapshot_are_the_backbones(world):
    rows = [(numbered(a) if a != "0" else "0", numbered(b), c, d) for a, b, c, d in ROWS]
    world.put_snapshot(snapshot_table(rows, pa.int32()))
    with serve(world):
        assert world.run() == 0
    assert world.json(names.summary_key(MONTH, names.SNAPSHOT_JSON))["checklist_key"] == BACKBONE.key
    assert {row["accepted_key"] for row in world.rows(TAXA_CSV)} == set(
        map(numbered, ("6PQ", "4CX", "FVN", "SXP", "52S", "9BY", "NT3"))
    )


def test_leftovers_of_the_old_taxonomy_do_not_decide(world):
    """The snapshots of 2026-08 have backbone keys among those of COL XR."""
    leftovers = [(numbered("4CX"), numbered("4CX"), "Passer domesticus", "US")] * 2
    world.put_snapshot(snapshot_table([*ROWS, *leftovers]))
    with serve(world):
        assert world.run() == 0
    assert world.json(names.summary_key(MONTH, names.SNAPSHOT_JSON))["checklist_key"] == COL_XR.key


def test_faulty_keys_of_the_commonest_species_do_not_decide(world):
    """Rows of a species that carry the key 0 or a temporary one say nothing of the species' other rows."""
    faulty = [("0", "0", species, "US") for _key, key, species, country in ROWS if key and country == "US"] * 9
    world.put_snapshot(snapshot_table([*ROWS, *faulty]))
    with serve(world):
        assert world.run() == 0
    assert world.json(names.summary_key(MONTH, names.SNAPSHOT_JSON))["checklist_key"] == COL_XR.key


def test_a_register_without_any_species_of_a_small_snapshot_is_no_fault(world):
    world.put(
        RIIS_KEY, riis_csv([("HI", "Dreissena polymorpha", "(Pallas, 1771)", "Species", INVASIVE, "Animalia", "R1")])
    )
    with serve(world):
        assert world.run() == 0
    assert [row["accepted_key"] for row in world.rows(TAXA_CSV)] == ["D3K"]


ABSENT = (("HI", "Dreissena polymorpha", "(Pallas, 1771)", "Species", INVASIVE, "Animalia", "R1"),)


def only(*keys):
    return Taxonomy(COL_XR.key, "v", tuple(taxon for taxon in COL.taxa if taxon.key in {"P", "N", "64G", "3NK", *keys}))


def test_a_server_that_knows_the_register_and_nothing_of_a_snapshot_without_its_species_is_no_fault(world):
    world.put(RIIS_KEY, riis_csv(ABSENT))
    with serve(world, only("D3K")):
        assert world.run() == 0
    assert [row["accepted_key"] for row in world.rows(TAXA_CSV)] == ["D3K"]
    assert world.json(names.summary_key(MONTH, names.SNAPSHOT_JSON))["checklist_key"] == COL_XR.key
    assert "knows none" in world.read(names.log_key(MONTH, "annotate_riis", 1, "task.log")).decode()


def test_a_server_that_knows_only_the_snapshots_species_leaves_the_register_to_the_review(world):
    world.put(RIIS_KEY, riis_csv(ABSENT))
    with serve(world, only("9BX", "NT3", "52S")):
        assert world.run() == 0
    assert [row["riis_occurrence_id"] for row in world.rows(REVIEW_CSV)] == ["R1"]


def test_a_server_that_knows_nothing_at_all_makes_nothing_native(world):
    with serve(world, only()):
        assert world.run() == 1
    assert "knows neither" in world.marker("failure").error
    assert not world.object_keys("summary/")


def test_a_service_that_refuses_says_so(world, monkeypatch):
    with serve(world) as server:
        monkeypatch.setattr(server, "index", lambda _parameters: None)
        assert world.run() == 1
    assert "HTTP 404" in world.marker("failure").error


def test_species_without_any_usable_key_say_nothing_of_the_taxonomy(world):
    """In a small snapshot of a bad month most species have a temporary key or 0, and few a right one."""
    faulty = [("vYOrvZV81KuK9xP9V-W", "0", f"Genus species{number}", "US") for number in range(40)]
    world.put_snapshot(snapshot_table([*faulty, ("NT3", "NT3", "Bromus tectorum", "US")]))
    with serve(world):
        assert world.run() == 0
    assert world.json(names.summary_key(MONTH, names.SNAPSHOT_JSON))["checklist_key"] == COL_XR.key


def test_of_a_long_register_the_species_that_occur_are_looked_at(world):
    """Forty records from all over a long register may all be of species that a small snapshot has not."""
    absent = [(*ABSENT[0][:-1], f"A{number}") for number in range(400)]
    world.put(RIIS_KEY, riis_csv([*absent[:201], REGISTER[1], *absent[201:]]))
    strange = Taxonomy(COL_XR.key, "v", tuple(replace(taxon, key=f"{taxon.key}2") for taxon in only("NT3", "D3K").taxa))
    strange = replace(
        strange,
        taxa=tuple(replace(taxon, parent_key=taxon.parent_key and "P2", rank=taxon.rank) for taxon in strange.taxa),
    )
    world.put_snapshot(snapshot_table([("35", "35", "Turdus merula", "US"), ("NT3", "NT3", "Bromus tectorum", "US")]))
    with serve(world, strange):
        assert world.run() == 1
    assert "1 for one that has another key there" in world.marker("failure").error


def test_leftover_keys_of_some_species_go_to_review_and_do_not_stop_the_month(world):
    """A leftover of the backbone can have a COL key's form: where a species has no other, the snapshot is at fault."""
    rows = [*ROWS[:3], *[("2498255", "2498255", row[2], "US") for row in ROWS[3:8] if row[1]]]
    world.put_snapshot(snapshot_table([*rows, *[("D3K", "D3K", "Dreissena polymorpha", "US")] * 2]))
    records = [*REGISTER, *[(*ABSENT[0][:-1], f"A{number}") for number in range(3)]]
    world.put(RIIS_KEY, riis_csv(records))
    with serve(world):
        assert world.run() == 0
    review = {row["riis_occurrence_id"]: row["reason"] for row in world.rows(REVIEW_CSV)}
    assert "under the key 2498255" in review["R2"]
    assert {row["riis_occurrence_id"] for row in world.rows(TAXA_CSV)} >= {"R1", "A0", "A1", "A2"}


def test_a_homonym_of_another_kingdom_in_the_snapshot_is_no_contradiction(world):
    """The snapshot has the plant; the register's record is about the animal, and holds for it."""
    world.put_snapshot(snapshot_table([*ROWS, ("FVP", "FVP", "Ficus variegata", "US")]))
    with serve(world):
        assert world.run() == 0
    assert "R6" in {row["riis_occurrence_id"] for row in world.rows(TAXA_CSV)}


def test_answers_that_were_not_trusted_are_not_kept_for_the_next_attempt(world):
    with serve(world, lies=Lies(wrong_keys=True)):
        assert world.run() == 1
    with serve(world):
        assert world.run(attempt=2) == 0
    assert len(world.rows(TAXA_CSV)) == 7


def test_keys_of_another_taxonomy_fail_rather_than_make_all_native(world):
    strange = [(f"{key}ZZ", f"{species_key}ZZ", *rest) for key, species_key, *rest in ROWS if species_key]
    world.put_snapshot(snapshot_table(strange))
    with serve(world):
        assert world.run() == 1
    error = world.marker("failure").error
    assert "another taxonomy" in error
    assert COL_XR.name in error
    assert BACKBONE.name in error
    assert not world.object_keys("summary/")


def test_a_fixed_checklist_is_the_only_one_asked(world):
    with serve(world):
        assert world.run(checklist_key=BACKBONE.key) == 1
    assert COL_XR.name not in world.marker("failure").error


def test_an_unknown_checklist_setting_lists_the_known_ones(world):
    with serve(world):
        assert world.run(checklist_key="nonsense") == 1
    assert COL_XR.key in world.marker("failure").error


@pytest.mark.parametrize(
    "lies",
    [
        Lies(shuffled_batch=True),
        Lies(short_batch=True),
        Lies(ignores_classification=True),
    ],
    ids=lambda lies: str(lies),
)
def test_a_lying_batch_is_found_out_and_changes_nothing(world, lies):
    with serve(world):
        assert world.run() == 0
    honest = {key: world.read(key) for key in (TAXA_CSV, TAXON_KEYS_CSV, REVIEW_CSV, ANNOTATED_CSV)}
    for key in world.object_keys("cache/"):
        world.s3.delete_object(Bucket=BUCKET, Key=key)
    with serve(world, lies=lies):
        assert world.run(attempt=2) == 0
    assert {key: world.read(key) for key in honest} == honest


@pytest.mark.parametrize(
    "lies",
    [Lies(other_names=True), Lies(wrong_keys=True)],
    ids=lambda lies: str(lies),
)
def test_a_lying_server_never_makes_a_species_native(world, lies):
    with serve(world, lies=lies):
        assert world.run() == 1
    assert "another taxonomy" in world.marker("failure").error
    assert not world.object_keys("summary/")


def test_a_server_that_ignores_the_checklist_does_not_mix_taxonomies(world):
    with serve(world, BACKBONE_TAXONOMY, COL, lies=Lies(ignores_checklist=True)):
        assert world.run() == 1
    assert "another taxonomy" in world.marker("failure").error


def test_a_name_under_another_key_than_the_snapshots_goes_to_review(world):
    """A single wrong key matches nothing: without this check its species would be native, and nobody would know."""
    drifted = Taxonomy(
        COL_XR.key,
        "v",
        tuple(taxon if taxon.key != "52S" else type(taxon)(**{**vars(taxon), "key": "52T"}) for taxon in COL.taxa),
    )
    with serve(world, drifted):
        assert world.run() == 0
    review = {row["riis_occurrence_id"]: row["reason"] for row in world.rows(REVIEW_CSV)}
    assert "under the key 52S" in review["R4"]
    assert "under 52T" in review["R4"]


def test_faults_of_the_service_change_nothing_but_the_time(world):
    faults = Faults(too_many=0.15, unavailable=0.15, cut_off=0.1, html=0.1, retry_after="0")
    with serve(world) as server:
        world.run()
    honest = {key: world.read(key) for key in (TAXA_CSV, TAXON_KEYS_CSV, REVIEW_CSV, ANNOTATED_CSV)}
    for key in world.object_keys("cache/"):
        world.s3.delete_object(Bucket=BUCKET, Key=key)
    with serve(world, faults=faults, batch=False) as server:
        assert world.run(attempt=2) == 0
        assert world.marker().counts["requests"] == server.requests
    assert {key: world.read(key) for key in honest} == honest


def test_a_service_that_is_down_ends_in_an_error_and_a_second_attempt_goes_on_from_the_cache(world, monkeypatch):
    with serve(world) as server:
        # After a while every request fails.
        fault = server.fault
        monkeypatch.setattr(server, "batch", False)
        monkeypatch.setattr(server, "fault", lambda: fault() or ("unavailable" if server.requests > 12 else None))
        assert world.run() == 1
        first = dict(server.asked)
    error = world.marker("failure").error
    assert "names are left to ask" in error
    assert "safe to retry" in error
    assert not world.object_keys("summary/")
    with serve(world, batch=False) as server:
        assert world.run(attempt=2) == 0
        # Some names are asked with and without kingdom; no question twice.
        assert world.marker().counts["names_cached"] >= len(first)
    assert names.failure_key(MONTH, "annotate_riis") not in world.object_keys("run/")


def test_a_second_month_asks_nothing_again(world):
    with serve(world) as server:
        assert world.run() == 0
        before = server.requests
        names_asked = world.marker().counts["names_asked"]
        assert world.run(attempt=2) == 0
        # The two checklists' metadata, and no name.
        assert server.requests - before == 2
    counts = world.marker().counts
    assert counts["names_asked"] == 0
    # All but the question that tried the batch call with a wrong kingdom.
    assert counts["names_cached"] == names_asked - 1


def test_a_broken_cache_is_left_aside(world):
    world.put(f"{names.CACHE}gbif/{COL_XR.key}/COL26.10_XR.jsonl.gz", b"no gzip")
    with serve(world):
        assert world.run() == 0
    assert world.marker().counts["names_cached"] == 0


def test_an_interruption_keeps_the_answers_and_leaves_no_marker(world):
    with serve(world, batch=False, latency=0.02) as server:

        def interrupt():
            while server.requests < 20:
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=interrupt)
        thread.start()
        assert world.run() == 143
        thread.join()
    assert not world.object_keys("run/")
    assert not world.object_keys("summary/")
    assert "Interrupted" in world.read(names.log_key(MONTH, "annotate_riis", 1, "task.log")).decode()
    with serve(world, batch=False):
        assert world.run(attempt=2) == 0
    assert world.marker().counts["names_cached"] > 10


def put_manifest(world, month, rows):
    world.put(names.output_key(month, "manifest.json"), f'{{"snapshot": {{"rows": {rows}}}}}'.encode())


@pytest.mark.parametrize(("previous", "stops"), [(11, False), (100, True), (5, True)])
def test_rows_far_from_last_months_stop_the_step(world, previous, stops):
    put_manifest(world, MONTH.previous.previous, previous)
    put_manifest(world, MONTH.previous.previous.previous, 11)
    with serve(world) as server:
        assert world.run() == (1 if stops else 0)
        if stops:
            assert f"the last one had {previous}" in world.marker("failure").error
            assert server.requests == 0
        else:
            assert world.marker().counts["rows_change"] == 0
            assert world.json(names.summary_key(MONTH, names.SNAPSHOT_JSON))["previous_rows"] == 11


def test_a_local_run_only_reports_a_large_change_of_rows(world):
    put_manifest(world, MONTH.previous, 22)
    with serve(world):
        assert world.run(rows_change_stops=False) == 0
    assert world.marker().counts["rows_change"] == -0.5
    assert "-50.0%" in world.read(names.log_key(MONTH, "annotate_riis", 1, "task.log")).decode()


@pytest.mark.parametrize(
    ("break_input", "words"),
    [
        (lambda world: world.s3.delete_object(Bucket=BUCKET, Key=RIIS_KEY), ["US-RIIS.csv", "missing"]),
        (lambda world: world.put(RIIS_KEY, b""), ["US-RIIS.csv", "empty"]),
        (lambda world: world.put_snapshot(snapshot_table().drop_columns(["license"])), ["lacks", "license", "000000"]),
        (lambda world: world.put_snapshot(snapshot_table(ROWS[-1:])), ["countrycode US"]),
        (lambda world: world.put_snapshot(snapshot_table([])), ["no rows"]),
        (
            lambda world: world.put(
                f"{names.snapshot_parquet_prefix(MONTH)}000001", b"gbifid\ttaxonkey\n", GBIF_BUCKET
            ),
            ["000001", "no Parquet"],
        ),
    ],
    ids=["no register", "empty register", "missing column", "no US row", "no row", "no Parquet"],
)
def test_bad_input_fails_before_gbif_is_asked(world, break_input, words):
    break_input(world)
    with serve(world) as server:
        assert world.run() == 1
        assert server.requests == 0
    error = world.marker("failure").error
    for word in words:
        assert word in error
    assert not world.object_keys("summary/")
