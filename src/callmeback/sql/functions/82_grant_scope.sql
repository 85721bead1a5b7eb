-- The grants of a scope's role, from nothing, so that they are always what the scope says and no more.

CREATE OR REPLACE FUNCTION grant_scope(p_scope_id text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_scope sql_scopes;
    v_role text;
    v_schema text;
    v_reads boolean;
    v_writes boolean;
    v_rows text;
    v_insert text;
    v_update text;
    v record;
BEGIN
    SELECT s.* INTO STRICT v_scope FROM sql_scopes AS s WHERE s.id = p_scope_id;
    v_role := v_scope.role_name;
    IF to_regrole(v_role) IS NULL THEN
        RETURN false;
    END IF;
    PERFORM take_scope(v_role, false);
    v_schema := CASE
        WHEN v_scope.as_user_id IS NOT NULL THEN 'scope_' || v_scope.id
        WHEN v_scope.pii THEN 'clear'
        ELSE 'masked'
    END;
    IF v_scope.as_user_id IS NOT NULL THEN
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', v_schema);
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), v_role);
    EXECUTE format('GRANT USAGE ON SCHEMA public, %I TO %I', v_schema, v_role);

    FOR v IN SELECT r.* FROM key_relations() AS r ORDER BY r.relation LOOP
        v_reads := v.name = ANY (v_scope.reads) OR 'all' = ANY (v_scope.reads);
        v_writes := v.name = ANY (v_scope.writes) AND NOT v.is_view AND NOT v.is_written_by_functions;
        v_rows := 'true';
        IF v_scope.as_user_id IS NOT NULL THEN
            v_reads := v_reads AND v.seen_by IS NOT NULL;
            v_writes := v_writes AND v.written_by IS NOT NULL;
            v_rows := format(v.seen_by, v_scope.as_user_id);
        END IF;
        CONTINUE WHEN NOT v_reads AND NOT v_writes;

        -- The rows. Making a policy stops everybody at its table, so one that is there stays: a scope never changes.
        IF NOT v.is_view AND NOT EXISTS (
            SELECT FROM pg_policy AS p WHERE p.polrelid = v.relation AND p.polname = v_role
        ) THEN
            EXECUTE format('CREATE POLICY %I ON public.%I FOR SELECT TO %I USING (%s)', v_role, v.name, v_role, v_rows);
        END IF;
        IF v_writes AND NOT EXISTS (
            SELECT FROM pg_policy AS p WHERE p.polrelid = v.relation AND p.polname = v_role || '_write'
        ) THEN
            EXECUTE format(
                'CREATE POLICY %I ON public.%I TO %I USING (%s) WITH CHECK (%4$s)', v_role || '_write', v.name, v_role,
                CASE WHEN v_scope.as_user_id IS NULL THEN 'true' ELSE format(v.written_by, v_scope.as_user_id) END
            );
        END IF;

        IF v_reads AND (v.is_view OR v.has_secret OR (v.has_pii AND NOT v_scope.pii)) THEN
            IF v_scope.as_user_id IS NOT NULL THEN
                PERFORM make_key_view(v_schema, v.relation, NOT v_scope.pii, v_rows);
            END IF;
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', v_schema, v.name, v_role);
        ELSIF v_reads THEN
            EXECUTE format('GRANT SELECT ON public.%I TO %I', v.name, v_role);
        END IF;

        IF v_writes THEN
            -- A person's key writes no column, and deletes nothing, that the person could not through the API.
            SELECT
                string_agg(quote_ident(a.attname), ', ') FILTER (WHERE b.is_free OR b.may_insert),
                string_agg(quote_ident(a.attname), ', ') FILTER (WHERE b.is_free OR b.may_update)
            INTO v_insert, v_update
            FROM pg_attribute AS a
            CROSS JOIN LATERAL (
                SELECT
                    v_scope.as_user_id IS NULL AS is_free,
                    has_column_privilege('callmeback_api', a.attrelid, a.attnum, 'INSERT') AS may_insert,
                    has_column_privilege('callmeback_api', a.attrelid, a.attnum, 'UPDATE') AS may_update
            ) AS b
            WHERE a.attrelid = v.relation AND a.attnum > 0 AND NOT a.attisdropped
                AND coalesce(col_description(a.attrelid, a.attnum), '') !~ '^secret';
            IF v_scope.as_user_id IS NULL OR has_table_privilege('callmeback_api', v.relation, 'DELETE') THEN
                EXECUTE format('GRANT DELETE ON public.%I TO %I', v.name, v_role);
            END IF;
            IF v_insert IS NOT NULL THEN
                EXECUTE format('GRANT INSERT (%s) ON public.%I TO %I', v_insert, v.name, v_role);
            END IF;
            IF v_update IS NOT NULL THEN
                EXECUTE format('GRANT UPDATE (%s) ON public.%I TO %I', v_update, v.name, v_role);
            END IF;
        END IF;
        -- WHERE, ON CONFLICT and RETURNING of a write read the table itself, so they see what may be seen unmasked.
        IF v_writes AND v_reads THEN
            EXECUTE format(
                'GRANT SELECT (%s) ON public.%I TO %I',
                (
                    SELECT string_agg(quote_ident(a.attname), ', ')
                    FROM pg_attribute AS a
                    WHERE a.attrelid = v.relation AND a.attnum > 0 AND NOT a.attisdropped
                        AND coalesce(col_description(a.attrelid, a.attnum), '') !~
                        CASE WHEN v_scope.pii THEN '^secret' ELSE '^(secret|pii:)' END
                ),
                v.name, v_role
            );
        END IF;
    END LOOP;

    FOR v IN
        SELECT f.function::regprocedure AS name
        FROM key_functions() AS f
        WHERE f.name = ANY (v_scope.calls) AND NOT f.is_refused AND (f.is_personal OR v_scope.as_user_id IS NULL)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', v.name, v_role);
    END LOOP;
    IF cardinality(v_scope.writes) + cardinality(v_scope.calls) > 0 THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION claim_answer, keep_answer TO %I', v_role);
    END IF;
    -- A view asks its functions, and a trigger those that it calls, in the name of whoever reads or writes.
    IF ARRAY['all', 'month_forecast'] && v_scope.reads OR 'users' = ANY (v_scope.writes) THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION zone_or_utc TO %I', v_role);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION grant_scope(text) IS 'Grants a scope''s role exactly what the scope says; false when there is no such role yet.';

CREATE OR REPLACE FUNCTION grant_scopes(p_again boolean)
RETURNS TABLE (scope_id text, role_name text, state text)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v record;
BEGIN
    FOR v IN
        SELECT
            s.id,
            s.role_name,
            EXISTS (
                SELECT FROM api_keys AS k
                WHERE k.scope_id = s.id AND k.revoked_at IS NULL
                    AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
            ) AS is_needed
        FROM sql_scopes AS s
        ORDER BY s.id
    LOOP
        scope_id := v.id;
        role_name := v.role_name;
        IF p_again OR NOT v.is_needed THEN
            PERFORM take_scope(v.role_name, true);
        END IF;
        IF NOT v.is_needed THEN
            state := CASE WHEN to_regrole(v.role_name) IS NULL THEN 'gone' ELSE 'unneeded' END;
        ELSIF grant_scope(v.id) THEN
            state := 'granted';
        ELSE
            state := 'no_role';
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION grant_scopes(boolean) IS
'Grants every scope that a living key needs, and takes everything from the others. Again: policies and views too are made from nothing.';
