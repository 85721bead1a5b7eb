-- Backups, checks of them and drills, by what is noted of them.

-- name: whole_backup
-- Whether the newest whole backup is older than a day and two hours, or there is none; on a new installation a warning.
-- returns: Finding
SELECT
    'the newest whole backup' AS object,
    CASE
        WHEN n.finished_at IS NULL THEN 'there is none'
        ELSE 'was finished at ' || to_char(n.finished_at, 'YYYY-MM-DD HH24:MI "UTC"')
    END AS detail,
    i.made_at < now() - interval '1 day' AS is_red,
    NULL::text AS mend
FROM (
    SELECT max(b.finished_at) AS finished_at
    FROM backups AS b
    WHERE b.kind IN ('full', 'base') AND b.state = 'done'
) AS n
CROSS JOIN (SELECT min(m.applied_at) AS made_at FROM schema_migrations AS m) AS i
WHERE coalesce(n.finished_at, '-infinity') < now() - %(age_max)s::interval;

-- name: drill
-- Whether the last drill that went well is older than a week and a day, or there is none; on a new installation a warning.
-- returns: Finding
SELECT
    'the last drill' AS object,
    CASE
        WHEN n.finished_at IS NULL THEN 'there is none that went well'
        ELSE 'went well at ' || to_char(n.finished_at, 'YYYY-MM-DD HH24:MI "UTC"') || ', and none since'
    END AS detail,
    i.made_at < now() - interval '2 days' AS is_red,
    NULL::text AS mend
FROM (
    SELECT max(b.finished_at) AS finished_at
    FROM backups AS b
    WHERE b.kind = 'drill' AND b.state = 'done'
) AS n
CROSS JOIN (SELECT min(m.applied_at) AS made_at FROM schema_migrations AS m) AS i
WHERE coalesce(n.finished_at, '-infinity') < now() - %(age_max)s::interval;

-- name: last_runs
-- Of each kind the last run, where it failed.
-- returns: Finding
SELECT
    l.kind AS object,
    'failed at ' || to_char(l.finished_at, 'YYYY-MM-DD HH24:MI "UTC"') || ': ' || coalesce(l.detail, 'nobody knows why') AS detail,
    true AS is_red,
    NULL::text AS mend
FROM (
    SELECT DISTINCT ON (b.kind)
        b.kind,
        b.state,
        b.finished_at,
        b.detail
    FROM backups AS b
    ORDER BY b.kind ASC, b.finished_at DESC, b.id DESC
) AS l
WHERE l.state = 'failed'
ORDER BY l.kind;

-- name: mirrored
-- Whether the newest whole backup is in the second place.
-- returns: Finding
SELECT
    n.id AS object,
    'is not in the second place' AS detail,
    false AS is_red,
    NULL::text AS mend
FROM (
    SELECT
        b.id,
        b.is_mirrored
    FROM backups AS b
    WHERE b.kind IN ('full', 'base') AND b.state = 'done'
    ORDER BY b.finished_at DESC
    LIMIT 1
) AS n
WHERE NOT n.is_mirrored;
