-- What became of backups, checks of them and drills.

CREATE TABLE backups (
    id text NOT NULL CONSTRAINT backups_pkey PRIMARY KEY CONSTRAINT backups_id CHECK (id ~ '^[0-9A-Za-z-]{8,64}$'),
    kind text NOT NULL CONSTRAINT backups_kind CHECK (
        kind IN ('full', 'base', 'incremental', 'logical', 'verify', 'drill')
    ),
    state text NOT NULL CONSTRAINT backups_state CHECK (state IN ('done', 'failed')),
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    database_bytes bigint CONSTRAINT backups_database_bytes CHECK (database_bytes >= 0),
    stored_bytes bigint CONSTRAINT backups_stored_bytes CHECK (stored_bytes >= 0),
    parent_id text,
    is_mirrored boolean NOT NULL DEFAULT false,
    detail text,
    CONSTRAINT backups_times CHECK (finished_at >= started_at)
);
COMMENT ON TABLE backups IS 'Backups, checks of them and drills, as they ended; the backups themselves are files.';
COMMENT ON COLUMN backups.started_at IS 'When it began, by the clock of the server or, for checks and drills, of the machine.';
COMMENT ON COLUMN backups.finished_at IS 'When it ended.';
COMMENT ON COLUMN backups.database_bytes IS 'Size of all databases then.';
COMMENT ON COLUMN backups.stored_bytes IS 'Size of its sealed files.';
COMMENT ON COLUMN backups.parent_id IS 'What an incremental backup builds upon.';
COMMENT ON COLUMN backups.is_mirrored IS 'Whether the second place has it too.';
COMMENT ON COLUMN backups.detail IS 'Why it failed, or what a check found; words of the house and of PostgreSQL''s tools.';
CREATE INDEX backups_kind_finished_idx ON backups (kind, finished_at);
ALTER TABLE backups ENABLE ROW LEVEL SECURITY;
