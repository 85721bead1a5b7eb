-- The one entrance for the payment provider's events.

CREATE OR REPLACE FUNCTION payment_effect(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    CASE p_facts ->> 'kind'
        WHEN 'session' THEN
            CASE p_facts ->> 'mode'
                WHEN 'payment' THEN RETURN effect_of_purchase_session(p_type, p_at, p_facts);
                WHEN 'subscription' THEN RETURN effect_of_subscription_session(p_type, p_at, p_facts);
                ELSE RETURN outcome('ignored', 'other_session', NULL);
            END CASE;
        WHEN 'invoice' THEN RETURN effect_of_invoice(p_type, p_at, p_facts);
        WHEN 'invoice_payment' THEN RETURN effect_of_invoice_payment(p_facts);
        WHEN 'subscription' THEN RETURN effect_of_subscription(p_type, p_at, p_facts);
        WHEN 'intent' THEN RETURN effect_of_intent(p_type, p_at, p_facts);
        WHEN 'refund' THEN RETURN effect_of_refund(p_type, p_at, p_facts);
        WHEN 'dispute' THEN RETURN effect_of_dispute(p_type, p_at, p_facts);
        WHEN 'unreadable' THEN RETURN outcome('refused', 'unreadable', NULL);
        ELSE RETURN outcome('ignored', 'not_ours', NULL);
    END CASE;
END
$$;
COMMENT ON FUNCTION payment_effect(text, timestamptz, jsonb) IS 'Does what an event means, by the kind of its object.';

CREATE OR REPLACE FUNCTION effect_of_invoice_payment(p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v_user_id text;
BEGIN
    SELECT x.user_id INTO v_user_id FROM payments AS x WHERE x.id = p_facts ->> 'invoice';
    IF NOT FOUND THEN
        RETURN outcome('unmatched', 'unknown_invoice', NULL);
    END IF;
    PERFORM lock_account(v_user_id);
    UPDATE payments AS x
    SET payment_intent_id = p_facts ->> 'payment_intent'
    WHERE x.user_id = v_user_id AND x.id = p_facts ->> 'invoice' AND x.payment_intent_id IS NULL
        AND p_facts ->> 'payment_intent' IS NOT NULL
        AND NOT EXISTS (SELECT FROM payments AS o WHERE o.payment_intent_id = p_facts ->> 'payment_intent');
    RETURN outcome(CASE WHEN FOUND THEN 'applied' ELSE 'ignored' END, 'intent_known', v_user_id);
END
$$;
COMMENT ON FUNCTION effect_of_invoice_payment(jsonb) IS 'Which intent paid an invoice: refunds and disputes name the intent.';

CREATE OR REPLACE FUNCTION objects_of(p_facts jsonb)
RETURNS text[]
LANGUAGE plpgsql
IMMUTABLE
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN array_remove(
        ARRAY[
            p_facts ->> 'id', p_facts ->> 'subscription', p_facts ->> 'invoice', p_facts ->> 'payment_intent',
            p_facts ->> 'reference'
        ], NULL
    );
END
$$;
COMMENT ON FUNCTION objects_of(jsonb) IS 'Ids that an event speaks of: what it may wait for, and what it makes known.';

CREATE OR REPLACE FUNCTION repeat_payment_event(p_event payment_events)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    c_longest_pause CONSTANT interval := '1 hour';
    -- Three days is how long the provider repeats an event; past that somebody must look.
    c_give_up_after CONSTANT interval := '4 days';
    v_now timestamptz := clock_timestamp();
    v payment_outcome := payment_effect(p_event.type, p_event.created_at, p_event.facts);
    v_is_erased boolean := EXISTS (
        SELECT FROM users AS u WHERE u.id IN (v.user_id, p_event.facts ->> 'user_id') AND u.erased_at IS NOT NULL
    );
BEGIN
    UPDATE payment_events AS e
    SET
        state = v.state, effect = v.effect, user_id = coalesce(v.user_id, e.user_id), attempts = e.attempts + 1,
        -- Whose it is wasn't known when the person was erased.
        payload = CASE WHEN NOT v_is_erased THEN e.payload END,
        facts = CASE WHEN NOT v_is_erased OR v.state = 'unmatched' THEN e.facts END,
        retry_at = CASE
            WHEN v.state = 'unmatched' AND e.received_at > v_now - c_give_up_after
                THEN v_now + least(c_longest_pause, interval '5 seconds' * power(2, least(e.attempts, 12)))
        END,
        waits_for = CASE WHEN v.state = 'unmatched' THEN e.waits_for END
    WHERE e.id = p_event.id;
    RETURN v;
END
$$;
COMMENT ON FUNCTION repeat_payment_event(payment_events) IS 'Tries an unmatched event again. The caller holds its row.';

CREATE OR REPLACE FUNCTION apply_waiting(p_objects text[])
RETURNS integer
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    -- An invoice waits for its plan, an intent for its invoice, a refund for its intent.
    c_most_rounds CONSTANT integer := 4;
    c_most_events CONSTANT integer := 50;
    v_event payment_events;
    v_outcome payment_outcome;
    v_known text[] := p_objects;
    v_next text[];
    v_applied integer := 0;
BEGIN
    FOR i IN 1..c_most_rounds LOOP
        v_next := '{}';
        -- Rows that somebody else holds are left to them: nothing waits here, so nothing can deadlock.
        FOR v_event IN
            SELECT e.*
            FROM payment_events AS e
            WHERE e.state = 'unmatched' AND e.waits_for && v_known
            ORDER BY e.created_at, e.received_at
            LIMIT c_most_events
            FOR NO KEY UPDATE SKIP LOCKED
        LOOP
            v_outcome := repeat_payment_event(v_event);
            IF v_outcome.state = 'applied' THEN
                v_applied := v_applied + 1;
                v_next := v_next || objects_of(v_event.facts);
            END IF;
        END LOOP;
        EXIT WHEN v_next = '{}';
        v_known := v_next;
    END LOOP;
    RETURN v_applied;
END
$$;
COMMENT ON FUNCTION apply_waiting(text[]) IS 'Applies what waited for these objects, and what waited for that, in the same commit.';

CREATE OR REPLACE FUNCTION apply_payment_event(
    p_event_id text,
    p_type text,
    p_created_at timestamptz,
    p_facts jsonb,
    p_payload jsonb,
    OUT state text,
    OUT effect text,
    OUT is_duplicate boolean
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v payment_outcome;
    v_is_erased boolean;
BEGIN
    -- Whoever inserts the id first applies it; another delivery waits here for that commit.
    INSERT INTO payment_events AS e (id, type, created_at, state)
    VALUES (p_event_id, p_type, p_created_at, 'ignored')
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        SELECT e.state, e.effect, true INTO apply_payment_event.state, apply_payment_event.effect, is_duplicate
        FROM payment_events AS e
        WHERE e.id = p_event_id;
        RETURN;
    END IF;
    v := payment_effect(p_type, p_created_at, p_facts);
    v_is_erased := EXISTS (
        SELECT FROM users AS u WHERE u.id IN (v.user_id, p_facts ->> 'user_id') AND u.erased_at IS NOT NULL
    );
    UPDATE payment_events AS e
    SET
        state = v.state, effect = v.effect, user_id = v.user_id,
        payload = CASE WHEN NOT v_is_erased THEN p_payload END,
        facts = CASE WHEN NOT v_is_erased OR v.state = 'unmatched' THEN p_facts END,
        retry_at = CASE WHEN v.state = 'unmatched' THEN clock_timestamp() + interval '5 seconds' END,
        waits_for = CASE WHEN v.state = 'unmatched' THEN objects_of(p_facts) END
    WHERE e.id = p_event_id;
    IF v.state = 'applied' THEN
        PERFORM apply_waiting(objects_of(p_facts));
    END IF;
    state := v.state;
    effect := v.effect;
    is_duplicate := false;
END
$$;
COMMENT ON FUNCTION apply_payment_event(text, text, timestamptz, jsonb, jsonb) IS
'Stores a signed event and does what it means, once, in one commit. What its object isn''t known for yet is kept and tried again.';

CREATE OR REPLACE FUNCTION retry_payment_events(p_limit integer DEFAULT 1)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_event payment_events;
    v_outcome payment_outcome;
    v_tried integer := 0;
BEGIN
    FOR v_event IN
        SELECT e.*
        FROM payment_events AS e
        WHERE e.state = 'unmatched' AND e.retry_at <= clock_timestamp()
        ORDER BY e.retry_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        v_outcome := repeat_payment_event(v_event);
        IF v_outcome.state = 'applied' THEN
            PERFORM apply_waiting(objects_of(v_event.facts));
        END IF;
        v_tried := v_tried + 1;
    END LOOP;
    RETURN v_tried;
END
$$;
COMMENT ON FUNCTION retry_payment_events(integer) IS 'Tries unmatched events again whose time has come; answers how many. One a transaction keeps it from holding two accounts at once.';
