-- name: accounts
-- Accounts with their balance, newest first, one page by key.
-- returns: AccountLine
SELECT
    u.id,
    u.email,
    u.name,
    a.subscription_tier AS tier,
    a.available_credits,
    a.held_credits,
    a.debt_credits,
    coalesce(r.role, 'user') AS role,
    u.blocked_at IS NOT NULL AS is_blocked,
    u.erased_at IS NOT NULL AS is_erased,
    u.created_at
FROM users AS u
INNER JOIN user_credits AS a ON u.id = a.user_id
LEFT JOIN admin_users AS r ON u.id = r.user_id
WHERE u.id < %(before)s
ORDER BY u.id DESC
LIMIT %(limit)s;

-- name: account
-- One account by e-mail or id.
-- returns: AccountLine
SELECT
    u.id,
    u.email,
    u.name,
    a.subscription_tier AS tier,
    a.available_credits,
    a.held_credits,
    a.debt_credits,
    coalesce(r.role, 'user') AS role,
    u.blocked_at IS NOT NULL AS is_blocked,
    u.erased_at IS NOT NULL AS is_erased,
    u.created_at
FROM users AS u
INNER JOIN user_credits AS a ON u.id = a.user_id
LEFT JOIN admin_users AS r ON u.id = r.user_id
WHERE lower(u.email) = lower(%(who)s) OR u.id = %(who)s;

-- name: grant_admin
-- Makes somebody an admin.
INSERT INTO admin_users (user_id, granted_by)
VALUES (%(user_id)s, %(granted_by)s)
ON CONFLICT (user_id) DO NOTHING;

-- name: take_admin
-- Takes the role of admin away.
DELETE FROM admin_users
WHERE user_id = %(user_id)s;

-- name: set_tier
-- Puts an account on a tier.
SELECT set_tier(%(user_id)s, %(tier)s);

-- name: adjust
-- Moves credits by an operator's hand; answers the balance after.
SELECT m.balance_after
FROM move_credits(%(user_id)s, %(amount)s, 'admin_adjustment', %(cause)s, %(reason)s) AS m;

-- name: grant
-- Gives credits that expire, once per cause; whether they were given now.
SELECT grant_credits(%(user_id)s, %(grant_id)s, %(credits)s, %(cause)s, %(expires_at)s);

-- name: block
-- No login and no calls from now on. The account is locked before the person, as wherever both are written.
UPDATE users
SET blocked_at = coalesce(blocked_at, clock_timestamp())
WHERE id = (
    SELECT a.user_id
    FROM user_credits AS a
    WHERE a.user_id = %(user_id)s
    FOR NO KEY UPDATE
);

-- name: unblock
-- Login and calls are allowed again.
UPDATE users
SET blocked_at = NULL
WHERE id = (
    SELECT a.user_id
    FROM user_credits AS a
    WHERE a.user_id = %(user_id)s
    FOR NO KEY UPDATE
);

-- name: erase
-- Empties a person.
SELECT erase_user(%(user_id)s, 'operator');
