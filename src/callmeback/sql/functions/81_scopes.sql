-- What a key may be granted, the views that it reads, and the grants of its role. Granted to nobody: whoever else owns
-- the database's cluster and runs them does it with the owner's rights, so that all that they make is the owner's.

CREATE OR REPLACE FUNCTION key_relations()
RETURNS TABLE (
    name text, relation oid, is_view boolean, has_pii boolean, has_secret boolean,
    is_written_by_functions boolean, seen_by text, written_by text
)
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
DECLARE
    -- The proxy's own, and the migration runner's: no key reads or writes them.
    c_own CONSTANT text[] := ARRAY[
        'api_keys', 'named_statements', 'proxy_answers', 'proxy_state', 'schema_migrations', 'schema_repeatable',
        'sql_scopes'
    ];
    -- Money, calls, proofs of identity and what carriers and vendors said: each has functions that keep its rules.
    c_by_functions CONSTANT text[] := ARRAY[
        'admin_users', 'backups', 'budget_notices', 'calendar_feeds', 'call_cost_breakdowns', 'call_cost_events', 'calls',
        'card_in_force', 'carrier_events', 'closing_days', 'coupons', 'credit_grants', 'credit_packs',
        'credit_transactions', 'dial_buckets',
        'disputes', 'erasures', 'idempotency_keys', 'jobs', 'login_attempts', 'one_time_tokens', 'open_calls',
        'payment_authorizations', 'payment_events', 'payments', 'phones', 'price_versions', 'purchases', 'refunds',
        'sealed_days', 'service_rates', 'subscription_tiers', 'subscriptions', 'token_blacklist', 'user_credits'
    ];
    -- The same for everybody.
    c_catalogues CONSTANT text[] := ARRAY[
        'card_in_force', 'credit_packs', 'price_versions', 'service_rates', 'subscription_tiers'
    ];
BEGIN
    RETURN QUERY
    WITH relations AS (
        SELECT
            c.oid AS relation,
            c.relname::text AS name,
            c.relkind = 'v' AS is_view,
            bool_or(coalesce(col_description(c.oid, a.attnum), '') ~ '^pii:') AS has_pii,
            bool_or(coalesce(col_description(c.oid, a.attnum), '') ~ '^secret') AS has_secret,
            bool_or(a.attname = 'user_id') AS has_user
        FROM pg_class AS c
        INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
            AND c.relname <> ALL (c_own)
        GROUP BY c.oid, c.relname, c.relkind
    )
    SELECT
        r.name, r.relation, r.is_view, r.has_pii, r.has_secret, r.name = ANY (c_by_functions),
        CASE
            WHEN r.name = 'users' THEN 'id = %L'
            WHEN r.name = 'personas' THEN '(owner_user_id IS NULL OR owner_user_id = %L)'
            WHEN r.name = 'call_scenario_templates' THEN '(user_id IS NULL OR user_id = %L)'
            WHEN r.name = ANY (c_catalogues) THEN 'true'
            WHEN r.has_user THEN 'user_id = %L'
        END,
        CASE
            WHEN r.name = 'users' THEN 'id = %L'
            WHEN r.name = 'personas' THEN 'owner_user_id = %L'
            WHEN r.has_user THEN 'user_id = %L'
        END
    FROM relations AS r
    ORDER BY r.name;
END
$$;
COMMENT ON FUNCTION key_relations() IS
'What a key may read; seen_by and written_by say which rows are one person''s (NULL: none), as a format() with the person''s id.';

CREATE OR REPLACE FUNCTION key_functions()
RETURNS TABLE (name text, function oid, is_refused boolean, is_personal boolean)
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
DECLARE
    -- They give out or take in hashes of passwords, codes and links: whoever may call them can become anybody.
    c_secrets CONSTANT text[] := ARRAY[
        'admit', 'change_password', 'check_session', 'issue_one_time_token', 'login_lookup', 'request_phone_code',
        'use_one_time_token', 'verify_phone'
    ];
    -- Money comes in by the provider's word alone, and its steps are the house's.
    c_payments CONSTANT text[] := ARRAY[
        'apply_payment_event', 'apply_waiting', 'begin_authorization', 'begin_purchase', 'begin_subscription',
        'check_sealed_days', 'claim_authorizations', 'claim_budget_notice', 'claim_subscription_work',
        'close_stale_checkouts', 'count_reversals', 'effect_of_dispute', 'effect_of_intent', 'effect_of_invoice',
        'effect_of_invoice_payment', 'effect_of_purchase_session', 'effect_of_refund', 'effect_of_subscription',
        'effect_of_subscription_session', 'end_authorization', 'end_grace', 'expire_checkout', 'expire_grants',
        'fail_purchase', 'follow_subscription', 'forget_customer', 'grant_credits', 'hash_of_day', 'keep_period_credits',
        'let_go_after_all', 'lock_account', 'lock_paid_call', 'note_authorization', 'note_budget_put_off', 'note_budget_told', 'note_cancellation', 'note_checkout', 'note_customer', 'note_subscription_checkout',
        'notice_budgets', 'objects_of', 'outcome', 'payment_effect', 'payment_of', 'receive_payment',
        'release_authorization', 'repeat_payment_event', 'request_tier', 'require_self', 'rest_of_grants',
        'retry_payment_events', 'seal_day', 'set_rate', 'settle_authorization', 'start_paid_call', 'subscription_of',
        'withdraw_tier_request'
    ];
    -- The proxy's own, and parts of others.
    c_inner CONSTANT text[] := ARRAY[
        'acts_for', 'add_cost_event', 'add_late_cost', 'add_price_version', 'begin_relationship', 'claim_answer',
        'erase_again', 'grant_problems', 'grant_scope', 'grant_scopes',
        'add_retry', 'calendar_feed_user', 'claim_due', 'claim_jobs', 'claim_reminders', 'claim_schedules', 'ensure_jobs',
        'extend_job', 'finish_due', 'finish_job', 'halt_schedule', 'place_due', 'refusal_code', 'request_job', 'settle_due',
        'keep_answer', 'key_functions', 'key_relations', 'learn_statement', 'make_key_view', 'make_key_views',
        'next_tokens_valid_from', 'price_whole_usage', 'proxy_keys', 'proxy_statements', 'proxy_version', 'recompute_schedule',
        'refresh_card', 'require_card_in_force', 'statement_statistics', 'take_scope',
        'zone_or_utc'
    ];
BEGIN
    RETURN QUERY
    SELECT
        p.proname::text,
        p.oid,
        p.prorettype = 'trigger'::regtype OR p.proname = ANY (c_secrets || c_payments || c_inner),
        -- It asks acts_for about the person that it is given.
        p.prosecdef AND p.prosrc ~ '\mIF NOT acts_for\(p_user_id\) THEN\M'
    FROM pg_proc AS p
    WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f';
END
$$;
COMMENT ON FUNCTION key_functions() IS
'Functions of the house: whether a key may never call one, and whether one checks for whom the caller acts.';

CREATE OR REPLACE FUNCTION grant_problems(p_reads text[], p_writes text[], p_calls text[], p_as_user_id text)
RETURNS TABLE (asked text, name text, problem text)
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT w.asked, w.name, w.problem
    FROM (
        SELECT
            'read' AS asked,
            a.name,
            CASE
                WHEN r.name IS NULL AND a.name <> 'all' THEN 'unknown'
                WHEN a.name <> 'all' AND p_as_user_id IS NOT NULL AND r.seen_by IS NULL THEN 'not_personal'
            END AS problem
        FROM unnest(p_reads) AS a (name)
        LEFT JOIN key_relations() AS r ON a.name = r.name
        UNION ALL
        SELECT
            'write' AS asked,
            a.name,
            CASE
                WHEN r.name IS NULL THEN 'unknown'
                WHEN r.is_view THEN 'view'
                WHEN r.is_written_by_functions THEN 'by_functions'
                WHEN p_as_user_id IS NOT NULL AND r.written_by IS NULL THEN 'not_personal'
                WHEN p_as_user_id IS NOT NULL AND NOT (
                    has_any_column_privilege('callmeback_api', r.relation, 'INSERT, UPDATE')
                    OR has_table_privilege('callmeback_api', r.relation, 'DELETE')
                ) THEN 'not_theirs'
            END AS problem
        FROM unnest(p_writes) AS a (name)
        LEFT JOIN key_relations() AS r ON a.name = r.name
        UNION ALL
        SELECT
            'call' AS asked,
            a.name,
            CASE
                WHEN count(f.name) = 0 THEN 'unknown'
                WHEN bool_or(f.is_refused) THEN 'refused'
                WHEN p_as_user_id IS NOT NULL AND NOT bool_and(f.is_personal) THEN 'not_personal'
            END AS problem
        FROM unnest(p_calls) AS a (name)
        LEFT JOIN key_functions() AS f ON a.name = f.name
        GROUP BY a.name
    ) AS w
    WHERE w.problem IS NOT NULL;
END
$$;
COMMENT ON FUNCTION grant_problems(text[], text[], text[], text) IS 'What of a wish for grants can''t be granted, and why, as a stable word.';

CREATE OR REPLACE FUNCTION make_key_view(p_schema text, p_relation oid, p_is_masked boolean, p_condition text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_name text;
    v_source text;
    v_columns text;
    v_shape text;
    v_present text;
BEGIN
    SELECT
        c.relname,
        -- A view of public runs with the rights of who asks, inside another view too, so its query stands here itself.
        CASE
            WHEN c.relkind = 'v' THEN format('(%s)', rtrim(pg_get_viewdef(c.oid), '; '))
            ELSE format('public.%I', c.relname)
        END,
        string_agg(
            CASE
                WHEN NOT p_is_masked OR d.class !~ '^pii:' THEN format('t.%I', a.attname)
                ELSE format(
                    'CASE WHEN t.%1$I IS NOT NULL THEN %2$s::%3$s END AS %1$I',
                    a.attname,
                    -- Constants, or the last two digits: a hash could be looked up, a length tells something.
                    CASE
                        WHEN d.class ~ '^pii:phone' AND y.typcategory = 'S' THEN format('(''***'' || right(t.%I, 2))', a.attname)
                        WHEN y.typcategory = 'S' THEN '''***'''
                        WHEN y.typname IN ('json', 'jsonb') THEN '''"***"'''
                        WHEN y.typname = 'bytea' THEN '''\x'''
                        ELSE 'NULL'
                    END,
                    format_type(a.atttypid, a.atttypmod)
                )
            END,
            ', ' ORDER BY a.attnum
        ),
        string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
    INTO v_name, v_source, v_columns, v_shape
    FROM pg_class AS c
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    INNER JOIN pg_type AS y ON a.atttypid = y.oid
    CROSS JOIN LATERAL (SELECT coalesce(col_description(c.oid, a.attnum), '') AS class) AS d
    WHERE c.oid = p_relation AND d.class !~ '^secret'
    GROUP BY c.oid, c.relname, c.relkind;

    SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
    INTO v_present
    FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass(format('%I.%I', p_schema, v_name)) AND a.attnum > 0;
    -- A view can be replaced only by one that begins with the same columns.
    IF NOT starts_with(v_shape || ',', v_present || ',') THEN
        EXECUTE format('DROP VIEW %I.%I', p_schema, v_name);
    END IF;
    -- The owner's rights, on purpose: they reach the columns that the reader's don't. Where rows are left out, a barrier
    -- keeps the reader's conditions, whose errors could tell of a row, from running before ours. Elsewhere it would hide
    -- nothing, and cost every join its index.
    EXECUTE format(
        'CREATE OR REPLACE VIEW %I.%I WITH (security_barrier = %s) AS SELECT %s FROM %s AS t WHERE %s',
        p_schema, v_name, p_condition <> 'true', v_columns, v_source, p_condition
    );
    EXECUTE format(
        'COMMENT ON VIEW %I.%I IS %L', p_schema, v_name,
        'Made from the comments of public.' || v_name || ' for keys of the SQL proxy; never edited.'
    );
END
$$;
COMMENT ON FUNCTION make_key_view(text, oid, boolean, text) IS
'One view of the same name and columns: secrets left out, and personal columns masked unless the reader may see them.';

CREATE OR REPLACE FUNCTION make_key_views()
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v record;
BEGIN
    CREATE SCHEMA IF NOT EXISTS masked;
    COMMENT ON SCHEMA masked IS 'What keys without --pii read: personal columns masked, secrets left out. Made by make_key_views().';
    CREATE SCHEMA IF NOT EXISTS clear;
    COMMENT ON SCHEMA clear IS 'What keys with --pii read: secrets left out. Made by make_key_views().';
    FOR v IN SELECT r.* FROM key_relations() AS r LOOP
        IF v.has_pii OR v.has_secret OR v.is_view THEN
            PERFORM make_key_view('masked', v.relation, true, 'true');
        END IF;
        IF v.has_secret OR v.is_view THEN
            PERFORM make_key_view('clear', v.relation, false, 'true');
        END IF;
    END LOOP;
    FOR v IN
        SELECT c.oid::regclass AS name
        FROM pg_class AS c
        LEFT JOIN key_relations() AS r ON c.relname = r.name
        WHERE c.relkind = 'v' AND (
            (
                c.relnamespace = 'masked'::regnamespace
                AND NOT coalesce(r.has_pii OR r.has_secret OR r.is_view, false)
            ) OR (
                c.relnamespace = 'clear'::regnamespace
                AND NOT coalesce(r.has_secret OR r.is_view, false)
            )
        )
    LOOP
        EXECUTE format('DROP VIEW %s', v.name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION make_key_views() IS
'The schemas masked and clear, from the privacy classes in the comments of columns: a new column is in them by itself.';

CREATE OR REPLACE FUNCTION take_scope(p_role_name text, p_is_for_good boolean)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_role oid := to_regrole(p_role_name);
    v_schema text := replace(p_role_name, 'callmeback_key_', 'scope_');
    v record;
BEGIN
    FOR v IN
        SELECT DISTINCT
            CASE d.classid
                WHEN 'pg_class'::regclass THEN format('TABLE %s', d.objid::regclass)
                WHEN 'pg_proc'::regclass THEN format('FUNCTION %s', d.objid::regprocedure)
                WHEN 'pg_namespace'::regclass THEN format('SCHEMA %s', d.objid::regnamespace)
            END AS what
        FROM pg_shdepend AS d
        WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = v_role AND d.deptype = 'a'
            AND d.dbid = (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database())
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', v.what, p_role_name);
    END LOOP;
    IF v_role IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), p_role_name);
    END IF;
    IF p_is_for_good THEN
        FOR v IN
            SELECT p.polname, p.polrelid::regclass AS name
            FROM pg_policy AS p
            WHERE p.polname IN (p_role_name, p_role_name || '_write')
            ORDER BY p.polrelid
        LOOP
            EXECUTE format('DROP POLICY %I ON %s', v.polname, v.name);
        END LOOP;
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', v_schema);
    END IF;
END
$$;
COMMENT ON FUNCTION take_scope(text, boolean) IS
'Takes everything in this database away from the role of a scope; for good, its policies and its schema too.';
