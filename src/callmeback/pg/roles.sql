-- Login roles. Names and settings come from roles.py, never from a user; the password arrives as a SCRAM verifier.
-- CREATE and ALTER ROLE take no parameters, so these statements write the command, quoted by the server itself.

-- name: role_attributes
-- What a role may do, and its settings ("name=value"); no row when there is no such role.
-- returns: Role
SELECT
    r.rolcanlogin AND NOT (r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolbypassrls OR r.rolreplication)
        AS is_plain,
    coalesce(r.rolconfig, '{}') AS settings
FROM pg_roles AS r
WHERE r.rolname = %(role)s;

-- name: create_command
-- The command that creates a role.
SELECT format(
    'CREATE ROLE %%I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION PASSWORD %%L',
    %(role)s::text,
    %(verifier)s::text
);

-- name: plain_command
-- The command that takes every privilege of a cluster away from a role and lets it log in.
SELECT format(
    'ALTER ROLE %%I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION',
    %(role)s::text
);

-- name: password_command
-- The command that gives a role its password.
SELECT format('ALTER ROLE %%I PASSWORD %%L', %(role)s::text, %(verifier)s::text);

-- name: setting_command
-- The command that gives a role one of its settings. A search path is a list of names, each quoted by itself. No row
-- where we may not: a limit of temporary files is a superuser's to set, and of whoever was granted SET on it.
SELECT
    format(
        'ALTER ROLE %%I SET %%I = %%s',
        %(role)s::text,
        %(setting)s::text,
        CASE
            WHEN %(setting)s::text = 'search_path'
                THEN (
                    SELECT string_agg(quote_ident(p.name), ', ' ORDER BY p.place)
                    FROM unnest(string_to_array(%(value)s::text, ', ')) WITH ORDINALITY AS p (name, place)
                )
            ELSE quote_literal(%(value)s::text)
        END
    )
WHERE %(setting)s::text <> 'temp_file_limit' OR has_parameter_privilege('temp_file_limit', 'SET');

-- name: drop_command
-- The command that drops a role.
SELECT format('DROP ROLE %%I', %(role)s::text);
