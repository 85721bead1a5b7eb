-- How a person wants to be reached. No row means the defaults.

-- name: preferences
-- What holds for a person.
-- returns: Preferences
SELECT
    coalesce(p.email_notifications, true) AS email_notifications,
    coalesce(p.sms_notifications, false) AS sms_notifications,
    coalesce(p.call_reminder_minutes, 5) AS call_reminder_minutes,
    coalesce(p.voicemail_policy, 'hang_up') AS voicemail_policy,
    coalesce(p.memory_enabled, false) AS memory_enabled,
    p.memory,
    coalesce(p.pay_as_you_go, false) AS pay_as_you_go
FROM users AS u
LEFT JOIN user_preferences AS p ON u.id = p.user_id
WHERE u.id = %(user_id)s;

-- name: change
-- Write what was given; the rest stays, or begins with its default.
INSERT INTO user_preferences AS p (
    user_id, email_notifications, sms_notifications, call_reminder_minutes, voicemail_policy, memory_enabled, memory,
    pay_as_you_go
) VALUES (
    %(user_id)s,
    coalesce(%(email_notifications)s::boolean, true),
    coalesce(%(sms_notifications)s::boolean, false),
    coalesce(%(call_reminder_minutes)s::integer, 5),
    coalesce(%(voicemail_policy)s, 'hang_up'),
    coalesce(%(memory_enabled)s::boolean, false),
    %(memory)s,
    coalesce(%(pay_as_you_go)s::boolean, false)
)
ON CONFLICT (user_id) DO UPDATE
    SET
        email_notifications = coalesce(%(email_notifications)s::boolean, p.email_notifications),
        sms_notifications = coalesce(%(sms_notifications)s::boolean, p.sms_notifications),
        call_reminder_minutes = coalesce(%(call_reminder_minutes)s::integer, p.call_reminder_minutes),
        voicemail_policy = coalesce(%(voicemail_policy)s, p.voicemail_policy),
        memory_enabled = coalesce(%(memory_enabled)s::boolean, p.memory_enabled),
        pay_as_you_go = coalesce(%(pay_as_you_go)s::boolean, p.pay_as_you_go),
        memory = CASE WHEN %(set_memory)s::boolean THEN excluded.memory ELSE p.memory END;
