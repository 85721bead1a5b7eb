-- Warnings that a month's budget is being used up: who is to be told, and that they were.

-- name: notice
-- Note who has reached the percent at which they want to be told; answers how many.
SELECT notice_budgets(%(limit)s);

-- name: claim
-- One warning, leased to this worker.
-- returns: Due
SELECT
    c.user_id,
    c.month,
    c.percent
FROM claim_budget_notice() AS c;

-- name: recipient
-- How a person wants to be told, and what of; no row once the person is erased.
-- returns: Recipient
SELECT
    u.email,
    coalesce(p.email_notifications, true) AS wants_mail,
    coalesce(p.sms_notifications, false) AS wants_text,
    h.number,
    n.noticed_at,
    a.spent_in_month_cents AS spent_cents,
    l.max_monthly_spend_cents AS limit_cents
FROM budget_notices AS n
INNER JOIN users AS u ON n.user_id = u.id
INNER JOIN user_credits AS a ON n.user_id = a.user_id
INNER JOIN effective_limits AS l ON n.user_id = l.user_id
LEFT JOIN user_preferences AS p ON n.user_id = p.user_id
LEFT JOIN phones AS h ON n.user_id = h.user_id AND u.phone = h.number AND h.verified_at IS NOT NULL
WHERE n.user_id = %(user_id)s AND n.month = %(month)s AND n.percent = %(percent)s AND u.erased_at IS NULL;

-- name: put_off
-- The server of the person's mail doesn't take it yet; answers whether it is given up.
SELECT note_budget_put_off(%(user_id)s, %(month)s, %(percent)s);

-- name: told
-- The person was told, or can't be.
SELECT note_budget_told(%(user_id)s, %(month)s, %(percent)s);
