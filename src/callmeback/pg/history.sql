-- The runner's own two tables, made by it before the first migration, in this order.

-- name: schema_migrations
-- Which migrations this database has.
CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    execution_ms integer,
    state text NOT NULL,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version),
    CONSTRAINT schema_migrations_version CHECK (version > 0),
    CONSTRAINT schema_migrations_checksum CHECK (checksum ~ '^[0-9a-f]{64}$'),
    CONSTRAINT schema_migrations_execution_ms CHECK (execution_ms >= 0),
    CONSTRAINT schema_migrations_state CHECK (state IN ('running', 'applied'))
);

-- name: about_schema_migrations
-- What the table means.
COMMENT ON TABLE public.schema_migrations IS 'Which migration files this database has; written by `callmeback migrate` only.';

-- name: about_schema_migrations_version
-- What version means.
COMMENT ON COLUMN public.schema_migrations.version IS 'The number in the file''s name.';

-- name: about_schema_migrations_name
-- What name means.
COMMENT ON COLUMN public.schema_migrations.name IS 'The rest of the file''s name.';

-- name: about_schema_migrations_checksum
-- What checksum means.
COMMENT ON COLUMN public.schema_migrations.checksum IS 'SHA-256 of the file''s text, in hex: an edited file is refused.';

-- name: about_schema_migrations_applied_at
-- What applied_at means.
COMMENT ON COLUMN public.schema_migrations.applied_at IS 'When it was applied; for a running one, when it began.';

-- name: about_schema_migrations_execution_ms
-- What execution_ms means.
COMMENT ON COLUMN public.schema_migrations.execution_ms IS 'How long it took, in milliseconds.';

-- name: about_schema_migrations_state
-- What state means.
COMMENT ON COLUMN public.schema_migrations.state IS
'`running` is a file without a transaction that did not end; it is repeated by the next run.';

-- name: schema_repeatable
-- Which text of the functions, views and access files this database has.
CREATE TABLE public.schema_repeatable (
    file text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT schema_repeatable_pkey PRIMARY KEY (file),
    CONSTRAINT schema_repeatable_checksum CHECK (checksum ~ '^[0-9a-f]{64}$')
);

-- name: about_schema_repeatable
-- What the table means.
COMMENT ON TABLE public.schema_repeatable IS
'Which text of each function, view and access file this database has; empty after a migration, so that all are applied again.';

-- name: about_schema_repeatable_file
-- What file means.
COMMENT ON COLUMN public.schema_repeatable.file IS 'Folder and name below callmeback/sql.';

-- name: about_schema_repeatable_checksum
-- What checksum means.
COMMENT ON COLUMN public.schema_repeatable.checksum IS 'SHA-256 of the file''s text, in hex.';

-- name: about_schema_repeatable_applied_at
-- What applied_at means.
COMMENT ON COLUMN public.schema_repeatable.applied_at IS 'When this text was applied.';
