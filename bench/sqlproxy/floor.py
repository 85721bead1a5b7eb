"""The floor: the least that Python, uvloop and libpq can do for such a request. Run as `python floor.py PORT DSN`.

No key, policy, limit, deadline, cap, audit line or figure, no parsing of heads, no error handling: the body is cut off
after the first empty line, the statement is prepared once per connection, rows become JSON as the proxy makes them.
What the proxy takes on top of it is what it does; what it would take below it, Python can't.
"""

import asyncio
import sys
from typing import Any

import msgspec
import psycopg
import uvloop
from psycopg.adapt import Transformer
from psycopg.pq import Format

POOL = 16
# Of pg_type.dat: int4 and int8 become numbers, everything else stays text.
NUMBERS, INT4, TEXT = (20, 21, 23), 23, 25

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class Body(msgspec.Struct):
    query: str
    parameters: list[str]


decode = msgspec.json.Decoder(Body).decode
encode = msgspec.json.Encoder().encode


class Link:
    """One connection of libpq, and who waits for its answer."""

    def __init__(self, dsn: str, idle: "list[Link]") -> None:
        self.pgconn = psycopg.connect(dsn, autocommit=True).pgconn
        self.pgconn.nonblocking = 1
        self.idle = idle
        self.client: asyncio.Transport | None = None
        self.prepared: dict[str, tuple[bytes, Any, Any]] = {}
        asyncio.get_running_loop().add_reader(self.pgconn.socket, self.read)

    def ask(self, client: asyncio.Transport, body: Body) -> None:
        self.client = client
        if body.query not in self.prepared:
            self.prepare(body.query)
        self.now = self.prepared[body.query]
        self.pgconn.send_query_prepared(self.now[0], [each.encode() for each in body.parameters])
        self.pgconn.flush()

    def prepare(self, query: str) -> None:
        name = b"s%d" % len(self.prepared)
        self.pgconn.prepare(name, query.encode())
        result = self.pgconn.describe_prepared(name)
        oids = [result.ftype(place) for place in range(result.nfields)]
        loader = Transformer()
        loader.set_loader_types([INT4 if oid in NUMBERS else TEXT for oid in oids], Format.TEXT)
        fields = [(result.fname(place).decode(), Any) for place in range(result.nfields)]
        self.prepared[query] = name, loader, msgspec.defstruct("Row", fields, gc=False)

    def read(self) -> None:
        pgconn = self.pgconn
        pgconn.consume_input()
        while self.client is not None and not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                self.client.write(HEAD % (len(self.body), self.body))
                self.client = None
                self.idle.append(self)
                return
            _, loader, row = self.now
            loader.set_pgresult(result, set_loaders=False)
            rows = encode([row(*each) for each in loader.load_rows(0, result.ntuples, tuple)])
            self.body = b'{"rows":%b,"rowCount":%d,"command":"SELECT"}' % (rows, result.ntuples)


class Client(asyncio.Protocol):
    def __init__(self, idle: list[Link]) -> None:
        self.idle = idle

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.idle.pop().ask(self.transport, decode(data[data.index(b"\r\n\r\n") + 4 :]))


async def main(port: int, dsn: str) -> None:
    idle: list[Link] = []
    idle += [Link(dsn, idle) for _ in range(POOL)]
    server = await asyncio.get_running_loop().create_server(lambda: Client(idle), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
