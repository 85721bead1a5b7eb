-- Plans that people pay by the month.

-- name: subscription
-- A person's plan, the newest that began; a checkout that goes on doesn't count.
-- returns: Subscription
SELECT
    s.id,
    s.tier,
    s.status,
    s.price_cents,
    s.currency,
    s.current_period_start,
    s.current_period_end,
    s.cancel_at_period_end,
    s.pending_tier,
    s.grace_until,
    s.suspended_at,
    s.stripe_subscription_id
FROM subscriptions AS s
WHERE s.user_id = %(user_id)s AND s.started_at IS NOT NULL
ORDER BY s.status IN ('active', 'past_due') DESC, s.started_at DESC
LIMIT 1;

-- name: begin
-- Write which plan a person wants, and at which price.
-- returns: PlanOffer
SELECT
    b.price_cents,
    b.currency,
    b.lookup_key
FROM begin_subscription(%(user_id)s, %(subscription_id)s, %(tier)s) AS b;

-- name: open_checkout
-- The plan whose checkout goes on.
-- returns: OpenCheckout
SELECT
    s.id,
    s.stripe_session_id AS session_id
FROM subscriptions AS s
WHERE s.user_id = %(user_id)s AND s.status = 'pending';

-- name: note_checkout
-- Keep the provider's page for a plan; false where its checkout no longer goes on.
SELECT note_subscription_checkout(%(user_id)s, %(subscription_id)s, %(session_id)s, %(url)s);

-- name: expire_checkout
-- The checkout of a plan ended unpaid.
SELECT expire_checkout(%(user_id)s, %(subscription_id)s);

-- name: request_tier
-- Note the plan that a person wants instead.
-- returns: PlanChange
SELECT
    r.subscription_id,
    r.stripe_subscription_id,
    r.lookup_key,
    r.price_cents,
    r.currency,
    r.is_upgrade,
    r.request_key
FROM request_tier(%(user_id)s, %(tier)s, %(key)s) AS r;

-- name: withdraw_request
-- The provider said no to the change.
SELECT withdraw_tier_request(%(user_id)s, %(tier)s);

-- name: note_cancellation
-- What the provider answered when it was asked to end a plan with its period, or not to.
SELECT note_cancellation(%(user_id)s, %(subscription_id)s, %(ends)s);

-- name: claim_work
-- Plans to cancel at the provider, or to ask it about.
-- returns: PlanWork
SELECT
    w.user_id,
    w.id,
    w.stripe_subscription_id,
    w.is_cancel
FROM claim_subscription_work(%(limit)s, %(again_after)s) AS w;
