-- Numbers of a person and the codes that prove them.

-- name: numbers
-- A person's numbers, the primary one first.
-- returns: Phone
SELECT
    h.number,
    h.verified_at IS NOT NULL AS verified,
    (h.number IS NOT DISTINCT FROM u.phone) AS is_primary,
    h.created_at
FROM phones AS h
INNER JOIN users AS u ON h.user_id = u.id
WHERE h.user_id = %(user_id)s
ORDER BY is_primary DESC, h.created_at
LIMIT %(most)s;

-- name: number
-- One number of a person.
-- returns: Phone
SELECT
    h.number,
    h.verified_at IS NOT NULL AS verified,
    (h.number IS NOT DISTINCT FROM u.phone) AS is_primary,
    h.created_at
FROM phones AS h
INNER JOIN users AS u ON h.user_id = u.id
WHERE h.user_id = %(user_id)s AND h.number = %(number)s;

-- name: request_code
-- Note a number with the hash of the code that will be sent to it; raises CM013 and CM016.
SELECT request_phone_code(%(user_id)s, %(number)s, %(code_hash)s, %(valid_for)s);

-- name: verify
-- verified, wrong, expired, too_many_attempts or taken.
SELECT verify_phone(%(user_id)s, %(number)s, %(code_hash)s);

-- name: remove
-- Whether there was such a number.
SELECT remove_phone(%(user_id)s, %(number)s);
