-- What people pay for, and what the payment provider tells of it.

-- name: packs
-- Credits for sale, in the order of the page.
-- returns: Pack
SELECT
    k.sku,
    k.name,
    k.credits,
    k.price_cents,
    k.currency
FROM credit_packs AS k
WHERE k.is_active
ORDER BY k.position;

-- name: customer
-- The person's id at the payment provider, and the address for its receipts.
-- returns: Customer
SELECT
    u.id AS user_id,
    u.email,
    u.stripe_customer_id AS customer_id
FROM users AS u
WHERE u.id = %(user_id)s;

-- name: note_customer
-- Keep the person's id at the payment provider; the first one stays.
SELECT note_customer(%(user_id)s, %(customer_id)s);

-- name: forget_customer
-- The provider knows this customer no longer.
SELECT forget_customer(%(user_id)s, %(customer_id)s);

-- name: begin_purchase
-- Write what somebody wants to buy, and at which price.
-- returns: Offer
SELECT
    b.name,
    b.amount_cents,
    b.currency
FROM begin_purchase(%(user_id)s, %(purchase_id)s, %(sku)s, %(coupon)s) AS b;

-- name: note_checkout
-- Keep the provider's page for a purchase; false where it was given up meanwhile.
SELECT note_checkout(%(user_id)s, %(purchase_id)s, %(session_id)s, %(url)s);

-- name: fail_purchase
-- A purchase ended unpaid.
SELECT fail_purchase(%(user_id)s, %(purchase_id)s);

-- name: open_purchase
-- The purchase that a person began with a coupon and hasn't paid yet.
-- returns: OpenCheckout
SELECT
    x.id,
    x.stripe_session_id AS session_id
FROM purchases AS x
WHERE x.user_id = %(user_id)s AND x.coupon = upper(%(coupon)s) AND x.status = 'pending';

-- name: erased_checkouts
-- Pages at the provider on which somebody who was erased could still pay.
-- returns: ErasedCheckout
SELECT
    x.user_id,
    x.id,
    x.stripe_session_id AS session_id,
    true AS is_purchase
FROM purchases AS x
INNER JOIN users AS u ON x.user_id = u.id
WHERE x.status = 'pending' AND x.stripe_session_id IS NOT NULL AND u.erased_at IS NOT NULL
UNION ALL
SELECT
    s.user_id,
    s.id,
    s.stripe_session_id AS session_id,
    false AS is_purchase
FROM subscriptions AS s
INNER JOIN users AS u ON s.user_id = u.id
WHERE s.status = 'pending' AND s.stripe_session_id IS NOT NULL AND u.erased_at IS NOT NULL
LIMIT %(limit)s;

-- name: receipts
-- A page of what a person paid for, newest first.
-- returns: Receipt
SELECT
    r.id,
    r.kind,
    r.description,
    r.tier,
    r.amount_cents,
    r.reversed_cents,
    r.discount_cents,
    r.currency,
    r.credits,
    r.reversed_credits,
    r.coupon,
    r.period_start,
    r.period_end,
    r.paid_at
FROM receipts AS r
WHERE
    r.user_id = %(user_id)s
    AND (
        %(before_at)s::timestamptz IS NULL
        OR (r.paid_at, r.id::text) < (%(before_at)s::timestamptz, %(before_id)s::text)
    )
ORDER BY r.paid_at DESC, r.id::text DESC
LIMIT %(most)s;

-- name: receipt
-- One thing that a person paid for.
-- returns: Receipt
SELECT
    r.id,
    r.kind,
    r.description,
    r.tier,
    r.amount_cents,
    r.reversed_cents,
    r.discount_cents,
    r.currency,
    r.credits,
    r.reversed_credits,
    r.coupon,
    r.period_start,
    r.period_end,
    r.paid_at
FROM receipts AS r
WHERE r.user_id = %(user_id)s AND r.id = %(receipt_id)s;

-- name: checkout_outcome
-- What became of the provider's page for a pack or a plan, by our own rows.
-- returns: CheckoutOutcome
SELECT
    x.id,
    'pack' AS kind,
    x.status,
    NULL::text AS tier,
    x.credits,
    x.amount_cents,
    x.currency
FROM purchases AS x
WHERE x.user_id = %(user_id)s AND x.stripe_session_id = %(session_id)s
UNION ALL
SELECT
    s.id,
    'plan' AS kind,
    s.status,
    s.tier,
    t.monthly_credit_allowance AS credits,
    s.price_cents AS amount_cents,
    s.currency
FROM subscriptions AS s
INNER JOIN subscription_tiers AS t ON s.tier = t.tier
WHERE s.user_id = %(user_id)s AND s.stripe_session_id = %(session_id)s;

-- name: apply_event
-- Store an event of the provider and do what it means, once.
-- returns: Applied
SELECT
    a.state,
    a.effect,
    a.is_duplicate
FROM apply_payment_event(%(id)s, %(type)s, %(created_at)s, %(facts)s, %(payload)s) AS a;

-- name: retry_events
-- Try events again whose object wasn't known; answers how many.
SELECT retry_payment_events(%(limit)s);

-- name: unknown_intents
-- Intents that unmatched refunds and disputes name, and that may have paid an invoice.
-- returns: UnknownIntent
SELECT DISTINCT e.facts ->> 'payment_intent' AS payment_intent
FROM payment_events AS e
WHERE e.state = 'unmatched' AND e.facts ->> 'kind' IN ('refund', 'dispute') AND e.facts ->> 'payment_intent' IS NOT NULL
ORDER BY payment_intent
LIMIT %(limit)s;

-- name: newest_event
-- When the newest event of the provider's own that we have was made; what we looked up ourselves is none.
SELECT max(e.created_at)
FROM payment_events AS e
WHERE e.received_at > now() - interval '3 days' AND starts_with(e.id, 'evt_');

-- name: end_grace
-- Put accounts whose time of grace is over on the free tier; answers how many.
SELECT end_grace(%(limit)s);

-- name: expire_grants
-- Take back what is left of promotions whose time is over; answers how many.
SELECT expire_grants(%(limit)s);

-- name: close_stale_checkouts
-- Close checkouts whose end nobody told us; answers how many.
SELECT close_stale_checkouts(%(limit)s);
