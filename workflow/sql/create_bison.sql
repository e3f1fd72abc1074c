-- Mounts GBIF's files as an external table, copies what BISON needs of them, and unmounts them. Spectrum reads (and
-- bills) only the columns that a statement names, so the two scans are of ten and of six columns out of fifty.

-- name: create_external_schema
CREATE EXTERNAL SCHEMA IF NOT EXISTS ${external_schema} FROM DATA CATALOG DATABASE '${glue_database}'
IAM_ROLE DEFAULT CREATE EXTERNAL DATABASE IF NOT EXISTS;

-- name: unmount_leftover
DROP TABLE IF EXISTS ${external_schema}.occurrence_${month};

-- name: mount
-- Whether Spectrum matches columns by name or by position is not documented: every column, in the files' order, fits both.
CREATE EXTERNAL TABLE ${external_schema}.occurrence_${month} (
    ${snapshot_columns}
) STORED AS PARQUET LOCATION '${snapshot_location}';

-- name: drop_leftovers
DROP TABLE IF EXISTS bison_us_${month}_building;

-- name: subset
-- By longitude, so that equal coordinates lie on one node: the distinct coordinates are found, and joined back, there.
-- A coordinate that is not a number, or is beyond the poles or the date line, is none.
CREATE TABLE bison_us_${month}_building DISTKEY (decimallongitude) AS
SELECT
    CAST(gbifid AS VARCHAR(64)) AS gbifid,
    CAST(taxonkey AS VARCHAR(64)) AS taxonkey,
    CAST(specieskey AS VARCHAR(64)) AS specieskey,
    CAST(species AS VARCHAR(512)) AS species,
    CAST(year AS INTEGER) AS year,
    decimallongitude,
    decimallatitude,
    CAST(license AS VARCHAR(64)) AS license
FROM ${external_schema}.occurrence_${month}
WHERE countrycode IN (${country_codes})
    AND decimallongitude BETWEEN -180 AND 180
    AND decimallatitude BETWEEN -90 AND 90
    AND occurrencestatus = 'PRESENT'
    AND taxonrank IN (${ranks})
    AND basisofrecord IN (${basis_of_record});

-- name: funnel
-- record: columns
-- expect: us_rows >= 1: None of the snapshot's {snapshot_rows} rows is a species in ${country_words} with coordinates: the snapshot may be incomplete or its codes may have changed. Look at a file of ${snapshot_location}.
-- expect: not_in_country + without_coordinates + not_present + rank_above_species + other_basis_of_record + us_rows = ${snapshot_rows}: Redshift reads {snapshot_rows} rows, of which it keeps {us_rows}, where the files' footers say ${snapshot_rows}: they have changed since annotate_riis looked at them. Start annotate_riis again, with force.
SELECT funnel.*, kept.us_rows
FROM (
    SELECT
        COUNT(*) AS snapshot_rows,
        COUNT(CASE WHEN reason = 1 THEN 1 END) AS not_in_country,
        COUNT(CASE WHEN reason = 2 THEN 1 END) AS without_coordinates,
        COUNT(CASE WHEN reason = 3 THEN 1 END) AS not_present,
        COUNT(CASE WHEN reason = 4 THEN 1 END) AS rank_above_species,
        COUNT(CASE WHEN reason = 5 THEN 1 END) AS other_basis_of_record
    FROM (
        SELECT
            CASE
                WHEN countrycode IS NULL OR countrycode NOT IN (${country_codes}) THEN 1
                WHEN decimallongitude IS NULL OR decimallongitude NOT BETWEEN -180 AND 180
                    OR decimallatitude IS NULL OR decimallatitude NOT BETWEEN -90 AND 90 THEN 2
                WHEN occurrencestatus IS NULL OR occurrencestatus <> 'PRESENT' THEN 3
                WHEN taxonrank IS NULL OR taxonrank NOT IN (${ranks}) THEN 4
                WHEN basisofrecord IS NULL OR basisofrecord NOT IN (${basis_of_record}) THEN 5
            END AS reason
        FROM ${external_schema}.occurrence_${month}
    ) AS record
) AS funnel
CROSS JOIN (SELECT COUNT(*) AS us_rows FROM bison_us_${month}_building) AS kept;

-- name: drop_replaced
DROP TABLE IF EXISTS bison_us_${month};

-- name: keep_bison_us
ALTER TABLE bison_us_${month}_building RENAME TO bison_us_${month};

-- name: unmount
DROP TABLE IF EXISTS ${external_schema}.occurrence_${month};
