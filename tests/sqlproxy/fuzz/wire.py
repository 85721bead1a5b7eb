"""Fuzzes the wire with coverage: any bytes from either side, cut anywhere, into the messages and the whole relay.

    python tests/sqlproxy/fuzz/wire.py FOLDER -runs=200000

The folder collects inputs that reached something new. A crash prints its input and ends with an error.
"""

import resource
import sys

import atheris

with atheris.instrument_imports(include=["callmeback.sqlproxy.frames", "callmeback.sqlproxy.relay"]):
    from callmeback.sqlproxy import frames
    from callmeback.sqlproxy.frames import CLIENT_KINDS, SERVER_KINDS, Fields, Reader, Violation
    from callmeback.sqlproxy.relay import Limits, Relay, Ruling, refusal

LIMIT = 1_000
# The fuzzer's own limit counts the peak of whoever started it, too.
MEMORY_BYTES_MAX = 2 << 30
PIECES_MAX = 40
READERS = (
    frames.read_startup,
    frames.read_string,
    frames.read_parse,
    frames.read_bind,
    frames.read_target,
    frames.read_execute,
    frames.read_fields,
    frames.read_setting,
    frames.read_key,
    frames.read_authentication,
    frames.read_ready,
)
# What a fuzzer would have to guess: each message once, well formed.
SEEDS = (
    frames.query(b"select"),
    frames.parse(b"a", b"select"),
    frames.parse(b"", b"no"),
    frames.bind(b"p", b"a", [b"1", None]),
    frames.describe(b"S", b"a"),
    frames.execute(b"p", 2),
    frames.close(b"P", b"p"),
    frames.SYNC,
    frames.FLUSH,
    frames.message(b"1"),
    frames.message(b"2"),
    frames.message(b"3"),
    frames.message(b"T", b"\0\0"),
    frames.message(b"D", b"\0\0"),
    frames.message(b"C", b"SELECT 1\0"),
    frames.ready(b"I"),
    frames.error(refusal("42601", "syntax error")),
    frames.setting("client_encoding", "UTF8"),
)


class Gate:
    """Refuses every third text."""

    def __init__(self) -> None:
        self.count = 0

    def judge(self, text: bytes) -> Ruling:
        self.count += 1
        return Ruling(text, "", refusal=None if self.count % 3 else refusal("42501", "not this"))

    def spend(self) -> Fields | None:
        return None

    def tell(self, ruling: Ruling | None, fields: Fields) -> Fields:
        return fields


def one(data: bytes) -> None:
    """Anything but a Violation is a crash, and so is a buffer that grows or a text that passes unread."""
    provider = atheris.FuzzedDataProvider(data)
    if provider.ConsumeBool():
        payload = provider.ConsumeBytes(LIMIT)
        try:
            provider.PickValueInList(list(READERS))(payload if len(payload) >= 4 else payload + bytes(4))
        except Violation:
            pass
        return
    session, sent = Relay(Gate(), Limits(rows=3, bytes=LIMIT), lambda: 0.0), Reader(CLIENT_KINDS, 1 << 24)
    heard = Reader(SERVER_KINDS, 1 << 24)
    for _ in range(provider.ConsumeIntInRange(0, PIECES_MAX)):
        seed = provider.ConsumeIntInRange(0, 2 * len(SEEDS))
        piece = SEEDS[seed] if seed < len(SEEDS) else provider.ConsumeBytes(provider.ConsumeIntInRange(0, 100))
        if provider.ConsumeBool():
            sent.feed(session.from_client(piece))
        else:
            heard.feed(session.from_server(piece))
    # What goes on, either way, is whole messages.
    for reader in (sent, heard):
        while reader.message() is not None:
            pass
        assert reader.buffered == 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
