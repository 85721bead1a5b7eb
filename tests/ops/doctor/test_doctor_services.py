"""The doctor at the services: one that is away, half ready or believes everybody, secrets in the open, certificates."""

import asyncio
import contextlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.ops.doctor.patients import check, named, said

from callmeback.ops import doctor, loglines
from callmeback.ops.doctor import Patient, Verdict, services
from callmeback.ops.doctor.verdicts import Check, Finding
from callmeback.pg import home
from callmeback.pg.pool import Database
from callmeback.settings import Settings

pytestmark = pytest.mark.anyio

READY = {"status": "ready", "parts": {"database": "ok"}}
CA = """
[ca]
default_ca = house
[house]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = names
x509_extensions = addresses
[names]
commonName = supplied
[addresses]
subjectAltName = IP:127.0.0.1
basicConstraints = critical, CA:true
"""


@contextlib.asynccontextmanager
async def answering(
    answers: dict[str, tuple[int, object]], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A port of the loopback where each path has its answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status, body = answers.get(head.split(" ")[1], (404, {}))
            text = json.dumps(body).encode()
            writer.write(
                b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, len(text), text)
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def patient_at(folder: Path, **settings: object) -> Patient:
    """Somebody whose database is away: what stands beside it can be looked at all the same."""
    made = msgspec.structs.replace(Settings(home=folder), **settings)

    return Patient(settings=made, dsn="postgresql://a@127.0.0.1:1/b", db=Database.open("", name="none"))


async def verdict_of(patient: Patient, asked: Check) -> Verdict:
    return await doctor.consult(patient, "services", asked)


async def test_a_look_beside_the_database_that_takes_too_long_is_no_fault_of_the_program(tmp_path: Path):
    async def endless(_: Patient) -> Sequence[Finding]:
        await asyncio.Event().wait()
        return ()

    asked = Check("a far folder", "Wait.", probe=endless, is_beside=True, seconds_max=0)
    verdict = await verdict_of(patient_at(tmp_path), asked)

    assert (verdict.verdict, verdict.what_to_do) == ("skipped", "It took longer than 0 s.")


async def test_the_web_is_ready_half_ready_or_away(tmp_path: Path):
    asked = check("services", "the web answers")
    async with answering({"/ready": (200, READY)}) as port:
        good = await verdict_of(patient_at(tmp_path, port=port), asked)
    unready = {"status": "unready", "parts": {"database": "ok", "schema": "behind", "worker": "silent"}}
    async with answering({"/ready": (503, unready)}) as port:
        half = await verdict_of(patient_at(tmp_path, port=port), asked)
    away = await verdict_of(patient_at(tmp_path, port=port), asked)
    home.write_run(tmp_path, services=["serve", "proxy", "worker"])
    held = home.lock(tmp_path)
    with open(held, "rb", closefd=True):
        async with answering({"/ready": (200, READY)}) as elsewhere:
            home.write_run(tmp_path, web_url=f"http://127.0.0.1:{elsewhere}")
            found = await verdict_of(patient_at(tmp_path, port=port), asked)
        crashed = await verdict_of(patient_at(tmp_path, port=port), asked)

    assert [each.verdict for each in (good, half, away, crashed)] == ["green", "red", "skipped", "red"]
    assert found.verdict == "green", "where the `up` of this home listens, not where this shell would"
    assert "schema is behind, worker is silent" in said(half)
    assert "doesn't answer" in said(crashed)


async def test_a_proxy_must_turn_a_wrong_key_away(tmp_path: Path):
    asked = check("services", "the SQL proxy answers")
    async with answering({"/ready": (200, READY), "/query": (401, {})}) as port:
        good = await verdict_of(patient_at(tmp_path, proxy_port=port), asked)
    async with answering({"/ready": (200, READY), "/query": (200, {"rows": []})}) as port:
        trusting = await verdict_of(patient_at(tmp_path, proxy_port=port), asked)

    assert (good.verdict, trusting.verdict) == ("green", "red")
    assert "answers 200 to a key that doesn't exist" in said(trusting)


async def test_wrong_keys_are_counted_by_the_audit(tmp_path: Path):
    asked = check("services", "keys that come are known")
    none = await verdict_of(patient_at(tmp_path), asked)
    file = loglines.file_of(tmp_path, "proxy")
    file.parent.mkdir()
    line = {"event": "sql", "level": "info", "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"}
    few = [json.dumps(line | {"sql": {"status": status}}) for status in [200] * 50 + [401] * 5]
    file.write_text("\n".join(few) + "\n")
    usual = await verdict_of(patient_at(tmp_path), asked)
    file.write_text("\n".join(few * 6) + "\n")
    many = await verdict_of(patient_at(tmp_path), asked)
    own = services.own_trace(patient_at(tmp_path).settings)
    file.write_text("\n".join([json.dumps(line | {"sql": {"status": 401, "trace": own}})] * 60) + "\n")
    visits = await verdict_of(patient_at(tmp_path), asked)

    assert [each.verdict for each in (none, usual, many, visits)] == ["skipped", "green", "warning", "green"]
    assert "30 requests" in said(many)


async def test_a_worker_that_hangs_is_noticed(tmp_path: Path):
    asked = check("services", "the worker works")
    none = await verdict_of(patient_at(tmp_path), asked)
    home.write_run(tmp_path, services=["worker"])
    with open(home.lock(tmp_path), "rb", closefd=True):
        silent = await verdict_of(patient_at(tmp_path), asked)
        home.beat(tmp_path, "worker")
        beating = await verdict_of(patient_at(tmp_path), asked)

    assert [each.verdict for each in (none, silent, beating)] == ["skipped", "red", "green"]


async def test_secrets_that_others_may_read_are_red(tmp_path: Path):
    asked = check("services", "secrets are private")
    home.generated_secrets(tmp_path)
    good = await verdict_of(patient_at(tmp_path), asked)
    (tmp_path / "postgres").mkdir()
    for name in ("secrets.json", "backup.key", "postgres/server.json"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
        bad = await verdict_of(patient_at(tmp_path), asked)
        (tmp_path / name).chmod(0o600)

        assert (good.verdict, bad.verdict) == ("green", "red")
        assert f"{name}: has mode 644" in said(bad)


RUN = {"id": "b1", "state": "done", "detail": None}


def noted(folder: Path, **runs: tuple[str, float]) -> None:
    """Write runs down as backups do: the state, and how many hours ago."""
    known = {}
    for kind, (state, hours) in runs.items():
        at = f"{datetime.now(UTC) - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
        run = RUN | {"kind": kind, "state": state, "started_at": at, "finished_at": at}
        known[kind] = {"done": run if state == "done" else None, "tried": run}
    (folder / "backups.json").write_text(json.dumps(known))


def certificate(folder: Path, begins: str, ends: str) -> tuple[Path, Path]:
    """A key and a certificate of 127.0.0.1 between these times (YYYYMMDDHHMMSSZ), which signs itself."""
    folder.mkdir()
    (folder / "ca.cnf").write_text(CA)
    (folder / "index.txt").touch()
    (folder / "serial").write_text("01\n")
    for command in (
        "openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -out wish.pem -subj /CN=127.0.0.1",
        "openssl ca -batch -selfsign -config ca.cnf -keyfile key.pem -in wish.pem -out cert.pem -notext"
        f" -startdate {begins} -enddate {ends}",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)

    return folder / "key.pem", folder / "cert.pem"


@pytest.mark.parametrize(
    ("begins", "ends", "verdict", "says"),
    [
        ("20200101000000Z", "20200201000000Z", "red", "certificate has expired"),
        ("20200101000000Z", "20990201000000Z", "green", ""),
        ("soon", "soon", "warning", "its certificate ends at"),
    ],
)
async def test_a_certificate_that_ended_or_ends_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: str, ends: str, verdict: str, says: str
):
    if ends == "soon":
        begins, ends = "20200101000000Z", _in_days(3)
    key, cert = certificate(tmp_path / "ca", begins, ends)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with answering({}, context) as port:
        found = await verdict_of(
            patient_at(tmp_path, public_url=f"https://127.0.0.1:{port}"), check("services", "the certificate holds")
        )

    assert found.verdict == verdict
    assert says in said(found)
    assert named(found) == ([] if verdict == "green" else [f"127.0.0.1:{port}"])


def _in_days(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y%m%d%H%M%SZ}"


async def test_a_certificate_that_nobody_vouches_for_is_red(tmp_path: Path):
    key, cert = certificate(tmp_path / "ca", "20200101000000Z", "20990201000000Z")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with answering({}, context) as port:
        found = await verdict_of(
            patient_at(tmp_path, public_url=f"https://127.0.0.1:{port}"), check("services", "the certificate holds")
        )

    assert found.verdict == "red"
    assert "isn't good" in said(found)
