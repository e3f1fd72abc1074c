-- Counties, tribal areas and the register, as tables of the month. Polygons get the spatial reference 4326 whatever
-- their file says (NAD83 and WGS84 lie within two metres of each other), so that points can be compared with them.
-- All tables are small and joined to large ones, so each node keeps a copy: DISTSTYLE ALL.

-- name: drop_leftovers
DROP TABLE IF EXISTS
    state_${month}_building, county_${month}_building, aiannh_${month}_building, riis_taxon_${month}_building,
    taxon_key_${month}_building, county_file_${month}, aiannh_file_${month};

-- name: build_state
CREATE TABLE state_${month}_building DISTSTYLE ALL AS
    ${states};

-- name: create_county_file
CREATE TABLE county_file_${month} (
    geom GEOMETRY,
    ${county_columns}
) DISTSTYLE ALL;

-- name: load_county_file
COPY county_file_${month} FROM 's3://${bucket}/${county_key}' IAM_ROLE DEFAULT FORMAT AS SHAPEFILE SIMPLIFY AUTO;

-- name: build_county
CREATE TABLE county_${month}_building DISTSTYLE ALL AS
SELECT
    ST_SetSRID(county.geom, 4326) AS geom,
    county.county_geoid,
    state.census_state,
    county.census_county,
    state.census_state || ' ' || county.census_county AS state_county,
    state.riis_region
FROM (
    SELECT geom, ${county_geoid} AS county_geoid, ${county_name} AS census_county
    FROM county_file_${month}
) AS county
LEFT JOIN state_${month}_building AS state ON state.statefp = SUBSTRING(county.county_geoid, 1, 2);

-- name: check_county
-- expect: counties >= 1: The county file ${county_key} has no rows: put the Census Bureau's county boundaries in its place.
-- expect: different_keys = counties: The county file ${county_key} has {counties} rows but only {different_keys} different keys (GEOID): each county must stand in it once.
-- expect: without_state = 0: The county file ${county_key} has {without_state} rows whose GEOID begins with no state's FIPS code, such as {without_state_example}: put the Census Bureau's county boundaries in its place.
-- expect: without_name = 0: The county file ${county_key} has {without_name} rows whose name or LSAD code is missing or unknown, such as {without_name_example}: add the code to workflow/regions.py, or use a file that has NAMELSAD.
-- expect: without_shape = 0: The county file ${county_key} has {without_shape} rows without a polygon: its .shp and .dbf do not belong together.
SELECT
    COUNT(*) AS counties,
    COUNT(DISTINCT county_geoid) AS different_keys,
    COUNT(CASE WHEN census_state IS NULL THEN 1 END) AS without_state,
    MIN(CASE WHEN census_state IS NULL THEN county_geoid END) AS without_state_example,
    COUNT(CASE WHEN census_county IS NULL THEN 1 END) AS without_name,
    MIN(CASE WHEN census_county IS NULL THEN county_geoid END) AS without_name_example,
    COUNT(CASE WHEN geom IS NULL THEN 1 END) AS without_shape
FROM county_${month}_building;

-- name: create_aiannh_file
CREATE TABLE aiannh_file_${month} (
    geom GEOMETRY,
    ${aiannh_columns}
) DISTSTYLE ALL;

-- name: load_aiannh_file
COPY aiannh_file_${month} FROM 's3://${bucket}/${aiannh_key}' IAM_ROLE DEFAULT FORMAT AS SHAPEFILE SIMPLIFY AUTO;

-- name: build_aiannh
CREATE TABLE aiannh_${month}_building DISTSTYLE ALL AS
SELECT ST_SetSRID(geom, 4326) AS geom, ${aiannh_geoid} AS aiannh_geoid, ${aiannh_name} AS aiannh_name
FROM aiannh_file_${month};

-- name: check_aiannh
-- expect: areas >= 1: The AIANNH file ${aiannh_key} has no rows: put the Census Bureau's boundaries of tribal areas in its place.
-- expect: without_key = 0: The AIANNH file ${aiannh_key} has {without_key} rows without a key (GEOID): put the Census Bureau's boundaries in its place.
SELECT COUNT(*) AS areas, COUNT(CASE WHEN aiannh_geoid IS NULL THEN 1 END) AS without_key
FROM aiannh_${month}_building;

-- name: create_riis_taxon
CREATE TABLE riis_taxon_${month}_building (
    riis_region VARCHAR(8),
    accepted_key VARCHAR(64),
    species_key VARCHAR(64),
    species VARCHAR(512),
    is_species BOOLEAN,
    riis_assessment VARCHAR(16),
    riis_occurrence_id VARCHAR(256)
) DISTSTYLE ALL;

-- name: load_riis_taxon
COPY riis_taxon_${month}_building FROM 's3://${bucket}/summary/${month}/riis_taxa.csv'
IAM_ROLE DEFAULT FORMAT AS CSV IGNOREHEADER 1 EMPTYASNULL;

-- name: check_riis_taxon
-- expect: records >= 1: riis_taxa.csv has no records, so every species would count as native: run annotate_riis again.
-- expect: unknown = 0: riis_taxa.csv has {unknown} records of another region than AK, HI and L48, of another assessment than introduced and invasive, or without key or id: run annotate_riis again.
SELECT
    COUNT(*) AS records,
    COUNT(*) - COUNT(CASE
        WHEN riis_region IN ('AK', 'HI', 'L48') AND riis_assessment IN ('introduced', 'invasive')
            AND accepted_key IS NOT NULL AND is_species IS NOT NULL AND riis_occurrence_id IS NOT NULL THEN 1
    END) AS unknown
FROM riis_taxon_${month}_building;

-- name: create_taxon_key
CREATE TABLE taxon_key_${month}_building (taxonkey VARCHAR(64), accepted_key VARCHAR(64)) DISTSTYLE ALL;

-- name: load_taxon_key
COPY taxon_key_${month}_building FROM 's3://${bucket}/summary/${month}/taxon_keys.csv'
IAM_ROLE DEFAULT FORMAT AS CSV IGNOREHEADER 1 EMPTYASNULL;

-- name: check_taxon_key
-- expect: different_keys = keys: taxon_keys.csv has {keys} rows but only {different_keys} different keys: run annotate_riis again.
SELECT COUNT(*) AS keys, COUNT(DISTINCT taxonkey) AS different_keys FROM taxon_key_${month}_building;

-- name: drop_replaced
DROP TABLE IF EXISTS state_${month}, county_${month}, aiannh_${month}, riis_taxon_${month}, taxon_key_${month};

-- name: keep_state
ALTER TABLE state_${month}_building RENAME TO state_${month};

-- name: keep_county
ALTER TABLE county_${month}_building RENAME TO county_${month};

-- name: keep_aiannh
ALTER TABLE aiannh_${month}_building RENAME TO aiannh_${month};

-- name: keep_riis_taxon
ALTER TABLE riis_taxon_${month}_building RENAME TO riis_taxon_${month};

-- name: keep_taxon_key
ALTER TABLE taxon_key_${month}_building RENAME TO taxon_key_${month};
