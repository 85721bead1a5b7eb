"""JSON bodies, read straight into the Struct that a route expects, and strictly: "5" is no number, 1 is no truth.

The framework would read a body into dicts first and then be lenient about types.
"""

import re
from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException, ValidationException

from callmeback import errors

_PLACE: Final = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
# How JSON writes it; as a bare byte it is no JSON.
_NUL: Final = b"\\u0000"
# More shapes of bodies than there are routes.
_DECODERS_MAX: Final = 256


class StrictRequest(Request[Any, Any, State]):
    """A request whose JSON is decoded as the type of its route's `data`."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes; raises ValidationException when the client goes away before its end.

        That is the client's doing. The framework calls it an error of the server, which would wake somebody up.
        """
        try:
            async for piece in super().stream():
                yield piece
        except InternalServerException as exc:
            raise ValidationException(extra=[{"message": "It ended before it was complete.", "key": "body"}]) from exc

    async def json(self) -> Any:
        """The body; raises ValidationException that names the field."""
        shape = self.route_handler.parsed_fn_signature.parameters.get("data")
        if shape is None:
            return await super().json()
        body = await self.body()
        try:
            data = _decoder(shape.raw).decode(body)
            if _NUL in body:
                _refuse_nul(body)
        except msgspec.ValidationError as exc:
            raise _invalid(str(exc)) from exc
        except errors.UNREADABLE as exc:
            raise ValidationException(extra=[{"message": "This is no JSON document.", "key": "body"}]) from exc

        return data


def _refuse_nul(body: bytes) -> None:
    """Raise ValidationException that names the text with a NUL, if there is one: PostgreSQL can't hold it.

    The escape may also be what is left of an escaped backslash, so its bytes alone prove nothing.
    """
    waiting: list[tuple[str, Any]] = [("", msgspec.json.decode(body))]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            raise ValidationException(
                extra=[{"message": "A text can't contain the NUL character.", "key": place or "body"}]
            )
        if isinstance(value, dict):
            waiting += [(f"{place}.{name}" if place else name, part) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}[{number}]", part) for number, part in enumerate(value)]


@lru_cache(maxsize=_DECODERS_MAX)
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _invalid(message: str) -> ValidationException:
    found = _PLACE.search(message)
    place = found["place"] if found else ""
    words = _PLACE.sub("", message)
    missing = _MISSING.fullmatch(words)
    if missing is not None:
        place = f"{place}.{missing['field']}" if place else missing["field"]
        words = "This is needed."

    return ValidationException(extra=[{"message": words, "key": place or "body"}])
