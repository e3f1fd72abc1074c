-- Gives each record its RIIS region and status, by the rules of workflow/status.py. The register's tables are small:
-- each node keeps a copy (DISTSTYLE ALL), and the records are joined to them where they lie.

-- name: drop_leftovers
DROP TABLE IF EXISTS
    riis_match_${month}, riis_status_${month}_building, riis_id_list_${month}_building, bison_${month}_building;

-- name: build_riis_match
-- Which register records a key leads to: as the key of a taxon (its accepted key, or a synonym's that annotate_riis
-- resolved to it), or as the key of a whole species, which only a record of species rank can speak for.
CREATE TABLE riis_match_${month} DISTSTYLE ALL AS
SELECT riis_region, match_level, taxon_key, riis_occurrence_id, MAX(is_invasive) AS is_invasive
FROM (
    SELECT
        register.riis_region,
        'taxon' AS match_level,
        register.accepted_key AS taxon_key,
        register.riis_occurrence_id,
        CASE WHEN register.riis_assessment = 'invasive' THEN 1 ELSE 0 END AS is_invasive
    FROM riis_taxon_${month} AS register
    LEFT JOIN taxon_key_${month} AS resolved ON resolved.taxonkey = register.accepted_key
    WHERE resolved.taxonkey IS NULL
    UNION ALL
    SELECT
        register.riis_region,
        'taxon',
        resolved.taxonkey,
        register.riis_occurrence_id,
        CASE WHEN register.riis_assessment = 'invasive' THEN 1 ELSE 0 END
    FROM riis_taxon_${month} AS register
    JOIN taxon_key_${month} AS resolved ON resolved.accepted_key = register.accepted_key
    UNION ALL
    SELECT
        register.riis_region,
        'species',
        register.accepted_key,
        register.riis_occurrence_id,
        CASE WHEN register.riis_assessment = 'invasive' THEN 1 ELSE 0 END
    FROM riis_taxon_${month} AS register
    WHERE register.is_species
) AS matching
GROUP BY riis_region, match_level, taxon_key, riis_occurrence_id;

-- name: build_riis_status
-- Invasive beats introduced; every record's identifier is kept.
CREATE TABLE riis_status_${month}_building DISTSTYLE ALL AS
SELECT
    riis_region,
    match_level,
    taxon_key,
    CASE WHEN MAX(is_invasive) = 1 THEN 'invasive' ELSE 'introduced' END AS riis_assessment,
    LISTAGG(riis_occurrence_id, '|') WITHIN GROUP (ORDER BY riis_occurrence_id) AS riis_occurrence_ids
FROM riis_match_${month}
GROUP BY riis_region, match_level, taxon_key;

-- name: build_riis_id_list
-- The identifiers that each list of them holds, so that lists can be united later without taking strings apart.
CREATE TABLE riis_id_list_${month}_building DISTSTYLE ALL AS
SELECT DISTINCT status.riis_occurrence_ids, matching.riis_occurrence_id
FROM riis_status_${month}_building AS status
JOIN riis_match_${month} AS matching
    ON matching.riis_region = status.riis_region
    AND matching.match_level = status.match_level
    AND matching.taxon_key = status.taxon_key;

-- name: build_bison
-- Spread evenly, as the steps after this group it in several ways; sorted by state, as it is exported by state.
-- The status is joined when the table is made: an UPDATE would write a billion rows a second time.
CREATE TABLE bison_${month}_building DISTSTYLE EVEN SORTKEY (census_state) AS
SELECT
    record.gbifid,
    record.taxonkey,
    record.specieskey,
    record.species,
    record.year,
    record.decimallongitude,
    record.decimallatitude,
    county.census_state,
    region.county_geoid,
    region.aiannh_geoid,
    county.riis_region,
    CASE
        WHEN county.riis_region IS NULL THEN NULL
        WHEN record.usable_taxonkey IS NULL AND record.usable_specieskey IS NULL THEN 'unresolved'
        ELSE COALESCE(by_taxon.riis_assessment, by_species.riis_assessment, 'presumed_native')
    END AS riis_assessment,
    COALESCE(by_taxon.riis_occurrence_ids, by_species.riis_occurrence_ids) AS riis_occurrence_ids,
    record.usable_taxonkey,
    record.usable_specieskey,
    record.license
FROM (
    SELECT
        *,
        CASE WHEN taxonkey ~ '^(${usable_key})$$' THEN taxonkey END AS usable_taxonkey,
        CASE WHEN specieskey ~ '^(${usable_key})$$' THEN specieskey END AS usable_specieskey
    FROM bison_us_${month}
) AS record
LEFT JOIN coordinate_region_${month} AS region
    ON region.decimallongitude = record.decimallongitude AND region.decimallatitude = record.decimallatitude
LEFT JOIN county_${month} AS county ON county.county_geoid = region.county_geoid
LEFT JOIN riis_status_${month}_building AS by_taxon
    ON by_taxon.match_level = 'taxon'
    AND by_taxon.riis_region = county.riis_region
    AND by_taxon.taxon_key = record.usable_taxonkey
LEFT JOIN riis_status_${month}_building AS by_species
    ON by_species.match_level = 'species'
    AND by_species.riis_region = county.riis_region
    AND by_species.taxon_key = record.usable_specieskey;

-- name: count
-- record: columns
-- expect: rows_in_no_county + rows_in_territory + introduced + invasive + presumed_native + unresolved = us_rows: The annotated records are not the {us_rows} of the US subset: a record was lost or counted twice. Start create_bison again, with force.
SELECT
    subset.us_rows,
    COUNT(CASE WHEN county_geoid IS NULL THEN 1 END) AS rows_in_no_county,
    COUNT(CASE WHEN county_geoid IS NOT NULL AND riis_region IS NULL THEN 1 END) AS rows_in_territory,
    COUNT(CASE WHEN riis_assessment = 'introduced' THEN 1 END) AS introduced,
    COUNT(CASE WHEN riis_assessment = 'invasive' THEN 1 END) AS invasive,
    COUNT(CASE WHEN riis_assessment = 'presumed_native' THEN 1 END) AS presumed_native,
    COUNT(CASE WHEN riis_assessment = 'unresolved' THEN 1 END) AS unresolved,
    COUNT(CASE WHEN usable_taxonkey IS NULL THEN 1 END) AS faulty_taxonkeys,
    COUNT(CASE WHEN usable_specieskey IS NULL THEN 1 END) AS faulty_specieskeys
FROM bison_${month}_building
CROSS JOIN (SELECT COUNT(*) AS us_rows FROM bison_us_${month}) AS subset
GROUP BY subset.us_rows;

-- name: drop_replaced
DROP TABLE IF EXISTS riis_status_${month}, riis_id_list_${month}, bison_${month};

-- name: keep_riis_status
ALTER TABLE riis_status_${month}_building RENAME TO riis_status_${month};

-- name: keep_riis_id_list
ALTER TABLE riis_id_list_${month}_building RENAME TO riis_id_list_${month};

-- name: keep_bison
ALTER TABLE bison_${month}_building RENAME TO bison_${month};
