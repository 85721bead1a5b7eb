"""The policy: whether a statement may run, what class it has, and what text is sent on.

It judges the text alone, by PostgreSQL's own parser, and touches no database. It is defence in depth: what a key can do
is decided by the grants of its role, and this keeps what no key needs from getting that far.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Container
from typing import Any, Final, Literal

import msgspec
import orjson
from pglast import parser

from callmeback.sqlproxy import expansion, functions, grammar
from callmeback.sqlproxy.qualification import original_position, qualify, shift_of
from callmeback.sqlproxy.walk import Findings, Node, Refusal, walk

__all__ = ["Verdict", "Verdicts", "judge", "original_position", "within"]

INSUFFICIENT_PRIVILEGE: Final = "42501"
SYNTAX_ERROR: Final = "42601"
CHARACTER_NOT_IN_REPERTOIRE: Final = "22021"
PROGRAM_LIMIT_EXCEEDED: Final = "54000"
STATEMENT_TOO_COMPLEX: Final = "54001"
SQLSTATES: Final = {
    "syntax": SYNTAX_ERROR,
    "encoding": CHARACTER_NOT_IN_REPERTOIRE,
    "too_large": PROGRAM_LIMIT_EXCEEDED,
    "too_deep": STATEMENT_TOO_COMPLEX,
}
TOO_DEEP: Final = "the statement is nested too deeply"
PARSER_TOO_DEEP: Final = "stack depth limit exceeded"

# What transactions over a WebSocket consist of: node-postgres, Drizzle, Kysely and Prisma send nothing else.
SESSION_TRANSACTIONS: Final = frozenset(
    f"TRANS_STMT_{word}" for word in ("BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "ROLLBACK_TO")
)
TRANSACTION_MODES: Final = frozenset({"transaction_isolation", "transaction_read_only", "transaction_deferrable"})
# `settings` is left out: it tells what the operator configured.
EXPLAIN_OPTIONS: Final = frozenset(
    {
        "analyze",
        "verbose",
        "costs",
        "generic_plan",
        "buffers",
        "serialize",
        "wal",
        "timing",
        "summary",
        "memory",
        "format",
    }
)
FALSE: Final = frozenset({"false", "off", "0", "no"})

Kind = Literal["empty", "read", "write", "transaction", "deallocate"]


class Verdict(msgspec.Struct, frozen=True):
    """What was found about one text.

    `text` is what is sent on. `rule` is None when the statement may run, else a stable word of
    docs/reference/sql-policy.md, with an SQLSTATE, a message and a position (characters from 1) like PostgreSQL's own.
    `tables` are named as in the text, `functions` without their schema. `shift` goes to `original_position`. `drops` is
    the prepared statement that a DEALLOCATE names, "" for all of them.
    """

    text: str
    kind: Kind
    rule: str | None = None
    sqlstate: str | None = None
    message: str | None = None
    position: int | None = None
    tables: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    shift: tuple[int, ...] = ()
    drops: str | None = None


def judge(text: str | bytes, *, session: bool, calls: frozenset[str] = frozenset()) -> Verdict:
    """Judge one text; never raises.

    `session` says that the caller has a connection of its own until it ends, so that transactions and what it has
    prepared are its to control.
    `calls` are the names of the application's functions that the key was granted.
    """
    try:
        readable, raw = _decoded(text)
    except UnicodeError:
        shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text.encode("utf-8", "replace").decode()
        return _refused(shown, Refusal("encoding", 'invalid byte sequence for encoding "UTF8"'))
    try:
        return _judge(readable, raw, session, calls)
    except Refusal as refusal:
        return _refused(readable, refusal, raw)


def _decoded(text: str | bytes) -> tuple[str, bytes]:
    """The text as characters and as bytes; raises UnicodeError, also for NUL, which PostgreSQL's texts can't hold."""
    readable, raw = (text.decode(), text) if isinstance(text, bytes) else (text, text.encode())
    if b"\0" in raw:
        raise UnicodeError("NUL")

    return readable, raw


def _refused(text: str, refusal: Refusal, raw: bytes = b"") -> Verdict:
    position = None if refusal.offset is None else len(raw[: refusal.offset].decode("utf-8", "ignore")) + 1
    sqlstate = SQLSTATES.get(refusal.rule, INSUFFICIENT_PRIVILEGE)

    return Verdict(text, "read", refusal.rule, sqlstate, refusal.message, position)


def _judge(text: str, raw: bytes, session: bool, calls: frozenset[str]) -> Verdict:
    statements = _parsed(text, raw)
    if not statements:
        return Verdict(text, "empty")
    if len(statements) > 1:
        second = statements[1].get("stmt_location", 0)
        raise Refusal("one_statement", "a request holds one statement; use a batch for several", second)
    [(kind, node)] = statements[0]["stmt"].items()
    if kind in grammar.QUERIES:
        found = walk(kind, node, calls)
        return _allowed(text, raw, found, "write" if found.writes else "read")
    if kind == "ExplainStmt":
        return _explained(text, raw, node, calls)
    if kind == "VariableShowStmt":
        _check_shown(node)
        return Verdict(text, "read")
    if session and _is_transaction_control(kind, node):
        return Verdict(text, "transaction")
    if session and kind == "DeallocateStmt":
        # What a session has prepared is its own; psycopg says DEALLOCATE ALL after a rollback.
        return Verdict(text, "deallocate", drops=node.get("name", ""))

    raise Refusal(*grammar.refusal_of(kind), 0)


def _parsed(text: str, raw: bytes) -> list[Node]:
    """The statements of a text as the raw parser reads them; raises Refusal."""
    large = expansion.refusal_of(raw)
    if large is not None:
        raise Refusal("too_large", large)
    try:
        tree = parser.parse_sql_json(text)
    except parser.ParseError as error:
        raise _unparsed(text, error) from error
    except (ValueError, MemoryError) as error:
        # The parser cut a name inside a character, or could not have its memory.
        raise Refusal("syntax", "the statement could not be read") from error
    if len(tree) > expansion.TREE_BYTES_MAX:
        raise Refusal("too_large", "the statement has too many parts")
    try:
        statements: list[Node] = orjson.loads(tree).get("stmts", [])
    except orjson.JSONDecodeError as error:
        raise Refusal("too_deep", TOO_DEEP) from error

    return statements


def _unparsed(text: str, error: parser.ParseError) -> Refusal:
    """PostgreSQL's own message and position."""
    message, index = (*error.args, None)[:2]
    if message == PARSER_TOO_DEEP:
        return Refusal("too_deep", TOO_DEEP)
    if index is None and message.endswith("at end of input"):
        index = len(text)

    return Refusal("syntax", message, None if index is None else len(text[:index].encode()))


def _allowed(text: str, raw: bytes, found: Findings, kind: Kind) -> Verdict:
    tables, called = tuple(found.tables), tuple(found.functions)
    if not found.targets:
        return Verdict(text, kind, tables=tables, functions=called)
    sent = qualify(raw, found.targets).decode()

    return Verdict(sent, kind, tables=tables, functions=called, shift=shift_of(raw, found.targets))


def _explained(text: str, raw: bytes, node: Node, calls: frozenset[str]) -> Verdict:
    """EXPLAIN runs nothing, unless it says ANALYZE, and that it may not: a plan that ran counts the rows that were left
    out, by row-level security too, and tells by that whether somebody else's row would have matched.
    """
    [(kind, query)] = node["query"].items()
    if kind not in grammar.QUERIES:
        raise Refusal("explain", "only queries and changes of rows can be explained", 0)
    options = [option["DefElem"] for option in node.get("options", ())]
    for option in options:
        if option.get("defname") not in EXPLAIN_OPTIONS:
            raise Refusal(
                "explain",
                f"the option {option.get('defname')} is not one that can be asked for",
                option.get("location", 0),
            )
    found = walk(kind, query, calls)
    if any(option["defname"] == "analyze" and not _is_off(option) for option in options):
        raise Refusal("explain", "with ANALYZE a plan tells of rows that the statement may not see", 0)

    return _allowed(text, raw, found, "write" if found.calls_own else "read")


def _is_off(option: dict[str, Any]) -> bool:
    """Whether an option of EXPLAIN says no; anything that isn't clearly that counts as yes."""
    argument = option.get("arg", {})
    if "String" in argument:
        return str(argument["String"].get("sval", "")).lower() in FALSE

    return "Integer" in argument and argument["Integer"].get("ival", 0) == 0


def _check_shown(node: Node) -> None:
    name = node.get("name", "")
    if name.lower() not in functions.READABLE_SETTINGS:
        raise Refusal("settings", f"the setting {name} is not told", 0)


def _is_transaction_control(kind: str, node: Node) -> bool:
    if kind == "TransactionStmt":
        return node.get("kind") in SESSION_TRANSACTIONS
    if kind != "VariableSetStmt" or (node.get("kind"), node.get("name")) != ("VAR_SET_MULTI", "TRANSACTION"):
        return False

    return all(mode.get("DefElem", {}).get("defname") in TRANSACTION_MODES for mode in node.get("args", ()))


def within(verdict: Verdict, *, schemas: Container[str] | None = None, tables: Container[str] | None = None) -> Verdict:
    """The verdict under lists of schemas and tables: None allows all. A name without a schema is one of public's."""
    for name in verdict.tables:
        schema, _, table = name.rpartition(".")
        schema = schema or "public"
        if schemas is not None and schema not in schemas:
            return _refused(verdict.text, Refusal("schema", f"schema {schema} is not one of this key's"))
        if tables is not None and schema == "public" and table not in tables:
            return _refused(verdict.text, Refusal("table", f"table {table} is not one of this key's"))

    return verdict


class Verdicts:
    """Verdicts by the hash of their texts, bounded in number and bytes.

    A text is kept on trial until it is asked for again, so that a flood of new texts drives out only other new ones.
    Not for threads.
    """

    def __init__(self, *, entries_max: int = 4096, bytes_max: int = 16 * 1024 * 1024) -> None:
        self._trial = _Shelf(entries_max // 2, bytes_max // 2)
        self._proven = _Shelf(entries_max - entries_max // 2, bytes_max - bytes_max // 2)

    def __len__(self) -> int:
        return len(self._trial.held) + len(self._proven.held)

    def get(
        self,
        text: str | bytes,
        session: bool,
        calls: frozenset[str] = frozenset(),
        *,
        judged: Callable[..., Verdict] = judge,
    ) -> Verdict:
        """The verdict about a text, judged if it is new."""
        key = (digest(text), session, calls)
        verdict = self._proven.get(key)
        if verdict is not None:
            return verdict
        verdict = self._trial.take(key)
        if verdict is None:
            verdict = judged(text, session=session, calls=calls)
            self._trial.put(key, verdict)
        else:
            self._proven.put(key, verdict)

        return verdict


def digest(text: str | bytes) -> bytes:
    """The SHA-256 of a text as the client sent it."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")

    return hashlib.sha256(raw).digest()


_Key = tuple[bytes, bool, frozenset[str]]


class _Shelf:
    """Verdicts in the order of their last use."""

    def __init__(self, entries_max: int, bytes_max: int) -> None:
        self.held: OrderedDict[_Key, Verdict] = OrderedDict()
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def get(self, key: _Key) -> Verdict | None:
        verdict = self.held.get(key)
        if verdict is not None:
            self.held.move_to_end(key)

        return verdict

    def take(self, key: _Key) -> Verdict | None:
        verdict = self.held.pop(key, None)
        if verdict is not None:
            self._bytes -= _weight(verdict)

        return verdict

    def put(self, key: _Key, verdict: Verdict) -> None:
        self.held[key] = verdict
        self._bytes += _weight(verdict)
        while len(self.held) > self._entries_max or self._bytes > self._bytes_max:
            _, dropped = self.held.popitem(last=False)
            self._bytes -= _weight(dropped)


VERDICT_BYTES: Final = 1024


def _weight(verdict: Verdict) -> int:
    """About the bytes that a verdict occupies: its text at most four times as many as characters, and the rest."""
    return VERDICT_BYTES + 4 * len(verdict.text)
