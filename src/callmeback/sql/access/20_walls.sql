-- Row-level security: what a web request may see. ENABLE, never FORCE: the owner's functions are the way through.

DO $$
DECLARE
    v record;
BEGIN
    FOR v IN
        SELECT p.polname, p.polrelid::regclass AS name
        FROM pg_policy AS p
        INNER JOIN pg_class AS c ON p.polrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND p.polname IN ('house', 'own', 'catalogue', 'own_only')
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', v.polname, v.name);
    END LOOP;

    FOR v IN
        SELECT
            c.oid::regclass AS name,
            c.relname,
            EXISTS (
                SELECT FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attname = 'user_id' AND NOT a.attisdropped
            ) AS has_user
        FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', v.name);
        EXECUTE format(
            'CREATE POLICY house ON %s TO callmeback_worker, callmeback_voice, callmeback_readonly '
            || 'USING (true) WITH CHECK (true)', v.name
        );
        -- Inside a transaction without a user the setting is NULL or '', and matches no row.
        IF v.has_user AND v.relname <> 'call_scenario_templates' THEN
            EXECUTE format(
                'CREATE POLICY own ON %s TO callmeback_api '
                || 'USING (user_id = current_setting(''callmeback.user_id'', true)) '
                || 'WITH CHECK (user_id = current_setting(''callmeback.user_id'', true))', v.name
            );
        END IF;
    END LOOP;
END
$$;

CREATE POLICY own ON users TO callmeback_api
USING (id = current_setting('callmeback.user_id', true))
WITH CHECK (id = current_setting('callmeback.user_id', true));

CREATE POLICY catalogue ON personas FOR SELECT TO callmeback_api
USING (owner_user_id IS NULL OR owner_user_id = current_setting('callmeback.user_id', true));
CREATE POLICY own ON personas TO callmeback_api
USING (owner_user_id = current_setting('callmeback.user_id', true))
WITH CHECK (owner_user_id = current_setting('callmeback.user_id', true));

CREATE POLICY catalogue ON call_scenario_templates FOR SELECT TO callmeback_api
USING (user_id IS NULL OR user_id = current_setting('callmeback.user_id', true));
CREATE POLICY own ON call_scenario_templates TO callmeback_api
USING (user_id = current_setting('callmeback.user_id', true))
WITH CHECK (user_id = current_setting('callmeback.user_id', true));

CREATE POLICY catalogue ON subscription_tiers FOR SELECT TO callmeback_api USING (true);
CREATE POLICY catalogue ON credit_packs FOR SELECT TO callmeback_api USING (true);
CREATE POLICY catalogue ON service_rates FOR SELECT TO callmeback_api USING (true);
CREATE POLICY catalogue ON price_versions FOR SELECT TO callmeback_api USING (true);
