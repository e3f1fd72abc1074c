-- Counts and species lists by state, county and tribal area, the comparison with the month before, the watch list; and
-- their export. The billion records are grouped once, into occurrence_summary; all else is made from that.

-- name: drop_leftovers
DROP TABLE IF EXISTS
    occurrence_summary_${month}, region_${month}, region_species_${month}, region_counts_${month},
    species_list_${month}, species_change_${month}, watch_candidate_${month}, previous_state_x_species_list_${month},
    previous_county_x_species_list_${month}, previous_aiannh_x_species_list_${month},
    state_counts_${month}_building,
    county_counts_${month}_building,
    aiannh_counts_${month}_building,
    state_x_species_list_${month}_building,
    county_x_species_list_${month}_building,
    aiannh_x_species_list_${month}_building,
    whats_new_${month}_building,
    watch_list_${month}_building;

-- name: build_occurrence_summary
-- By species, as the groups below are by species too.
CREATE TABLE occurrence_summary_${month} DISTKEY (species_key) AS
SELECT
    census_state,
    county_geoid,
    aiannh_geoid,
    usable_specieskey AS species_key,
    riis_assessment,
    riis_occurrence_ids,
    MAX(species) AS species,
    COUNT(*) AS occ_count,
    MIN(year) AS first_year,
    MAX(year) AS last_year
FROM bison_${month}
GROUP BY census_state, county_geoid, aiannh_geoid, usable_specieskey, riis_assessment, riis_occurrence_ids;

-- name: build_region
CREATE TABLE region_${month} DISTSTYLE ALL AS
SELECT 'state' AS region_type, census_state AS region, state_name AS region_name FROM state_${month}
UNION ALL
SELECT 'county', county_geoid, state_county FROM county_${month}
UNION ALL
SELECT 'aiannh', aiannh_geoid, MIN(aiannh_name) FROM aiannh_${month} GROUP BY aiannh_geoid;

-- name: build_region_species
CREATE TABLE region_species_${month} DISTKEY (species_key) AS
SELECT
    region_type,
    region,
    species_key,
    riis_assessment,
    riis_occurrence_ids,
    MAX(species) AS species,
    CAST(SUM(occ_count) AS BIGINT) AS occ_count,
    MIN(first_year) AS first_year,
    MAX(last_year) AS last_year
FROM (
    SELECT
        'state' AS region_type, census_state AS region, species_key, riis_assessment, riis_occurrence_ids, species,
        occ_count, first_year, last_year
    FROM occurrence_summary_${month}
    UNION ALL
    SELECT
        'county', county_geoid, species_key, riis_assessment, riis_occurrence_ids, species,
        occ_count, first_year, last_year
    FROM occurrence_summary_${month}
    UNION ALL
    SELECT
        'aiannh', aiannh_geoid, species_key, riis_assessment, riis_occurrence_ids, species,
        occ_count, first_year, last_year
    FROM occurrence_summary_${month}
) AS summary
WHERE region IS NOT NULL
GROUP BY region_type, region, species_key, riis_assessment, riis_occurrence_ids;

-- name: build_region_counts
-- A record without a usable key of its species counts as an occurrence and in no number of species.
CREATE TABLE region_counts_${month} DISTSTYLE ALL AS
SELECT
    region_type,
    region,
    CAST(SUM(occ_count) AS BIGINT) AS occ_count,
    COUNT(DISTINCT species_key) AS species_count,
    CAST(SUM(CASE WHEN riis_assessment = 'introduced' THEN occ_count ELSE 0 END) AS BIGINT) AS introduced_occ_count,
    COUNT(DISTINCT CASE WHEN riis_assessment = 'introduced' THEN species_key END) AS introduced_species_count,
    CAST(SUM(CASE WHEN riis_assessment = 'invasive' THEN occ_count ELSE 0 END) AS BIGINT) AS invasive_occ_count,
    COUNT(DISTINCT CASE WHEN riis_assessment = 'invasive' THEN species_key END) AS invasive_species_count,
    CAST(SUM(CASE WHEN riis_assessment = 'presumed_native' THEN occ_count ELSE 0 END) AS BIGINT) AS presumed_native_occ_count,
    COUNT(DISTINCT CASE WHEN riis_assessment = 'presumed_native' THEN species_key END) AS presumed_native_species_count,
    CAST(SUM(CASE WHEN riis_assessment = 'unresolved' THEN occ_count ELSE 0 END) AS BIGINT) AS unresolved_occ_count
FROM region_species_${month}
GROUP BY region_type, region;

-- name: build_state_counts
CREATE TABLE state_counts_${month}_building AS
SELECT
    counts.region AS census_state,
    counts.occ_count,
    counts.species_count,
    counts.introduced_occ_count,
    counts.introduced_species_count,
    counts.invasive_occ_count,
    counts.invasive_species_count,
    counts.presumed_native_occ_count,
    counts.presumed_native_species_count,
    counts.unresolved_occ_count
FROM region_counts_${month} AS counts
WHERE counts.region_type = 'state';

-- name: build_county_counts
CREATE TABLE county_counts_${month}_building AS
SELECT
    county.state_county,
    county.census_state,
    county.census_county,
    counts.region AS county_geoid,
    counts.occ_count,
    counts.species_count,
    counts.introduced_occ_count,
    counts.introduced_species_count,
    counts.invasive_occ_count,
    counts.invasive_species_count,
    counts.presumed_native_occ_count,
    counts.presumed_native_species_count,
    counts.unresolved_occ_count
FROM region_counts_${month} AS counts
JOIN county_${month} AS county ON county.county_geoid = counts.region
WHERE counts.region_type = 'county';

-- name: build_aiannh_counts
CREATE TABLE aiannh_counts_${month}_building AS
SELECT
    counts.region AS aiannh_geoid,
    region.region_name AS aiannh_name,
    counts.occ_count,
    counts.species_count,
    counts.introduced_occ_count,
    counts.introduced_species_count,
    counts.invasive_occ_count,
    counts.invasive_species_count,
    counts.presumed_native_occ_count,
    counts.presumed_native_species_count,
    counts.unresolved_occ_count
FROM region_counts_${month} AS counts
JOIN region_${month} AS region ON region.region_type = 'aiannh' AND region.region = counts.region
WHERE counts.region_type = 'aiannh';

-- name: check_counts
-- expect: in_states = in_counties: The states' occurrences ({in_states}) are not the counties' ({in_counties}): start load_ancillary again, with force.
-- expect: in_states = records: The states' occurrences ({in_states}) are not the {records} records that lie in a county: start load_ancillary again, with force.
SELECT states.in_states, counties.in_counties, COUNT(*) AS records
FROM bison_${month}
CROSS JOIN (SELECT CAST(SUM(occ_count) AS BIGINT) AS in_states FROM state_counts_${month}_building) AS states
CROSS JOIN (SELECT CAST(SUM(occ_count) AS BIGINT) AS in_counties FROM county_counts_${month}_building) AS counties
WHERE census_state IS NOT NULL
GROUP BY states.in_states, counties.in_counties;

-- name: build_species_list
-- One row a species and status, whose lists of register records are united.
CREATE TABLE species_list_${month} DISTKEY (species_key) AS
SELECT
    list.region_type,
    list.region,
    list.species_key,
    list.species,
    list.riis_assessment,
    ids.riis_occurrence_ids,
    list.occ_count,
    list.first_year,
    list.last_year
FROM (
    SELECT
        region_type,
        region,
        species_key,
        riis_assessment,
        MAX(species) AS species,
        CAST(SUM(occ_count) AS BIGINT) AS occ_count,
        MIN(first_year) AS first_year,
        MAX(last_year) AS last_year
    FROM region_species_${month}
    WHERE species_key IS NOT NULL
    GROUP BY region_type, region, species_key, riis_assessment
) AS list
LEFT JOIN (
    SELECT
        region_type,
        region,
        species_key,
        riis_assessment,
        LISTAGG(riis_occurrence_id, '|') WITHIN GROUP (ORDER BY riis_occurrence_id) AS riis_occurrence_ids
    FROM (
        SELECT DISTINCT
            species.region_type, species.region, species.species_key, species.riis_assessment, id.riis_occurrence_id
        FROM region_species_${month} AS species
        JOIN riis_id_list_${month} AS id ON id.riis_occurrence_ids = species.riis_occurrence_ids
    ) AS member
    GROUP BY region_type, region, species_key, riis_assessment
) AS ids
    ON ids.region_type = list.region_type
    AND ids.region = list.region
    AND ids.species_key = list.species_key
    AND ids.riis_assessment = list.riis_assessment;

-- name: build_state_x_species_list
CREATE TABLE state_x_species_list_${month}_building AS
SELECT
    region AS census_state, species_key, species, riis_assessment, riis_occurrence_ids, occ_count, first_year, last_year
FROM species_list_${month}
WHERE region_type = 'state';

-- name: build_county_x_species_list
CREATE TABLE county_x_species_list_${month}_building AS
SELECT
    county.state_county,
    county.census_state,
    county.census_county,
    list.region AS county_geoid,
    list.species_key,
    list.species,
    list.riis_assessment,
    list.riis_occurrence_ids,
    list.occ_count,
    list.first_year,
    list.last_year
FROM species_list_${month} AS list
JOIN county_${month} AS county ON county.county_geoid = list.region
WHERE list.region_type = 'county';

-- name: build_aiannh_x_species_list
CREATE TABLE aiannh_x_species_list_${month}_building AS
SELECT
    list.region AS aiannh_geoid,
    region.region_name AS aiannh_name,
    list.species_key,
    list.species,
    list.riis_assessment,
    list.riis_occurrence_ids,
    list.occ_count,
    list.first_year,
    list.last_year
FROM species_list_${month} AS list
JOIN region_${month} AS region ON region.region_type = 'aiannh' AND region.region = list.region
WHERE list.region_type = 'aiannh';

-- name: create_whats_new
CREATE TABLE whats_new_${month}_building (
    region_type VARCHAR(8),
    region VARCHAR(16),
    region_name VARCHAR(512),
    species_key VARCHAR(64),
    species VARCHAR(512),
    change VARCHAR(16),
    previous_species_key VARCHAR(64),
    previous_occ_count BIGINT,
    occ_count BIGINT,
    previous_riis_assessment VARCHAR(16),
    riis_assessment VARCHAR(16)
);

-- name: create_previous_state_x_species_list
-- when: previous_month
CREATE TABLE previous_state_x_species_list_${month} (
    census_state VARCHAR(8),
    species_key VARCHAR(64),
    species VARCHAR(512),
    riis_assessment VARCHAR(16),
    riis_occurrence_ids VARCHAR(65535),
    occ_count BIGINT,
    first_year INTEGER,
    last_year INTEGER
);

-- name: load_previous_state_x_species_list
-- when: previous_month
COPY previous_state_x_species_list_${month}
FROM 's3://${bucket}/output/${previous_month}/state_x_species_list.parquet' IAM_ROLE DEFAULT FORMAT AS PARQUET;

-- name: create_previous_county_x_species_list
-- when: previous_month
CREATE TABLE previous_county_x_species_list_${month} (
    state_county VARCHAR(1024),
    census_state VARCHAR(8),
    census_county VARCHAR(1024),
    county_geoid VARCHAR(64),
    species_key VARCHAR(64),
    species VARCHAR(512),
    riis_assessment VARCHAR(16),
    riis_occurrence_ids VARCHAR(65535),
    occ_count BIGINT,
    first_year INTEGER,
    last_year INTEGER
);

-- name: load_previous_county_x_species_list
-- when: previous_month
COPY previous_county_x_species_list_${month}
FROM 's3://${bucket}/output/${previous_month}/county_x_species_list.parquet' IAM_ROLE DEFAULT FORMAT AS PARQUET;

-- name: create_previous_aiannh_x_species_list
-- when: previous_month
CREATE TABLE previous_aiannh_x_species_list_${month} (
    aiannh_geoid VARCHAR(64),
    aiannh_name VARCHAR(1024),
    species_key VARCHAR(64),
    species VARCHAR(512),
    riis_assessment VARCHAR(16),
    riis_occurrence_ids VARCHAR(65535),
    occ_count BIGINT,
    first_year INTEGER,
    last_year INTEGER
);

-- name: load_previous_aiannh_x_species_list
-- when: previous_month
COPY previous_aiannh_x_species_list_${month}
FROM 's3://${bucket}/output/${previous_month}/aiannh_x_species_list.parquet' IAM_ROLE DEFAULT FORMAT AS PARQUET;

-- name: build_species_change
-- when: previous_month
-- Both months side by side, by key; then what is left of each month by name, since a species whose key alone has
-- changed is neither new nor gone. Where a name has several keys, they are paired in order. A species' status in a
-- region is the strongest of its records' there: 3 invasive, 2 introduced, 1 presumed native.
CREATE TABLE species_change_${month} AS
WITH this_month AS (
    SELECT
        region_type,
        region,
        species_key,
        MAX(species) AS species,
        CAST(SUM(occ_count) AS BIGINT) AS occ_count,
        MAX(CASE riis_assessment
            WHEN 'invasive' THEN 3 WHEN 'introduced' THEN 2 WHEN 'presumed_native' THEN 1 ELSE 0
        END) AS strength
    FROM species_list_${month}
    GROUP BY region_type, region, species_key
),
last_month AS (
    SELECT
        region_type,
        region,
        species_key,
        MAX(region_name) AS region_name,
        MAX(species) AS species,
        CAST(SUM(occ_count) AS BIGINT) AS occ_count,
        MAX(CASE riis_assessment
            WHEN 'invasive' THEN 3 WHEN 'introduced' THEN 2 WHEN 'presumed_native' THEN 1 ELSE 0
        END) AS strength
    FROM (
        SELECT
            'state' AS region_type, census_state AS region, census_state AS region_name, species_key, species,
            riis_assessment, occ_count
        FROM previous_state_x_species_list_${month}
        UNION ALL
        SELECT 'county', county_geoid, state_county, species_key, species, riis_assessment, occ_count
        FROM previous_county_x_species_list_${month}
        UNION ALL
        SELECT 'aiannh', aiannh_geoid, aiannh_name, species_key, species, riis_assessment, occ_count
        FROM previous_aiannh_x_species_list_${month}
    ) AS previous_list
    GROUP BY region_type, region, species_key
),
by_key AS (
    SELECT
        COALESCE(this_month.region_type, last_month.region_type) AS region_type,
        COALESCE(this_month.region, last_month.region) AS region,
        last_month.region_name,
        this_month.species_key,
        last_month.species_key AS previous_species_key,
        COALESCE(this_month.species, last_month.species) AS species,
        this_month.occ_count,
        last_month.occ_count AS previous_occ_count,
        this_month.strength,
        last_month.strength AS previous_strength
    FROM this_month
    FULL OUTER JOIN last_month
        ON last_month.region_type = this_month.region_type
        AND last_month.region = this_month.region
        AND last_month.species_key = this_month.species_key
),
only_this_month AS (
    SELECT
        by_key.*,
        ROW_NUMBER() OVER (PARTITION BY region_type, region, species ORDER BY species_key) AS place
    FROM by_key
    WHERE previous_species_key IS NULL
),
only_last_month AS (
    SELECT
        by_key.*,
        ROW_NUMBER() OVER (PARTITION BY region_type, region, species ORDER BY previous_species_key) AS place
    FROM by_key
    WHERE species_key IS NULL
)
SELECT
    region_type, region, region_name, species_key, previous_species_key, species, occ_count, previous_occ_count,
    strength, previous_strength
FROM by_key
WHERE species_key = previous_species_key AND strength <> previous_strength
UNION ALL
SELECT
    COALESCE(only_this_month.region_type, only_last_month.region_type),
    COALESCE(only_this_month.region, only_last_month.region),
    only_last_month.region_name,
    only_this_month.species_key,
    only_last_month.previous_species_key,
    COALESCE(only_this_month.species, only_last_month.species),
    only_this_month.occ_count,
    only_last_month.previous_occ_count,
    only_this_month.strength,
    only_last_month.previous_strength
FROM only_this_month
FULL OUTER JOIN only_last_month
    ON only_last_month.region_type = only_this_month.region_type
    AND only_last_month.region = only_this_month.region
    AND only_last_month.species = only_this_month.species
    AND only_last_month.place = only_this_month.place;

-- name: fill_whats_new
-- when: previous_month
-- A species that has another key and another status has a row for each.
INSERT INTO whats_new_${month}_building
SELECT
    change.region_type,
    change.region,
    COALESCE(region.region_name, change.region_name) AS region_name,
    COALESCE(change.species_key, change.previous_species_key) AS species_key,
    change.species,
    change.change,
    change.previous_species_key,
    COALESCE(change.previous_occ_count, 0) AS previous_occ_count,
    COALESCE(change.occ_count, 0) AS occ_count,
    CASE change.previous_strength
        WHEN 3 THEN 'invasive' WHEN 2 THEN 'introduced' WHEN 1 THEN 'presumed_native'
    END AS previous_riis_assessment,
    CASE change.strength
        WHEN 3 THEN 'invasive' WHEN 2 THEN 'introduced' WHEN 1 THEN 'presumed_native'
    END AS riis_assessment
FROM (
    SELECT
        species_change_${month}.*,
        CASE
            WHEN previous_species_key IS NULL THEN 'new'
            WHEN species_key IS NULL THEN 'gone'
            ELSE 'key_changed'
        END AS change
    FROM species_change_${month}
    WHERE species_key IS NULL OR previous_species_key IS NULL OR species_key <> previous_species_key
    UNION ALL
    SELECT species_change_${month}.*, 'status_changed'
    FROM species_change_${month}
    WHERE strength <> previous_strength
) AS change
LEFT JOIN region_${month} AS region
    ON region.region_type = change.region_type AND region.region = change.region;

-- name: build_watch_candidate
-- Records of an invasive species in a state beside one where the species has not been recorded at all. A state without
-- counties in the file is left out: nothing is known of it.
CREATE TABLE watch_candidate_${month} AS
SELECT
    state.census_state,
    found.species_key,
    found.species,
    found.region AS adjacent_state,
    found.riis_occurrence_ids,
    found.occ_count,
    found.last_year
FROM state_${month} AS state
JOIN state_${month} AS neighbour
    ON STRPOS(state.adjacent_states, neighbour.census_state) > 0 AND neighbour.riis_region = state.riis_region
JOIN region_species_${month} AS found
    ON found.region_type = 'state'
    AND found.region = neighbour.census_state
    AND found.riis_assessment = 'invasive'
    AND found.species_key IS NOT NULL
JOIN (SELECT DISTINCT census_state FROM county_${month}) AS covered ON covered.census_state = state.census_state
LEFT JOIN (
    SELECT DISTINCT region, species_key FROM region_species_${month} WHERE region_type = 'state'
) AS present
    ON present.region = state.census_state AND present.species_key = found.species_key
WHERE present.species_key IS NULL;

-- name: build_watch_list
CREATE TABLE watch_list_${month}_building AS
SELECT
    total.census_state,
    total.species_key,
    total.species,
    ids.riis_occurrence_ids,
    states.adjacent_states,
    total.occ_count,
    total.last_year
FROM (
    SELECT
        census_state,
        species_key,
        MAX(species) AS species,
        CAST(SUM(occ_count) AS BIGINT) AS occ_count,
        MAX(last_year) AS last_year
    FROM watch_candidate_${month}
    GROUP BY census_state, species_key
) AS total
JOIN (
    SELECT
        census_state,
        species_key,
        LISTAGG(adjacent_state, '|') WITHIN GROUP (ORDER BY adjacent_state) AS adjacent_states
    FROM (SELECT DISTINCT census_state, species_key, adjacent_state FROM watch_candidate_${month}) AS member
    GROUP BY census_state, species_key
) AS states
    ON states.census_state = total.census_state AND states.species_key = total.species_key
JOIN (
    SELECT
        census_state,
        species_key,
        LISTAGG(riis_occurrence_id, '|') WITHIN GROUP (ORDER BY riis_occurrence_id) AS riis_occurrence_ids
    FROM (
        SELECT DISTINCT candidate.census_state, candidate.species_key, id.riis_occurrence_id
        FROM watch_candidate_${month} AS candidate
        JOIN riis_id_list_${month} AS id ON id.riis_occurrence_ids = candidate.riis_occurrence_ids
    ) AS member
    GROUP BY census_state, species_key
) AS ids
    ON ids.census_state = total.census_state AND ids.species_key = total.species_key;

-- name: licenses
-- record: pairs
SELECT COALESCE(license, 'unspecified') AS license, COUNT(*) AS us_rows
FROM bison_${month}
GROUP BY COALESCE(license, 'unspecified');

-- name: drop_replaced
DROP TABLE IF EXISTS
    state_counts_${month},
    county_counts_${month},
    aiannh_counts_${month},
    state_x_species_list_${month},
    county_x_species_list_${month},
    aiannh_x_species_list_${month},
    whats_new_${month},
    watch_list_${month};

-- name: keep_state_counts
ALTER TABLE state_counts_${month}_building RENAME TO state_counts_${month};

-- name: keep_county_counts
ALTER TABLE county_counts_${month}_building RENAME TO county_counts_${month};

-- name: keep_aiannh_counts
ALTER TABLE aiannh_counts_${month}_building RENAME TO aiannh_counts_${month};

-- name: keep_state_x_species_list
ALTER TABLE state_x_species_list_${month}_building RENAME TO state_x_species_list_${month};

-- name: keep_county_x_species_list
ALTER TABLE county_x_species_list_${month}_building RENAME TO county_x_species_list_${month};

-- name: keep_aiannh_x_species_list
ALTER TABLE aiannh_x_species_list_${month}_building RENAME TO aiannh_x_species_list_${month};

-- name: keep_whats_new
ALTER TABLE whats_new_${month}_building RENAME TO whats_new_${month};

-- name: keep_watch_list
ALTER TABLE watch_list_${month}_building RENAME TO watch_list_${month};

-- name: unload_state_counts_csv
UNLOAD ('SELECT * FROM state_counts_${month} ORDER BY census_state')
TO 's3://${bucket}/summary/${month}/state_counts/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_state_counts_parquet
UNLOAD ('SELECT * FROM state_counts_${month} ORDER BY census_state')
TO 's3://${bucket}/summary/${month}/state_counts/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_county_counts_csv
UNLOAD ('SELECT * FROM county_counts_${month} ORDER BY county_geoid')
TO 's3://${bucket}/summary/${month}/county_counts/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_county_counts_parquet
UNLOAD ('SELECT * FROM county_counts_${month} ORDER BY county_geoid')
TO 's3://${bucket}/summary/${month}/county_counts/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_aiannh_counts_csv
UNLOAD ('SELECT * FROM aiannh_counts_${month} ORDER BY aiannh_geoid')
TO 's3://${bucket}/summary/${month}/aiannh_counts/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_aiannh_counts_parquet
UNLOAD ('SELECT * FROM aiannh_counts_${month} ORDER BY aiannh_geoid')
TO 's3://${bucket}/summary/${month}/aiannh_counts/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_state_x_species_list_csv
UNLOAD ('SELECT * FROM state_x_species_list_${month} ORDER BY census_state, species_key, riis_assessment')
TO 's3://${bucket}/summary/${month}/state_x_species_list/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_state_x_species_list_parquet
UNLOAD ('SELECT * FROM state_x_species_list_${month} ORDER BY census_state, species_key, riis_assessment')
TO 's3://${bucket}/summary/${month}/state_x_species_list/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_county_x_species_list_csv
UNLOAD ('SELECT * FROM county_x_species_list_${month} ORDER BY county_geoid, species_key, riis_assessment')
TO 's3://${bucket}/summary/${month}/county_x_species_list/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_county_x_species_list_parquet
UNLOAD ('SELECT * FROM county_x_species_list_${month} ORDER BY county_geoid, species_key, riis_assessment')
TO 's3://${bucket}/summary/${month}/county_x_species_list/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_aiannh_x_species_list_csv
UNLOAD ('SELECT * FROM aiannh_x_species_list_${month} ORDER BY aiannh_geoid, species_key, riis_assessment')
TO 's3://${bucket}/summary/${month}/aiannh_x_species_list/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_aiannh_x_species_list_parquet
UNLOAD ('SELECT * FROM aiannh_x_species_list_${month} ORDER BY aiannh_geoid, species_key, riis_assessment')
TO 's3://${bucket}/summary/${month}/aiannh_x_species_list/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_whats_new_csv
UNLOAD ('SELECT * FROM whats_new_${month} ORDER BY region_type, region, species_key, change')
TO 's3://${bucket}/summary/${month}/whats_new/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_whats_new_parquet
UNLOAD ('SELECT * FROM whats_new_${month} ORDER BY region_type, region, species_key, change')
TO 's3://${bucket}/summary/${month}/whats_new/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_watch_list_csv
UNLOAD ('SELECT * FROM watch_list_${month} ORDER BY census_state, species_key')
TO 's3://${bucket}/summary/${month}/watch_list/csv/'
IAM_ROLE DEFAULT FORMAT AS CSV HEADER PARALLEL OFF CLEANPATH;

-- name: unload_watch_list_parquet
UNLOAD ('SELECT * FROM watch_list_${month} ORDER BY census_state, species_key')
TO 's3://${bucket}/summary/${month}/watch_list/parquet/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARALLEL OFF CLEANPATH;

-- name: unload_occurrences
UNLOAD ('
    SELECT
        gbifid, taxonkey, specieskey, species, year, decimallongitude, decimallatitude, census_state, county_geoid,
        aiannh_geoid, riis_region, riis_assessment, riis_occurrence_ids
    FROM bison_${month}
')
TO 's3://${bucket}/output/${month}/occurrences/'
IAM_ROLE DEFAULT FORMAT AS PARQUET PARTITION BY (census_state) CLEANPATH;
