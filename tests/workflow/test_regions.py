from importlib.util import find_spec
from pathlib import Path

import pytest
import shapefile
from shapely.geometry import shape
from shapely.strtree import STRtree

from workflow import regions


@pytest.fixture(scope="module")
def neighbours_by_polygon() -> set[tuple[str, str]]:
    """Pairs of states whose Census polygons share a line: computed from the polygons, not from our table."""
    spec = find_spec("_plotly_geo")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "package_data"
    with shapefile.Reader(str(folder / "cb_2016_us_state_500k.shp")) as reader:
        states = [(record.record["STUSPS"], shape(record.shape.__geo_interface__)) for record in reader.shapeRecords()]
    tree = STRtree([polygon for _, polygon in states])
    pairs = set()
    for name, polygon in states:
        for index in tree.query(polygon, predicate="intersects"):
            other, neighbour = states[index]
            if name < other and polygon.intersection(neighbour).length > 0:
                pairs.add((name, other))
    return pairs


def test_the_neighbours_are_those_whose_polygons_share_a_line(neighbours_by_polygon: set[tuple[str, str]]) -> None:
    table = {(name, other) for name, others in regions.ADJACENT_STATES.items() for other in others if name < other}
    assert table == neighbours_by_polygon


def test_to_be_neighbours_is_mutual() -> None:
    for name, others in regions.ADJACENT_STATES.items():
        for other in others:
            assert name in regions.ADJACENT_STATES[other]


def test_every_state_has_the_region_of_the_register() -> None:
    by_region: dict[str | None, set[str]] = {}
    for state in regions.STATES:
        by_region.setdefault(state.riis_region, set()).add(state.census_state)
    assert by_region["AK"] == {"AK"}
    assert by_region["HI"] == {"HI"}
    assert by_region[None] == {"PR", "GU", "VI", "AS", "MP"}
    assert len(by_region["L48"]) == 49  # 48 states and DC


def test_every_state_of_the_county_file_is_known() -> None:
    spec = find_spec("_plotly_geo")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "package_data"
    with shapefile.Reader(str(folder / "cb_2016_us_state_500k.shp")) as reader:
        for record in reader.iterRecords():
            state = regions.BY_FIPS[record["STATEFP"]]
            assert (state.census_state, state.name) == (record["STUSPS"], record["NAME"])
    with shapefile.Reader(str(folder / "cb_2016_us_county_500k.shp")) as reader:
        assert {record["LSAD"] for record in reader.iterRecords()} <= set(regions.LSAD_SUFFIX)
