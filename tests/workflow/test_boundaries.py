"""Census files of several vintages: the columns that are chosen, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import _plotly_geo
import pytest
import shapefile

from workflow.boundaries import (
    BoundaryColumns,
    DbfField,
    aiannh_columns,
    check_projection,
    county_columns,
    read_dbf_fields,
    redshift_column_type,
)

NAD83 = (
    'GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137,298.257222101]],'
    'PRIMEM["Greenwich",0],UNIT["Degree",0.017453292519943295]]'
)


def fields(*names):
    return tuple(DbfField(name.lower(), "C", 10, 0) for name in names)


def test_reads_the_header_of_a_census_file():
    dbf = Path(_plotly_geo.__file__).parent / "package_data" / "cb_2016_us_county_500k.dbf"
    found = read_dbf_fields(dbf.read_bytes()[:8192])
    assert [field.name for field in found] == [
        "statefp", "countyfp", "countyns", "affgeoid", "geoid", "name", "lsad", "aland", "awater",
    ]  # fmt: skip
    assert found[4] == DbfField("geoid", "C", 5, 0)
    assert found[7] == DbfField("aland", "N", 14, 0)


def test_reads_what_another_program_writes():
    dbf = io.BytesIO()
    with shapefile.Writer(shp=io.BytesIO(), shx=io.BytesIO(), dbf=dbf) as writer:
        writer.field("NAME", "C", 100)
        writer.field("AREA", "N", 20, 5)
        writer.field("SINCE", "D")
        writer.field("IN_USE", "L")
        writer.null()
        writer.record("x", 1.5, None, True)
    found = read_dbf_fields(dbf.getvalue())
    assert [redshift_column_type(field) for field in found] == ["VARCHAR(400)", "DOUBLE PRECISION", "DATE", "BOOLEAN"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (DbfField("aland", "N", 14, 0), "BIGINT"),
        # 19 digits may be more than a BIGINT holds.
        (DbfField("aland", "N", 19, 0), "DOUBLE PRECISION"),
        (DbfField("shape_area", "F", 13, 11), "DOUBLE PRECISION"),
    ],
)
def test_column_types(field, expected):
    assert redshift_column_type(field) == expected


def test_a_column_type_that_redshift_cannot_load_is_named():
    with pytest.raises(ValueError, match=r"Column notes .* 'M'"):
        redshift_column_type(DbfField("notes", "M", 10, 0))


def test_a_header_that_is_cut_off_or_none_is_refused():
    """Half of the columns would load into a table of the wrong shape."""
    header = (Path(_plotly_geo.__file__).parent / "package_data" / "cb_2016_us_county_500k.dbf").read_bytes()
    with pytest.raises(ValueError, match="cut off after 200"):
        read_dbf_fields(header[:200])
    with pytest.raises(ValueError, match=r"no \.dbf file"):
        read_dbf_fields(b"<html>" * 100)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        # Cartographic boundaries of 2016 to 2019
        (("STATEFP", "COUNTYFP", "GEOID", "NAME", "LSAD"), BoundaryColumns(("geoid",), "name", "lsad")),
        # of 2020 and later
        (
            ("STATEFP", "GEOID", "NAME", "NAMELSAD", "STUSPS", "STATE_NAME", "LSAD"),
            BoundaryColumns(("geoid",), "namelsad", None),
        ),
        # TIGER/Line of the 2020 census
        (("STATEFP20", "GEOID20", "NAME20", "NAMELSAD20", "LSAD20"), BoundaryColumns(("geoid20",), "namelsad20", None)),
        (("STATEFP", "COUNTYFP", "NAMELSAD"), BoundaryColumns(("statefp", "countyfp"), "namelsad", None)),
    ],
)
def test_county_columns_by_vintage(columns, expected):
    assert county_columns(fields(*columns), "counties.shp") == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("AIANNHCE", "AFFGEOID", "GEOID", "NAME", "NAMELSAD", "LSAD"), BoundaryColumns(("geoid",), "namelsad", None)),
        (("AIANNHCE", "GEOID", "NAME", "LSAD"), BoundaryColumns(("geoid",), "name", "lsad")),
        (("AIANNHCE", "COMPTYP", "NAMELSAD"), BoundaryColumns(("aiannhce", "comptyp"), "namelsad", None)),
        (("AIANNHCE", "NAMELSAD"), BoundaryColumns(("aiannhce",), "namelsad", None)),
    ],
)
def test_aiannh_columns_by_vintage(columns, expected):
    assert aiannh_columns(fields(*columns), "areas.shp") == expected


def test_missing_columns_are_named_with_their_file():
    with pytest.raises(
        ValueError, match=r"input/x\.shp lacks the column GEOID or .* and NAMELSAD .*; it has GEO_ID, NAME"
    ):
        county_columns(fields("GEO_ID", "NAME"), "input/x.shp")


@pytest.mark.parametrize(
    "text",
    [
        NAD83,
        NAD83.replace("D_North_American_1983", "North_American_Datum_1983"),
        'GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137,298.257223563]],UNIT["Degree",0.01745]]',
        'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],UNIT["degree",0.0174532925199433]]',
    ],
)
def test_degrees_on_nad83_or_wgs84_are_taken(text):
    check_projection(text, "x.prj")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f'PROJCS["NAD_1983_Albers",{NAD83},PROJECTION["Albers"],UNIT["Meter",1]]',
            r"x\.prj .*projected \(NAD_1983_Albers\)",
        ),
        (NAD83.replace("D_North_American_1983", "D_North_American_1927"), r"datum is D_North_American_1927"),
        (NAD83.replace('UNIT["Degree"', 'UNIT["Grad"'), "unit is Grad"),
        ("", "names no coordinate system"),
    ],
)
def test_other_coordinates_are_refused(text, message):
    """Metres would put every occurrence outside every county."""
    with pytest.raises(ValueError, match=message):
        check_projection(text, "x.prj")
