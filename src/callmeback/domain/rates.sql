-- What vendors charge, and since when.

-- name: in_force
-- The rate of each vendor, model and unit now, and what is agreed for later.
-- returns: Rate
SELECT
    r.vendor,
    r.model,
    r.unit,
    r.effective_from,
    r.effective_until,
    r.price_cents,
    r.per,
    r.source
FROM (
    SELECT
        x.*,
        lead(x.effective_from) OVER (PARTITION BY x.vendor, x.model, x.unit ORDER BY x.effective_from) AS effective_until
    FROM service_rates AS x
) AS r
WHERE r.effective_until IS NULL OR r.effective_until > clock_timestamp()
ORDER BY r.vendor, r.model, r.unit, r.effective_from;

-- name: history
-- Every rate that ever was, of a vendor and a model or of all, oldest first.
-- returns: Rate
SELECT
    r.vendor,
    r.model,
    r.unit,
    r.effective_from,
    r.effective_until,
    r.price_cents,
    r.per,
    r.source
FROM (
    SELECT
        x.*,
        lead(x.effective_from) OVER (PARTITION BY x.vendor, x.model, x.unit ORDER BY x.effective_from) AS effective_until
    FROM service_rates AS x
) AS r
WHERE
    (%(vendor)s::text IS NULL OR r.vendor = %(vendor)s)
    AND (%(model)s::text IS NULL OR r.model = %(model)s)
ORDER BY r.vendor, r.model, r.unit, r.effective_from;

-- name: set
-- A rate from a time on; answers from when.
SELECT set_rate(
    %(vendor)s, %(model)s, %(unit)s, %(price_cents)s, %(per)s, %(effective_from)s, %(source)s
);

-- name: reprice_by_vendor
-- What calls of a period cost at each vendor, and would have at the rates of another time.
-- returns: RepricedLine
SELECT
    r.vendor AS key,
    sum(r.calls)::bigint AS calls,
    sum(r.unpriced_calls)::bigint AS unpriced_calls,
    sum(r.booked_cents) AS booked_cents,
    CASE WHEN bool_and(r.repriced_cents IS NOT NULL) THEN sum(r.repriced_cents) END AS repriced_cents
FROM reprice_calls(%(begins_at)s, %(ends_at)s, %(as_of)s) AS r
GROUP BY r.vendor
ORDER BY r.vendor;

-- name: reprice_by_day
-- The same by the day of the call.
-- returns: RepricedLine
SELECT
    r.day::text AS key,
    max(r.calls) AS calls,
    sum(r.unpriced_calls)::bigint AS unpriced_calls,
    sum(r.booked_cents) AS booked_cents,
    CASE WHEN bool_and(r.repriced_cents IS NOT NULL) THEN sum(r.repriced_cents) END AS repriced_cents
FROM reprice_calls(%(begins_at)s, %(ends_at)s, %(as_of)s) AS r
GROUP BY r.day
ORDER BY r.day;
