-- Counters of what may be tried only so often.

-- name: count_attempt
-- Count one; 0 if it is allowed, else the seconds to wait.
SELECT count_attempt(%(bucket)s, %(most)s, %(window)s);

-- name: forget_attempts
-- A success clears its counter.
SELECT forget_attempts(%(bucket)s);

-- name: seconds_to_wait
-- Seconds until a full counter is empty again, without counting; 0 if it isn't full.
SELECT coalesce(max(ceil(extract(EPOCH FROM l.expires_at - clock_timestamp()))), 0)::integer
FROM login_attempts AS l
WHERE l.bucket = %(bucket)s AND l.attempts >= %(most)s AND l.expires_at > clock_timestamp();
