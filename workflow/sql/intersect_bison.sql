-- Finds the county and the tribal area of each distinct coordinate. Redshift has no spatial index, so coordinates are
-- compared and not records, of which there are many more.

-- name: drop_leftovers
DROP TABLE IF EXISTS coordinate_${month}, coordinate_region_${month}_building;

-- name: build_coordinate
-- By longitude, as bison_us is.
CREATE TABLE coordinate_${month} DISTKEY (decimallongitude) AS
SELECT DISTINCT decimallongitude, decimallatitude FROM bison_us_${month};

-- name: build_coordinate_region
-- A point on a border lies in several polygons; it gets the one with the smallest key, so that nothing counts twice.
CREATE TABLE coordinate_region_${month}_building DISTKEY (decimallongitude) AS
SELECT coordinate.decimallongitude, coordinate.decimallatitude, county.county_geoid, aiannh.aiannh_geoid
FROM coordinate_${month} AS coordinate
LEFT JOIN (
    SELECT point.decimallongitude, point.decimallatitude, MIN(polygon.county_geoid) AS county_geoid
    FROM coordinate_${month} AS point
    JOIN county_${month} AS polygon
        ON ST_Intersects(polygon.geom, ST_SetSRID(ST_Point(point.decimallongitude, point.decimallatitude), 4326))
    GROUP BY point.decimallongitude, point.decimallatitude
) AS county
    ON county.decimallongitude = coordinate.decimallongitude AND county.decimallatitude = coordinate.decimallatitude
LEFT JOIN (
    SELECT point.decimallongitude, point.decimallatitude, MIN(polygon.aiannh_geoid) AS aiannh_geoid
    FROM coordinate_${month} AS point
    JOIN aiannh_${month} AS polygon
        ON ST_Intersects(polygon.geom, ST_SetSRID(ST_Point(point.decimallongitude, point.decimallatitude), 4326))
    GROUP BY point.decimallongitude, point.decimallatitude
) AS aiannh
    ON aiannh.decimallongitude = coordinate.decimallongitude AND aiannh.decimallatitude = coordinate.decimallatitude;

-- name: count
-- record: columns
-- expect: coordinates >= coordinates_in_no_county + 1: None of the {coordinates} coordinates lies in a county: the county file's coordinates are not degrees of longitude and latitude, or the file holds other counties than the occurrences are in.
SELECT COUNT(*) AS coordinates, COUNT(CASE WHEN county_geoid IS NULL THEN 1 END) AS coordinates_in_no_county
FROM coordinate_region_${month}_building;

-- name: drop_replaced
DROP TABLE IF EXISTS coordinate_region_${month};

-- name: keep_coordinate_region
ALTER TABLE coordinate_region_${month}_building RENAME TO coordinate_region_${month};
