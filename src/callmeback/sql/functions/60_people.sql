-- Accounts before there is a session: these run for a caller who isn't known yet, so they are functions, not grants.

CREATE OR REPLACE FUNCTION register_user(
    p_user_id text, p_email text, p_password_hash text, p_name text, p_timezone text, p_phone text DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO users (id, email, password_hash, name, timezone)
    VALUES (p_user_id, p_email, p_password_hash, p_name, p_timezone)
    ON CONFLICT (lower(email)) DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'e-mail is taken' USING ERRCODE = 'CM015';
    END IF;
    INSERT INTO user_credits (user_id) VALUES (p_user_id);
    IF p_phone IS NOT NULL THEN
        INSERT INTO phones (user_id, number) VALUES (p_user_id, p_phone);
    END IF;
END
$$;
COMMENT ON FUNCTION register_user(text, text, text, text, text, text) IS 'Person, account and unverified phone in one commit.';

CREATE OR REPLACE FUNCTION login_lookup(
    p_email text, OUT user_id text, OUT password_hash text, OUT is_blocked boolean
)
RETURNS record
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    SELECT u.id, u.password_hash, u.blocked_at IS NOT NULL
    INTO user_id, password_hash, is_blocked
    FROM users AS u
    WHERE lower(u.email) = lower(p_email) AND u.erased_at IS NULL;
END
$$;
COMMENT ON FUNCTION login_lookup(text) IS 'What a login is checked against; NULLs for an unknown e-mail, so that the caller does the same work.';

CREATE OR REPLACE FUNCTION admit(p_user_id text, p_known_hash text, p_rehashed text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_valid_from timestamptz;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE users AS u
    SET last_login_at = clock_timestamp(), password_hash = coalesce(p_rehashed, u.password_hash)
    WHERE u.id = p_user_id AND u.password_hash = p_known_hash AND u.erased_at IS NULL
    RETURNING u.tokens_valid_from INTO v_valid_from;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the password is another one by now' USING ERRCODE = 'CM019';
    END IF;
    RETURN v_valid_from;
END
$$;
COMMENT ON FUNCTION admit(text, text, text) IS
'Notes a login by the password that was just proved, and its hash by today''s rule if the old one is weaker. From when tokens are valid.';

CREATE OR REPLACE FUNCTION check_session(
    p_user_id text, p_token_id text, p_issued_at timestamptz, OUT is_valid boolean, OUT is_admin boolean
)
RETURNS record
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    SELECT
        u.erased_at IS NULL AND u.blocked_at IS NULL AND p_issued_at >= u.tokens_valid_from
        AND NOT EXISTS (SELECT FROM token_blacklist AS b WHERE b.token_id = p_token_id),
        EXISTS (SELECT FROM admin_users AS a WHERE a.user_id = u.id)
    INTO is_valid, is_admin
    FROM users AS u
    WHERE u.id = p_user_id;
    is_valid := coalesce(is_valid, false);
    is_admin := coalesce(is_admin, false);
END
$$;
COMMENT ON FUNCTION check_session(text, text, timestamptz) IS 'Asked on every request: is this token still good, and is its person an admin.';

CREATE OR REPLACE FUNCTION revoke_token(p_token_id text, p_user_id text, p_expires_at timestamptz)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO token_blacklist (token_id, user_id, expires_at)
    VALUES (p_token_id, p_user_id, p_expires_at)
    ON CONFLICT (token_id) DO NOTHING;
END
$$;
COMMENT ON FUNCTION revoke_token(text, text, timestamptz) IS 'Logs one token out.';

CREATE OR REPLACE FUNCTION next_tokens_valid_from(p_before timestamptz)
RETURNS timestamptz
LANGUAGE sql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT greatest(date_trunc('second', clock_timestamp()), p_before) + interval '1 second'
$$;
COMMENT ON FUNCTION next_tokens_valid_from(timestamptz) IS
'From when a person''s tokens are valid after one more logout everywhere. Tokens carry whole seconds, so it is a second on, and on again within that second: what was begun in between is revoked too.';

CREATE OR REPLACE FUNCTION revoke_all_tokens(p_user_id text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE users AS u
    SET tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from)
    WHERE u.id = p_user_id;
END
$$;
COMMENT ON FUNCTION revoke_all_tokens(text) IS 'Logs a person out everywhere; what begins after is dated from then on.';

CREATE OR REPLACE FUNCTION change_password(p_user_id text, p_known_hash text, p_password_hash text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE users AS u
    SET password_hash = p_password_hash, tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from)
    WHERE u.id = p_user_id AND u.password_hash = p_known_hash AND u.erased_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the password is another one by now' USING ERRCODE = 'CM019';
    END IF;
    DELETE FROM one_time_tokens AS t
    WHERE t.user_id = p_user_id AND t.purpose = 'password_reset' AND t.used_at IS NULL;
END
$$;
COMMENT ON FUNCTION change_password(text, text, text) IS
'A new password in place of the one that was just proved; every session and every open link for a reset ends.';

CREATE OR REPLACE FUNCTION issue_one_time_token(
    p_email text, p_purpose text, p_token_hash bytea, p_valid_for interval
)
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_user_id text;
BEGIN
    SELECT u.id INTO v_user_id
    FROM users AS u
    WHERE lower(u.email) = lower(p_email) AND u.erased_at IS NULL AND u.blocked_at IS NULL;
    IF v_user_id IS NOT NULL THEN
        DELETE FROM one_time_tokens AS t WHERE t.user_id = v_user_id AND t.purpose = p_purpose AND t.used_at IS NULL;
        INSERT INTO one_time_tokens (token_hash, user_id, purpose, expires_at)
        VALUES (p_token_hash, v_user_id, p_purpose, clock_timestamp() + p_valid_for);
    END IF;
    RETURN v_user_id;
END
$$;
COMMENT ON FUNCTION issue_one_time_token(text, text, bytea, interval) IS
'Replaces the open token of this purpose; NULL for an unknown e-mail, which the caller never tells.';

CREATE OR REPLACE FUNCTION use_one_time_token(p_purpose text, p_token_hash bytea, p_password_hash text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_user_id text;
BEGIN
    -- The person before the link, as whoever changes the password or erases the person has them.
    PERFORM
    FROM users AS u
    WHERE u.id = (SELECT t.user_id FROM one_time_tokens AS t WHERE t.token_hash = p_token_hash)
    FOR NO KEY UPDATE;
    UPDATE one_time_tokens AS t
    SET used_at = v_now
    WHERE t.token_hash = p_token_hash AND t.purpose = p_purpose AND t.used_at IS NULL AND t.expires_at > v_now
    RETURNING t.user_id INTO v_user_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'token is unknown, used or expired' USING ERRCODE = 'CM017';
    END IF;
    IF p_purpose = 'email_verification' THEN
        UPDATE users AS u SET email_verified_at = coalesce(u.email_verified_at, v_now) WHERE u.id = v_user_id;
    ELSE
        -- Who could read the mail owns the address; whoever was logged in is out.
        UPDATE users AS u
        SET
            password_hash = p_password_hash,
            email_verified_at = coalesce(u.email_verified_at, v_now),
            tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from)
        WHERE u.id = v_user_id;
    END IF;
    RETURN v_user_id;
END
$$;
COMMENT ON FUNCTION use_one_time_token(text, bytea, text) IS 'Opens a link once: verifies the e-mail, or sets the new password and logs out everywhere.';

CREATE OR REPLACE FUNCTION count_attempt(p_bucket text, p_limit integer, p_window interval)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_row login_attempts;
BEGIN
    INSERT INTO login_attempts AS l (bucket, window_started_at, attempts, expires_at)
    VALUES (p_bucket, v_now, 1, v_now + p_window)
    ON CONFLICT (bucket) DO UPDATE
    SET
        attempts = CASE WHEN l.expires_at <= v_now THEN 1 ELSE least(l.attempts + 1, p_limit + 1) END,
        window_started_at = CASE WHEN l.expires_at <= v_now THEN v_now ELSE l.window_started_at END,
        expires_at = CASE WHEN l.expires_at <= v_now THEN v_now + p_window ELSE l.expires_at END
    RETURNING l.* INTO v_row;
    IF v_row.attempts <= p_limit THEN
        RETURN 0;
    END IF;
    RETURN greatest(1, ceil(extract(EPOCH FROM v_row.expires_at - v_now)))::integer;
END
$$;
COMMENT ON FUNCTION count_attempt(text, integer, interval) IS
'Counts an attempt in a fixed window: 0 if it is allowed, else the seconds to wait.';

CREATE OR REPLACE FUNCTION forget_attempts(p_bucket text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    DELETE FROM login_attempts AS l WHERE l.bucket = p_bucket;
END
$$;
COMMENT ON FUNCTION forget_attempts(text) IS 'A success clears the counter of its account.';

CREATE OR REPLACE FUNCTION request_phone_code(
    p_user_id text, p_number text, p_code_hash bytea, p_valid_for interval
)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    ELSIF EXISTS (SELECT FROM blocked_numbers AS n WHERE n.number = p_number) THEN
        RAISE EXCEPTION 'phone number is blocked' USING ERRCODE = 'CM013';
    ELSIF EXISTS (
        SELECT FROM phones AS h WHERE h.number = p_number AND h.verified_at IS NOT NULL AND h.user_id <> p_user_id
    ) THEN
        RAISE EXCEPTION 'phone number is taken' USING ERRCODE = 'CM016';
    END IF;
    INSERT INTO phones AS h (user_id, number, code_hash, code_expires_at)
    VALUES (p_user_id, p_number, p_code_hash, clock_timestamp() + p_valid_for)
    ON CONFLICT (user_id, number) DO UPDATE
    SET code_hash = excluded.code_hash, code_expires_at = excluded.code_expires_at, code_attempts = 0;
END
$$;
COMMENT ON FUNCTION request_phone_code(text, text, bytea, interval) IS 'Notes a number with the code that was sent to it.';

CREATE OR REPLACE FUNCTION verify_phone(p_user_id text, p_number text, p_code_hash bytea)
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    c_most_attempts CONSTANT integer := 5;
    v_now timestamptz := clock_timestamp();
    v_phone phones;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE phones AS h
    SET code_attempts = h.code_attempts + 1
    WHERE h.user_id = p_user_id AND h.number = p_number
    RETURNING h.* INTO v_phone;
    -- A wrong code is an answer, not an error: raising would roll the count of attempts back.
    IF NOT FOUND OR v_phone.code_hash IS NULL OR v_phone.code_expires_at <= v_now THEN
        RETURN 'expired';
    ELSIF v_phone.code_attempts > c_most_attempts THEN
        RETURN 'too_many_attempts';
    ELSIF v_phone.code_hash <> p_code_hash THEN
        RETURN 'wrong';
    END IF;
    -- The winner of a race for one number blocks the other here, by the unique index.
    IF EXISTS (
        SELECT FROM phones AS h WHERE h.number = p_number AND h.verified_at IS NOT NULL AND h.user_id <> p_user_id
    ) THEN
        RETURN 'taken';
    END IF;
    UPDATE phones AS h
    SET verified_at = coalesce(h.verified_at, v_now), code_hash = NULL, code_expires_at = NULL, code_attempts = 0
    WHERE h.user_id = p_user_id AND h.number = p_number;
    UPDATE users AS u SET phone = p_number WHERE u.id = p_user_id AND u.phone IS NULL;
    RETURN 'verified';
END
$$;
COMMENT ON FUNCTION verify_phone(text, text, bytea) IS 'verified, wrong, expired, too_many_attempts or taken; the first verified number becomes the primary one.';

CREATE OR REPLACE FUNCTION remove_phone(p_user_id text, p_number text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    DELETE FROM phones AS h WHERE h.user_id = p_user_id AND h.number = p_number;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE users AS u
    SET phone = (
        SELECT h.number
        FROM phones AS h
        WHERE h.user_id = p_user_id AND h.verified_at IS NOT NULL
        ORDER BY h.verified_at
        LIMIT 1
    )
    WHERE u.id = p_user_id AND u.phone = p_number;
    RETURN true;
END
$$;
COMMENT ON FUNCTION remove_phone(text, text) IS 'Takes a number away; the oldest verified one that is left becomes primary.';

CREATE OR REPLACE FUNCTION close_account()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE user_credits AS a
    SET is_closed = new.blocked_at IS NOT NULL OR new.erased_at IS NOT NULL, updated_at = clock_timestamp()
    WHERE a.user_id = new.id AND a.is_closed <> (new.blocked_at IS NOT NULL OR new.erased_at IS NOT NULL);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION close_account() IS
'Who is blocked or erased can''t be called from the same commit on, and again when it is taken back.';

CREATE OR REPLACE FUNCTION erase_user(p_user_id text, p_requested_by text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    -- In the order in which everybody else takes them, who may be at work for this person: an event of the provider before
    -- the account, a number before its person, who is before a schedule, and that before its calls to come.
    PERFORM FROM payment_events AS x WHERE x.user_id = p_user_id ORDER BY x.id FOR NO KEY UPDATE;
    PERFORM
    FROM payment_events AS x
    WHERE x.state = 'unmatched' AND x.facts ->> 'user_id' = p_user_id
    ORDER BY x.id
    FOR NO KEY UPDATE;
    PERFORM FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    PERFORM FROM phones AS x WHERE x.user_id = p_user_id ORDER BY x.number FOR UPDATE;
    PERFORM FROM users AS u WHERE u.id = p_user_id FOR NO KEY UPDATE;
    PERFORM FROM call_schedules AS x WHERE x.user_id = p_user_id ORDER BY x.id FOR UPDATE;
    IF EXISTS (SELECT FROM open_calls AS o WHERE o.user_id = p_user_id) THEN
        RAISE EXCEPTION 'a call is open' USING ERRCODE = 'CM004';
    END IF;
    UPDATE users AS u
    SET
        email = 'erased-' || u.id || '@invalid', password_hash = '', name = NULL, phone = NULL,
        stripe_customer_id = NULL, timezone = 'UTC', locale = 'en', email_verified_at = NULL,
        tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from), erased_at = coalesce(u.erased_at, clock_timestamp())
    WHERE u.id = p_user_id;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO erasures (user_id, requested_by) VALUES (p_user_id, p_requested_by) ON CONFLICT (user_id) DO NOTHING;
    DELETE FROM unknown_caller_attempts AS x
    WHERE x.converted_user_id = p_user_id
        OR x.phone_number IN (
            SELECT h.number FROM phones AS h WHERE h.user_id = p_user_id AND h.verified_at IS NOT NULL
        );
    DELETE FROM phones AS x WHERE x.user_id = p_user_id;
    DELETE FROM one_time_tokens AS x WHERE x.user_id = p_user_id;
    DELETE FROM admin_users AS x WHERE x.user_id = p_user_id;
    DELETE FROM user_preferences AS x WHERE x.user_id = p_user_id;
    DELETE FROM idempotency_keys AS x WHERE x.user_id = p_user_id;
    DELETE FROM call_scenario_templates AS x WHERE x.user_id = p_user_id;
    DELETE FROM transcripts AS x WHERE x.user_id = p_user_id;
    DELETE FROM scheduled_calls AS x WHERE x.user_id = p_user_id AND x.call_id IS NULL;
    UPDATE scheduled_calls AS x
    SET phone_number = '', call_pretext = NULL, call_scenario = NULL, schedule_id = NULL
    WHERE x.user_id = p_user_id;
    DELETE FROM call_schedules AS x WHERE x.user_id = p_user_id;
    DELETE FROM calendar_feeds AS x WHERE x.user_id = p_user_id;
    UPDATE calls AS x
    SET phone_number = '', call_pretext = NULL, call_scenario = NULL, custom_instructions = NULL, voice_id = NULL
    WHERE x.user_id = p_user_id;
    UPDATE user_persona_relationships AS x
    SET relationship_type = 'friend', custom_system_prompt = NULL, voice_id = NULL, voice_settings = NULL
    WHERE x.user_id = p_user_id;
    UPDATE personas AS x
    SET
        name = 'Erased', description = NULL, core_system_prompt = 'erased', avatar_url = NULL, category = NULL,
        -- A voice may be a copy of somebody's own.
        default_voice_id = NULL, default_voice_settings = '{}', llm_model = NULL, phone_number = NULL, is_active = false
    WHERE x.owner_user_id = p_user_id;
    -- What an event says is needed until it is settled: it may be money.
    UPDATE payment_events AS x
    SET payload = NULL, facts = CASE WHEN x.state = 'unmatched' THEN x.facts END
    WHERE x.user_id = p_user_id;
    UPDATE payment_events AS x SET payload = NULL WHERE x.state = 'unmatched' AND x.facts ->> 'user_id' = p_user_id;
    UPDATE api_keys AS x
    SET revoked_at = clock_timestamp()
    FROM sql_scopes AS s
    WHERE x.scope_id = s.id AND s.as_user_id = p_user_id AND x.revoked_at IS NULL;
    UPDATE purchases AS x SET stripe_customer_id = NULL, checkout_url = NULL WHERE x.user_id = p_user_id;
    -- Nobody pays on for an account that is gone: the worker cancels the plan at the provider.
    UPDATE subscriptions AS x
    SET stripe_customer_id = NULL, checkout_url = NULL, cancel_due_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.ended_at IS NULL;
    DELETE FROM budget_notices AS x WHERE x.user_id = p_user_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION erase_user(text, text) IS
'Empties a person and all that is personal; ledger, costs and call figures stay. Refused while a call is open. May be repeated.';
