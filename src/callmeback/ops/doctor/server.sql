-- How the server is set and who may do what to it.

-- name: unsafe_settings
-- Settings under which committed work can be lost, rules go unchecked, or logs quote people's data.
-- returns: Finding
SELECT
    s.name AS object,
    format('is %%s: %%s', s.setting, u.why) AS detail,
    u.is_red,
    NULL::text AS mend
FROM (
    VALUES
    ('fsync', 'off', 'a crash of the machine can destroy everything', true),
    ('full_page_writes', 'off', 'a crash of the machine can destroy pages', true),
    ('synchronous_commit', 'off', 'a crash loses calls that were acknowledged', true),
    ('zero_damaged_pages', 'on', 'damaged pages are emptied instead of reported', true),
    ('ignore_checksum_failure', 'on', 'damaged pages are read as if they were good', true),
    ('session_replication_role', 'replica', 'triggers and foreign keys are off', true),
    ('session_replication_role', 'local', 'some triggers are off', true),
    ('autovacuum', 'off', 'dead rows and old transaction numbers pile up', true),
    ('track_counts', 'off', 'autovacuum is blind', true),
    ('password_encryption', 'md5', 'passwords are kept weakly', false),
    ('log_statement', 'all', 'the log quotes the values in every statement', false),
    ('log_error_verbosity', 'default', 'details in the log quote rows', false),
    ('log_error_verbosity', 'verbose', 'details in the log quote rows', false),
    ('log_parameter_max_length', '-1', 'slow statements are logged with their parameters', false),
    ('row_security', 'off', 'queries under the walls fail', false)
) AS u (name, setting, why, is_red)
INNER JOIN pg_settings AS s ON u.name = s.name AND u.setting = s.setting
ORDER BY object
LIMIT %(most)s;

-- name: listening
-- Addresses beyond this machine, without TLS.
-- returns: Finding
SELECT
    'listen_addresses' AS object,
    format('is %%s and ssl is off: passwords are safe on the way, data are not', current_setting('listen_addresses')) AS detail,
    false AS is_red,
    NULL::text AS mend
WHERE
    current_setting('ssl') = 'off'
    AND EXISTS (
        SELECT
        FROM unnest(string_to_array(current_setting('listen_addresses'), ',')) AS a (name)
        WHERE btrim(a.name) NOT IN ('localhost', '127.0.0.1', '::1', '')
    );

-- name: trusted
-- Lines of pg_hba.conf that let somebody in without a password, or with one sent in the clear.
-- returns: Finding
SELECT
    format('pg_hba.conf:%%s', h.line_number) AS object,
    coalesce(
        h.error,
        format('%%s %%s %%s %%s', h.type, array_to_string(h.user_name, ','), coalesce(h.address, 'local'), h.auth_method)
    ) AS detail,
    h.auth_method = 'trust' AND coalesce(h.address, '') NOT IN ('', '127.0.0.1', '::1') AS is_red,
    NULL::text AS mend
FROM pg_hba_file_rules AS h
WHERE h.error IS NOT NULL OR h.auth_method IN ('trust', 'password', 'md5')
ORDER BY h.line_number
LIMIT %(most)s;

-- name: strong_roles
-- Roles of services or of keys that could do more than they need.
-- returns: Finding
SELECT
    r.rolname::text AS object,
    concat_ws(
        ', ',
        CASE WHEN r.rolsuper THEN 'is a superuser' END,
        CASE WHEN r.rolcreaterole THEN 'may make roles' END,
        CASE WHEN r.rolcreatedb THEN 'may make databases' END,
        CASE WHEN r.rolbypassrls THEN 'passes every wall' END,
        CASE WHEN r.rolreplication THEN 'may copy the cluster' END,
        g.granted
    ) AS detail,
    r.rolsuper OR r.rolbypassrls OR g.granted IS NOT NULL OR r.rolname <> 'callmeback_owner' AS is_red,
    NULL::text AS mend
FROM pg_roles AS r
LEFT JOIN LATERAL (
    SELECT string_agg(format('is a member of %%s', p.rolname), ', ' ORDER BY p.rolname) AS granted
    FROM pg_auth_members AS m
    INNER JOIN pg_roles AS p ON m.roleid = p.oid
    WHERE
        m.member = r.oid
        -- The owner sees statistics and settings: that is what this page is made of.
        AND NOT (r.rolname = 'callmeback_owner' AND p.rolname = 'pg_monitor')
) AS g ON true
WHERE
    r.rolname LIKE 'callmeback\_%%'
    AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls OR r.rolreplication OR g.granted IS NOT NULL)
ORDER BY object
LIMIT %(most)s;

-- name: pending_restart
-- Settings that were changed in a file and wait for a restart, and lines that the server refuses.
-- returns: Finding
SELECT
    s.name AS object,
    'was changed, and is in force only after a restart' AS detail,
    false AS is_red,
    NULL::text AS mend
FROM pg_settings AS s
WHERE s.pending_restart
ORDER BY object
LIMIT %(most)s;

-- name: old_extensions
-- Extensions whose objects are of another version than the program.
-- returns: Finding
SELECT
    e.extname::text AS object,
    format('is %%s, the program has %%s', e.extversion, a.default_version) AS detail,
    false AS is_red,
    format('ALTER EXTENSION %%I UPDATE', e.extname) AS mend
FROM pg_extension AS e
INNER JOIN pg_available_extensions AS a ON e.extname = a.name
WHERE e.extversion <> a.default_version
ORDER BY object
LIMIT %(most)s;

-- name: other_collations
-- Orders of text that the system changed since the indexes were built: they may miss rows.
-- returns: Finding
SELECT
    format('database %%s', d.datname) AS object,
    format('was made with %%s, the system has %%s', d.datcollversion, pg_database_collation_actual_version(d.oid)) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM pg_database AS d
WHERE d.datname = current_database() AND d.datcollversion <> pg_database_collation_actual_version(d.oid)
UNION ALL
SELECT
    format('collation %%s', c.collname) AS object,
    format('was made with %%s, the system has %%s', c.collversion, pg_collation_actual_version(c.oid)) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM pg_collation AS c
WHERE
    c.collversion <> pg_collation_actual_version(c.oid)
    AND EXISTS (
        SELECT
        FROM pg_index AS i
        WHERE c.oid = any(i.indcollation::oid[])
    )
ORDER BY object
LIMIT %(most)s;

-- name: clock
-- The server's clock.
SELECT clock_timestamp();

-- name: facts
-- What the checks must know before they ask.
-- returns: Facts
SELECT
    current_setting('server_version_num')::integer / 10000 AS major,
    session_user::text AS role,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_everything,
    coalesce(current_setting('is_superuser') = 'on', false) AS is_superuser,
    pg_is_in_recovery() AS is_replica,
    (
        SELECT clock_timestamp() - s.stats_reset
        FROM pg_stat_database AS s
        WHERE s.datname = current_database()
    ) AS statistics_age,
    CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS data_directory,
    CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('log_directory') END AS log_directory,
    current_database()::text AS database;

-- name: age
-- How long ago this installation began: its first migration.
SELECT clock_timestamp() - min(m.applied_at)
FROM schema_migrations AS m;
