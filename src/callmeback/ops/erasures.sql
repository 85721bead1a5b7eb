-- Erasures that go out to the list beside the backups, and come back from it after a restore.

-- name: erased_since
-- Who was erased from a moment on; everybody without one.
-- returns: Erased
SELECT
    e.user_id,
    e.requested_by,
    e.erased_at
FROM erasures AS e
WHERE e.erased_at >= coalesce(%(since)s::timestamptz, '-infinity')
ORDER BY e.erased_at, e.user_id;

-- name: to_erase
-- People of a list who are not erased here.
-- returns: ToErase
SELECT u.id
FROM users AS u
WHERE u.id = any(%(ids)s::text[]) AND u.erased_at IS NULL
ORDER BY u.id;
