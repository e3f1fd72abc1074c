-- Deletes what the month's complete results replace: its own working tables, and the tables of earlier months.

-- name: drop_intermediate
DROP TABLE IF EXISTS
    ${intermediate_tables};

-- name: drop_obsolete
-- when: obsolete_months
DROP TABLE IF EXISTS
    ${obsolete_tables};
