-- The keys that services and other programs come with.

-- name: keys
-- Keys of the SQL proxy that end soon, and living ones whose login role is gone.
-- returns: Finding
SELECT
    format('key %%s (%%s)', k.id, k.name) AS object,
    CASE
        WHEN r.oid IS NULL THEN format('its role %%s doesn''t exist: it is answered 503', s.role_name)
        ELSE format('ends at %%s', to_char(k.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
    END AS detail,
    r.oid IS NULL AS is_red,
    NULL::text AS mend
FROM api_keys AS k
INNER JOIN sql_scopes AS s ON k.scope_id = s.id
LEFT JOIN pg_roles AS r ON s.role_name = r.rolname
WHERE
    k.revoked_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
    AND (r.oid IS NULL OR k.expires_at < clock_timestamp() + %(soon)s::interval)
ORDER BY k.expires_at, k.id
LIMIT %(most)s;

-- name: service_roles
-- Roles of the services that this cluster lacks, or that can't log in here.
-- returns: Finding
SELECT
    w.name AS object,
    CASE
        WHEN r.oid IS NULL THEN 'doesn''t exist'
        WHEN NOT r.rolcanlogin THEN 'may not log in'
        ELSE 'may not connect to this database'
    END AS detail,
    true AS is_red,
    NULL::text AS mend
FROM unnest(%(names)s::text[]) AS w (name)
LEFT JOIN pg_roles AS r ON w.name = r.rolname
WHERE r.oid IS NULL OR NOT r.rolcanlogin OR NOT has_database_privilege(r.oid, current_database(), 'CONNECT')
ORDER BY object
LIMIT %(most)s;
