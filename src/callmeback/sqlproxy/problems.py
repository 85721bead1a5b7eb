"""Errors as HTTP: the table from error class to status, SQLSTATEs to statuses, and the two bodies that clients expect.

`/query`, `/batch` and `/named` answer RFC 9457 problem+json, `/sql` what Neon's driver parses, which is a flat object
and status 400 for everything that has a SQLSTATE: of any other status the driver drops the code.
"""

from http import HTTPStatus
from typing import Any, Final

import msgspec
import orjson
from psycopg.pq import DiagnosticField
from psycopg.pq.abc import PGresult

from callmeback import errors
from callmeback.pg.errors import RETRY_AFTER_S
from callmeback.sqlproxy.policy import Verdict, original_position

STATUSES: Final[dict[type[errors.CallMeBackError], int]] = {
    errors.ValidationFailed: 400,
    errors.StatementFailed: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.StatementRefused: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.IdempotencyConflict: 409,
    errors.BodyTooLarge: 413,
    errors.AnswerTooLarge: 413,
    errors.RateLimited: 429,
    errors.Overloaded: 503,
    errors.Draining: 503,
    errors.DatabaseUnavailable: 503,
    errors.DeadlineExceeded: 504,
}

# A statement's own SQLSTATE first, then its class (PostgreSQL manual, appendix A); everything else is 400.
STATES: Final[dict[str, int]] = {
    # Another number of parameters than the statement has.
    "08P01": 400,
    "23505": 409,
    "23P01": 409,
    "25006": 403,
    "25P03": 504,
    "25P04": 504,
    "40001": 409,
    "40P01": 409,
    "42501": 403,
    # More temporary files than the role may fill, or more of something else that is bounded: again won't help.
    "53400": 413,
    "55P03": 503,
    "57014": 504,
    "CM006": 409,
}
CLASSES: Final[dict[str, int]] = {"08": 503, "53": 503, "57": 503, "58": 500, "XX": 500, "F0": 500}

# What an error without a SQLSTATE of the server is called on Neon's wire.
NEON_STATES: Final[dict[type[errors.CallMeBackError], str]] = {
    errors.ValidationFailed: "08P01",
    errors.Unauthorized: "28P01",
    errors.Forbidden: "28000",
    errors.StatementRefused: "42501",
    errors.NotFound: "42704",
    errors.MethodNotAllowed: "0A000",
    errors.RequestTimeout: "57014",
    errors.IdempotencyConflict: "CM006",
    errors.BodyTooLarge: "54000",
    errors.AnswerTooLarge: "54000",
    errors.RateLimited: "53400",
    errors.Overloaded: "53300",
    errors.Draining: "57P01",
    errors.DatabaseUnavailable: "57P03",
    errors.DeadlineExceeded: "57014",
}
# These keep their own status on /sql, since what matters is that the client tries again later.
NEON_KEEPS: Final = frozenset({429, 503, 408, 405, 404})
NEON_BODY_TOO_LARGE: Final = 413

PROBLEM_TYPES: Final = "/docs#"


class Diagnosis(msgspec.Struct, frozen=True):
    """What PostgreSQL said of a failed statement, under the names that node-postgres gives the fields."""

    message: str
    code: str
    severity: str | None = None
    detail: str | None = None
    hint: str | None = None
    position: str | None = None
    internalPosition: str | None = None  # noqa: N815 - node-postgres's name
    internalQuery: str | None = None  # noqa: N815 - node-postgres's name
    where: str | None = None
    schema: str | None = None
    table: str | None = None
    column: str | None = None
    dataType: str | None = None  # noqa: N815 - node-postgres's name
    constraint: str | None = None
    file: str | None = None
    line: str | None = None
    routine: str | None = None


_FIELDS: Final = {
    "message": DiagnosticField.MESSAGE_PRIMARY,
    "code": DiagnosticField.SQLSTATE,
    "severity": DiagnosticField.SEVERITY_NONLOCALIZED,
    "detail": DiagnosticField.MESSAGE_DETAIL,
    "hint": DiagnosticField.MESSAGE_HINT,
    "position": DiagnosticField.STATEMENT_POSITION,
    "internalPosition": DiagnosticField.INTERNAL_POSITION,
    "internalQuery": DiagnosticField.INTERNAL_QUERY,
    "where": DiagnosticField.CONTEXT,
    "schema": DiagnosticField.SCHEMA_NAME,
    "table": DiagnosticField.TABLE_NAME,
    "column": DiagnosticField.COLUMN_NAME,
    "dataType": DiagnosticField.DATATYPE_NAME,
    "constraint": DiagnosticField.CONSTRAINT_NAME,
    "file": DiagnosticField.SOURCE_FILE,
    "line": DiagnosticField.SOURCE_LINE,
    "routine": DiagnosticField.SOURCE_FUNCTION,
}
# From inside a function these tell of rows and code that the caller may not see.
_OF_FUNCTIONS: Final = ("detail", "hint", "internalPosition", "internalQuery", "where")


def failure(result: PGresult, verdict: Verdict | None, *, is_masked: bool) -> errors.StatementFailed:
    """The error that PostgreSQL answered, with positions in the text as the client sent it."""
    found: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        value = result.error_field(field)
        if value is not None:
            found[name] = value.decode(errors="replace")
    if verdict is not None and "position" in found:
        found["position"] = str(original_position(int(found["position"]), verdict.shift))
    if is_masked and "where" in found:
        for name in _OF_FUNCTIONS:
            found.pop(name, None)
    found.setdefault("message", "The statement failed.")
    found.setdefault("code", "XX000")

    return errors.StatementFailed(found["message"], diagnosis=Diagnosis(**found))


def status_of(error: errors.CallMeBackError) -> int:
    """The status of /query, /batch and /named."""
    diagnosis = error.extra.get("diagnosis")
    if isinstance(diagnosis, Diagnosis):
        return status_of_state(diagnosis.code)
    if isinstance(error, errors.StatementRefused) and error.extra.get("sqlstate") not in (None, "42501"):
        # What doesn't parse, or isn't supported, is the statement's fault, and no matter of permission.
        return 400

    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def status_of_state(sqlstate: str) -> int:
    """The status of an error that PostgreSQL answered."""
    return STATES.get(sqlstate) or CLASSES.get(sqlstate[:2]) or 400


def sqlstate_of(error: errors.CallMeBackError) -> str:
    """The SQLSTATE of any error."""
    diagnosis = error.extra.get("diagnosis")
    if isinstance(diagnosis, Diagnosis):
        return diagnosis.code
    if isinstance(state := error.extra.get("sqlstate"), str):
        return state

    return next((NEON_STATES[kind] for kind in type(error).__mro__ if kind in NEON_STATES), "XX000")


def retry_after(error: errors.CallMeBackError) -> int:
    """Seconds after which it is worth trying again."""
    found = error.extra.get("retry_after")
    return found if isinstance(found, int) else RETRY_AFTER_S


def problem(error: errors.CallMeBackError) -> tuple[int, bytes]:
    """Status and problem+json."""
    status = status_of(error)
    body: dict[str, object] = {
        "type": f"{PROBLEM_TYPES}{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": error.code,
        "detail": error.detail,
    }
    diagnosis = error.extra.get("diagnosis")
    if isinstance(diagnosis, Diagnosis):
        body["sqlstate"] = diagnosis.code
        for name in ("position", "hint", "schema", "table", "column", "constraint"):
            if (value := getattr(diagnosis, name)) is not None:
                body[name] = int(value) if name == "position" else value
        if diagnosis.detail is not None:
            body["explanation"] = diagnosis.detail
    else:
        for name in ("sqlstate", "rule", "position", "query"):
            if (extra := error.extra.get(name)) is not None:
                body[name] = extra
    if (query := error.extra.get("query")) is not None:
        body["query"] = query

    return status, orjson.dumps(body)


def neon(error: errors.CallMeBackError) -> tuple[int, bytes]:
    """Status and body as Neon's driver reads them."""
    diagnosis = error.extra.get("diagnosis")
    if not isinstance(diagnosis, Diagnosis):
        position = error.extra.get("position")
        diagnosis = Diagnosis(
            error.detail, sqlstate_of(error), "ERROR", position=None if position is None else str(position)
        )
    status = status_of(error)
    if isinstance(error, errors.BodyTooLarge):
        status = NEON_BODY_TOO_LARGE
    elif status not in NEON_KEEPS or "diagnosis" in error.extra:
        status = 400

    return status, msgspec.json.encode(diagnosis)
