"""Forms: what was typed, what is wrong with it beside which field, and what is wrong in all."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.datastructures.upload_file import UploadFile

from callmeback import errors

ShapeT = TypeVar("ShapeT", bound=msgspec.Struct)

VALUE_LENGTH_MAX: Final = 10_000
# Never shown again, not even to who typed it.
SECRET_FIELDS: Final = frozenset({"password", "csrf"})


class Form:
    """A form as it is shown: values by field, sentences by field, and one sentence over all."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        given = values or {}
        self.values = {name: value for name, value in given.items() if name not in SECRET_FIELDS}
        self.wrong: dict[str, str] = {}
        self.trouble: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing was refused yet."""
        return not self.wrong and self.trouble is None

    def refuse(self, error: errors.CallMeBackError, fields: Iterable[str] = ()) -> None:
        """Put an error's sentence beside its field, if the form has that field, else over the form."""
        field = error.extra.get("field")
        if isinstance(field, str) and field in fields:
            self.wrong.setdefault(field, error.detail)
        else:
            self.trouble = self.trouble or error.detail

    def shape(self, kind: type[ShapeT], values: Mapping[str, object], sentences: Mapping[str, str]) -> ShapeT | None:
        """The values as a Struct of the domain, or None with our own sentence beside every field that is wrong."""
        try:
            return msgspec.convert(values, kind, strict=False)
        except msgspec.ValidationError:
            placed = {field: sentences[field] for field in _misshapen(kind, values) if field in sentences}
            self.wrong |= placed
            if not placed:
                self.trouble = "Something in this form can't be read. Please look at it again."
            return None

    def move(self, beside: Mapping[str, str]) -> None:
        """Put what is wrong with a field of the domain beside the field that the form has for it."""
        for field, place in beside.items():
            if field in self.wrong:
                self.wrong.setdefault(place, self.wrong.pop(field))


def _misshapen(kind: type[msgspec.Struct], values: Mapping[str, object]) -> Iterator[str]:
    """Each field whose value isn't of its type: a Struct as a whole names the first alone."""
    for field in msgspec.structs.fields(kind):
        if field.encode_name in values:
            try:
                msgspec.convert(values[field.encode_name], field.type, strict=False)
            except msgspec.ValidationError:
                yield field.encode_name


async def read_form(request: Request[Any, Any, State]) -> dict[str, str]:
    """The fields of a request as text; files and repeated fields are passed over, long values are cut."""
    data = await request.form()
    found: dict[str, str] = {}
    for name, value in data.multi_items():
        if not isinstance(value, UploadFile) and name not in found:
            found[name] = str(value)[:VALUE_LENGTH_MAX].replace("\r\n", "\n")

    return found
