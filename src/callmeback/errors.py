"""Domain errors: one small class per stable code; the docstring is the default message.

HTTP statuses stand in one table at the web entrance, SQLSTATEs in one table in pg/. Messages and details are shown to
callers, so they never hold personal data, SQL or anything of our insides.
"""

import inspect
from typing import ClassVar, Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON raises: for another form or shape, a text that isn't UTF-8, and what is nested too deep."""


class CallMeBackError(Exception):
    """Something went wrong on our side."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str | None = None, **extra: object) -> None:
        self.detail = detail or inspect.cleandoc(type(self).__doc__ or "")
        self.extra = extra
        super().__init__(self.detail)


class ConfigurationError(CallMeBackError):
    """The settings contradict one another."""

    code = "configuration_error"


class ValidationFailed(CallMeBackError):
    """The request is not valid."""

    code = "validation_failed"


class NotFound(CallMeBackError):
    """There is no such thing, or it is not yours."""

    code = "not_found"


class MethodNotAllowed(CallMeBackError):
    """This address doesn't answer that method."""

    code = "method_not_allowed"


class Unauthorized(CallMeBackError):
    """Sign in first."""

    code = "unauthorized"


class Forbidden(CallMeBackError):
    """You may not do this."""

    code = "forbidden"


class BodyTooLarge(CallMeBackError):
    """The body is larger than this address accepts."""

    code = "body_too_large"


class AnswerTooLarge(CallMeBackError):
    """The answer has more rows or bytes than one answer may have."""

    code = "answer_too_large"


class RequestTimeout(CallMeBackError):
    """The request did not arrive in time."""

    code = "request_timeout"


class StatementFailed(CallMeBackError):
    """The database refused the statement."""

    code = "statement_failed"


class StatementRefused(CallMeBackError):
    """This key may not send this statement."""

    code = "statement_refused"


class RateLimited(CallMeBackError):
    """Too many requests; try again later."""

    code = "rate_limited"


class Conflict(CallMeBackError):
    """Somebody else changed this first."""

    code = "conflict"


class Overloaded(CallMeBackError):
    """Too busy right now; try again in a moment."""

    code = "overloaded"


class DatabaseUnavailable(CallMeBackError):
    """The database can't be reached right now."""

    code = "database_unavailable"


class DeadlineExceeded(CallMeBackError):
    """This took longer than it may."""

    code = "deadline_exceeded"


class MigrationFailed(CallMeBackError):
    """A migration could not be applied."""

    code = "migration_failed"


class AlreadyRunning(CallMeBackError):
    """Another `callmeback up` already uses this home."""

    code = "already_running"


class ServerFailed(CallMeBackError):
    """The embedded PostgreSQL did not start."""

    code = "server_failed"


class BackupFailed(CallMeBackError):
    """The backup could not be made."""

    code = "backup_failed"


class BackupDamaged(CallMeBackError):
    """A backup is not what was written."""

    code = "backup_damaged"


class RestoreRefused(CallMeBackError):
    """This can't be restored."""

    code = "restore_refused"


class VendorFailed(CallMeBackError):
    """A service that the call depends on did not answer as it should."""

    code = "vendor_failed"


class CarrierFailed(VendorFailed):
    """The carrier could not place or end the call."""

    code = "carrier_failed"


class PaymentsFailed(VendorFailed):
    """The payment service did not answer as it should."""

    code = "payments_failed"


class ForgedWebhook(CallMeBackError):
    """The signature does not match."""

    code = "forged_webhook"


class InsufficientCredits(CallMeBackError):
    """There are not enough credits for a call."""

    code = "insufficient_credits"


class BudgetExceeded(CallMeBackError):
    """The budget leaves no room for a call."""

    code = "budget_exceeded"


class DailyLimit(CallMeBackError):
    """The number of calls for today is used up."""

    code = "daily_limit"


class CallInProgress(CallMeBackError):
    """A call is still going on; one at a time."""

    code = "call_in_progress"


class PhoneNotVerified(CallMeBackError):
    """Verify the phone number first."""

    code = "phone_not_verified"


class IdempotencyConflict(CallMeBackError):
    """This idempotency key was used for another request."""

    code = "idempotency_conflict"


class ImpossibleTransition(CallMeBackError):
    """The call can't go from its state to that one."""

    code = "impossible_transition"


class UnknownRate(CallMeBackError):
    """There is no rate for this service, so its cost is unknown."""

    code = "unknown_rate"


class AccountBlocked(CallMeBackError):
    """This account is blocked."""

    code = "account_blocked"


class DebtOutstanding(CallMeBackError):
    """Credits are owed; they are settled before the next call."""

    code = "debt_outstanding"


class PersonaNotFound(CallMeBackError):
    """There is no such persona."""

    code = "persona_not_found"


class NumberBlocked(CallMeBackError):
    """This number can't be called."""

    code = "number_blocked"


class LedgerAppendOnly(CallMeBackError):
    """The ledger is only ever appended to."""

    code = "ledger_append_only"


class EmailTaken(CallMeBackError):
    """This e-mail address already has an account."""

    code = "email_taken"


class PhoneTaken(CallMeBackError):
    """This number belongs to another account."""

    code = "phone_taken"


class InvalidToken(CallMeBackError):
    """The token is wrong, used or expired."""

    code = "invalid_token"


class TooManyAttempts(CallMeBackError):
    """Too many attempts; ask for a new code."""

    code = "too_many_attempts"


class InvalidCredentials(CallMeBackError):
    """E-mail or password is wrong."""

    code = "invalid_credentials"


class AccountLocked(CallMeBackError):
    """Too many failed sign-ins; the account is locked for a while."""

    code = "account_locked"


class PhoneInvalid(CallMeBackError):
    """This is no phone number that can be called."""

    code = "phone_invalid"


class RegionNotAllowed(CallMeBackError):
    """Numbers of this country can't be called from here."""

    code = "region_not_allowed"


class PremiumNumber(CallMeBackError):
    """Numbers that charge the caller extra are never called."""

    code = "premium_number"


class UnknownTier(CallMeBackError):
    """There is no such plan."""

    code = "unknown_tier"


class GrantRefused(CallMeBackError):
    """This can't be granted to a key."""

    code = "grant_refused"


class CsrfRefused(CallMeBackError):
    """The page's token is missing or old; load the page again."""

    code = "csrf_refused"


class Draining(CallMeBackError):
    """This server is being stopped; try again in a moment."""

    code = "draining"


class CouponInvalid(CallMeBackError):
    """This code can't be used for this."""

    code = "coupon_invalid"


class AlreadySubscribed(CallMeBackError):
    """There is a plan already; change it instead."""

    code = "already_subscribed"


class PlanChangeInProgress(CallMeBackError):
    """Another change of the plan is being paid just now; look again in a moment."""

    code = "plan_change_in_progress"


class CardMissing(CallMeBackError):
    """No card is saved; add one first."""

    code = "card_missing"


class PaymentDeclined(CallMeBackError):
    """The card was declined."""

    code = "payment_declined"


class RecurrenceInvalid(CallMeBackError):
    """This is no rule by which calls can repeat."""

    code = "recurrence_invalid"


class RecurrenceTooFrequent(CallMeBackError):
    """The rule rings too often."""

    code = "recurrence_too_frequent"


class RecurrenceNever(CallMeBackError):
    """The rule never rings any more."""

    code = "recurrence_never"


class UnknownTimezone(CallMeBackError):
    """There is no such time zone."""

    code = "unknown_timezone"


class CalendarInvalid(CallMeBackError):
    """This is no calendar with one event."""

    code = "calendar_invalid"


class TimePast(CallMeBackError):
    """This time is past."""

    code = "time_past"


class TooManySchedules(CallMeBackError):
    """So many calls are planned already; end or cancel some first."""

    code = "too_many_schedules"


class NotWaiting(CallMeBackError):
    """This call no longer waits: it was placed, missed or canceled."""

    code = "not_waiting"


class WorkerMissing(CallMeBackError):
    """No worker took it: start `callmeback worker`."""

    code = "worker_missing"


class RateUnchangeable(CallMeBackError):
    """A rate is never changed nor set for the past; set one that follows it."""

    code = "rate_unchangeable"


class DayOpen(CallMeBackError):
    """This day can't be sealed yet."""

    code = "day_open"


class DayPassed(CallMeBackError):
    """A later day is sealed already."""

    code = "day_passed"


class BooksDiffer(CallMeBackError):
    """What was published of the books isn't what they say."""

    code = "books_differ"
