"""``bison local run --docker``: a month whose tasks run in the image gives what processes of the checkout give."""

from __future__ import annotations

import csv
import time

import pytest

from local.gbif_server import GbifServer
from local.inputs import OptionError
from local.run import RunOptions, run_month
from local.sample import build_sample
from workflow.month import Month

pytestmark = pytest.mark.docker

MONTH = Month(2026, 10)


def rows(path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return sorted(csv.reader(file))


def test_s1_and_s8_run_in_the_image_and_give_the_same_tables(docker_engine, image, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    sample = build_sample(tmp_path / "input", MONTH, 1_500)
    inputs = {
        "snapshot": sample.snapshot_dir,
        "riis": sample.riis_csv,
        "counties": sample.county_shp,
        "aiannh": sample.aiannh_shp,
    }
    begun = int(time.time())
    manifests = []
    for folder, docker in (("docker", True), ("processes", False)):
        with GbifServer(sample.taxonomies) as gbif:
            options = RunOptions(
                month=MONTH, out=tmp_path / folder, gbif=gbif.url, docker=docker, image=image.digest, **inputs
            )
            manifests.append(run_month(options).manifest)
    created = docker_engine.docker(
        *(
            "events",
            "--since",
            begun,
            "--until",
            int(time.time()) + 1,
            "--filter",
            "type=container",
            "--filter",
            "event=create",
        ),
        *("--format", "{{.Actor.Attributes.image}}"),
    )
    assert created.splitlines() == [image.digest] * 2
    assert docker_engine.docker("ps", "--all", "--quiet") == ""
    tables = sorted(path.name for path in (tmp_path / "processes").glob("*.csv"))
    assert {"riis_review.csv", "site_stats.csv", "diversity_stats.csv"} <= set(tables)
    for table in tables:
        assert rows(tmp_path / "docker" / table) == rows(tmp_path / "processes" / table), table
    assert manifests[0].keys() == manifests[1].keys()


def test_an_image_that_is_not_there_is_a_wrong_option(docker_engine, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    with pytest.raises(OptionError, match="--image nothing:here: Docker has no such image"):
        run_month(RunOptions(month=MONTH, out=tmp_path, docker=True, image="nothing:here", alone=True))
