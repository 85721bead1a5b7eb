-- Keys of the SQL proxy and the scopes behind them.

-- name: problems
-- What of a wish for grants can't be granted, and why.
-- returns: Problem
SELECT
    p.asked,
    p.name,
    p.problem
FROM grant_problems(%(reads)s::text[], %(writes)s::text[], %(calls)s::text[], %(as_user_id)s::text) AS p
ORDER BY p.asked DESC, p.name;

-- name: take_turn
-- The lock of the migration runner, for this transaction and without waiting: grants of two at once would collide.
SELECT pg_try_advisory_xact_lock(hashtextextended('callmeback migrate', 0));

-- name: wait_briefly
-- How long a grant may stand in a table's queue, with everybody behind it.
SELECT set_config('lock_timeout', %(milliseconds)s::integer || 'ms', true);

-- name: keep_scope
-- The scope of these grants, unless it is there.
INSERT INTO sql_scopes (id, role_name, pii, as_user_id, reads, writes, calls)
VALUES (%(id)s, %(role)s, %(pii)s, %(as_user_id)s, %(reads)s, %(writes)s, %(calls)s)
ON CONFLICT (id) DO NOTHING;

-- name: grant_scope
-- Grant its role what the scope says; false when there is no such role.
SELECT grant_scope(%(id)s);

-- name: grant_scopes
-- Grant every scope that is needed, and take everything from the others.
-- returns: GrantedScope
SELECT
    g.scope_id AS id,
    g.role_name AS role,
    g.state
FROM grant_scopes(false) AS g
ORDER BY g.scope_id;

-- name: retire_scope
-- Take everything from a scope that no key needs any more, policies aside, since taking them stops everybody.
SELECT take_scope(s.role_name, false)
FROM sql_scopes AS s
WHERE s.id = %(id)s AND NOT EXISTS (
    SELECT FROM api_keys AS k
    WHERE k.scope_id = s.id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
);

-- name: needed_scopes
-- The grants of every scope that a living key needs.
-- returns: Scope
SELECT
    s.id,
    s.pii,
    s.as_user_id,
    s.reads,
    s.writes,
    s.calls
FROM sql_scopes AS s
WHERE
    EXISTS (
        SELECT FROM api_keys AS k
        WHERE k.scope_id = s.id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
    )
ORDER BY s.id;

-- name: add_key
-- A new key.
INSERT INTO api_keys (
    id, name, scope_id, mode, secret_hash, expires_at, cidrs, rate_per_second, concurrency, created_by
) VALUES (
    %(id)s, %(name)s, %(scope_id)s, %(mode)s, %(secret_hash)s, now() + %(expires_in)s::interval,
    %(cidrs)s::text[]::cidr[], %(rate)s, %(concurrency)s, %(created_by)s
);

-- name: keys
-- Keys by name or id, or all of them, newest first.
-- returns: KeyLine
SELECT
    k.id,
    k.name,
    k.mode,
    CASE
        WHEN k.revoked_at IS NOT NULL THEN 'revoked'
        WHEN k.expires_at <= now() THEN 'expired'
        ELSE 'live'
    END AS state,
    s.role_name AS role,
    s.reads AS read,
    s.writes AS write,
    s.calls AS call,
    s.as_user_id AS as_user,
    s.pii,
    k.cidrs::text[] AS cidrs,
    k.rate_per_second AS rate,
    k.concurrency,
    k.expires_at,
    k.learning_until,
    k.other_secret_until,
    k.revoked_at,
    (
        SELECT count(*) FROM named_statements AS n
        WHERE n.key_id = k.id
    ) AS statements,
    k.created_by,
    k.created_at
FROM api_keys AS k
INNER JOIN sql_scopes AS s ON k.scope_id = s.id
WHERE
    (%(who)s::text IS NULL OR k.id = %(who)s OR k.name = %(who)s)
    AND (%(with_dead)s::boolean OR (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())))
ORDER BY k.created_at DESC, k.id;

-- name: rotate
-- A new secret; the present one works on for a while, the one before it ends now.
UPDATE api_keys
SET
    other_secret_hash = CASE WHEN %(grace)s::interval > '0' THEN secret_hash END,
    other_secret_until = CASE WHEN %(grace)s::interval > '0' THEN now() + %(grace)s::interval END,
    secret_hash = %(secret_hash)s
WHERE id = %(id)s AND revoked_at IS NULL
RETURNING other_secret_until;

-- name: revoke
-- No use from now on, for good.
UPDATE api_keys
SET revoked_at = now()
WHERE id = %(id)s AND revoked_at IS NULL;

-- name: scope_of
-- The scope of a key.
SELECT k.scope_id FROM api_keys AS k
WHERE k.id = %(id)s;

-- name: learn
-- Until when an exact key remembers the texts that it is sent; NULL ends it.
UPDATE api_keys
SET learning_until = now() + %(learn_for)s::interval
WHERE id = %(id)s AND revoked_at IS NULL
RETURNING learning_until;

-- name: forget_text
-- One text is registered once: learnt before, it gets the name that it is given now.
DELETE FROM named_statements
WHERE
    key_id = %(key_id)s
    AND kind = 'exact'
    AND text_hash = sha256(convert_to(%(statement)s, 'UTF8'))
    AND id <> %(id)s;

-- name: forget
-- A statement that the key may run no more.
DELETE FROM named_statements
WHERE key_id = %(key_id)s AND id = %(id)s;

-- name: statements
-- What a key may run, newest first.
-- returns: StatementLine
SELECT
    n.id,
    n.kind,
    n.statement,
    n.parameter_types,
    n.created_at
FROM named_statements AS n
WHERE n.key_id = %(key_id)s
ORDER BY n.created_at DESC, n.id;

-- name: allow
-- Register a statement under a name; one of that name is replaced.
INSERT INTO named_statements AS n (key_id, id, kind, statement, text_hash, parameter_types)
VALUES (
    %(key_id)s, %(id)s, %(kind)s, %(statement)s, sha256(convert_to(%(statement)s, 'UTF8')), %(parameter_types)s
)
ON CONFLICT (key_id, id) DO UPDATE
    SET
        statement = excluded.statement,
        text_hash = excluded.text_hash,
        parameter_types = excluded.parameter_types,
        created_at = now();
