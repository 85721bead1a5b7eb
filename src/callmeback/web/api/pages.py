"""Lists as the API gives them: `{"items": […], "next": cursor or null}`, by keyset, never by offset."""

import base64
import binascii
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter

from callmeback import errors

ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT", bound=msgspec.Struct)

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
CURSOR_LENGTH_MAX: Final = 300

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="How many items, at most.")]
Cursor = Annotated[
    str | None,
    QueryParameter(name="cursor", max_length=CURSOR_LENGTH_MAX, description="The `next` of the page before."),
]


class Page(msgspec.Struct, Generic[ItemT], frozen=True):
    """A page of a list; `next` is the cursor of the one after it, null at the end."""

    items: list[ItemT]
    next: str | None = None


def cursor(key: msgspec.Struct) -> str:
    """A key as opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def key_of(text: str | None, kind: type[KeyT]) -> KeyT | None:
    """The key behind a cursor; raises ValidationFailed for one that isn't ours."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text.encode("ascii") + b"==="), type=kind)
    except (UnicodeEncodeError, binascii.Error, *errors.UNREADABLE) as exc:
        raise errors.ValidationFailed("This is no cursor of this list.", field="cursor") from exc
