-- Databases that live as long as one check.

-- name: create_command
-- The command that makes a shadow database, owned by the role that owns the real one.
SELECT format('CREATE DATABASE %%I OWNER %%I TEMPLATE template0', %(name)s::text, %(owner)s::text);

-- name: drop_command
-- The command that removes one, whoever is connected.
SELECT format('DROP DATABASE IF EXISTS %%I WITH (FORCE)', %(name)s::text);

-- name: left_over
-- Shadow databases made before a moment (their name says when, in seconds since 1970): their makers were killed.
SELECT d.datname::text
FROM pg_database AS d
WHERE
    d.datname ~ '^callmeback_shadow_\d+_[0-9a-f]+$'
    AND split_part(d.datname, '_', 3)::bigint < %(before)s::bigint
ORDER BY d.datname;

-- name: role_exists
-- Whether the cluster has a role.
SELECT exists(
    SELECT FROM pg_roles AS r
    WHERE r.rolname = %(role)s
);
