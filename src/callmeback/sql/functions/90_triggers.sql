-- Which table is kept by which trigger.

CREATE OR REPLACE TRIGGER users_touch
BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER users_zone
BEFORE INSERT OR UPDATE OF timezone ON users FOR EACH ROW EXECUTE FUNCTION check_zone();
CREATE OR REPLACE TRIGGER users_close
AFTER UPDATE OF blocked_at, erased_at ON users FOR EACH ROW EXECUTE FUNCTION close_account();
CREATE OR REPLACE TRIGGER personas_touch
BEFORE UPDATE ON personas FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER call_scenario_templates_touch
BEFORE UPDATE ON call_scenario_templates FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER user_budget_settings_touch
BEFORE UPDATE ON user_budget_settings FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER user_preferences_touch
BEFORE UPDATE ON user_preferences FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER purchases_touch
BEFORE UPDATE ON purchases FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER call_schedules_touch
BEFORE UPDATE ON call_schedules FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE OR REPLACE TRIGGER scheduled_calls_touch
BEFORE UPDATE ON scheduled_calls FOR EACH ROW WHEN (old.updated_at = new.updated_at)
EXECUTE FUNCTION touch_updated_at();

CREATE OR REPLACE TRIGGER call_schedules_plan
BEFORE INSERT OR UPDATE OF persona_id ON call_schedules FOR EACH ROW EXECUTE FUNCTION check_plan();
CREATE OR REPLACE TRIGGER call_schedules_limit
BEFORE INSERT ON call_schedules FOR EACH ROW WHEN (new.materialised_until IS NOT NULL)
EXECUTE FUNCTION limit_plans();
CREATE OR REPLACE TRIGGER call_schedules_limit_revived
BEFORE UPDATE OF materialised_until ON call_schedules FOR EACH ROW
WHEN (old.materialised_until IS NULL AND new.materialised_until IS NOT NULL) EXECUTE FUNCTION limit_plans();
CREATE OR REPLACE TRIGGER scheduled_calls_plan
BEFORE INSERT OR UPDATE OF persona_id ON scheduled_calls FOR EACH ROW EXECUTE FUNCTION check_plan();
CREATE OR REPLACE TRIGGER scheduled_calls_limit
BEFORE INSERT ON scheduled_calls FOR EACH ROW
WHEN (new.status = 'scheduled' AND new.schedule_id IS NULL AND new.retry_of IS NULL) EXECUTE FUNCTION limit_plans();
CREATE OR REPLACE TRIGGER scheduled_calls_complete
BEFORE INSERT OR UPDATE OF scheduled_time, latest_start_at, reminder_minutes ON scheduled_calls FOR EACH ROW
EXECUTE FUNCTION complete_scheduled_call();
CREATE OR REPLACE TRIGGER scheduled_calls_steps
BEFORE UPDATE OF status ON scheduled_calls FOR EACH ROW
WHEN (
    NOT (
        old.status = new.status
        OR old.status = 'scheduled'
        OR (old.status = 'executing' AND new.status <> 'scheduled')
        OR (old.status = 'executed' AND new.status = 'missed')
    )
) EXECUTE FUNCTION refuse_schedule_step();

CREATE OR REPLACE TRIGGER credit_transactions_append_only
BEFORE UPDATE OR DELETE ON credit_transactions FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();
CREATE OR REPLACE TRIGGER credit_transactions_no_truncate
BEFORE TRUNCATE ON credit_transactions FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

CREATE OR REPLACE TRIGGER service_rates_append_only
BEFORE INSERT OR UPDATE OR DELETE ON service_rates FOR EACH ROW EXECUTE FUNCTION refuse_rate_change();
CREATE OR REPLACE TRIGGER service_rates_no_truncate
BEFORE TRUNCATE ON service_rates FOR EACH STATEMENT EXECUTE FUNCTION refuse_rate_change();
CREATE OR REPLACE TRIGGER service_rates_followed
AFTER INSERT ON service_rates FOR EACH STATEMENT EXECUTE FUNCTION follow_rates();

CREATE OR REPLACE TRIGGER api_keys_noted
BEFORE INSERT OR UPDATE OR DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION note_key_change();
CREATE OR REPLACE TRIGGER named_statements_noted
AFTER INSERT OR UPDATE OR DELETE ON named_statements FOR EACH ROW EXECUTE FUNCTION note_statement_change();
