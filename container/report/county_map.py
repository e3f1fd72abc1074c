"""The county map: Census boundaries projected, simplified together and written as SVG paths.

Shared borders stay shared: the counties are simplified as one coverage, so that no gap or overlap opens between them.
"""

from __future__ import annotations

import struct
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import shapefile
import shapely

from container.task import TaskError
from workflow.regions import BY_FIPS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT = 960, 640
"""The map's size in its own units, which the boundaries are simplified for."""

_EARTH_RADIUS = 6_371_007.0
"""Metres; the sphere with the surface of the GRS 80 ellipsoid."""


@dataclass(frozen=True)
class Frame:
    """A part of the map with its own projection and scale.

    states: FIPS codes of the states drawn in it. parallels: Albers' standard parallels. origin: its longitude and
    latitude, degrees. metres: ground length of one map unit. centre: where the origin lies on the map.
    box: x, y, width, height of an inset's frame; None for the main part.
    """

    name: str
    states: frozenset[str]
    parallels: tuple[float, float]
    origin: tuple[float, float]
    metres: float
    centre: tuple[float, float]
    box: tuple[float, float, float, float] | None = None


# Albers' parallels as the USGS uses them for the conterminous states, Alaska and Hawaii.
FRAMES = (
    Frame(
        "Conterminous United States",
        frozenset(BY_FIPS) - {"02", "15", "60", "66", "69", "72", "78"},
        (29.5, 45.5),
        (-96.0, 37.5),
        5_000,
        (487, 330),
    ),
    Frame("Alaska", frozenset({"02"}), (55.0, 65.0), (-154.0, 61.5), 15_500, (158, 565), (8, 486, 256, 146)),
    Frame("Hawaii", frozenset({"15"}), (8.0, 18.0), (-157.3, 20.5), 5_000, (347, 580), (274, 528, 134, 104)),
    Frame(
        "Puerto Rico and the U.S. Virgin Islands",
        frozenset({"72", "78"}),
        (8.0, 18.0),
        (-65.9, 18.1),
        3_200,
        (890, 602),
        (822, 572, 130, 60),
    ),
)
"""The Pacific territories are not drawn: at any scale that fits they would be dots."""

_TOLERANCE = 0.55
"""Simplification (Visvalingam and Whyatt), as the side of a square in map units."""

_LEAST_ISLAND = 0.35
"""Area in square map units below which an island is left out, unless it is its county's largest part."""


@dataclass(frozen=True)
class CountyShape:
    """A county as drawn: its Census identifier, name without suffix, state (abbreviation), and SVG path data."""

    county_geoid: str
    name: str
    census_state: str
    path: str


@dataclass(frozen=True)
class CountyMap:
    """What the map is drawn of. state_borders: SVG path data, in the map's units."""

    counties: tuple[CountyShape, ...]
    state_borders: str


def read_county_map(shapefile_path: Path) -> CountyMap:
    """Read a Census county boundary file (.shp, with .shx and .dbf beside it) of any vintage, and fit it on the map.

    The county is known by GEOID, or by STATEFP and COUNTYFP. Counties of states outside FRAMES are left out.
    Raises TaskError if the file cannot be read, lacks these columns or is not in degrees.
    """
    geoids, county_names, geometries = _read_counties(shapefile_path)
    shapes: list[CountyShape] = []
    borders: list[str] = []
    for frame in FRAMES:
        inside = [index for index, geoid in enumerate(geoids) if geoid[:2] in frame.states]
        if not inside:
            continue
        projected = shapely.transform(np.array(geometries)[inside], partial(_project, frame))
        simplified = shapely.coverage_simplify(projected, _TOLERANCE)
        for index, geometry in zip(inside, simplified, strict=True):
            state = BY_FIPS[geoids[index][:2]].census_state
            shapes.append(CountyShape(geoids[index], county_names[index], state, _path(_visible_parts(geometry))))
        by_state: dict[str, list[shapely.Geometry]] = {}
        for index, geometry in zip(inside, simplified, strict=True):
            by_state.setdefault(geoids[index][:2], []).append(geometry)
        borders.extend(_path(_visible_parts(shapely.coverage_union_all(parts))) for parts in by_state.values())
    shapes.sort(key=lambda shape: shape.county_geoid)
    return CountyMap(tuple(shapes), "".join(borders))


def _read_counties(path: Path) -> tuple[list[str], list[str], list[shapely.Geometry]]:
    """Census identifiers, names and polygons (degrees)."""
    try:
        try:
            return _read(path, "utf-8")
        except UnicodeDecodeError:
            # Files before about 2015, and some later ones without a .cpg.
            return _read(path, "latin-1")
    except (shapefile.ShapefileException, struct.error, OSError, ValueError) as error:
        raise TaskError(f"The county shapefile {path.name} cannot be read: {error}") from error


def _read(path: Path, encoding: str) -> tuple[list[str], list[str], list[shapely.Geometry]]:
    with closing(shapefile.Reader(str(path), encoding=encoding)) as reader:
        columns = {field.name.upper() for field in reader.fields}
        if not ("GEOID" in columns or {"STATEFP", "COUNTYFP"} <= columns):
            raise TaskError(
                f"The county shapefile {path.name} has neither the column GEOID nor STATEFP and COUNTYFP: "
                f"it has {', '.join(sorted(columns))}. Use a county file of the Census Bureau."
            )
        west, south, east, north = reader.bbox
        if west < -180 or south < -90 or east > 180 or north > 90:
            raise TaskError(
                f"The county shapefile {path.name} is not in degrees (its extent is {reader.bbox}): "
                "use longitude and latitude, as the Census Bureau publishes it."
            )
        geoids, county_names, geometries = [], [], []
        for row, shape in zip(reader.iterRecords(), reader.iterShapes(), strict=True):
            if row is None or shape is None or not shape.points:
                continue  # a record without a boundary cannot be drawn
            record = {name.upper(): str(value) for name, value in row.as_dict().items()}
            geoids.append(record["GEOID"] if "GEOID" in columns else record["STATEFP"] + record["COUNTYFP"])
            county_names.append(record.get("NAME", ""))
            geometries.append(shapely.geometry.shape(shape.__geo_interface__))
        return geoids, county_names, geometries


def _project(frame: Frame, degrees: Floats) -> Floats:
    """Longitude and latitude (n x 2) to map units, by Albers' equal-area conic projection of the sphere.

    Source: Snyder 1987, Map Projections, a Working Manual, equations 14-1 to 14-6.
    """
    south, north = np.radians(frame.parallels)
    origin_longitude, origin_latitude = frame.origin
    cone = (np.sin(south) + np.sin(north)) / 2
    constant = np.cos(south) ** 2 + 2 * cone * np.sin(south)

    def radius(latitude: Floats | float) -> Floats:
        of_latitude: Floats = np.sqrt(constant - 2 * cone * np.sin(np.radians(latitude))) / cone
        return of_latitude

    # The Aleutian Islands lie on both sides of the 180th meridian.
    east = (degrees[:, 0] - origin_longitude + 180) % 360 - 180
    angle = cone * np.radians(east)
    rho = radius(degrees[:, 1])
    scale = _EARTH_RADIUS / frame.metres
    x = frame.centre[0] + scale * rho * np.sin(angle)
    y = frame.centre[1] - scale * (radius(origin_latitude) - rho * np.cos(angle))
    return np.column_stack((x, y))


def _visible_parts(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    """The polygons that can be seen, and the largest one in any case."""
    parts = [part for part in shapely.get_parts(geometry) if not part.is_empty]
    seen = [part for part in parts if part.area >= _LEAST_ISLAND]
    return seen or sorted(parts, key=lambda part: part.area)[-1:]


def _path(polygons: Iterable[shapely.Geometry]) -> str:
    """SVG path data, to a tenth of a map unit and relative, which is shortest."""
    commands = []
    for polygon in polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            # Rounding before the differences keeps neighbours' points in one place.
            points = np.rint(shapely.get_coordinates(ring)[:-1] * 10).astype(int)
            steps = np.diff(points, axis=0)
            steps = steps[np.any(steps != 0, axis=1)]
            commands.append(f"M{_number(points[0, 0])},{_number(points[0, 1])}l")
            commands.append(" ".join(f"{_number(x)},{_number(y)}" for x, y in steps))
            commands.append("z")
    return "".join(commands)


def _number(tenths: int) -> str:
    return f"{tenths / 10:g}"
