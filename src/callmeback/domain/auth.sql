-- Who somebody is. What runs before there is a session goes through functions of the database.

-- name: check_session
-- Whether this token is still good, and the facts that most requests need of its person.
-- returns: Person
SELECT
    s.is_valid,
    s.is_admin,
    u.email,
    u.name,
    u.phone,
    u.timezone,
    u.locale,
    u.email_verified_at,
    u.created_at
FROM check_session(%(user_id)s, %(token_id)s, %(issued_at)s) AS s
LEFT JOIN users AS u ON u.id = %(user_id)s;

-- name: register
-- Write a person with account and unverified phone; raises CM015 for an e-mail that is taken.
SELECT register_user(%(user_id)s, %(email)s, %(password_hash)s, %(name)s, %(timezone)s, %(phone)s);

-- name: login_lookup
-- What a login is checked against; NULLs for an unknown e-mail.
-- returns: Account
SELECT
    l.user_id,
    l.password_hash,
    coalesce(l.is_blocked, false) AS is_blocked
FROM login_lookup(%(email)s) AS l;

-- name: admit
-- Note a login by the hash that was proved, and answer from when tokens are valid; raises CM019.
SELECT admit(%(user_id)s, %(known_hash)s, %(rehashed)s);

-- name: tokens_valid_from
-- From when a person's tokens are valid: those of before were logged out everywhere.
SELECT u.tokens_valid_from
FROM users AS u
WHERE u.id = %(user_id)s;

-- name: now
-- The time by the clock that logs people out.
SELECT clock_timestamp();

-- name: revoke_token
-- Log one token out.
SELECT revoke_token(%(token_id)s, %(user_id)s, %(expires_at)s);

-- name: revoke_all_tokens
-- Log a person out everywhere.
SELECT revoke_all_tokens(%(user_id)s);

-- name: change_password
-- Put a new hash in the place of the one that was proved, and log the person out everywhere; raises CM019.
SELECT change_password(%(user_id)s, %(known_hash)s, %(password_hash)s);

-- name: issue_one_time_token
-- Keep the hash of a link for this e-mail; NULL where nobody has it.
SELECT issue_one_time_token(%(email)s, %(purpose)s, %(token_hash)s, %(valid_for)s);

-- name: use_one_time_token
-- Open a link once and say whose it was; raises CM017.
SELECT use_one_time_token(%(purpose)s, %(token_hash)s, %(password_hash)s);

-- name: own_email
-- The address of a person, by the person.
SELECT u.email
FROM users AS u
WHERE u.id = %(user_id)s;

-- name: update_profile
-- Change what was given of the person's profile.
UPDATE users AS u
SET
    name = CASE WHEN %(set_name)s::boolean THEN %(name)s ELSE u.name END,
    timezone = coalesce(%(timezone)s, u.timezone),
    locale = coalesce(%(locale)s, u.locale)
WHERE u.id = %(user_id)s;

-- name: erase
-- Empty a person; raises CM004 while a call is open.
SELECT erase_user(%(user_id)s, %(requested_by)s);
