-- Calls that are paid one by one.

-- name: begin
-- Write what a call may cost at the worst, before the card is asked.
-- returns: WorstCase
SELECT
    b.customer_id,
    b.credits,
    b.amount_cents,
    b.currency
FROM begin_authorization(%(user_id)s, %(authorization_id)s, %(persona_id)s, %(requested_seconds)s) AS b;

-- name: cents_a_minute
-- What a started minute costs on a person's plan when a call is paid by itself; NULL where that isn't offered.
SELECT t.payg_cents_per_credit
FROM user_credits AS a
INNER JOIN subscription_tiers AS t ON a.subscription_tier = t.tier
WHERE a.user_id = %(user_id)s;

-- name: note
-- What the card said; false where the worker has given it up meanwhile.
SELECT note_authorization(%(user_id)s, %(authorization_id)s, %(payment_intent_id)s, %(is_authorized)s);

-- name: release
-- No call came of it.
SELECT release_authorization(%(user_id)s, %(authorization_id)s);

-- name: claim
-- What is to be captured or released at the provider.
-- returns: Due
SELECT
    c.user_id,
    c.id,
    c.payment_intent_id,
    c.customer_id,
    c.state,
    c.capture_cents,
    c.created_at
FROM claim_authorizations(%(limit)s, %(again_after)s) AS c;

-- name: finish
-- What the provider confirmed; answers the state that it is in now.
SELECT end_authorization(%(user_id)s, %(authorization_id)s, %(captured_cents)s, %(at)s);
