-- Zones: which ones this server knows, and what their data decided, decided anew when they change.

CREATE OR REPLACE FUNCTION zone_or_utc(p_zone text)
RETURNS text
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
DECLARE
    -- AT TIME ZONE takes these for abbreviations, which have no summer, though they are zones, which have one.
    v_zone text := CASE p_zone
        WHEN 'CET' THEN 'Europe/Brussels'
        WHEN 'EET' THEN 'Europe/Athens'
        WHEN 'MET' THEN 'Europe/Brussels'
        WHEN 'WET' THEN 'Europe/Lisbon'
        ELSE p_zone
    END;
BEGIN
    PERFORM now() AT TIME ZONE v_zone;
    RETURN v_zone;
EXCEPTION
    WHEN invalid_parameter_value THEN
        RETURN 'UTC';
END
$$;
COMMENT ON FUNCTION zone_or_utc(text) IS
'The zone as AT TIME ZONE understands it, or UTC where this server has none of that name: one person''s zone that an upgrade took away stops no round and no report.';

CREATE OR REPLACE FUNCTION check_zone()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    -- Who has a zone that an upgrade took away may go on with it, and change the name.
    IF TG_OP = 'UPDATE' AND NEW.timezone = OLD.timezone THEN
        RETURN NEW;
    END IF;
    -- A zone may also be unknown under this spelling to this server only, whose data are older or lack old names.
    IF zone_or_utc(NEW.timezone) = 'UTC' AND NEW.timezone <> 'UTC' THEN
        RAISE EXCEPTION 'this server knows no such time zone' USING ERRCODE = 'CM026', DETAIL = '{"field": "timezone"}';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION check_zone() IS
'Refuses a zone that this server can''t reckon with. A trigger and no CHECK: a restore into another release must not fail for one row.';

CREATE OR REPLACE FUNCTION recompute_schedule(
    p_user_id text, p_schedule_id text, p_tzdata_version text, p_id text, p_occurrence timestamptz
)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rows integer;
BEGIN
    UPDATE call_schedules AS s
    SET tzdata_version = p_tzdata_version
    WHERE s.user_id = p_user_id AND s.id = p_schedule_id AND s.materialised_until IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- One whose time has come, was moved by its owner, or is taken by a worker stays as it is.
    DELETE FROM scheduled_calls AS o
    WHERE o.user_id = p_user_id AND o.schedule_id = p_schedule_id AND o.status = 'scheduled'
        AND o.occurrence > v_now AND o.scheduled_time = o.occurrence
        AND o.occurrence IS DISTINCT FROM p_occurrence;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = 0 THEN
        RETURN false;
    END IF;
    UPDATE call_schedules AS s
    SET remaining_count = s.remaining_count + v_rows, materialised_until = v_now
    WHERE s.user_id = p_user_id AND s.id = p_schedule_id;
    PERFORM add_occurrence(p_user_id, p_schedule_id, p_id, p_occurrence);
    RETURN true;
END
$$;
COMMENT ON FUNCTION recompute_schedule(text, text, text, text, timestamptz) IS
'Puts a schedule''s next occurrence where the new data of its zone have it. True when that is another instant.';
