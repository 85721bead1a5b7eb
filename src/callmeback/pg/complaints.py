"""What PostgreSQL's programs complain of, without the rows that they quote: those are people's.

Kept of each complaint is its first line, severity first. DETAIL, CONTEXT and the command say what the rows hold, and so
may what stands in quotation marks, unless the word before them says that it is a name of the schema.
"""

import re
from typing import Final

import psycopg

LINES_MAX: Final = 10
# As in `pg_restore: error: …` and `psql:<stdin>:3: ERROR:  …`.
_SEVERITY: Final = re.compile(r"(?:[\w:<>./-]+: )?(?:ERROR|FATAL|PANIC|error|fatal): ")
_QUOTED: Final = re.compile(r"""(?P<noun>[a-z]+)?(?P<space> *)"(?P<text>[^"]*)(?:"|$)|'[^']*(?:'|$)""")
_NAME: Final = re.compile(r"[A-Za-z0-9_.$-]+")
# After these PostgreSQL's messages name what the schema names.
_NOUNS: Final = frozenset(
    "column constraint database extension function index language relation role schema sequence table trigger type "
    "user view".split()
)
HIDDEN: Final = "…"


def without_values(said: str) -> str:
    """The first line of each error in what a program said, without values; of one that names no severity, its first."""
    lines = said.strip().splitlines()
    found = [line for line in lines if _SEVERITY.match(line)] or lines[:1]

    return " ".join(_QUOTED.sub(_hidden, line) for line in found[-LINES_MAX:]) or "it said nothing"


def of(exc: psycopg.Error) -> str:
    """The same of an error that the driver raised, with its code."""
    said = exc.diag.message_primary or str(exc) or type(exc).__name__

    return f"{_QUOTED.sub(_hidden, said.splitlines()[0])} ({exc.sqlstate or 'no code'})"


def _hidden(match: re.Match[str]) -> str:
    noun, text = match["noun"], match["text"]
    if text is not None and noun in _NOUNS and _NAME.fullmatch(text):
        return match[0]

    return f"{noun or ''}{match['space'] or ''}{HIDDEN}"
