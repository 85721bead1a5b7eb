"""PostgreSQL's messages, protocol 3, both directions: cut out of a stream, read, written. Pure: no socket, no state
beyond a bounded buffer, nothing that a peer sends raises anything but `Violation`.

PostgreSQL manual, chapter 54.7 (message formats) and 54.8 (fields of errors).
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

# Versions and the codes that stand in a version's place in a message without a type.
PROTOCOL_MAJOR: Final = 3
PROTOCOL_MINOR_MAX: Final = 2
CANCEL_CODE: Final = (1234, 5678)
SSL_CODE: Final = (1234, 5679)
GSS_CODE: Final = (1234, 5680)

# What the server accepts before it knows who asks (MAX_STARTUP_PACKET_LENGTH and PG_MAX_AUTH_TOKEN_LENGTH are its own).
STARTUP_BYTES_MAX: Final = 10_000
CANCEL_SECRET_BYTES_MAX: Final = 256
LENGTH_BYTES: Final = 4
HEADER_BYTES: Final = 5
# Consumed bytes are dropped from the front of a buffer when there are this many, not at every message.
COMPACT_BYTES: Final = 64 * 1024
FIELDS_MAX: Final = 64

CLIENT_KINDS: Final = frozenset(b"QPBDECSHXFpdcf")
SERVER_KINDS: Final = frozenset(b"RKSZvTDCIEN123tnsAGHWdcV")

_LENGTH: Final = struct.Struct("!i")
_SHORT: Final = struct.Struct("!H")
_VERSION: Final = struct.Struct("!HH")

Fields = Mapping[str, str]


class Violation(Exception):
    """The peer broke the protocol; the stream can't be read any further. The text never repeats what was sent."""


class Message(NamedTuple):
    """One message: its type, the whole of it as it came, and the size of its payload.

    `raw` is empty where the message was too large and is being thrown away.
    """

    kind: int
    raw: bytes
    size: int

    @property
    def payload(self) -> bytes:
        """What follows type and length."""
        return self.raw[HEADER_BYTES:]


class Reader:
    """Cuts a stream into messages, however it was cut into pieces.

    A message whose payload is larger than `limit` bytes is a violation, or, with `discards`, comes out at once as a
    message without content while its bytes are thrown away as they arrive: the buffer never grows beyond the limit
    plus one piece.
    """

    def __init__(self, kinds: frozenset[int], limit: int, *, discards: bool = False) -> None:
        self._kinds = kinds
        self._limit = limit
        self._discards = discards
        self._buffer = bytearray()
        self._start = 0
        self._skip = 0

    def feed(self, piece: bytes) -> None:
        """Take in what arrived."""
        if self._skip:
            skipped = min(self._skip, len(piece))
            self._skip -= skipped
            piece = piece[skipped:]
        self._buffer += piece

    @property
    def buffered(self) -> int:
        """Bytes that are kept because their message isn't complete, or wasn't asked for yet."""
        return len(self._buffer) - self._start

    def rest(self) -> bytes:
        """Everything that wasn't asked for yet; the reader is empty then."""
        return self._take(self.buffered)

    def startup(self) -> bytes | None:
        """The next message without a type: its payload, or None when it isn't complete. Only the first ones are."""
        if self.buffered < LENGTH_BYTES:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer, self._start)
        if not LENGTH_BYTES + _VERSION.size <= length <= STARTUP_BYTES_MAX:
            raise Violation("invalid length of startup packet")
        if self.buffered < length:
            return None

        return self._take(length)[LENGTH_BYTES:]

    def message(self) -> Message | None:
        """The next message, or None when it isn't complete."""
        if self.buffered < HEADER_BYTES:
            if self.buffered and self._buffer[self._start] not in self._kinds:
                raise Violation("invalid message type")
            return None
        kind = self._buffer[self._start]
        if kind not in self._kinds:
            raise Violation("invalid message type")
        (length,) = _LENGTH.unpack_from(self._buffer, self._start + 1)
        size = length - LENGTH_BYTES
        if size < 0:
            raise Violation("invalid message length")
        if size > self._limit:
            if not self._discards:
                raise Violation(f"message of {size} bytes; {self._limit} are accepted")
            return self._discard(kind, size)
        if self.buffered < HEADER_BYTES + size:
            return None

        return Message(kind, self._take(HEADER_BYTES + size), size)

    def skip(self, kind: int) -> None:
        """Pass over the messages of this kind that come next and are complete, for a twentieth of reading them."""
        buffer, start, end = self._buffer, self._start, len(self._buffer)
        while end - start >= HEADER_BYTES and buffer[start] == kind:
            length: int = _LENGTH.unpack_from(buffer, start + 1)[0]
            if length < LENGTH_BYTES or end - start <= length:
                break
            start += 1 + length
        del buffer[:start]
        self._start = 0

    def _take(self, count: int) -> bytes:
        end = self._start + count
        taken = bytes(self._buffer[self._start : end])
        self._start = end
        if end == len(self._buffer) or end >= COMPACT_BYTES:
            del self._buffer[:end]
            self._start = 0

        return taken

    def _discard(self, kind: int, size: int) -> Message:
        present = min(self.buffered, HEADER_BYTES + size)
        self._take(present)
        self._skip = HEADER_BYTES + size - present

        return Message(kind, b"", size)


# What a client sends


class Startup(msgspec.Struct, frozen=True):
    """How a client begins: what it wants, and with `start` its minor version and parameters."""

    wants: Literal["start", "ssl", "gss", "cancel"]
    minor: int = 0
    parameters: Mapping[str, str] = {}
    process: int = 0
    secret: bytes = b""


class Parse(msgspec.Struct, frozen=True):
    """A statement to prepare; `types` is the rest of the message as it came: a count and that many OIDs."""

    name: bytes
    text: bytes
    types: bytes


def read_startup(payload: bytes) -> Startup:
    """What a message without a type says; raises Violation."""
    code = _VERSION.unpack_from(payload)
    if code == SSL_CODE:
        return Startup("ssl")
    if code == GSS_CODE:
        return Startup("gss")
    rest = payload[_VERSION.size :]
    if code == CANCEL_CODE:
        secret = rest[LENGTH_BYTES:]
        if not 1 <= len(secret) <= CANCEL_SECRET_BYTES_MAX:
            raise Violation("invalid length of cancel request")
        return Startup("cancel", process=_LENGTH.unpack_from(rest)[0], secret=secret)
    major, minor = code
    if major != PROTOCOL_MAJOR:
        raise Violation("unsupported frontend protocol; 3.0 to 3.2 are spoken here")
    parts = rest.split(b"\0")
    # Pairs of strings, an empty name as the end, nothing after it.
    if len(parts) < 2 or parts[-1] or parts[-2] or len(parts) % 2 or b"" in parts[:-2:2]:
        raise Violation("invalid startup packet layout")
    try:
        words = [part.decode() for part in parts[:-2]]
    except UnicodeDecodeError as exc:
        raise Violation("the startup packet is not UTF-8") from exc

    return Startup("start", minor, dict(zip(words[::2], words[1::2], strict=True)))


def read_string(payload: bytes) -> bytes:
    """A payload that is one string: the text of a Query, a password."""
    if not payload or payload.find(b"\0") != len(payload) - 1:
        raise Violation("invalid message format")

    return payload[:-1]


def read_parse(payload: bytes) -> Parse:
    """Name, text and types of a Parse."""
    name, text_at = _string(payload, 0)
    text, types_at = _string(payload, text_at)
    types = payload[types_at:]
    if len(types) < _SHORT.size or len(types) != _SHORT.size + LENGTH_BYTES * _SHORT.unpack_from(types)[0]:
        raise Violation("invalid message format")

    return Parse(name, text, types)


def read_bind(payload: bytes) -> tuple[bytes, bytes]:
    """Portal and statement that a Bind names; formats and values are the server's to judge."""
    portal, statement_at = _string(payload, 0)
    statement, _ = _string(payload, statement_at)

    return portal, statement


def read_target(payload: bytes) -> tuple[int, bytes]:
    """What a Describe or a Close means: `S` or `P`, and its name."""
    if payload[:1] not in (b"S", b"P"):
        raise Violation("invalid message format")
    name, end = _string(payload, 1)
    if end != len(payload):
        raise Violation("invalid message format")

    return payload[0], name


def read_execute(payload: bytes) -> bytes:
    """The portal that an Execute names."""
    portal, end = _string(payload, 0)
    if len(payload) != end + LENGTH_BYTES:
        raise Violation("invalid message format")

    return portal


def _string(payload: bytes, start: int) -> tuple[bytes, int]:
    end = payload.find(b"\0", start)
    if end < 0:
        raise Violation("invalid message format")

    return payload[start:end], end + 1


def startup(parameters: Fields, minor: int = 0) -> bytes:
    """The first message of a client."""
    pairs = b"".join(word.encode() + b"\0" for pair in parameters.items() for word in pair)

    return _untyped(_VERSION.pack(PROTOCOL_MAJOR, minor) + pairs + b"\0")


def ssl_request() -> bytes:
    """Asks whether the server speaks TLS."""
    return _untyped(_VERSION.pack(*SSL_CODE))


def cancel_request(process: int, secret: bytes) -> bytes:
    """Asks the server, on a connection of its own, to cancel what another one runs."""
    return _untyped(_VERSION.pack(*CANCEL_CODE) + _LENGTH.pack(process) + secret)


def password(text: str) -> bytes:
    """The answer to a request for a password in clear."""
    return message(b"p", text.encode() + b"\0")


def sasl_initial(mechanism: str, data: str) -> bytes:
    """The first answer of a SASL exchange."""
    body = data.encode()

    return message(b"p", mechanism.encode() + b"\0" + _LENGTH.pack(len(body)) + body)


def sasl_response(data: str) -> bytes:
    """A later answer of a SASL exchange."""
    return message(b"p", data.encode())


def query(text: bytes) -> bytes:
    """A simple query."""
    return message(b"Q", text + b"\0")


def parse(name: bytes, text: bytes, types: bytes = b"\0\0") -> bytes:
    """Prepare a statement."""
    return message(b"P", name + b"\0" + text + b"\0" + types)


def bind(portal: bytes, statement: bytes, values: Sequence[bytes | None] = ()) -> bytes:
    """Bind values, all as text, and ask for text."""
    body = [portal, b"\0", statement, b"\0\0\0", _SHORT.pack(len(values))]
    for value in values:
        body.append(_LENGTH.pack(-1) if value is None else _LENGTH.pack(len(value)) + value)

    return message(b"B", b"".join((*body, b"\0\0")))


def describe(kind: bytes, name: bytes) -> bytes:
    """Describe a statement (`S`) or a portal (`P`)."""
    return message(b"D", kind + name + b"\0")


def execute(portal: bytes, rows_max: int = 0) -> bytes:
    """Run a portal, for at most so many rows; 0 is all."""
    return message(b"E", portal + b"\0" + _LENGTH.pack(rows_max))


def close(kind: bytes, name: bytes) -> bytes:
    """Forget a statement (`S`) or a portal (`P`)."""
    return message(b"C", kind + name + b"\0")


# What a server sends


def read_fields(payload: bytes) -> dict[str, str]:
    """The fields of an error or a notice by their letter; what isn't UTF-8 is replaced."""
    fields: dict[str, str] = {}
    position = 0
    for _ in range(FIELDS_MAX):
        letter = payload[position : position + 1]
        if letter in (b"\0", b""):
            break
        value, position = _string(payload, position + 1)
        fields[letter.decode("latin-1")] = value.decode(errors="replace")

    return fields


def read_setting(payload: bytes) -> tuple[str, str]:
    """Name and value of a ParameterStatus."""
    name, value_at = _string(payload, 0)
    value, _ = _string(payload, value_at)

    return name.decode(errors="replace"), value.decode(errors="replace")


def read_key(payload: bytes) -> tuple[int, bytes]:
    """Process and secret of a BackendKeyData."""
    if not LENGTH_BYTES < len(payload) <= LENGTH_BYTES + CANCEL_SECRET_BYTES_MAX:
        raise Violation("invalid message format")

    return _LENGTH.unpack_from(payload)[0], payload[LENGTH_BYTES:]


def read_authentication(payload: bytes) -> tuple[int, bytes]:
    """Code and data of an authentication request."""
    if len(payload) < LENGTH_BYTES:
        raise Violation("invalid message format")

    return _LENGTH.unpack_from(payload)[0], payload[LENGTH_BYTES:]


def read_ready(payload: bytes) -> int:
    """The transaction's status: `I`, `T` or `E`."""
    if len(payload) != 1 or payload not in (b"I", b"T", b"E"):
        raise Violation("invalid message format")

    return payload[0]


def error(fields: Fields, kind: bytes = b"E") -> bytes:
    """An error, or with kind `N` a notice; the fields by their letter, in their order."""
    body = b"".join(letter.encode() + value.replace("\0", "").encode() + b"\0" for letter, value in fields.items())

    return message(kind, body + b"\0")


def authentication(code: int, data: bytes = b"") -> bytes:
    """0 is fine, 3 asks for the password in clear, 10 to 12 are SASL."""
    return message(b"R", _LENGTH.pack(code) + data)


def setting(name: str, value: str) -> bytes:
    """A ParameterStatus."""
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def key_data(process: int, secret: bytes) -> bytes:
    """What a cancel request has to name."""
    return message(b"K", _LENGTH.pack(process) + secret)


def ready(status: bytes) -> bytes:
    """The next command may come."""
    return message(b"Z", status)


def negotiate(minor: int, unknown: Sequence[str]) -> bytes:
    """The newest minor version that is spoken here, and the protocol's options that aren't known."""
    names = b"".join(name.encode() + b"\0" for name in unknown)

    return message(b"v", _VERSION.pack(PROTOCOL_MAJOR, minor) + _LENGTH.pack(len(unknown)) + names)


def message(kind: bytes, payload: bytes = b"") -> bytes:
    """A message of any type."""
    return kind + _LENGTH.pack(len(payload) + LENGTH_BYTES) + payload


def _untyped(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload) + LENGTH_BYTES) + payload


SYNC: Final = message(b"S")
FLUSH: Final = message(b"H")
TERMINATE: Final = message(b"X")
AUTHENTICATED: Final = authentication(0)
ASK_PASSWORD: Final = authentication(3)
