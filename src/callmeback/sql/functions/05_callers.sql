-- For whom the caller of a function may act.

CREATE OR REPLACE FUNCTION acts_for(p_user_id text)
RETURNS boolean
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF session_user = 'callmeback_api' THEN
        RETURN p_user_id IS NOT DISTINCT FROM current_setting('callmeback.user_id', true);
    ELSIF starts_with(session_user, 'callmeback_key_') THEN
        -- Not found is false: a role whose scope is gone acts for nobody.
        RETURN EXISTS (
            SELECT FROM sql_scopes AS s
            WHERE s.role_name = session_user AND (s.as_user_id IS NULL OR s.as_user_id = p_user_id)
        );
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION acts_for(text) IS
'Whether the session may act for this person: the API for the one it named, a key for its own person or, without one, for everybody.';
