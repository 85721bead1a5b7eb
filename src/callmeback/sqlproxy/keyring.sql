-- What the keyring asks, as callmeback_proxy.

-- name: listen
-- Be told of changes; only a hint, as a pooler or a lost connection may swallow it.
LISTEN callmeback_keys;

-- name: version
-- Another value after every change.
SELECT proxy_version();

-- name: keys
-- Every key that is neither revoked nor expired.
-- returns: KeyRow
SELECT
    k.id,
    k.name,
    k.mode,
    k.role_name,
    k.is_masked,
    k.secret_hash,
    k.other_secret_hash,
    k.other_secret_until,
    k.expires_at,
    k.cidrs,
    k.rate_per_second,
    k.concurrency,
    k.learning_until,
    k.calls,
    k.version
FROM proxy_keys() AS k;

-- name: statements
-- The statements of some keys.
-- returns: StatementRow
SELECT
    n.key_id,
    n.id,
    n.kind,
    n.statement,
    n.text_hash,
    n.parameter_types
FROM proxy_statements(%(keys)s) AS n;

-- name: learn
-- Remember a text of a key that is learning; false when it isn't.
SELECT learn_statement(%(key_id)s, %(statement)s);
