"""Our own login: what a DSN asks for is done or refused by name, with TLS as libpq would have it."""

import asyncio
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import Cluster

from callmeback import errors
from callmeback.pg import binaries, roles, server
from callmeback.sqlproxy import frames, upstream

pytestmark = pytest.mark.anyio

OPENSSL = shutil.which("openssl")


async def value(dsn: str, text: str) -> str:
    """The one value of a query on a connection of its own."""
    connection = await upstream.log_in(dsn)
    try:
        reader = frames.Reader(frames.SERVER_KINDS, 1 << 20)
        await connection.write(frames.query(text.encode()))
        found = ""
        while (message := reader.message()) is None or message.kind != ord("Z"):
            if message is None:
                reader.feed(await connection.read())
            elif message.kind == ord("D"):
                found = message.payload[6:].decode()
            elif message.kind == ord("E"):
                raise AssertionError(frames.read_fields(message.payload))
        return found
    finally:
        await connection.close()


@pytest.fixture
def dsn(cluster: Cluster, shared_database_url: str) -> str:
    """The login of a role that has little."""
    return roles.dsn_for(roles.READONLY, cluster.role_secret, shared_database_url)


# Without TLS


async def test_a_role_logs_in_and_is_told_of_the_server(dsn: str):
    connection = await upstream.log_in(dsn)
    settings = dict(frames.read_setting(raw[frames.HEADER_BYTES :]) for raw in connection.settings)
    await connection.close()

    assert settings["client_encoding"] == "UTF8"
    assert settings["standard_conforming_strings"] == "on"
    assert settings["session_authorization"] == roles.READONLY


async def test_the_first_host_that_answers_is_taken(dsn: str):
    port = conninfo_to_dict(dsn)["port"]
    several = make_conninfo(dsn, host="127.0.0.1,127.0.0.1", port=f"1,{port}")

    assert await value(several, "SELECT current_user") == roles.READONLY


async def test_only_a_server_that_takes_writes_is_taken_where_the_dsn_says_so(cluster: Cluster, dsn: str):
    writer = roles.dsn_for(roles.API, cluster.role_secret, dsn)

    assert await value(make_conninfo(writer, target_session_attrs="read-write"), "SELECT current_user") == roles.API
    assert await value(make_conninfo(dsn, target_session_attrs="primary"), "SELECT current_user") == roles.READONLY
    # Its sessions are read only, on the primary too.
    with pytest.raises(errors.DatabaseUnavailable):
        await upstream.log_in(make_conninfo(dsn, target_session_attrs="read-write"))


@pytest.mark.parametrize("first", [frames.error({"S": "FATAL", "C": "57P03", "M": "starting up"}), b""])
async def test_a_member_that_is_not_ready_or_silent_is_passed_over(
    dsn: str, first: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upstream, "LOGIN_S", 4.0)
    async with answering(first) as port:
        ports = f"{port},{conninfo_to_dict(dsn)['port']}"
        several = make_conninfo(dsn, host="127.0.0.1,127.0.0.1", port=ports, sslmode="disable")

        assert await value(several, "SELECT current_user") == roles.READONLY


async def test_a_unix_socket_is_found_by_its_folder(dsn: str, cluster: Cluster):
    with psycopg.connect(cluster.superuser_dsn) as connection:
        folders = connection.execute("SELECT current_setting('unix_socket_directories')").fetchone()
    assert folders is not None
    if not folders[0]:
        pytest.skip("capability: a Unix socket of a path that is short enough")

    assert await value(make_conninfo(dsn, host=folders[0]), "SELECT inet_client_addr() IS NULL") == "t"


@pytest.mark.parametrize(
    "options",
    [
        {"password": "wrong"},
        {"user": "nobody_here"},
        {"dbname": "nowhere"},
        {"port": 1},
        {"host": "name.invalid"},
        {"sslmode": "require"},
        {"sslmode": "disable", "channel_binding": "require"},
    ],
)
async def test_a_login_that_fails_is_a_database_that_is_not_there(dsn: str, options: dict[str, object]):
    with pytest.raises(errors.DatabaseUnavailable):
        await upstream.log_in(make_conninfo(dsn, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"gssencmode": "require"},
        {"target_session_attrs": "standby"},
        {"sslcrl": "/etc/a.crl"},
        {"requirepeer": "postgres"},
        {"require_auth": "none"},
        {"host": "a,b,c", "port": "1,2"},
    ],
)
def test_what_a_dsn_asks_for_and_is_not_done_is_named(dsn: str, options: dict[str, object]):
    with pytest.raises(errors.ConfigurationError, match="DATABASE_URL"):
        upstream.place_of(make_conninfo(dsn, **options))


def test_a_dsn_without_a_host_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PGHOST", raising=False)

    with pytest.raises(errors.ConfigurationError, match="host"):
        upstream.place_of("dbname=callmeback")


async def test_a_server_that_says_nothing_is_not_waited_for(dsn: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upstream, "LOGIN_S", 0.2)
    async with answering(b"") as port:
        with pytest.raises(errors.DatabaseUnavailable):
            await upstream.log_in(make_conninfo(dsn, port=port, sslmode="disable"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frames.ASK_PASSWORD,  # the password in clear
        frames.authentication(5, b"salt"),  # by MD5
        frames.authentication(10, b"SCRAM-SHA-1\0\0"),
        frames.authentication(12, b"v=abc"),  # the end of an exchange that never began
        frames.authentication(10, b"SCRAM-SHA-256\0\0") + frames.AUTHENTICATED,  # without proving that it knows it too
        frames.authentication(10, b"SCRAM-SHA-256\0\0") + frames.authentication(11, b"r=x,s=x,i=1"),
        frames.message(b"R", b"\0"),
        frames.setting("a", "b") * 1_000,
    ],
)
async def test_a_server_that_proves_nothing_gets_no_session(dsn: str, answer: bytes):
    async with answering(answer) as port:
        with pytest.raises(errors.DatabaseUnavailable):
            await upstream.log_in(make_conninfo(dsn, port=port, sslmode="disable"))


def answering(answer: bytes) -> AbstractAsyncContextManager[int]:
    """A port where everybody is told the same."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await reader.read()

    return listening(tell)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """A port where everybody is served; at the end nothing of it is left open."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, below: tuple[Any, Any]) -> None:
    """Both directions, until one ends."""

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(1 << 16):
            target.write(piece)
            await target.drain()

    pumps = [asyncio.create_task(pump(reader, below[1])), asyncio.create_task(pump(below[0], writer))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        below[1].transport.abort()
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


# With TLS


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A key and a certificate that it signed itself, for localhost."""
    key, made = folder / f"{name}.key", folder / f"{name}.crt"
    assert OPENSSL is not None
    command = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {made}"
    subprocess.run(
        [OPENSSL, *command.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True
    )

    return key, made


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    if OPENSSL is None:
        pytest.skip("capability: openssl")
    folder = tmp_path_factory.mktemp("certificates")

    return {name: certificate(folder, name) for name in ("own", "other")}


def front(dsn: str, key: Path, shown: Path) -> AbstractAsyncContextManager[int]:
    """A port that ends TLS and passes everything on to the server in clear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown, key)
    target = conninfo_to_dict(dsn)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == frames.ssl_request()
        writer.write(b"S")
        await writer.start_tls(context)
        await pass_on(reader, writer, await asyncio.open_connection(str(target["host"]), int(target["port"])))

    return listening(serve)


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
async def test_tls_is_spoken_where_the_dsn_asks_for_it(dsn: str, mode: str, certificates: dict[str, tuple[Path, Path]]):
    async with front(dsn, *certificates["own"]) as port:
        asked = make_conninfo(
            dsn, host="localhost", hostaddr="127.0.0.1", port=port, sslmode=mode, sslrootcert=certificates["own"][1]
        )

        assert await value(asked, "SELECT current_user") == roles.READONLY


@pytest.mark.parametrize(
    ("mode", "host", "root"),
    [("verify-ca", "localhost", "other"), ("verify-full", "localhost", "other"), ("verify-full", "elsewhere", "own")],
)
async def test_a_certificate_of_somebody_else_is_refused(
    dsn: str, mode: str, host: str, root: str, certificates: dict[str, tuple[Path, Path]]
):
    async with front(dsn, *certificates["own"]) as port:
        asked = make_conninfo(
            dsn, host=host, hostaddr="127.0.0.1", port=port, sslmode=mode, sslrootcert=certificates[root][1]
        )
        with pytest.raises(errors.DatabaseUnavailable):
            await upstream.log_in(asked)


async def test_what_was_said_in_clear_is_not_taken_for_what_is_encrypted(
    dsn: str, certificates: dict[str, tuple[Path, Path]]
):
    """As CVE-2021-23222 of libpq: an attacker puts answers behind the S, before the handshake."""
    async with answering(b"S" + frames.AUTHENTICATED + frames.ready(b"I")) as port:
        with pytest.raises(errors.DatabaseUnavailable):
            await upstream.log_in(make_conninfo(dsn, port=port, sslmode="require"))


@pytest.fixture
def tls_server(certificates: dict[str, tuple[Path, Path]]) -> Iterator[str]:
    """A PostgreSQL that speaks TLS itself: the DSN of its owner."""
    if not binaries.system():
        pytest.skip("capability: PostgreSQL of the system")
    home = Path(tempfile.mkdtemp(prefix="callmeback-tests-"))
    home.chmod(0o711)
    try:
        with server.start(home, candidates=binaries.system(), durable=False) as running:
            key, shown = certificates["own"]
            with psycopg.connect(running.superuser_dsn, autocommit=True) as connection:
                ((data,),) = connection.execute("SHOW data_directory").fetchall()
                folder = Path(data)
                for source, name in ((key, "server.key"), (shown, "server.crt")):
                    shutil.copy(source, folder / name)
                    (folder / name).chmod(0o600)
                    shutil.chown(folder / name, folder.owner(), folder.group())
                connection.execute("ALTER SYSTEM SET ssl = on")
                connection.execute("SELECT pg_reload_conf()")
            yield running.owner_dsn
    finally:
        shutil.rmtree(home)


async def test_the_login_is_bound_to_the_certificate(tls_server: str, certificates: dict[str, tuple[Path, Path]]):
    """Where nobody checks certificates, the exchange itself tells that another one was shown on the way."""
    bound = make_conninfo(tls_server, sslmode="require", channel_binding="require")
    async with asyncio.timeout(10):
        while True:
            try:
                assert await value(bound, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
                break
            except errors.DatabaseUnavailable:
                await asyncio.sleep(0.05)  # the server takes its new configuration in its own time

    assert await value(make_conninfo(bound, channel_binding="disable"), "SELECT 1") == "1"

    async with tunnel(tls_server, *certificates["other"]) as port:
        for binding in ("prefer", "require"):
            with pytest.raises(errors.DatabaseUnavailable):
                await upstream.log_in(make_conninfo(bound, port=port, channel_binding=binding))


def tunnel(dsn: str, key: Path, shown: Path) -> AbstractAsyncContextManager[int]:
    """Somebody in between: TLS with their own certificate on one side, TLS with the server's on the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown, key)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    target = conninfo_to_dict(dsn)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        below = await asyncio.open_connection(str(target["host"]), int(target["port"]))
        below[1].write(frames.ssl_request())
        await below[0].readexactly(1)
        await below[1].start_tls(trusting)
        await pass_on(reader, writer, below)

    return listening(serve)
