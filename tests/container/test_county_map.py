"""The map's geometry, on squares and on the Census Bureau's own counties."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import shapefile
import shapely
import stats_month as month

from container.report import county_map
from container.report.county_map import FRAMES, HEIGHT, WIDTH, read_county_map
from container.task import TaskError


def rings(path: str) -> list[list[tuple[int, int]]]:
    """SVG path data read back, as points in tenths of a map unit."""
    found = []
    for start, steps in re.findall(r"M(\S+?)l(.*?)z", path):
        point = tuple(round(float(value) * 10) for value in start.split(","))
        ring = [point]
        for step in steps.split():
            x, y = (round(float(value) * 10) for value in step.split(","))
            point = (point[0] + x, point[1] + y)
            ring.append(point)
        found.append(ring)
    return found


@pytest.fixture(scope="module")
def census():
    return read_county_map(files("_plotly_geo") / "package_data" / "cb_2016_us_county_500k.shp")


def test_all_counties_but_the_pacific_territories(census):
    """3,233 in the file, of which American Samoa, Guam and the Northern Marianas have 10."""
    assert len(census.counties) == 3223
    assert {"01001", "02016", "15009", "72001", "78010"} <= {county.county_geoid for county in census.counties}
    assert next(county for county in census.counties if county.county_geoid == "35013").name == "Doña Ana"


def test_everything_lies_on_the_map_and_alaska_in_its_frame(census):
    """The Aleutians lie on both sides of the 180th meridian: unwrapped they would cross the whole map."""
    for county in census.counties:
        points = [point for ring in rings(county.path) for point in ring]
        assert points, county
        assert all(0 <= x <= WIDTH * 10 and 0 <= y <= HEIGHT * 10 for x, y in points), county
        for frame in FRAMES:
            if frame.box and county.county_geoid[:2] in frame.states:
                left, top, width, height = (value * 10 for value in frame.box)
                assert all(left <= x <= left + width and top <= y <= top + height for x, y in points), county


def test_neighbours_share_their_border(census):
    """Counties simplified one by one would leave slivers and overlaps along every border."""
    drawn = {county.county_geoid: county for county in census.counties}
    polygons = {
        geoid: shapely.make_valid(
            shapely.MultiPolygon([[ring, []] for ring in rings(drawn[geoid].path) if len(ring) > 2])
        )
        for geoid in drawn
        if geoid.startswith("19")
    }
    area = sum(polygon.area for polygon in polygons.values())
    whole = shapely.union_all(list(polygons.values()))
    assert whole.area == pytest.approx(area, rel=1e-6)
    assert shapely.get_num_interior_rings(whole) == 0


def test_area_is_true():
    """Albers keeps areas: Colorado, 269,601 km² (Census Bureau, land and water, 2010), at 5 km a unit."""
    shp = files("_plotly_geo") / "package_data" / "cb_2016_us_state_500k.shp"
    with shapefile.Reader(str(shp), encoding="latin-1") as reader:
        colorado = next(entry for entry in reader.iterShapeRecords() if entry.record["STATEFP"] == "08")
    degrees = shapely.geometry.shape(colorado.shape.__geo_interface__)
    # A line of longitude-latitude is curved on the map: put points between the corners.
    projected = shapely.transform(degrees.segmentize(0.05), lambda points: county_map._project(FRAMES[0], points))
    assert projected.area * 25 == pytest.approx(269_601, rel=0.002)


@pytest.mark.parametrize("columns", ["STATEFP COUNTYFP NAME", "GEOID NAMELSAD", "geoid name"])
def test_columns_of_any_vintage(tmp_path, columns):
    counties = read_county_map(month.write_counties(tmp_path, columns=columns)).counties
    assert [county.county_geoid for county in counties] == ["01001", "15001", "20001", "20003", "72001"]
    assert counties[0].census_state == "AL"


def test_unusable_files_are_named(tmp_path):
    with pytest.raises(TaskError, match="neither the column GEOID nor STATEFP and COUNTYFP"):
        read_county_map(month.write_counties(tmp_path, columns="NAME FIPS"))
    metres = {"20001": ("Allen", 500_000, 4_000_000)}
    with pytest.raises(TaskError, match="is not in degrees"):
        read_county_map(month.write_counties(tmp_path, metres))
    (tmp_path / "counties.shp").write_bytes(b"nothing")
    with pytest.raises(TaskError, match=r"counties\.shp cannot be read"):
        read_county_map(tmp_path / "counties.shp")


def test_small_islands_go_but_never_a_whole_county(tmp_path, monkeypatch):
    monkeypatch.setattr(county_map, "_LEAST_ISLAND", 1e9)
    assert all(county.path for county in read_county_map(month.write_counties(tmp_path)).counties)
