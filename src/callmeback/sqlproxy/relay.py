"""What passes between a client and its own upstream connection, message by message. Pure: bytes in, bytes out.

Every text is judged before it goes on. A refused message is replaced by one that the server is bound to refuse, and the
server's error by ours: so the order of answers, the skipping up to Sync, the end of an implicit transaction and the
failed state of an open one are PostgreSQL's own and never imitated. See docs/decisions/0013-….
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol

import msgspec

from callmeback.sqlproxy import frames
from callmeback.sqlproxy.frames import Fields, Message, Violation

MESSAGE_BYTES_MAX: Final = 1 << 20
# What else a server says: an error repeats a value of ours at most, a description is bounded by 1,664 columns.
NOTE_BYTES_MAX: Final = 4 << 20
ROW_OVERHEAD_BYTES: Final = frames.HEADER_BYTES
PENDING_MAX: Final = 1_000
# Messages taken in at one go; between two goes the loop serves others.
SLICE_MAX: Final = 64
PREPARED_MAX: Final = 1_000
PORTALS_MAX: Final = 1_000

# No statement in any version, so the server refuses it before it does anything; this is what its log shows.
REFUSED: Final = b"refused by the sql proxy"
POISON: Final = frames.parse(b"refused", REFUSED)
POISON_QUERY: Final = frames.query(REFUSED)

# What our reading of a text relies on. A session in which it no longer holds is ended.
PINNED: Final = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}

IDLE: Final = ord("I")
CANCELED: Final = "57014"
Kind = Literal["query", "parse", "bind", "describe", "execute", "close", "sync"]
_ANSWERS: Final[dict[int, Kind]] = {ord("1"): "parse", ord("2"): "bind", ord("3"): "close"}


class Ruling(msgspec.Struct, frozen=True):
    """What becomes of a text: what is sent on, or why not; `rule` and `digest` are for the audit line.

    `drops` names the prepared statement that the text takes away, b"" all of them.
    """

    text: bytes
    digest: str
    rule: str | None = None
    refusal: Fields | None = None
    shift: tuple[int, ...] = ()
    drops: bytes | None = None


class Gate(Protocol):
    """Who decides."""

    def judge(self, text: bytes) -> Ruling:
        """Whether a text may run, and as what."""

    def spend(self) -> Fields | None:
        """Count one execution; the refusal when there were too many."""

    def tell(self, ruling: Ruling | None, fields: Fields) -> Fields:
        """What the client is told of an error or a notice that the server gave."""


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one session; seconds, and per answer."""

    rows: int = 10_000
    bytes: int = 10 << 20
    statement_s: float = 10.0
    idle_in_transaction_s: float = 10.0
    transaction_s: float = 60.0
    idle_s: float = 600.0
    life_s: float = 3_600.0


class Done(msgspec.Struct, frozen=True):
    """A statement that came to its end, for the audit."""

    ruling: Ruling | None
    rows: int
    bytes: int
    seconds: float
    sqlstate: str | None


class Entry(msgspec.Struct):
    """Something sent to the server whose answer is still to come."""

    kind: Kind
    ruling: Ruling | None = None
    refusal: Fields | None = None
    # Of a Parse or a Bind: the name it takes and what had it before; of a Close: what is to be forgotten.
    name: bytes = b""
    before: "Entry | None" = None
    is_answered: bool = False
    rows: int = 0
    bytes: int = 0
    is_over: bool = False
    is_late: bool = False


class Relay:
    """One session's conversation, from the login on.

    After each call look at `over` (the session ends with this error), `ended` (the server has said why it ends),
    `left` (the client said goodbye) and `wants_cancel` (what runs is to be cancelled; set it back).
    """

    def __init__(self, gate: Gate, limits: Limits, clock: Callable[[], float]) -> None:
        self.over: Fields | None = None
        self.ended = False
        self.left = False
        self.wants_cancel = False
        self.has_more = False
        self.status = IDLE
        self.done: list[Done] = []
        self._gate = gate
        self._limits = limits
        self._clock = clock
        self._client = frames.Reader(frames.CLIENT_KINDS, MESSAGE_BYTES_MAX)
        self._server = frames.Reader(frames.SERVER_KINDS, max(limits.bytes, NOTE_BYTES_MAX), discards=True)
        self._pending: deque[Entry] = deque()
        # After an error the server passes over everything up to the next Sync, and so do we.
        self._is_skipping = False
        self._is_unsynced = False
        # The Parse or Bind that made what the session has under each name.
        self._prepared: dict[bytes, Entry] = {}
        self._portals: dict[bytes, Entry] = {}
        self._born = self._head_since = self._idle_since = clock()
        self._transaction_since: float | None = None

    # The client's side

    def start(self, left_over: bytes) -> None:
        """What the client sent together with its password."""
        self._client.feed(left_over)

    def from_client(self, piece: bytes = b"") -> bytes:
        """Take what the client sent; returns what goes to the server. Call again, with nothing, while `has_more`."""
        self._client.feed(piece)
        out: list[bytes] = []
        self.has_more = True
        for _ in range(SLICE_MAX):
            if self.is_full:
                # The server may be keeping its answers back until it is asked for them.
                out.append(frames.FLUSH)
                break
            message = None
            try:
                message = self._client.message()
                if message is not None:
                    self._take(message, out)
            except Violation as exc:
                self._end("08P01", str(exc))
            if message is None or self.over or self.left or self.ended:
                self.has_more = False
                break

        return b"".join(out)

    @property
    def is_full(self) -> bool:
        """Whether so much is under way that the client has to wait."""
        return len(self._pending) >= PENDING_MAX

    @property
    def is_busy(self) -> bool:
        """Whether the server owes an answer."""
        return bool(self._pending)

    def _take(self, message: Message, out: list[bytes]) -> None:
        kind = message.kind
        if kind == ord("S"):
            self._is_skipping = self._is_unsynced = False
            self._expect(Entry("sync"))
            out.append(message.raw)
        elif kind == ord("X"):
            self.left = True
        elif kind in b"pdcf":
            self._end("08P01", "nothing is being copied here" if kind != ord("p") else "unexpected password message")
        elif self._is_skipping:
            return
        elif kind == ord("H"):
            out.append(message.raw)
        elif kind in b"QF":
            self._take_query(message, out)
        else:
            self._is_unsynced = True
            if self._transaction_since is None:
                self._transaction_since = self._clock()
            _EXTENDED[kind](self, message, out)

    def _take_query(self, message: Message, out: list[bytes]) -> None:
        if message.kind == ord("F"):
            entry = Entry("query", refusal=refusal("0A000", "function calls are not available here"))
        else:
            ruling = self._gate.judge(frames.read_string(message.payload))
            entry = Entry("query", ruling, ruling.refusal or self._gate.spend())
        self._is_unsynced = False
        self._expect(entry)
        out.append(POISON_QUERY if entry.refusal or entry.ruling is None else frames.query(entry.ruling.text))

    def _take_parse(self, message: Message, out: list[bytes]) -> None:
        asked = frames.read_parse(message.payload)
        ruling = self._gate.judge(asked.text)
        refused = ruling.refusal
        if refused is None and asked.name not in self._prepared and len(self._prepared) >= PREPARED_MAX:
            refused = refusal("53400", f"at most {PREPARED_MAX} statements can be prepared in a session")
        entry = Entry("parse", ruling, refused)
        self._name(self._prepared, asked.name, entry)
        self._expect(entry)
        out.append(POISON if refused else frames.parse(asked.name, ruling.text, asked.types))

    def _take_bind(self, message: Message, out: list[bytes]) -> None:
        portal, statement = frames.read_bind(message.payload)
        refused = None
        if portal not in self._portals and len(self._portals) >= PORTALS_MAX:
            refused = refusal("53400", f"at most {PORTALS_MAX} portals can be opened in a transaction")
        entry = Entry("bind", _ruling(self._prepared.get(statement)), refused)
        self._name(self._portals, portal, entry)
        self._expect(entry)
        out.append(POISON if refused else message.raw)

    def _take_describe(self, message: Message, out: list[bytes]) -> None:
        kind, name = frames.read_target(message.payload)
        self._expect(Entry("describe", _ruling(self._room(kind).get(name))))
        out.append(message.raw)

    def _take_execute(self, message: Message, out: list[bytes]) -> None:
        ruling = _ruling(self._portals.get(frames.read_execute(message.payload)))
        refused = self._gate.spend()
        self._expect(Entry("execute", ruling, refused))
        out.append(POISON if refused else message.raw)

    def _take_close(self, message: Message, out: list[bytes]) -> None:
        kind, name = frames.read_target(message.payload)
        # Forgotten when the server says so: it may be passing over this message.
        self._expect(Entry("close", name=name, before=self._room(kind).get(name)))
        out.append(message.raw)

    def _room(self, kind: int) -> dict[bytes, Entry]:
        return self._prepared if kind == ord("S") else self._portals

    def _name(self, room: dict[bytes, Entry], name: bytes, entry: Entry) -> None:
        if entry.refusal is None:
            entry.name = name
            entry.before = room.get(name)
            room[name] = entry

    def _expect(self, entry: Entry) -> None:
        if not self._pending:
            self._head_since = self._clock()
        self._pending.append(entry)

    # The server's side

    def from_server(self, piece: bytes) -> bytes:
        """Take what the server sent; returns what goes to the client: whole messages."""
        self._server.feed(piece)
        out: list[bytes] = []
        while not self.over and not self.ended:
            try:
                message = self._server.message()
                if message is None:
                    break
                self._answer(message, out)
            except Violation:
                self._end("08P01", "the database sent something that makes no sense here")

        return b"".join(out)

    def _answer(self, message: Message, out: list[bytes]) -> None:
        kind = message.kind
        if kind == ord("D"):
            self._row(message, out)
        elif message.size and not message.raw:
            raise Violation("too large")
        elif kind in _ANSWERS:
            self._succeed(self._pop(_ANSWERS[kind]))
            out.append(message.raw)
        elif kind in b"CIs":
            self._complete(message, out)
        elif kind in b"tTn":
            self._description(message, out)
        elif kind == ord("Z"):
            self._ready(message, out)
        elif kind == ord("E"):
            self._error(message, out)
        elif kind == ord("S"):
            name, value = frames.read_setting(message.payload)
            if PINNED.get(name, value) != value:
                self._end("0A000", f"{name} must stay as it is")
                return
            out.append(message.raw)
        elif kind == ord("N"):
            ruling = self._pending[0].ruling if self._pending else None
            out.append(frames.error(self._gate.tell(ruling, frames.read_fields(message.payload)), b"N"))
        elif kind != ord("A"):
            raise Violation("not after the login")

    def _head(self, *kinds: Kind) -> Entry:
        if not self._pending or self._pending[0].kind not in kinds:
            raise Violation("an answer to nothing")

        return self._pending[0]

    def _pop(self, *kinds: Kind) -> Entry:
        entry = self._head(*kinds)
        self._pending.popleft()
        self._head_since = self._idle_since = self._clock()

        return entry

    def _succeed(self, entry: Entry) -> None:
        """A Parse, Bind or Close was carried out."""
        made = entry.before
        entry.is_answered, entry.before = True, None
        if entry.kind != "close" or made is None:
            return
        room = self._prepared if made.kind == "parse" else self._portals
        if room.get(entry.name) is made:
            del room[entry.name]

    def _forget(self, name: bytes) -> None:
        """A DEALLOCATE was carried out: what has this name, or any, is gone unless it is prepared only after it."""
        for taken in [name] if name else [key for key in self._prepared if key]:
            entry = self._prepared.get(taken)
            if entry is not None and entry.is_answered:
                del self._prepared[taken]
            elif entry is not None:
                entry.before = None

    def _fail(self, entry: Entry) -> None:
        """A Parse or Bind was not carried out: its name means what it meant before."""
        if entry.kind not in ("parse", "bind") or entry.refusal is not None:
            return
        room = self._prepared if entry.kind == "parse" else self._portals
        if room.get(entry.name) is not entry:
            return
        if entry.before is None or not entry.name:
            del room[entry.name]
        else:
            room[entry.name] = entry.before

    def _row(self, message: Message, out: list[bytes]) -> None:
        entry = self._head("query", "execute")
        if entry.is_over:
            # Until our cancellation gets there it may be millions.
            self._server.skip(ord("D"))
            return
        entry.rows += 1
        entry.bytes += message.size + ROW_OVERHEAD_BYTES
        if entry.rows > self._limits.rows or entry.bytes > self._limits.bytes:
            entry.is_over = self.wants_cancel = True
            return
        out.append(message.raw)

    def _complete(self, message: Message, out: list[bytes]) -> None:
        entry = self._head("query", "execute")
        if entry.is_over:
            # It ended before our cancellation reached it, so there is no failed transaction to go with the error.
            self.over = self._too_large("FATAL")
            self._finish(entry, "54000")
            return
        out.append(message.raw)
        self._finish(entry, None)
        if entry.ruling is not None and entry.ruling.drops is not None:
            self._forget(entry.ruling.drops)
        if entry.kind == "execute":
            self._pop("execute")

    def _description(self, message: Message, out: list[bytes]) -> None:
        entry = self._head("describe", "query")
        out.append(message.raw)
        if entry.kind == "describe" and message.kind != ord("t"):
            self._pop("describe")

    def _ready(self, message: Message, out: list[bytes]) -> None:
        self._pop("sync", "query")
        self.status = frames.read_ready(message.payload)
        if self.status == IDLE:
            # Portals end with their transaction; those of the next one may be under way already.
            self._portals = {name: entry for name, entry in self._portals.items() if not entry.is_answered}
            self._transaction_since = self._clock() if self._is_unsynced else None
        elif self._transaction_since is None:
            self._transaction_since = self._clock()
        out.append(message.raw)

    def _error(self, message: Message, out: list[bytes]) -> None:
        fields: Fields = frames.read_fields(message.payload)
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            out.append(message.raw)
            self.ended = True
            if self._pending:
                self._finish(self._pending[0], fields.get("C"))
            return
        if not self._pending:
            out.append(frames.error(self._gate.tell(None, fields)))
            return
        entry = self._pending[0]
        if entry.refusal is not None:
            fields = entry.refusal
        elif entry.is_over:
            fields = self._too_large("ERROR")
        elif entry.is_late and fields.get("C") == CANCELED:
            fields = refusal(CANCELED, "canceling statement due to statement timeout")
        else:
            fields = self._gate.tell(entry.ruling, fields)
        out.append(frames.error(fields))
        self._finish(entry, fields.get("C"))
        if entry.kind not in ("query", "sync"):
            self._skip()

    def _skip(self) -> None:
        """Forget what the server passes over: all up to the next Sync, or up to one that is yet to come."""
        while self._pending and self._pending[0].kind != "sync":
            self._fail(self._pop(self._pending[0].kind))
        self._is_skipping = not self._pending

    def _finish(self, entry: Entry, sqlstate: str | None) -> None:
        seconds = self._clock() - self._head_since
        self.done.append(Done(entry.ruling, entry.rows, entry.bytes, seconds, sqlstate))

    def _too_large(self, severity: str) -> Fields:
        what = f"{self._limits.rows} rows and {self._limits.bytes} bytes"

        return refusal("54000", f"the answer is larger than {what}", severity)

    def _end(self, sqlstate: str, text: str) -> None:
        self.over = refusal(sqlstate, text, "FATAL")

    # Time

    def overdue(self) -> float:
        """Seconds by which the statement that runs has passed its deadline, 0 when none has.

        One that has is to be cancelled, and the client is then told why.
        """
        if not self._pending:
            return 0.0
        late = self._clock() - self._head_since - self._limits.statement_s
        self._pending[0].is_late = late > 0

        return max(0.0, late)

    def expired(self) -> Fields | None:
        """Why the session has to end now, as far as time decides it."""
        now, limits = self._clock(), self._limits
        age = now - self._born
        if self._transaction_since is not None and now - self._transaction_since > limits.transaction_s:
            return refusal("25P04", "terminating connection due to transaction timeout", "FATAL")
        if self._pending:
            return None if age <= limits.life_s + limits.transaction_s else _AGED
        idle = now - self._idle_since
        if self._transaction_since is not None:
            if idle > limits.idle_in_transaction_s:
                return refusal("25P03", "terminating connection due to idle-in-transaction timeout", "FATAL")
            return None
        if idle > limits.idle_s:
            return refusal("57P05", "terminating connection due to idle-session timeout", "FATAL")

        return _AGED if age > limits.life_s else None


def _ruling(entry: Entry | None) -> Ruling | None:
    return None if entry is None else entry.ruling


def refusal(sqlstate: str, text: str, severity: str = "ERROR", **more: str) -> dict[str, str]:
    """The fields of an error of ours."""
    return {"S": severity, "V": severity, "C": sqlstate, "M": text, **more}


_AGED: Final = refusal("57P01", "terminating connection: the session is as old as one may become", "FATAL")
_EXTENDED: Final[dict[int, Callable[[Relay, Message, list[bytes]], None]]] = {
    ord("P"): Relay._take_parse,
    ord("B"): Relay._take_bind,
    ord("D"): Relay._take_describe,
    ord("E"): Relay._take_execute,
    ord("C"): Relay._take_close,
}
