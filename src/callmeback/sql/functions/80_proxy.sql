-- What the proxy asks, and all that it may ask: keys, their statements, and whether any of them changed. Also how the
-- first answer to a batch is kept, by the role of its key.

CREATE OR REPLACE FUNCTION proxy_version()
RETURNS bigint
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN (SELECT s.version FROM proxy_state AS s);
END
$$;
COMMENT ON FUNCTION proxy_version() IS 'Another value after every change of a key; polled, so that a revoked key ends within a second.';

CREATE OR REPLACE FUNCTION proxy_keys()
RETURNS TABLE (
    id text, name text, mode text, role_name text, is_masked boolean, secret_hash bytea, other_secret_hash bytea,
    other_secret_until timestamptz, expires_at timestamptz, cidrs text[], rate_per_second integer, concurrency integer,
    learning_until timestamptz, calls text[], version bigint
)
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT
        k.id, k.name, k.mode, s.role_name, NOT s.pii, k.secret_hash, k.other_secret_hash,
        k.other_secret_until, k.expires_at, k.cidrs::text[], k.rate_per_second, k.concurrency,
        k.learning_until, s.calls, k.version
    FROM api_keys AS k
    INNER JOIN sql_scopes AS s ON k.scope_id = s.id
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp());
END
$$;
COMMENT ON FUNCTION proxy_keys() IS 'Every key that is neither revoked nor expired.';

CREATE OR REPLACE FUNCTION proxy_statements(p_keys text[])
RETURNS TABLE (key_id text, id text, kind text, statement text, text_hash bytea, parameter_types bigint[])
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT
        n.key_id, n.id, n.kind, n.statement, n.text_hash,
        CASE WHEN n.parameter_types IS NOT NULL THEN
            -- A type that is gone is 0 on the wire: left to the server to tell.
            ARRAY(
                SELECT coalesce(to_regtype(t.name)::oid::bigint, 0)
                FROM unnest(n.parameter_types) WITH ORDINALITY AS t (name, place)
                ORDER BY t.place
            )
        END
    FROM named_statements AS n
    WHERE n.key_id = ANY (p_keys);
END
$$;
COMMENT ON FUNCTION proxy_statements(text[]) IS 'The statements of these keys, parameter types as OIDs.';

CREATE OR REPLACE FUNCTION learn_statement(p_key_id text, p_statement text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    c_most_statements CONSTANT integer := 1000;
    v_hash bytea := sha256(convert_to(p_statement, 'UTF8'));
BEGIN
    -- The lock also makes the count below hold when two learn at once.
    PERFORM FROM api_keys AS k
    WHERE k.id = p_key_id AND k.mode = 'exact' AND k.revoked_at IS NULL AND k.learning_until > clock_timestamp()
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF EXISTS (
        SELECT FROM named_statements AS n
        WHERE n.key_id = p_key_id AND n.kind = 'exact' AND n.text_hash = v_hash
    ) THEN
        RETURN true;
    ELSIF (SELECT count(*) FROM named_statements AS n WHERE n.key_id = p_key_id) >= c_most_statements THEN
        RETURN false;
    END IF;
    INSERT INTO named_statements (key_id, id, kind, statement, text_hash)
    VALUES (p_key_id, left(encode(v_hash, 'hex'), 32), 'exact', p_statement, v_hash);
    RETURN true;
END
$$;
COMMENT ON FUNCTION learn_statement(text, text) IS
'Remembers a text of an exact key that is learning; false when it is not, or has its thousand already.';

CREATE OR REPLACE FUNCTION claim_answer(p_key_id text, p_idempotency_key text, p_request_hash bytea)
RETURNS bytea
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_first proxy_answers;
BEGIN
    PERFORM FROM api_keys AS k
    INNER JOIN sql_scopes AS s ON k.scope_id = s.id
    WHERE k.id = p_key_id AND s.role_name = session_user;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the key is another role''s' USING ERRCODE = 'CM008';
    END IF;
    -- Waits while another batch with this key is under way.
    INSERT INTO proxy_answers (key_id, idempotency_key, request_hash, created_at)
    VALUES (p_key_id, p_idempotency_key, p_request_hash, clock_timestamp())
    ON CONFLICT (key_id, idempotency_key) DO NOTHING;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    SELECT a.* INTO v_first
    FROM proxy_answers AS a
    WHERE a.key_id = p_key_id AND a.idempotency_key = p_idempotency_key;
    IF v_first.request_hash IS DISTINCT FROM p_request_hash THEN
        RAISE EXCEPTION 'idempotency key was used for another request' USING ERRCODE = 'CM006';
    END IF;
    RETURN v_first.answer;
END
$$;
COMMENT ON FUNCTION claim_answer(text, text, bytea) IS
'The first answer to this Idempotency-Key, or NULL for the first request, which then keeps its own in the same transaction.';

CREATE OR REPLACE FUNCTION keep_answer(p_key_id text, p_idempotency_key text, p_answer bytea)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE proxy_answers AS a
    SET answer = p_answer
    FROM api_keys AS k, sql_scopes AS s
    WHERE a.key_id = p_key_id AND a.idempotency_key = p_idempotency_key AND a.answer IS NULL
        AND a.key_id = k.id AND k.scope_id = s.id AND s.role_name = session_user;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no answer of this role is awaited' USING ERRCODE = 'CM008';
    END IF;
END
$$;
COMMENT ON FUNCTION keep_answer(text, text, bytea) IS 'Keeps the answer to a batch that claim_answer took as the first.';

CREATE OR REPLACE FUNCTION note_key_change()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_version bigint;
BEGIN
    -- The one row is locked until the commit, so versions become visible in their order.
    UPDATE proxy_state AS s SET version = s.version + 1 RETURNING s.version INTO v_version;
    PERFORM pg_notify('callmeback_keys', '');
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.version := v_version;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION note_key_change() IS 'Every change of a key moves the version that proxies watch; the notification only hastens their look.';

CREATE OR REPLACE FUNCTION note_statement_change()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE api_keys AS k SET version = k.version WHERE k.id = coalesce(NEW.key_id, OLD.key_id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION note_statement_change() IS 'A change of a statement is a change of its key.';
