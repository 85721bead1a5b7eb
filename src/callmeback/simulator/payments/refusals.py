"""How the simulated vendor says no: statuses, types and codes of its error bodies."""

from typing import Any

import msgspec


class Refusal(Exception):
    """A request that isn't done; carries the status and the error of its answer."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        given = {"type": kind, "message": message, "code": code, "param": param}
        self.error = {name: value for name, value in given.items() if value is not None} | (more or {})


class Decline(msgspec.Struct, frozen=True):
    """What the bank said: `code` and `decline_code` as the vendor documents them."""

    message: str
    code: str = "card_declined"
    decline_code: str | None = None


def missing(kind: str, name: str, param: str = "id") -> Refusal:
    """There is no such thing; 404 where the path names it, 400 where a parameter does."""
    return Refusal(
        f"No such {kind}: '{name}'", status=404 if param == "id" else 400, code="resource_missing", param=param
    )


def wrong(param: str, message: str, code: str = "parameter_invalid") -> Refusal:
    """A parameter that makes no sense."""
    return Refusal(message, code=code, param=param)


def state(message: str, code: str, more: dict[str, Any] | None = None) -> Refusal:
    """What was asked can't be done in the state that the thing is in."""
    return Refusal(message, code=code, more=more)


def declined(decline: Decline, **more: Any) -> Refusal:
    """A card that was declined: 402, with the objects that the attempt left behind."""
    details = {"decline_code": decline.decline_code} if decline.decline_code else {}
    return Refusal(decline.message, status=402, kind="card_error", code=decline.code, more=details | more)
