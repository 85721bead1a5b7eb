"""The services beside the database: whether each answers, whether keys, passwords and certificates still hold."""

import asyncio
import contextlib
import hashlib
import hmac
import ssl
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from callmeback.ops import loglines
from callmeback.ops.doctor.verdicts import Check, Finding, Patient, Skip
from callmeback.ops.loglines import Entry, Wanted
from callmeback.pg import home, place, reach, roles, statements
from callmeback.settings import Settings

SQL: Final = statements.load("callmeback.ops.doctor", "services.sql")

PROBE_WITHIN_S: Final = 2.0
KEY_ENDS_SOON: Final = timedelta(days=7)
CERTIFICATE_ENDS_SOON: Final = timedelta(days=14)
HTTPS_PORT: Final = 443
UNAUTHORIZED: Final = 401
WRONG_KEYS_WITHIN: Final = timedelta(hours=1)
WRONG_KEYS_MIN: Final = 20
TRACE_DIGITS: Final = 32
AUDIT_BYTES_MAX: Final = 8 << 20
# In the form of a key, and none: the keyring must have been asked to say so.
NO_KEY: Final = "cmb_0000000000000000_" + "A" * 43
# Of the home, and of the server's folder, which may lie outside: its superuser's password.
PRIVATE_FILES: Final = ("secrets.json", "run.json", "postgres.json", "backup.key")
PRIVATE_STATE_FILES: Final = ("server.json",)


async def web(patient: Patient) -> Sequence[Finding]:
    """Whether the web process is ready, and which part of it isn't."""
    settings = patient.settings
    url = home.read_run(settings.home).get("web_url") or settings.near_url(settings.port)

    return await _ready(settings, url, "serve")


async def proxy(patient: Patient) -> Sequence[Finding]:
    """Whether the SQL proxy is ready, and turns a wrong key away: for that it has to know the right ones."""
    settings = patient.settings
    url = home.read_run(settings.home).get("proxy_url") or settings.near_url(settings.proxy_port)
    found = await _ready(settings, url, "proxy")
    if found:
        return found
    headers = {"Authorization": f"Bearer {NO_KEY}", "traceparent": f"00-{own_trace(settings)}-{1:016x}-00"}
    status, _ = await _ask(f"{url}/query", json={"query": "", "parameters": []}, headers=headers)

    return () if status == 401 else [Finding(f"{url}/query", f"answers {status} to a key that doesn't exist", True)]


def own_trace(settings: Settings) -> str:
    """The trace of the doctor's own wrong key, by which the audit's reader leaves it out.

    Nobody names it without the roles' secret; that of a doctor that hasn't got it could be anybody's.
    """
    secret = (settings.role_secret or "").encode()

    return hmac.new(secret, b"callmeback doctor: which trace", hashlib.sha256).hexdigest()[:TRACE_DIGITS]


async def worker(patient: Patient) -> Sequence[Finding]:
    """Whether the worker of this home noted its life lately."""
    folder = patient.settings.home
    if home.is_beating(folder, "worker"):
        return ()
    if "worker" not in home.read_run(folder).get("services", ()) or not home.is_locked(folder):
        raise Skip("No worker of this home runs here; one elsewhere notes its life there.")

    return [Finding("worker", "has not noted its life for five seconds: it hangs, or can't reach the database", True)]


async def logins(patient: Patient) -> Sequence[Finding]:
    """Whether the passwords that the services derive from their secret are the roles' passwords."""
    secret = patient.settings.role_secret
    if secret is None:
        raise Skip("The role secret isn't known here: set CALLMEBACK_JWT_SECRET or CALLMEBACK_ROLE_SECRET as there.")
    names = (roles.API, roles.VOICE, roles.WORKER, roles.READONLY, roles.PROXY)
    problems = await asyncio.gather(*(reach.knock(roles.dsn_for(name, secret, patient.dsn)) for name in names))

    return [
        Finding(name, f"can't log in with the password of this installation's secret: {problem.said}", True)
        for name, problem in zip(names, problems, strict=True)
        if problem is not None and problem.kind in ("password", "other")
    ]


async def wrong_keys(patient: Patient) -> Sequence[Finding]:
    """Requests of the last hour whose key the proxy didn't know, by its audit; the doctor's own don't count."""
    own = own_trace(patient.settings)
    path = loglines.file_of(patient.settings.home, "proxy")
    wanted = Wanted(services=("proxy",), since=datetime.now(UTC) - WRONG_KEYS_WITHIN)

    def count() -> int:
        entries = loglines.entries("proxy", loglines.tail(path, AUDIT_BYTES_MAX))
        return sum(_is_unauthorized(entry, own) for entry in entries if wanted(entry))

    try:
        number = await asyncio.to_thread(count)
    except OSError as exc:
        raise Skip("The proxy of this home keeps no log here.") from exc

    if number < WRONG_KEYS_MIN:
        return ()

    return [Finding("SQL proxy", f"{number} requests of the last hour came with a key that isn't good", False)]


def _is_unauthorized(entry: Entry, own: str) -> bool:
    audit = entry.facts.get("sql")

    return isinstance(audit, dict) and audit.get("status") == UNAUTHORIZED and audit.get("trace") != own


async def certificate(patient: Patient) -> Sequence[Finding]:
    """Whether what stands in front of us shows a certificate that holds for a while yet."""
    parts = urlsplit(patient.settings.public_url or "")
    if parts.scheme != "https" or parts.hostname is None:
        raise Skip("CALLMEBACK_PUBLIC_URL isn't https.")
    where = f"{parts.hostname}:{parts.port or HTTPS_PORT}"
    try:
        ends = await asyncio.wait_for(_ends(parts.hostname, parts.port or HTTPS_PORT), PROBE_WITHIN_S)
    except ssl.SSLCertVerificationError as exc:
        return [Finding(where, f"its certificate isn't good: {exc.verify_message}", True)]
    except (OSError, TimeoutError) as exc:
        return [Finding(where, f"can't be reached ({type(exc).__name__})", True)]
    if ends - datetime.now(UTC) > CERTIFICATE_ENDS_SOON:
        return ()

    return [Finding(where, f"its certificate ends at {ends:%Y-%m-%d %H:%M} UTC", False)]


async def private_files(patient: Patient) -> Sequence[Finding]:
    """Files with secrets that others than their owner may read."""
    found = []
    folder = patient.settings.home
    paths = [folder / name for name in PRIVATE_FILES]
    paths += [state / name for state in place.states(folder) for name in PRIVATE_STATE_FILES]
    for path in paths:
        # Whoever may not even look at it can't read it.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                found.append(Finding(str(path), f"has mode {mode:03o}; chmod 600 {path}", True))

    return found


async def _ends(host: str, port: int) -> datetime:
    """When the certificate that is shown there ends; raises what the handshake raises."""
    _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    try:
        shown: dict[str, Any] = writer.get_extra_info("peercert")
    finally:
        writer.close()

    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


async def _ready(settings: Settings, url: str, service: str) -> Sequence[Finding]:
    try:
        status, body = await _ask(f"{url}/ready")
    except httpx.HTTPError as exc:
        running = home.read_run(settings.home).get("services", ())
        if isinstance(exc, httpx.ConnectError) and not (service in running and home.is_locked(settings.home)):
            raise Skip(f"Nothing listens on {url}, and no `up` of this home runs.") from exc
        return [Finding(url, f"doesn't answer ({type(exc).__name__})", True)]
    if status == 200:
        return ()
    parts = body.get("parts") if isinstance(body, dict) else None
    missing = [f"{name} is {state}" for name, state in (parts or {}).items() if state != "ok"]

    return [Finding(url, f"answers {status}: {', '.join(missing) or 'and says nothing'}", True)]


async def _ask(url: str, **request: Any) -> tuple[int, Any]:
    async with httpx.AsyncClient(trust_env=False, timeout=PROBE_WITHIN_S) as client:
        answer = await client.request("POST" if "json" in request else "GET", url, **request)
    is_json = "json" in answer.headers.get("content-type", "")

    return answer.status_code, answer.json() if is_json else None


CHECKS: Final = (
    Check("the web answers", "Its log says why: `callmeback logs --service serve`.", probe=web, is_beside=True),
    Check("the SQL proxy answers", "Its log says why: `callmeback logs --service proxy`.", probe=proxy, is_beside=True),
    Check("the worker works", "Its log says why: `callmeback logs --service worker`.", probe=worker, is_beside=True),
    Check(
        "roles are there",
        "`callmeback up` (or `migrate apply` after it) makes them, as a user who may make roles.",
        SQL.service_roles,
        parameters={"names": [roles.OWNER, roles.API, roles.VOICE, roles.WORKER, roles.READONLY, roles.PROXY]},
    ),
    Check(
        "the services' passwords are right",
        "Give every service the same CALLMEBACK_ROLE_SECRET (or JWT secret); `callmeback up` then sets the passwords.",
        probe=logins,
    ),
    Check(
        "keys are good",
        "`callmeback keys rotate` or `create` for one that ends; `callmeback keys sync` makes a missing role.",
        SQL.keys,
        parameters={"soon": KEY_ENDS_SOON},
    ),
    Check(
        "keys that come are known",
        "Somebody's key was rotated, has ended or is mistyped, or somebody guesses: `callmeback logs --service proxy` "
        "has the times. `callmeback keys list --all` tells what ended.",
        probe=wrong_keys,
        is_beside=True,
    ),
    Check(
        "the certificate holds",
        "Caddy renews by itself: its log says why it didn't. Port 80 must reach it, the name lead here.",
        probe=certificate,
        is_beside=True,
    ),
    Check(
        "secrets are private",
        "Anybody on this machine may have read it: change what it holds too.",
        probe=private_files,
        is_beside=True,
    ),
)
