-- Codes that make a pack cheaper, as the operator makes and ends them.

-- name: coupons
-- Every code, the newest first.
-- returns: CouponLine
SELECT
    c.code,
    c.percent_off,
    c.amount_off_cents,
    c.currency,
    c.max_redemptions,
    c.redemptions,
    c.expires_at,
    c.created_at
FROM coupons AS c
ORDER BY c.created_at DESC, c.code
LIMIT %(most)s;

-- name: add
-- Make a code.
INSERT INTO coupons (code, percent_off, amount_off_cents, currency, max_redemptions, expires_at)
VALUES (
    upper(%(code)s), %(percent_off)s, %(amount_off_cents)s, %(currency)s, %(max_redemptions)s, %(expires_at)s
);

-- name: expire
-- End a code now; checkouts that have it keep their price.
-- returns: CouponLine
UPDATE coupons AS c
SET expires_at = least(c.expires_at, clock_timestamp())
WHERE c.code = upper(%(code)s)
RETURNING
    c.code,
    c.percent_off,
    c.amount_off_cents,
    c.currency,
    c.max_redemptions,
    c.redemptions,
    c.expires_at,
    c.created_at;
