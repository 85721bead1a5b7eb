"""Nested forms as the vendor's clients send them (`line_items[0][price]=…`), and what it finds wrong with them."""

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

from callmeback.simulator.payments.refusals import Refusal, wrong

FIELDS_MAX: Final = 1000
DEPTH_MAX: Final = 8
METADATA_KEYS_MAX: Final = 50
METADATA_NAME_MAX: Final = 40
METADATA_VALUE_MAX: Final = 500
_PIECE: Final = re.compile(r"\[([^\[\]]*)\]")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")

Tree = dict[str, Any]


def parse(text: str) -> "Form":
    """The form of a body or a query; raises Refusal when its nesting makes no sense."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as exc:
        raise Refusal("Invalid request: the parameters can't be read.") from exc
    tree: Tree = {}
    for name, value in pairs:
        head, _, rest = name.partition("[")
        keys = [head, *_PIECE.findall("[" + rest if rest else "")]
        if len(keys) > DEPTH_MAX:
            raise wrong(name, f"Invalid nesting: {name}")
        inner = tree
        for key in keys[:-1]:
            inner = inner.setdefault(key or str(len(inner)), {})
            if not isinstance(inner, dict):
                raise wrong(name, f"Invalid nesting: {name}")
        inner[keys[-1] or str(len(inner))] = value
    return Form(tree)


class Form:
    """Reads parameters and remembers which; those that nobody reads are unknown to the vendor."""

    def __init__(self, tree: Tree, path: str = "") -> None:
        self._tree = tree
        self._path = path
        self._read: set[str] = set()
        self._parts: list[Form] = []

    def param(self, name: str) -> str:
        """A parameter's whole name, as errors give it."""
        return f"{self._path}[{name}]" if self._path else name

    def has(self, name: str) -> bool:
        """Whether it was sent, were it empty."""
        return name in self._tree

    def text(self, name: str, *, among: Iterable[str] | None = None) -> str | None:
        """A text; None when it is missing or empty."""
        self._read.add(name)
        value = self._tree.get(name)
        if value is not None and not isinstance(value, str):
            raise wrong(self.param(name), f"Invalid string: {self.param(name)}")
        if among is not None and value and value not in (allowed := list(among)):
            raise wrong(self.param(name), f"Invalid {self.param(name)}: must be one of {', '.join(allowed)}")
        return value or None

    def needed(self, name: str, *, among: Iterable[str] | None = None) -> str:
        """A text that must be there."""
        value = self.text(name, among=among)
        if value is None:
            raise wrong(self.param(name), f"Missing required param: {self.param(name)}.", "parameter_missing")
        return value

    def whole(self, name: str, *, least: int | None = None, most: int | None = None) -> int | None:
        """A whole number."""
        value = self.text(name)
        if value is None:
            return None
        if not _WHOLE.fullmatch(value):
            raise wrong(self.param(name), f"Invalid integer: {value}", "parameter_invalid_integer")
        number = int(value)
        if least is not None and number < least:
            raise wrong(self.param(name), f"This value must be greater than or equal to {least}.")
        if most is not None and number > most:
            raise wrong(self.param(name), f"This value must be less than or equal to {most}.")
        return number

    def number(self, name: str) -> float | None:
        """A number with a fraction."""
        value = self.text(name)
        try:
            return None if value is None else float(value)
        except ValueError:
            raise wrong(self.param(name), f"Invalid decimal: {value}") from None

    def flag(self, name: str) -> bool | None:
        """true or false."""
        value = self.text(name)
        if value not in {None, "true", "false"}:
            raise wrong(self.param(name), f"Invalid boolean: {value}")
        return None if value is None else value == "true"

    def part(self, name: str) -> "Form":
        """A nested object; an empty one where it is missing."""
        self._read.add(name)
        value = self._tree.get(name)
        if value is not None and value != "" and not isinstance(value, dict):
            raise wrong(self.param(name), f"Invalid object: {self.param(name)}")
        part = Form(value or {}, self.param(name))
        self._parts.append(part)
        return part

    def parts(self, name: str) -> list["Form"]:
        """An array of objects, in its order."""
        whole = self.part(name)
        return [whole.part(key) for key in sorted(whole._tree, key=_place)]

    def texts(self, name: str) -> list[str]:
        """An array of texts, also sent as a single one."""
        if isinstance(self._tree.get(name), str):
            return [value] if (value := self.text(name)) else []
        whole = self.part(name)
        return [value for key in sorted(whole._tree, key=_place) if (value := whole.text(key))]

    def metadata(self, current: dict[str, str] | None = None, name: str = "metadata") -> dict[str, str]:
        """Our own notes on an object, merged into those that it has: an empty value takes a key away."""
        result = dict(current or {})
        if self._tree.get(name) == "":
            self._read.add(name)
            return {}
        part = self.part(name)
        for key in part._tree:
            value = part.text(key)
            if len(key) > METADATA_NAME_MAX or len(value or "") > METADATA_VALUE_MAX:
                raise wrong(part.param(key), "Metadata keys can have up to 40 characters, values up to 500.")
            result.pop(key, None)
            if value is not None:
                result[key] = value
        if len(result) > METADATA_KEYS_MAX:
            raise wrong(self.param(name), "Metadata can have up to 50 keys.")
        return result

    def ignore(self, *names: str) -> None:
        """Parameters that the vendor takes and the simulator has no use for."""
        self._read.update(names)

    def end(self) -> None:
        """Everything was read; raises Refusal for a parameter that nobody asked for. `expand` goes with any answer."""
        for name in self._tree:
            if name not in self._read and name != "expand":
                raise wrong(self.param(name), f"Received unknown parameter: {self.param(name)}", "parameter_unknown")
        for part in self._parts:
            part.end()


def _place(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdigit() else (FIELDS_MAX, key)
