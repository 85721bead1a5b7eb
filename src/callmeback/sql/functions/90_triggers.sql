-- Which table is kept by which trigger.

CREATE OR REPLACE TRIGGER users_touch
BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
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
BEFORE UPDATE ON scheduled_calls FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

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
