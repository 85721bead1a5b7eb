"""`GET /v2`: PostgreSQL's protocol in binary WebSocket frames, as the Pool and Client of Neon's driver speak it.

A session's life: start-up, the API key as the password, a place in the budget, a login of its own as the key's role,
the relay, and the end of that login. Nothing of one session is ever seen by another. See decision 0013.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from callmeback import errors, logs
from callmeback.sqlproxy import frames, gate, problems, upstream
from callmeback.sqlproxy.audit import Record, milliseconds
from callmeback.sqlproxy.frames import Fields, Reader, Startup, Violation
from callmeback.sqlproxy.gate import ONLY_NAMED
from callmeback.sqlproxy.keyring import Key, Keyring
from callmeback.sqlproxy.limits import ANSWER_BYTES_MAX, DEADLINE_S, ROWS_MAX
from callmeback.sqlproxy.policy import INSUFFICIENT_PRIVILEGE
from callmeback.sqlproxy.relay import Done, Limits, Relay, refusal
from callmeback.sqlproxy.rules import Rules
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.upstream import Upstream

# The whole start-up, from the handshake to the key: the driver sends it unasked.
STARTUP_S: Final = 5.0
# Sockets that have not shown a key yet, of all and of one address; those without an address of their own share one.
STRANGERS_MAX: Final = 200
STRANGERS_PER_ADDRESS_MAX: Final = 20
# Whoever has one IPv6 address has a whole network of this size (RFC 6177).
NETWORK_BITS: Final = 64
PASSWORD_BYTES_MAX: Final = 1_024
# Requests for encryption that are declined before the start-up: TLS and GSSAPI, once each.
DECLINED_MAX: Final = 2
# The watch looks at each session this often; with the keys' own 0.5 s it keeps "revoked within a second".
WATCH_S: Final = 0.2
# The statement_timeout of a key's role is as long as the deadline, and may come first: it hits nothing else.
LEAD_S: Final = 0.5
# After a deadline the statement is cancelled; this much later its session is ended.
GRACE_S: Final = 1.0
# How long one piece of an answer may wait for a client that doesn't read.
SEND_S: Final = 10.0
GOODBYE_S: Final = 1.0
SECRET_BYTES: Final = 4
# From protocol 3.2 on a cancel request may name a longer secret.
LONG_SECRET_MINOR: Final = 2
LONG_SECRET_BYTES: Final = 32
PROCESS_BITS: Final = 31
SESSION_ID_BYTES: Final = 8

# RFC 6455, section 7.4.1.
NORMAL: Final = 1000
UNSUPPORTED_DATA: Final = 1003

NO_REPLICATION: Final = ("false", "off", "no", "0")
BAD_KEY: Final = "28P01"
ENDPOINT: Final = "/v2"

log = logs.get_logger(__name__)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Gone(Exception):
    """The client has left, or its socket is of no use any more."""


class Refused(Exception):
    """The session ends with this error."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(fields["C"])
        self.fields = fields


class Wire:
    """A WebSocket of the server as a stream of bytes."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.sending_since: float | None = None
        self._receive = receive
        self._send = send
        self._is_open = False
        self._code = NORMAL

    async def accept(self) -> None:
        """Finish the handshake; raises Gone."""
        if (await self._receive())["type"] != "websocket.connect":
            raise Gone
        await self._push({"type": "websocket.accept"})
        self._is_open = True

    async def receive(self) -> bytes:
        """The next binary frame; raises Gone, and Refused for one of text."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._is_open = False
            raise Gone
        data = message.get("bytes")
        if data is None:
            self._code = UNSUPPORTED_DATA
            raise Refused(refusal("08P01", "binary frames are spoken here", "FATAL"))

        return bytes(data)

    async def send(self, data: bytes) -> None:
        """One binary frame; waits while the client doesn't read. Raises Gone."""
        self.sending_since = time.monotonic()
        await self._push({"type": "websocket.send", "bytes": data})
        self.sending_since = None

    async def end(self, fields: Fields | None = None, code: int | None = None) -> None:
        """Say why, where there is a reason, and close; a client that doesn't listen is left alone after a moment."""
        if not self._is_open:
            return
        self._is_open = False
        with contextlib.suppress(Gone, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                if fields is not None:
                    await self._push({"type": "websocket.send", "bytes": frames.error(fields)})
                await self._push({"type": "websocket.close", "code": code or self._code})

    async def _push(self, message: MutableMapping[str, Any]) -> None:
        try:
            await self._send(message)
        except (OSError, RuntimeError) as exc:
            # The server raises RuntimeError for a socket that it has closed itself.
            self._is_open = False
            raise Gone from exc


class Scribe:
    """Writes a session's lines of the audit: one for each statement that ran, or was refused."""

    def __init__(self, services: Services, key: Key) -> None:
        self._services = services
        self._key = key
        self._session = _session_id()

    def __call__(self, done: Done) -> None:
        """Note one."""
        ruling = done.ruling
        status = problems.status_of_state(done.sqlstate) if done.sqlstate else HTTPStatus.OK
        self._services.figures.note(ENDPOINT, status, done.seconds)
        if ruling is not None and ruling.rule is not None:
            self._services.figures.refused[ruling.rule] += 1
        self._services.audit.write(
            Record(
                self._session,
                ENDPOINT,
                status,
                key=self._key.id,
                role=self._key.role,
                verdict="allowed" if ruling is None or ruling.rule is None else "refused",
                rule=ruling.rule if ruling is not None else None,
                hash=ruling.digest if ruling is not None else None,
                statements=1,
                rows=done.rows,
                bytes=done.bytes,
                database_ms=milliseconds(done.seconds),
                total_ms=milliseconds(done.seconds),
                sqlstate=done.sqlstate,
            )
        )


class Session:
    """One client with its upstream connection."""

    def __init__(self, wire: Wire, server: Upstream, relay: Relay, note: Callable[[Done], None]) -> None:
        self._wire = wire
        self._server = server
        self._relay = relay
        self._note = note
        self._reason: asyncio.Future[Fields | None] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._cancelling: asyncio.Task[None] | None = None

    async def run(self) -> Fields | None:
        """Relay until one side ends; returns the error that the client is still to be told."""
        pumps = [asyncio.create_task(self._upwards()), asyncio.create_task(self._downwards())]
        ends: list[asyncio.Future[Any]] = [*pumps, self._reason]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            results = await asyncio.gather(*pumps, return_exceptions=True)
            await self._leave()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, Gone | Refused):
                raise result
        told = [result.fields for result in results if isinstance(result, Refused)]
        reason = self._reason.result() if self._reason.done() else None

        return reason or self._relay.over or (told[0] if told else None)

    def end(self, fields: Fields) -> None:
        """End it from outside, with this error."""
        if not self._reason.done():
            self._reason.set_result(fields)

    def cancel(self) -> None:
        """Have the server cancel what runs."""
        if self._cancelling is None or self._cancelling.done():
            self._cancelling = asyncio.create_task(self._server.cancel())

    def check(self) -> None:
        """What time asks for: a cancellation, or the end."""
        if (expired := self._relay.expired()) is not None:
            self.end(expired)
        since = self._wire.sending_since
        if since is not None and time.monotonic() - since > SEND_S:
            self.end(refusal("57014", "terminating connection: the client doesn't read", "FATAL"))
        overdue = self._relay.overdue()
        if overdue > GRACE_S:
            self.end(refusal("57014", "terminating connection: the statement doesn't end", "FATAL"))
        elif overdue > 0:
            self.cancel()

    async def _upwards(self) -> None:
        """From the client to the server."""
        piece = b""
        while True:
            if self._cancelling is not None:
                # What comes next must not be hit by a cancellation that was meant for what came before.
                await asyncio.shield(self._cancelling)
            out = self._relay.from_client(piece)
            if out:
                await self._write(out)
            self._follow_up()
            if self._relay.over or self._relay.left or self._relay.ended:
                return
            piece = b""
            if not self._relay.has_more:
                piece = await self._wire.receive()
            elif self._relay.is_full:
                await self._room.wait()
            else:
                await asyncio.sleep(0)

    async def _downwards(self) -> None:
        """From the server to the client."""
        while True:
            try:
                piece = await self._server.read()
            except OSError:
                piece = b""
            if not piece:
                raise Refused(refusal("08006", "the connection to the database was lost", "FATAL"))
            out = self._relay.from_server(piece)
            self._follow_up()
            if out:
                await self._wire.send(out)
            if self._relay.over or self._relay.ended:
                return

    async def _write(self, out: bytes) -> None:
        try:
            await self._server.write(out)
        except OSError:
            # Why it closed may still be there to be read, and the other pump reads it.
            await asyncio.Event().wait()

    def _follow_up(self) -> None:
        relay = self._relay
        if relay.is_full:
            self._room.clear()
        else:
            self._room.set()
        if relay.wants_cancel:
            relay.wants_cancel = False
            self.cancel()
        for done in relay.done:
            self._note(done)
        relay.done.clear()

    async def _leave(self) -> None:
        """Stop what runs, so that the server need not find out by itself that nobody waits for it any more."""
        if self._relay.is_busy and not self._relay.ended:
            self.cancel()
        if self._cancelling is not None:
            await self._cancelling


class Sockets:
    """Every session of this process; `serve` answers `GET /v2`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits(ROWS_MAX, ANSWER_BYTES_MAX, DEADLINE_S + LEAD_S)
        self._strangers: Counter[str] = Counter()
        self._sessions: dict[int, tuple[bytes, Session, Rules]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    async def serve(self, services: Services, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One WebSocket, from its handshake to its end. Raises nothing that a client could cause."""
        wire = Wire(receive, send)
        peer = scope.get("client")
        reason: Fields | None = None
        try:
            await wire.accept()
            address = gate.peer_of(services, dict(scope["headers"]), str(peer[0]) if peer else "")
            reason = await self._converse(services, wire, address)
        except Gone:
            return
        except Refused as exc:
            reason = exc.fields
            _note_refusal(services, reason["C"])
        except Exception:
            log.exception("session_failed")
            reason = refusal("XX000", "something went wrong on our side", "FATAL")
        finally:
            await wire.end(reason)

    async def _converse(self, services: Services, wire: Wire, peer: str) -> Fields | None:
        neighbourhood = _neighbourhood(peer)
        if self._strangers.total() >= STRANGERS_MAX or self._strangers[neighbourhood] >= STRANGERS_PER_ADDRESS_MAX:
            raise Refused(refusal("53300", "too many connections are being made", "FATAL"))
        self._strangers[neighbourhood] += 1
        reader = Reader(frames.CLIENT_KINDS, PASSWORD_BYTES_MAX)
        try:
            async with asyncio.timeout(STARTUP_S):
                asked = await self._greet(wire, reader)
                if asked is None:
                    return None
                key = await _authenticate(services.keyring, wire, reader, peer)
        except TimeoutError:
            raise Refused(refusal("57014", "canceling authentication due to timeout", "FATAL")) from None
        except Violation as exc:
            raise Refused(refusal("08P01", str(exc), "FATAL")) from exc
        except errors.CallMeBackError as exc:
            raise Refused(_fatal(exc)) from exc
        finally:
            self._strangers[neighbourhood] -= 1
            if not self._strangers[neighbourhood]:
                del self._strangers[neighbourhood]
        if services.is_draining:
            raise Refused(refusal("57P03", "the proxy is being stopped", "FATAL"))
        try:
            with services.limits.admitted(key):
                async with services.pools.slot(key.role):
                    return await self._hold(services, wire, key, asked, reader.rest())
        except errors.CallMeBackError as exc:
            raise Refused(_fatal(exc)) from exc

    async def _greet(self, wire: Wire, reader: Reader) -> Startup | None:
        """The start-up message; None when the socket was there to cancel something."""
        for left in range(DECLINED_MAX, -1, -1):
            while (packet := reader.startup()) is None:
                reader.feed(await wire.receive())
            asked = frames.read_startup(packet)
            if asked.wants == "cancel":
                found = self._sessions.get(asked.process)
                if found is not None and hmac.compare_digest(found[0], asked.secret):
                    found[1].cancel()
                return None
            if asked.wants == "start":
                await _negotiate(wire, asked)
                return asked
            # Encryption is the WebSocket's; inside it there is none.
            if left:
                await wire.send(b"N")

        raise Violation("a start-up message was expected")

    async def _hold(self, services: Services, wire: Wire, key: Key, asked: Startup, left_over: bytes) -> Fields | None:
        """The session itself, on a connection that lives as long as it does."""
        server = await upstream.log_in(services.dsn_for(key.role))
        process = self._new_process()
        rules = Rules(key, services.verdicts, services.limits)
        try:
            secret = secrets.token_bytes(LONG_SECRET_BYTES if asked.minor >= LONG_SECRET_MINOR else SECRET_BYTES)
            relay = Relay(rules, self._limits, time.monotonic)
            relay.start(left_over)
            session = Session(wire, server, relay, Scribe(services, key))
            self._sessions[process] = (secret, session, rules)
            self._watch(services)
            hello = [frames.AUTHENTICATED, *server.settings, frames.key_data(process, secret), frames.ready(b"I")]
            await wire.send(b"".join(hello))
            return await session.run()
        finally:
            self._sessions.pop(process, None)
            self._keep(services, rules)
            await server.close()

    def _new_process(self) -> int:
        while (process := secrets.randbits(PROCESS_BITS)) in self._sessions:
            pass

        return process

    def _watch(self, services: Services) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._look(services), name="sessions")

    def _keep(self, services: Services, rules: Rules) -> None:
        """Have what an exact key is to learn learnt, without waiting for it."""
        if rules.learnt:
            task = asyncio.create_task(_learn(services.keyring, rules))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _look(self, services: Services) -> None:
        """Look at every session now and then: its deadlines, and whether its key still stands."""
        while self._sessions:
            await asyncio.sleep(WATCH_S)
            for _, session, rules in list(self._sessions.values()):
                session.check()
                if not rules.renew(services.keyring.current(rules.key)):
                    session.end(refusal("28000", "terminating connection: the key was revoked or changed", "FATAL"))
                self._keep(services, rules)


def _neighbourhood(peer: str) -> str:
    """Whom an address counts for."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)

    return str(ipaddress.ip_network((address.packed, NETWORK_BITS), strict=False))


def _note_refusal(services: Services, sqlstate: str) -> None:
    """A session that never began has its line too; whose key it was, if any, is not known."""
    status = HTTPStatus.UNAUTHORIZED if sqlstate == BAD_KEY else problems.status_of_state(sqlstate)
    services.figures.note(ENDPOINT, status, 0.0)
    services.audit.write(Record(_session_id(), ENDPOINT, status, verdict="refused", sqlstate=sqlstate))


def _session_id() -> str:
    return secrets.token_hex(SESSION_ID_BYTES)


async def _learn(keyring: Keyring, rules: Rules) -> None:
    """Hand on what an exact key sent while it learns; a text that can't be kept now is learnt another time."""
    texts, rules.learnt = rules.learnt, []
    for text in texts:
        try:
            await keyring.learn(rules.key, text)
        except errors.CallMeBackError as exc:
            log.warning("not_learnt", key=rules.key.id, error=exc.code)


async def _negotiate(wire: Wire, asked: Startup) -> None:
    """Agree on the version and ask for the password; user, database and all settings of the start-up are ignored."""
    if asked.parameters.get("replication", "false").lower() not in NO_REPLICATION:
        raise Refused(refusal("0A000", "replication is not available here", "FATAL"))
    unknown = [name for name in asked.parameters if name.startswith("_pq_.")]
    if asked.minor > frames.PROTOCOL_MINOR_MAX or unknown:
        await wire.send(frames.negotiate(min(asked.minor, frames.PROTOCOL_MINOR_MAX), unknown))
    await wire.send(frames.ASK_PASSWORD)


async def _authenticate(keyring: Keyring, wire: Wire, reader: Reader, peer: str) -> Key:
    """The key that the password is; it may have come together with the start-up.

    Raises Violation, Refused, and what the keyring raises.
    """
    while (message := reader.message()) is None:
        reader.feed(await wire.receive())
    if message.kind != ord("p"):
        raise Violation("a password was expected")
    token = frames.read_string(message.payload).decode(errors="replace")
    key = await keyring.authenticate(token, peer)
    if key.mode == "named":
        raise Refused(refusal(INSUFFICIENT_PRIVILEGE, ONLY_NAMED, "FATAL"))

    return key


def _fatal(exc: errors.CallMeBackError) -> Fields:
    """A domain error as the reason why a session doesn't begin."""
    return refusal(problems.sqlstate_of(exc) or "XX000", exc.detail, "FATAL")
