-- What became of backups, checks of them and drills.

-- name: record
-- Note how one ended.
INSERT INTO backups (
    id, kind, state, started_at, finished_at, database_bytes, stored_bytes, parent_id, is_mirrored, detail
)
VALUES (
    %(id)s, %(kind)s, %(state)s, %(started_at)s, %(finished_at)s, %(database_bytes)s, %(stored_bytes)s, %(parent_id)s,
    %(is_mirrored)s, %(detail)s
)
ON CONFLICT (id) DO NOTHING;

-- name: forget
-- Take out what is older than backups are kept.
DELETE FROM backups AS b
WHERE b.finished_at < %(before)s;
