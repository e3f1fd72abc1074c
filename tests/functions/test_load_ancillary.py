"""The shapefiles that load_ancillary's plan is made from, and what may be wrong with them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import shapefile
from function_cloud import marker_event

from functions.sql_step import handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from function_cloud import Bucket, FakeDataApi

NAD83 = (
    'GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137,298.257222101]],'
    'PRIMEM["Greenwich",0],UNIT["Degree",0.017453292519943295]]'
)
ALBERS = f'PROJCS["USA_Contiguous_Albers_Equal_Area_Conic",{NAD83},PROJECTION["Albers"],UNIT["Meter",1.0]]'


def put_shapefile(bucket: Bucket, stem: str, columns: dict[str, str], shapes: int = 1) -> None:
    """A shapefile of squares, written by pyshp."""
    parts = {part: io.BytesIO() for part in ("shp", "shx", "dbf")}
    with shapefile.Writer(**parts, shapeType=shapefile.POLYGON) as writer:
        for column in columns:
            writer.field(column, "C", size=40)
        for _ in range(shapes):
            writer.poly([[[-95, 38], [-95, 39], [-94, 39], [-94, 38], [-95, 38]]])
            writer.record(*columns.values())
    for part, body in parts.items():
        bucket.put(f"{stem}.{part}", body.getvalue())
    bucket.put(f"{stem}.prj", NAD83)


@pytest.fixture
def step(bucket: Bucket, data_api: FakeDataApi, set_step: Callable[[str | None], None]) -> FakeDataApi:
    set_step("load_ancillary")
    bucket.mark("annotate_riis")
    county = {"STATEFP": "20", "COUNTYFP": "045", "GEOID": "20045", "NAME": "Douglas", "LSAD": "06"}
    put_shapefile(bucket, "input/county", county)
    put_shapefile(bucket, "input/aiannh", {"GEOID": "0020R", "NAME": "Agua Caliente", "NAMELSAD": "Agua Caliente"})
    return data_api


def start() -> dict[str, object]:
    return handler(marker_event("annotate_riis"), None)


def test_the_plan_has_the_columns_of_the_files(step: FakeDataApi, bucket: Bucket) -> None:
    assert start()["status"] == "started"
    plan = bucket.json("log/2026_11_01/load_ancillary/1/statements.json")
    text = "\n".join(statement["sql"] for statement in plan["statements"])
    # 40 bytes of the file's own encoding are at most 160 of UTF-8.
    assert '"countyfp" VARCHAR(160)' in text
    assert '"namelsad" VARCHAR(160)' in text


@pytest.mark.parametrize("part", [".shp", ".shx", ".dbf", ".prj"])
@pytest.mark.parametrize("file", ["county", "aiannh"])
def test_a_missing_part_is_named(step: FakeDataApi, bucket: Bucket, file: str, part: str) -> None:
    bucket.store.delete(f"input/{file}{part}")
    answer = start()
    assert answer["status"] == "failed"
    assert f"s3://bison-test/input/{file}{part} is missing" in str(answer["message"])
    assert step.statements == {}
    assert bucket.marker("load_ancillary") is None


@pytest.mark.parametrize("part", [".shp", ".shx", ".dbf", ".prj"])
def test_an_empty_part_is_named(step: FakeDataApi, bucket: Bucket, part: str) -> None:
    bucket.put(f"input/county{part}", b"")
    answer = start()
    assert answer["status"] == "failed"
    assert f"s3://bison-test/input/county{part} is empty" in str(answer["message"])


def test_a_shapefile_without_shapes_is_empty(step: FakeDataApi, bucket: Bucket) -> None:
    """A header alone loads no county, and every point would lie in none."""
    put_shapefile(bucket, "input/county", {"GEOID": "20045", "NAMELSAD": "Douglas County"}, shapes=0)
    answer = start()
    assert answer["status"] == "failed"
    assert "input/county.shp is empty" in str(answer["message"])


def test_a_table_without_records_is_named(step: FakeDataApi, bucket: Bucket) -> None:
    header = bytearray(bucket.store.read("input/county.dbf") or b"")
    header[4:8] = bytes(4)
    bucket.put("input/county.dbf", bytes(header))
    assert "input/county.dbf has no records" in str(start()["message"])


@pytest.mark.parametrize(
    ("projection", "words"),
    [(ALBERS, "projected (USA_Contiguous_Albers"), ("nonsense", "names no coordinate system")],
)
def test_a_wrong_projection_is_named(step: FakeDataApi, bucket: Bucket, projection: str, words: str) -> None:
    """Metres taken for degrees would put every point into no county."""
    bucket.put("input/aiannh.prj", projection)
    answer = start()
    assert answer["status"] == "failed"
    assert "input/aiannh.prj" in str(answer["message"])
    assert words in str(answer["message"])
    assert "ogr2ogr" in str(answer["message"])


def test_a_file_without_the_needed_columns_is_named(step: FakeDataApi, bucket: Bucket) -> None:
    put_shapefile(bucket, "input/county", {"OBJECTID": "1"})
    answer = start()
    assert answer["status"] == "failed"
    assert "input/county.shp lacks the column GEOID" in str(answer["message"])


def test_what_is_no_dbf_is_named(step: FakeDataApi, bucket: Bucket) -> None:
    bucket.put("input/county.dbf", b"<html>404 Not Found</html>" * 10)
    answer = start()
    assert answer["status"] == "failed"
    assert "input/county.shp cannot be used" in str(answer["message"])


def test_mended_files_are_read_by_the_retry(step: FakeDataApi, bucket: Bucket) -> None:
    bucket.put("input/aiannh.prj", ALBERS)
    start()
    bucket.put("input/aiannh.prj", NAD83)
    assert handler({"month": "2026-11", "attempt": 2}, None)["status"] == "started"
