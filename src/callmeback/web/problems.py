"""Errors as HTTP: the one table from error class to status, and bodies as RFC 9457 problem+json with a stable `code`.

Nothing of our insides leaves here: an error without a place in the table is 500 with a sentence, and goes to the log.
"""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from callmeback import errors, logs
from callmeback.voice import admission

_log = logs.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[dict[type[errors.CallMeBackError], int]] = {
    errors.ValidationFailed: 400,
    errors.InvalidToken: 400,
    errors.PhoneInvalid: 400,
    errors.RegionNotAllowed: 400,
    errors.PremiumNumber: 400,
    errors.UnknownTier: 400,
    errors.CouponInvalid: 400,
    errors.RecurrenceInvalid: 400,
    errors.RecurrenceTooFrequent: 400,
    errors.RecurrenceNever: 400,
    errors.UnknownTimezone: 400,
    errors.TimePast: 400,
    errors.CalendarInvalid: 400,
    errors.Unauthorized: 401,
    errors.InvalidCredentials: 401,
    errors.InsufficientCredits: 402,
    errors.BudgetExceeded: 402,
    errors.DebtOutstanding: 402,
    errors.CardMissing: 402,
    errors.PaymentDeclined: 402,
    errors.Forbidden: 403,
    errors.CsrfRefused: 403,
    errors.ForgedWebhook: 403,
    errors.AccountBlocked: 403,
    errors.PhoneNotVerified: 403,
    errors.NumberBlocked: 403,
    errors.NotFound: 404,
    errors.PersonaNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.EmailTaken: 409,
    errors.AlreadySubscribed: 409,
    errors.PlanChangeInProgress: 409,
    errors.PhoneTaken: 409,
    errors.IdempotencyConflict: 409,
    errors.ImpossibleTransition: 409,
    errors.LedgerAppendOnly: 409,
    errors.TooManySchedules: 409,
    errors.NotWaiting: 409,
    errors.BodyTooLarge: 413,
    errors.RateLimited: 429,
    errors.TooManyAttempts: 429,
    errors.AccountLocked: 429,
    errors.DailyLimit: 429,
    errors.CallInProgress: 429,
    errors.VendorFailed: 502,
    errors.Overloaded: 503,
    errors.Draining: 503,
    errors.DatabaseUnavailable: 503,
    errors.UnknownRate: 503,
    admission.CallsFull: 503,
    admission.Draining: 503,
    errors.DeadlineExceeded: 504,
}

# Litestar's own refusals, by status.
FRAMEWORK: Final[dict[int, type[errors.CallMeBackError]]] = {
    400: errors.ValidationFailed,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.BodyTooLarge,
    415: errors.ValidationFailed,
    422: errors.ValidationFailed,
    429: errors.RateLimited,
    503: errors.Overloaded,
}

RETRY_AFTER_S: Final = 2
PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
FIELDS_MAX: Final = 20
TYPES: Final = "/docs#"


class FieldProblem(msgspec.Struct, frozen=True):
    """Which field is wrong, as a path (`voice_settings.speed`), and what it should be."""

    field: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error: `code` is stable, `detail` is a sentence for people, `type` leads to its description."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    fields: list[FieldProblem] = []
    retry_after_seconds: int | None = None


_NAMES: Final = {
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large", 429: "Too Many Requests",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def status_of(error: errors.CallMeBackError) -> int:
    """The status of an error: its class's, else its nearest parent's, else 500."""
    return _status_of_kind(type(error))


def _status_of_kind(kind: type[errors.CallMeBackError]) -> int:
    return next((STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES), 500)


def problem_of(error: errors.CallMeBackError, fields: list[FieldProblem] | None = None) -> Problem:
    """The body for an error."""
    status = status_of(error)
    retry_after = error.extra.get("retry_after")
    field = error.extra.get("field")
    found = list(fields or ())
    if isinstance(field, str) and not found:
        found.append(FieldProblem(field, error.detail))

    return Problem(
        type=f"{TYPES}{error.code}",
        title=_NAMES[status],
        status=status,
        code=error.code,
        detail=error.detail if status != 500 else errors.CallMeBackError().detail,
        fields=found,
        retry_after_seconds=int(retry_after) if isinstance(retry_after, int | float) else None,
    )


class Meaning(msgspec.Struct, frozen=True):
    """What stands behind a code: its status, and its sentence where nothing more is known."""

    code: str
    status: int
    detail: str


def catalogue() -> list[Meaning]:
    """The meaning of every code that a route can answer with, by status and name."""
    kinds: set[type[errors.CallMeBackError]] = {errors.CallMeBackError, *STATUSES, *_below(STATUSES)}
    found = {
        kind.code: Meaning(kind.code, _status_of_kind(kind), inspect.cleandoc(kind.__doc__ or ""))
        for kind in kinds
        if "code" in vars(kind)
    }

    return sorted(found.values(), key=lambda meaning: (meaning.status, meaning.code))


def _below(kinds: Iterable[type[errors.CallMeBackError]]) -> Iterator[type[errors.CallMeBackError]]:
    for kind in kinds:
        yield from kind.__subclasses__()
        yield from _below(kind.__subclasses__())


def answer(problem: Problem, headers: dict[str, str] | None = None) -> Response[Problem]:
    """The response that carries a problem."""
    headers = PRIVATE | dict(headers or {})
    if problem.status in (429, 503):
        headers["Retry-After"] = str(problem.retry_after_seconds or RETRY_AFTER_S)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"

    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def domain_error(request: Request[Any, Any, State], error: errors.CallMeBackError) -> Response[Problem]:
    """Handler of our own errors."""
    problem = problem_of(error)
    route = request.scope.get("path_template", "")
    if problem.status == 500:
        _log.error("request_crashed", code=error.code, route=route, exc_info=error)
    elif problem.status > 500:
        # Without the traceback: under overload there are many, all alike, and writing one takes longer than a request.
        _log.warning("request_failed", code=error.code, route=route, cause=type(error.__cause__).__name__)

    return answer(problem)


def framework_error(request: Request[Any, Any, State], error: HTTPException) -> Response[Problem]:
    """Handler of Litestar's errors: bad JSON, wrong types, unknown routes, large bodies."""
    kind = FRAMEWORK.get(error.status_code)
    if kind is None:
        return unforeseen(request, error)
    fields = _fields(request, error)
    detail = f"{fields[0].field}: {fields[0].detail}" if fields else None
    if detail is None and kind is errors.ValidationFailed:
        detail = "The body is not the JSON that this address expects."
    headers = {key: value for key, value in (error.headers or {}).items() if key.lower() == "allow"}

    return answer(problem_of(kind(detail), fields), headers)


def unforeseen(request: Request[Any, Any, State], error: Exception) -> Response[Problem]:
    """Handler of everything else: it is ours, so it is logged in full and told in one sentence."""
    _log.error("request_crashed", route=request.scope.get("path_template", ""), exc_info=error)

    return answer(problem_of(errors.CallMeBackError()))


# How msgspec says that a text isn't of its form: with the expression, which tells a person nothing.
_REGEX: Final = "matching regex"


def _fields(request: Request[Any, Any, State], error: HTTPException) -> list[FieldProblem]:
    if not isinstance(error, ValidationException) or not isinstance(error.extra, list):
        return []
    found = []
    for item in error.extra[:FIELDS_MAX]:
        if isinstance(item, dict):
            field, message = str(item.get("key") or "body"), str(item.get("message", "not valid"))
            if _REGEX in message:
                message = "This has another form than /docs shows for it."
            # The framework's name for a body that isn't there.
            found.append(
                FieldProblem("body", "A JSON body is needed.")
                if field == "data"
                else FieldProblem(_name_on_the_wire(request, field), message)
            )

    return found


def _name_on_the_wire(request: Request[Any, Any, State], field: str) -> str:
    """What a client calls a parameter: the framework knows it by our argument's name (`first` for `?from=`)."""
    argument = request.route_handler.parsed_fn_signature.parameters.get(field)
    definition = None if argument is None else argument.kwarg_definition

    return getattr(definition, "name", None) or field


HANDLERS: Final[dict[Any, Any]] = {
    errors.CallMeBackError: domain_error,
    HTTPException: framework_error,
    Exception: unforeseen,
}


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """What a route may refuse, for the OpenAPI document."""
    return {
        status: ResponseSpec(Problem, description=_NAMES[status], media_type=MEDIA_TYPE, generate_examples=False)
        for status in sorted({*statuses, 400, 413, 429, 503, 504})
    }
