"""A connection to PostgreSQL of our own, over the raw protocol: where the database is, TLS, SCRAM, cancellation.

libpq can't be used: its login could be taken over by its descriptor, but TLS lives inside it (decision 0013). What it
understands of a DSN and we don't is refused by name, never passed over.
"""

import asyncio
import functools
import os
import ssl
from pathlib import Path
from typing import Final

import msgspec
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from scramp import ScramClient, ScramException

from callmeback import errors, logs
from callmeback.sqlproxy import frames
from callmeback.sqlproxy.frames import Message, Reader, Violation

LOGIN_S: Final = 5.0
CANCEL_S: Final = 2.0
CLOSE_S: Final = 1.0
# What is read at once, and at most kept unread: the server waits when the client does.
PIECE_BYTES: Final = 64 * 1024
LOGIN_MESSAGE_BYTES_MAX: Final = 64 * 1024
LOGIN_MESSAGES_MAX: Final = 200
HOSTS_MAX: Final = 16
# One in a process; its certificates are read once.
PLACES_MAX: Final = 8
DEFAULT_PORT: Final = 5432
DEFAULT_ROOT: Final = Path("~/.postgresql/root.crt")

# Options of libpq that would change whom we talk to or how safely, with the values that change nothing.
INDIFFERENT: Final = {
    "channel_binding": ("prefer", "disable", "require"),
    "gssencmode": ("prefer", "disable"),
    "require_auth": ("", "scram-sha-256"),
    "requirepeer": ("",),
    "service": ("",),
    "sslcrl": ("",),
    "sslcrldir": ("",),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": ("", "TLSv1.2"),
    "ssl_max_protocol_version": ("",),
    "target_session_attrs": ("any", "primary", "read-write"),
}
# What the server has to say of itself at the login (it does since PostgreSQL 14) for each of these.
WANTED: Final = {
    "primary": {"in_hot_standby": "off"},
    "read-write": {"in_hot_standby": "off", "default_transaction_read_only": "off"},
}
# A server that is starting, stopping or becoming another's primary: the next one may be ready.
CANNOT_CONNECT_NOW: Final = "57P03"
AUTHENTICATED: Final = 0
SASL: Final = 10
SASL_CONTINUE: Final = 11
SASL_FINAL: Final = 12
PLAIN_MECHANISM: Final = "SCRAM-SHA-256"
BOUND_MECHANISM: Final = "SCRAM-SHA-256-PLUS"

log = logs.get_logger(__name__)


class Place(msgspec.Struct, frozen=True):
    """Where the database is. `hosts` are tried in turn; one that begins with a slash is a folder of a Unix socket."""

    hosts: tuple[tuple[str, str, int], ...]  # name, address (the name where none is given), port
    database: str
    session: str
    sslmode: str
    sslnegotiation: str
    channel_binding: str
    requires_scram: bool
    tls: ssl.SSLContext | None


class Upstream:
    """One connection, logged in and idle; `settings` are the ParameterStatus messages that the server began with."""

    def __init__(self, stream: "Stream", place: Place, host: tuple[str, str, int]) -> None:
        self.settings: list[bytes] = []
        self.process = 0
        self.secret = b""
        self._stream = stream
        self._place = place
        self._host = host

    async def read(self) -> bytes:
        """What arrived; nothing once the server has closed. Raises OSError."""
        return await self._stream.reader.read(PIECE_BYTES)

    async def write(self, data: bytes) -> None:
        """Send, and wait while the server is slower than the client. Raises OSError."""
        self._stream.writer.write(data)
        await self._stream.writer.drain()

    async def cancel(self) -> None:
        """Ask the server to cancel what runs here; returns when it has taken the request, or can't be reached."""
        try:
            async with asyncio.timeout(CANCEL_S):
                stream = await _open(self._place, self._host)
                try:
                    stream.writer.write(frames.cancel_request(self.process, self.secret))
                    await stream.reader.read(1)
                finally:
                    stream.writer.close()
        except (OSError, TimeoutError, Violation) as exc:
            log.warning("cancel_failed", error=type(exc).__name__)

    async def close(self) -> None:
        """Say goodbye, wait a moment for the server to have ended its side, and close for good."""
        writer = self._stream.writer
        try:
            async with asyncio.timeout(CLOSE_S):
                writer.write(frames.TERMINATE)
                while await self.read():
                    pass
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()


class Stream(msgspec.Struct):
    """Both halves of a socket. Under TLS also the writer below it, which closes the socket when nobody holds it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    below: asyncio.StreamWriter | None = None

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS state, where there is one."""
        found: ssl.SSLObject | None = self.writer.get_extra_info("ssl_object")

        return found


@functools.lru_cache(PLACES_MAX)
def place_of(dsn: str) -> Place:
    """Read a DSN, without its role, as libpq would, its environment included.

    Raises ConfigurationError for what isn't done here.
    """
    options = {
        option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val is not None
    }
    options |= {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    for name, values in INDIFFERENT.items():
        if options.get(name, "") not in (*values, ""):
            raise errors.ConfigurationError(f"DATABASE_URL says {name}={options[name]}; /v2 doesn't do that.")
    names = (options.get("host") or options.get("hostaddr") or "").split(",")
    addresses = (options.get("hostaddr") or options.get("host") or "").split(",")
    ports = (options.get("port") or str(DEFAULT_PORT)).split(",")
    if len(ports) == 1:
        ports *= len(names)
    is_even = len(names) == len(addresses) == len(ports) <= HOSTS_MAX
    if not is_even or not all(map(any, zip(names, addresses, strict=True))):
        raise errors.ConfigurationError("DATABASE_URL has to name a host, and as many ports as hosts or one for all.")
    hosts = tuple(
        (name or address, address or name, int(port or DEFAULT_PORT))
        for name, address, port in zip(names, addresses, ports, strict=True)
    )
    mode = options.get("sslmode") or "prefer"

    return Place(
        hosts=hosts,
        database=options.get("dbname", ""),
        session=options.get("target_session_attrs") or "any",
        sslmode=mode,
        sslnegotiation=options.get("sslnegotiation") or "postgres",
        channel_binding=options.get("channel_binding") or "prefer",
        requires_scram=bool(options.get("require_auth")) or options.get("channel_binding") == "require",
        tls=None if mode == "disable" else _context(mode, options),
    )


def _context(mode: str, options: dict[str, str]) -> ssl.SSLContext:
    """What libpq would check of a certificate (manual, 32.19): nothing below verify-ca, unless there is a root file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["postgresql"])
    root = options.get("sslrootcert") or ""
    found = Path(root).expanduser() if root else DEFAULT_ROOT.expanduser()
    checks = mode in ("verify-ca", "verify-full") or root == "system" or (mode == "require" and found.exists())
    context.check_hostname = mode == "verify-full" or root == "system"
    context.verify_mode = ssl.CERT_REQUIRED if checks else ssl.CERT_NONE
    try:
        if root == "system":
            context.load_default_certs()
        elif checks:
            context.load_verify_locations(found)
        if options.get("sslcert"):
            context.load_cert_chain(options["sslcert"], options.get("sslkey"), options.get("sslpassword"))
    except (OSError, ssl.SSLError) as exc:
        raise errors.ConfigurationError("A certificate file that DATABASE_URL names can't be read.") from exc

    return context


async def log_in(dsn: str) -> Upstream:
    """Open a connection as the role of the DSN. Raises DatabaseUnavailable, Overloaded when the server is full."""
    options = conninfo_to_dict(dsn)
    role, password = str(options.get("user", "")), str(options.get("password", ""))
    place = place_of(make_conninfo(dsn, user="", password=""))
    failure: Exception | None = None
    try:
        async with asyncio.timeout(LOGIN_S):
            for host in place.hosts:
                try:
                    # A host that swallows everything must not use up the time of those that are well.
                    async with asyncio.timeout(LOGIN_S / len(place.hosts)):
                        return await _log_in_at(place, host, role, password)
                except (OSError, EOFError, TimeoutError) as exc:
                    failure = exc
    except (TimeoutError, Violation, ScramException) as exc:
        failure = exc
    log.warning("upstream_unavailable", role=role, error=type(failure).__name__)

    raise errors.DatabaseUnavailable() from failure


async def _log_in_at(place: Place, host: tuple[str, str, int], role: str, password: str) -> Upstream:
    stream = await _open(place, host)
    try:
        upstream = Upstream(stream, place, host)
        await _converse(upstream, stream, place, role, password)
        _check_session(upstream, place)
    except BaseException:
        stream.writer.transport.abort()
        raise

    return upstream


def _check_session(upstream: Upstream, place: Place) -> None:
    """Raise ConnectionError where the DSN wants another kind of server: a standby would take no writes."""
    said = dict(frames.read_setting(raw[frames.HEADER_BYTES :]) for raw in upstream.settings)
    wanted = WANTED.get(place.session, {})
    if any(said.get(name) != value for name, value in wanted.items()):
        raise ConnectionError(f"the server isn't {place.session}")


async def _open(place: Place, host: tuple[str, str, int]) -> Stream:
    """A socket to one host, encrypted as the DSN asks for it."""
    name, address, port = host
    if address.startswith("/"):
        path = os.path.join(address, f".s.PGSQL.{port}")
        return Stream(*await asyncio.open_unix_connection(path, limit=PIECE_BYTES))
    if place.tls is not None and place.sslnegotiation == "direct":
        return Stream(
            *await asyncio.open_connection(address, port, limit=PIECE_BYTES, ssl=place.tls, server_hostname=name)
        )
    stream = Stream(*await asyncio.open_connection(address, port, limit=PIECE_BYTES))
    if place.tls is None:
        return stream
    try:
        stream.writer.write(frames.ssl_request())
        answer = await stream.reader.readexactly(1)
        if answer == b"S":
            return await _encrypt(stream, place.tls, name)
        if place.sslmode not in ("allow", "prefer") or answer != b"N":
            raise ConnectionError("the server doesn't speak TLS")
    except BaseException:
        stream.writer.transport.abort()
        raise

    return stream


async def _encrypt(stream: Stream, context: ssl.SSLContext, name: str) -> Stream:
    """Begin TLS. The reader is a new one: nothing that came in clear can be taken for what comes encrypted."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=PIECE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = await loop.start_tls(stream.writer.transport, protocol, context, server_hostname=name)
    assert transport is not None
    protocol.connection_made(transport)

    return Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop), stream.writer)


async def _converse(upstream: Upstream, stream: Stream, place: Place, role: str, password: str) -> None:
    """From the first message to the first ReadyForQuery; raises EOFError, Violation, ScramException, domain errors."""
    stream.writer.write(
        frames.startup(
            {
                "user": role,
                "database": place.database,
                "client_encoding": "UTF8",
                "application_name": "callmeback sqlproxy",
            }
        )
    )
    reader = Reader(frames.SERVER_KINDS, LOGIN_MESSAGE_BYTES_MAX)
    client: ScramClient | None = None
    steps: set[int] = set()
    for _ in range(LOGIN_MESSAGES_MAX):
        message = await _next(stream, reader)
        if message.kind == ord("R"):
            client = _authenticate(stream, place, message, client, password)
            steps.add(frames.read_authentication(message.payload)[0])
        elif message.kind == ord("S"):
            upstream.settings.append(message.raw)
        elif message.kind == ord("K"):
            upstream.process, upstream.secret = frames.read_key(message.payload)
        elif message.kind == ord("E"):
            raise _refused(frames.read_fields(message.payload), role)
        elif message.kind == ord("Z"):
            if place.requires_scram and SASL_FINAL not in steps:
                raise Violation("the server asked for no password, and the DSN says that it has to")
            return
        elif message.kind != ord("N"):
            raise Violation("not during a login")

    raise Violation("the login doesn't end")


async def _next(stream: Stream, reader: Reader) -> Message:
    while (message := reader.message()) is None:
        piece = await stream.reader.read(PIECE_BYTES)
        if not piece:
            raise EOFError("the server closed the connection")
        reader.feed(piece)

    return message


def _authenticate(
    stream: Stream, place: Place, message: Message, client: ScramClient | None, password: str
) -> ScramClient | None:
    code, data = frames.read_authentication(message.payload)
    if code == SASL and client is None:
        client, first = _first(stream, place, data.decode("ascii", "replace").split("\0"), password)
        stream.writer.write(first)
        return client
    if code == SASL_CONTINUE and client is not None:
        client.set_server_first(data.decode())
        stream.writer.write(frames.sasl_response(client.get_client_final()))
        return client
    if code == SASL_FINAL and client is not None:
        # The server proves that it knows the password too.
        client.set_server_final(data.decode())
        return None
    if code == AUTHENTICATED and client is None:
        return None

    raise Violation("the roles log in by SCRAM-SHA-256; the server asks for something else")


def _first(stream: Stream, place: Place, offered: list[str], password: str) -> tuple[ScramClient, bytes]:
    # Said also where the server offers none: so it learns that we could have, and nobody in between can hide its offer.
    binds = stream.tls is not None and place.channel_binding != "disable"
    mechanism = BOUND_MECHANISM if binds and BOUND_MECHANISM in offered else PLAIN_MECHANISM
    if mechanism not in offered:
        raise Violation("the server offers no SCRAM-SHA-256")
    if place.channel_binding == "require" and mechanism != BOUND_MECHANISM:
        raise Violation("the server offers no channel binding")
    # The name is the startup message's; what stands here is not looked at.
    client = ScramClient(
        [mechanism], "-", password, channel_binding=("tls-server-end-point", stream.tls) if binds else None
    )

    return client, frames.sasl_initial(mechanism, client.get_client_first())


def _refused(fields: frames.Fields, role: str) -> Exception:
    sqlstate = fields.get("C", "")
    if sqlstate == CANNOT_CONNECT_NOW:
        return ConnectionError("the server takes no connections now")
    log.warning("upstream_refused", role=role, sqlstate=sqlstate)
    if sqlstate.startswith("53"):
        return errors.Overloaded()

    return errors.DatabaseUnavailable()
