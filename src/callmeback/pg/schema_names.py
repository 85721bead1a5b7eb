"""The names of everything that the migrations make, read from `sql/schema.sql`: what a database of ours has to have.

Names, and what every major version keeps as it was written: texts of functions, and which columns take no NULL or have
a default. Other definitions each version writes in its own way.
"""

import hashlib
import re
from functools import lru_cache
from typing import Final

import msgspec

from callmeback.pg import schema

# Bodies of functions, then what stands in quotes: neither declares anything, and both may look as if they did.
_BODY: Final = re.compile(r"(\$\w*\$).*?\1", re.DOTALL)
_TEXT: Final = re.compile(r"'(?:[^']|'')*'")
_NAME: Final = r'((?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?)'
_DECLARATION: Final = re.compile(rf"^CREATE (TABLE|VIEW|SEQUENCE|FUNCTION|DOMAIN) {_NAME}", re.MULTILINE)
_TABLE: Final = re.compile(rf"^CREATE TABLE {_NAME} \(\n(.*?)\n\)", re.MULTILINE | re.DOTALL)
_INDEX: Final = re.compile(rf"^CREATE (?:UNIQUE )?INDEX {_NAME} ON (?:ONLY )?{_NAME}", re.MULTILINE)
_CONSTRAINT: Final = re.compile(rf"^ALTER TABLE (?:ONLY )?{_NAME}\n    ADD CONSTRAINT {_NAME}", re.MULTILINE)
_TRIGGER: Final = re.compile(rf"^CREATE TRIGGER {_NAME} .*? ON {_NAME} ", re.MULTILINE)
_POLICY: Final = re.compile(rf"^CREATE POLICY {_NAME} ON {_NAME}", re.MULTILINE)
_FUNCTION: Final = re.compile(
    rf"^CREATE FUNCTION {_NAME}\((?P<head>.*?)^    AS (?P<mark>\$\w*\$)(?P<body>.*?)(?P=mark);$",
    re.MULTILINE | re.DOTALL,
)
_SETTING: Final = re.compile(r"^    SET (\S+) TO (.*)$", re.MULTILINE)
_QUOTES: Final = str.maketrans("", "", " \"'")
_SPACES: Final = re.compile(r"[ \t\n\r]+")
# Behind a column, and inside no parenthesis of its own.
_RULES: Final = {
    "NOT NULL": re.compile(r" NOT NULL,?$"),
    "default": re.compile(r" (?:DEFAULT|GENERATED ALWAYS AS \() ?"),
}
_ENTRY: Final = re.compile(rf"(CONSTRAINT )?{_NAME}")


class Thing(msgspec.Struct, frozen=True, order=True):
    """A table, view, sequence, function, domain, index, column, constraint, trigger or policy.

    `part_of` is the table that it belongs to, None where it stands by itself. Both carry their schema, as in
    `public.users`; the name of a part carries nothing. Kinds of their own are a column's `NOT NULL` and `default`, and
    a function's `text`, whose name is a digest.
    """

    kind: str
    name: str
    part_of: str | None = None


@lru_cache(maxsize=1)
def expected() -> frozenset[Thing]:
    """Everything that the page of the schema declares; months' partitions are none of it."""
    return of(schema.SCHEMA_FILE.read_text(encoding="utf-8"))


def of(page: str) -> frozenset[Thing]:
    """What a page declares."""
    texts = {Thing("text", _digest(match), _plain(match[1])) for match in _FUNCTION.finditer(page)}
    text = _TEXT.sub("''", _BODY.sub("''", page))
    found = {Thing(match[1].lower(), _plain(match[2])) for match in _DECLARATION.finditer(text)}
    found |= {_part("index", match[1], match[2]) for match in _INDEX.finditer(text)}
    found |= {_part("constraint", match[2], match[1]) for match in _CONSTRAINT.finditer(text)}
    found |= {_part("trigger", match[1], match[2]) for match in _TRIGGER.finditer(text)}
    found |= {_part("policy", match[1], match[2]) for match in _POLICY.finditer(text)}
    for match in _TABLE.finditer(text):
        found |= _inside(match[1], match[2])

    return frozenset(found | texts)


def _digest(function: re.Match[str]) -> str:
    """As the question of `ops/doctor/migrations.sql` makes it."""
    head, body = function["head"], _SPACES.sub(" ", function["body"]).strip(" ")
    is_definer = " SECURITY DEFINER" in head
    settings = " ".join(sorted(f"{name}={value}".translate(_QUOTES) for name, value in _SETTING.findall(head)))

    return hashlib.sha256(f"{str(is_definer).lower()} {settings} {body}".encode()).hexdigest()


def _inside(table: str, text: str) -> set[Thing]:
    """Columns and constraints between the parentheses of a table, an entry wherever no other parenthesis is open."""
    found = set()
    depth = 0
    is_entry = True
    column: str | None = None
    for line in text.splitlines():
        match = _ENTRY.match(line.strip())
        if is_entry and match is not None:
            column = None if match[1] else match[2]
            found.add(_part("constraint" if match[1] else "column", match[2], table))
        if column is not None:
            found |= {_part(kind, column, table) for kind, words in _RULES.items() if words.search(line)}
        depth += line.count("(") - line.count(")")
        is_entry = depth == 0 and line.endswith(",")

    return found


def _part(kind: str, name: str, table: str) -> Thing:
    return Thing(kind, _plain(name), _plain(table))


def _plain(name: str) -> str:
    return name.replace('"', "")
