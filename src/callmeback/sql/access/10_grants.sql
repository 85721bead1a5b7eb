-- Who may do what. Everything is taken first, then the least is given; run again at every change of this set.

REVOKE ALL ON ALL TABLES IN SCHEMA public
FROM callmeback_api, callmeback_worker, callmeback_voice, callmeback_readonly, callmeback_proxy, PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public
FROM callmeback_api, callmeback_worker, callmeback_voice, callmeback_readonly, callmeback_proxy, PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO callmeback_api, callmeback_worker, callmeback_voice, callmeback_readonly, callmeback_proxy;

-- A column whose comment begins with "secret" is readable by its functions only.
DO $$
DECLARE
    v record;
BEGIN
    EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I '
        || 'TO callmeback_api, callmeback_worker, callmeback_voice, callmeback_readonly, callmeback_proxy',
        current_database()
    );
    FOR v IN
        SELECT c.oid::regclass AS name, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
        FROM pg_class AS c
        INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
            AND coalesce(col_description(c.oid, a.attnum), '') NOT LIKE 'secret%'
        GROUP BY c.oid
    LOOP
        EXECUTE format(
            'GRANT SELECT (%s) ON %s TO callmeback_readonly, callmeback_worker, callmeback_voice', v.columns, v.name
        );
    END LOOP;
END
$$;

GRANT SELECT (
    id, email, name, phone, stripe_customer_id, timezone, locale, email_verified_at, terms_accepted_at, last_login_at,
    created_at, updated_at, blocked_at, erased_at, tokens_valid_from
) ON users TO callmeback_api;
GRANT UPDATE (name, timezone, locale, terms_accepted_at) ON users TO callmeback_api;
GRANT SELECT (user_id, number, verified_at, created_at) ON phones TO callmeback_api;
GRANT SELECT ON
user_credits, credit_transactions, credit_grants, purchases, calls, call_cost_breakdowns, call_cost_events, transcripts,
scheduled_calls, call_schedules, subscription_tiers, service_rates, price_versions, admin_users,
effective_voices, effective_limits, call_logs, monthly_spend, credit_packs, subscriptions, payments, payment_authorizations,
receipts, month_forecast, budget_notices
TO callmeback_api;
GRANT SELECT (user_id, call_id) ON open_calls TO callmeback_api;
GRANT SELECT, INSERT, UPDATE ON user_budget_settings, user_preferences TO callmeback_api;
GRANT SELECT ON personas, user_persona_relationships, call_scenario_templates TO callmeback_api;
GRANT INSERT (
    id, owner_user_id, name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url,
    category, max_tokens, temperature, max_call_duration_seconds
) ON personas TO callmeback_api;
GRANT UPDATE (
    name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url, category,
    max_tokens, temperature, max_call_duration_seconds, is_active
) ON personas TO callmeback_api;
GRANT INSERT (
    id, user_id, persona_id, relationship_type, custom_system_prompt, voice_id, voice_settings, is_favorite, is_archived
) ON user_persona_relationships TO callmeback_api;
GRANT UPDATE (
    relationship_type, custom_system_prompt, voice_id, voice_settings, is_favorite, is_archived, updated_at
) ON user_persona_relationships TO callmeback_api;
GRANT INSERT, UPDATE, DELETE ON call_scenario_templates TO callmeback_api;
GRANT INSERT (
    user_id, id, persona_id, phone_number, rrule, starts_at_local, timezone, tzdata_version, ends_at, remaining_count,
    paused_at, call_pretext, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max,
    retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until,
    materialised_until, follows_user_zone
) ON call_schedules TO callmeback_api;
GRANT UPDATE (
    persona_id, phone_number, rrule, starts_at_local, timezone, tzdata_version, ends_at, remaining_count, paused_at,
    call_pretext, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max, retry_after_minutes,
    retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, materialised_until, problem,
    follows_user_zone
) ON call_schedules TO callmeback_api;
GRANT INSERT (
    id, user_id, persona_id, phone_number, scheduled_time, latest_start_at, call_pretext, call_scenario, requested_seconds,
    reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from,
    quiet_until, timezone
) ON scheduled_calls TO callmeback_api;
GRANT UPDATE (
    persona_id, phone_number, scheduled_time, latest_start_at, call_pretext, call_scenario, requested_seconds,
    reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from,
    quiet_until, timezone
) ON scheduled_calls TO callmeback_api;
GRANT SELECT (user_id, created_at), INSERT (user_id, token_hash), UPDATE (token_hash, created_at), DELETE
ON calendar_feeds TO callmeback_api;

GRANT EXECUTE ON FUNCTION
start_call, register_user, login_lookup, admit, check_session, revoke_token, revoke_all_tokens,
issue_one_time_token, use_one_time_token, count_attempt, forget_attempts, request_phone_code, verify_phone,
remove_phone, erase_user, change_password, ensure_card, require_self, note_customer, forget_customer,
begin_purchase, note_checkout, fail_purchase,
begin_subscription, note_subscription_checkout, expire_checkout, request_tier, withdraw_tier_request, note_cancellation,
begin_authorization, note_authorization, release_authorization, start_paid_call,
add_occurrence, cancel_scheduled_call, withdraw_occurrences, calendar_feed_user
TO callmeback_api;

GRANT INSERT ON transcripts TO callmeback_voice;
GRANT EXECUTE ON FUNCTION
meter_calls, record_cost_events, finish_call, carrier_event, advance_call, claim_dials, call_rank, ensure_card,
apply_payment_event
TO callmeback_voice;

GRANT EXECUTE ON FUNCTION
finish_call, carrier_event, advance_call, claim_dials, call_rank, lease_stale_calls, sweep_expired, erase_again, ensure_partitions,
drop_old_partitions, ensure_card, apply_payment_event, retry_payment_events, end_grace, claim_subscription_work,
claim_authorizations, end_authorization, expire_grants, notice_budgets, claim_budget_notice, note_budget_put_off, note_budget_told,
close_stale_checkouts,
claim_due, finish_due, place_due, settle_due, add_retry, claim_schedules, halt_schedule, add_occurrence, claim_reminders,
recompute_schedule, ensure_jobs, claim_jobs, extend_job, finish_job, request_job, seal_day,
begin_authorization, note_authorization, release_authorization, fail_purchase, expire_checkout
TO callmeback_worker;

-- month_forecast asks it.
GRANT EXECUTE ON FUNCTION zone_or_utc TO callmeback_api, callmeback_worker, callmeback_voice, callmeback_readonly;
-- call_rank for the doctor.
GRANT EXECUTE ON FUNCTION check_sealed_days, hash_of_day, reprice_calls, price_of, rate_in_force, call_rank
TO callmeback_readonly;
