"""PostgreSQL's errors as domain errors: one table from SQLSTATE to class (PostgreSQL manual, appendix A).

Class CM is our own: the rules that the database's functions raise. A message of the server never becomes a message of
ours; the original is the `__cause__`, for the log.
"""

from typing import Final

import msgspec
import psycopg

from callmeback import errors

RETRY_AFTER_S: Final = 1


class RetryableConflict(errors.Conflict):
    """Somebody else changed this at the same moment; the same request may simply be made again."""


# Rules of our own functions.
RULES: Final[dict[str, type[errors.CallMeBackError]]] = {
    "CM001": errors.InsufficientCredits,
    "CM002": errors.BudgetExceeded,
    "CM003": errors.DailyLimit,
    "CM004": errors.CallInProgress,
    "CM005": errors.PhoneNotVerified,
    "CM006": errors.IdempotencyConflict,
    "CM007": errors.ImpossibleTransition,
    "CM008": errors.NotFound,
    "CM009": errors.UnknownRate,
    "CM010": errors.AccountBlocked,
    "CM011": errors.DebtOutstanding,
    "CM012": errors.PersonaNotFound,
    "CM013": errors.NumberBlocked,
    "CM014": errors.LedgerAppendOnly,
    "CM015": errors.EmailTaken,
    "CM016": errors.PhoneTaken,
    "CM017": errors.InvalidToken,
    "CM018": errors.TooManyAttempts,
    "CM019": errors.InvalidCredentials,
    "CM020": errors.AccountLocked,
    "CM021": errors.ValidationFailed,
    "CM022": errors.UnknownTier,
    "CM023": errors.CouponInvalid,
    "CM024": errors.AlreadySubscribed,
    "CM025": errors.CardMissing,
    "CM026": errors.UnknownTimezone,
    "CM027": errors.PlanChangeInProgress,
    "CM030": errors.TooManySchedules,
    "CM031": errors.NotWaiting,
    "CM040": errors.RateUnchangeable,
}

# A statement's own SQLSTATE first, then its class (the first two characters).
STATES: Final[dict[str, type[errors.CallMeBackError]]] = {
    "23502": errors.ValidationFailed,
    "23503": errors.NotFound,
    "23514": errors.ValidationFailed,
    "23505": errors.Conflict,
    "23001": errors.Conflict,
    "23P01": errors.Conflict,
    "25P03": errors.DeadlineExceeded,
    "25P04": errors.DeadlineExceeded,
    "26000": RetryableConflict,
    "40001": RetryableConflict,
    "40P01": RetryableConflict,
    "42501": errors.Forbidden,
    "55P03": errors.Overloaded,
    "57014": errors.DeadlineExceeded,
    "57P05": errors.DatabaseUnavailable,
    "57P01": errors.DatabaseUnavailable,
    "57P02": errors.DatabaseUnavailable,
    "57P03": errors.DatabaseUnavailable,
    "57P04": errors.DatabaseUnavailable,
}
CLASSES: Final[dict[str, type[errors.CallMeBackError]]] = {
    "08": errors.DatabaseUnavailable,
    "22": errors.ValidationFailed,
    "28": errors.DatabaseUnavailable,
    "53": errors.Overloaded,
    "58": errors.DatabaseUnavailable,
}

# What a duplicate means to its caller, by the name of the unique constraint or index.
DUPLICATES: Final[dict[str, type[errors.CallMeBackError]]] = {
    "users_email_key": errors.EmailTaken,
    "phones_verified_number_key": errors.PhoneTaken,
    "service_rates_pkey": errors.RateUnchangeable,
}

_STALE_PLAN: Final = "cached plan must not change result type"


def translate(error: psycopg.Error) -> errors.CallMeBackError:
    """The domain error for `error`. Raise it `from error`."""
    state = error.sqlstate
    if state is None:
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return errors.DatabaseUnavailable() if lost else errors.CallMeBackError()
    if state in RULES:
        return RULES[state](None, **_facts(error))
    if state == "23505":
        return DUPLICATES.get(error.diag.constraint_name or "", errors.Conflict)()
    if is_stale_plan(error):
        return RetryableConflict()

    found = STATES.get(state) or CLASSES.get(state[:2]) or errors.CallMeBackError
    if found is errors.Overloaded:
        return overloaded()

    return found()


def overloaded() -> errors.Overloaded:
    """Too busy, with the seconds after which it is worth trying again."""
    return errors.Overloaded(retry_after=RETRY_AFTER_S)


def is_stale_plan(error: psycopg.Error) -> bool:
    """Whether a migration changed the result of a statement that this connection had prepared."""
    return error.sqlstate == "0A000" and _STALE_PLAN in (error.diag.message_primary or "")


def _facts(error: psycopg.Error) -> dict[str, object]:
    """The figures that a rule gives with its refusal: RAISE … USING DETAIL = a JSON object."""
    try:
        found = msgspec.json.decode(error.diag.message_detail or "{}", type=dict[str, object])
    except msgspec.MsgspecError:
        return {}

    return {name: fact for name, fact in found.items() if name not in ("self", "detail")}
