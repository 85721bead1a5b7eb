"""The service itself: readiness, metrics, documents, overload, draining, a database that goes away."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import structlog
from tests.web.house import Build, House, Person, problem

from callmeback import logs
from callmeback.pg import roles
from callmeback.web import problems, voice_host
from callmeback.web.services import Services

pytestmark = pytest.mark.anyio

PHONE = "+12025550101"


async def test_a_ready_house_says_so(house: House):
    health = await house.client().get("/health")
    ready = await house.client().get("/ready")

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["parts"] == {"database": "ok", "schema": "ok", "prices": "ok", "calls": "ok"}


async def test_head_answers_like_get_without_content(house: House, ann: Person):
    for path in ("/health", "/ready", "/metrics", "/", "/api/personas", "/docs", "/api/nothing"):
        got, head = await house.client().get(path), await house.client().head(path)
        assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"]), path
        assert head.content == b""
    mine = await ann.client.head("/api/calls")
    refused = await ann.client.head("/api/auth/login")
    figures = (await house.client().get("/metrics")).text

    assert (mine.status_code, int(mine.headers["content-length"]) > 0) == (200, True)
    assert refused.status_code == 405
    assert 'callmeback_requests_total{method="HEAD",route="/health",status="200"}' in figures


async def test_readiness_names_what_is_missing(house: House, superuser: psycopg.Connection, database_url: str):
    name = database_url.rpartition("/")[2]
    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename <> %s",
            (name, roles.OWNER),
        )
        gone = await house.client().get("/ready")
        refused = await house.client().get("/api/personas")
        alive = await house.client().get("/health")
    finally:
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    async with asyncio.timeout(15):
        while (await house.client().get("/ready")).status_code != 200:
            await asyncio.sleep(0.1)

    assert (gone.status_code, gone.json()["parts"]["database"]) == (503, "unreachable")
    assert problem(refused) == (503, "database_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert alive.status_code == 200
    assert (await house.client().get("/api/personas")).status_code == 200


async def test_a_database_that_is_behind_isnt_ready(build: Build, books: psycopg.Connection[dict[str, Any]]):
    books.execute("DELETE FROM schema_migrations WHERE version = 8")
    house = await build()
    behind = await house.client().get("/ready")
    books.execute("INSERT INTO schema_migrations SELECT 8, 'seed', repeat('0', 64), now(), 1, 'applied'")
    caught_up = await house.client().get("/ready")

    assert (behind.status_code, behind.json()["parts"]["schema"]) == (503, "behind")
    assert caught_up.status_code == 200


async def test_s05_requests_that_wait_too_long_are_shed_and_the_rest_are_served(build: Build):
    """One person's row is locked; everything that waits for it is bounded, and the others still get through."""
    house = await build(pool_max=3, pool_wait_s=0.5)
    ann = await house.person(phone=PHONE)
    with house.books.transaction():
        house.books.execute("SELECT 1 FROM user_credits WHERE user_id = %s FOR UPDATE", (ann.id,))
        async with asyncio.timeout(20):
            answers = await asyncio.gather(
                *(ann.client.post("/api/calls", json={"persona_id": "brad"}) for _ in range(40))
            )
            alive = await house.client().get("/health")
    after = await house.client().get("/api/personas")

    assert {answer.status_code for answer in answers} <= {503, 504}
    assert {problem(answer)[1] for answer in answers} <= {"overloaded", "deadline_exceeded"}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
    assert alive.status_code == 200
    assert after.status_code == 200
    assert house.row("SELECT count(*) AS n FROM calls")["n"] == 0


async def test_metrics_count_requests_by_route_and_name_nobody(house: House, ann: Person):
    await ann.client.delete("/api/phones/%2B12025550101")
    await ann.client.get("/api/nothing")
    text = (await house.client().get("/metrics")).text

    assert 'callmeback_requests_total{method="POST",route="/api/auth/register",status="201"} 1.0' in text
    assert re.search(
        r'callmeback_requests_total{method="DELETE",route="/api/phones/{number[^"]*}",status="204"} 1.0', text
    )
    assert 'callmeback_pool_connections{pool="api",state="limit"} 20.0' in text
    assert "callmeback_calls_live 0.0" in text
    assert 'status="404"' in text
    assert "2025550101" not in text


async def test_metrics_say_their_type_once(house: House):
    """Prometheus 3 refuses a type with a parameter that comes twice."""
    answer = await house.client().get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_answers_are_kept_by_no_cache(house: House, ann: Person):
    for answer in (await ann.client.get("/api/auth/me"), await house.client().get("/api/auth/me")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_documents_need_no_other_host(house: House):
    page = await house.client().get("/docs")
    schema = (await house.client().get("/docs/openapi.json")).json()

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)=['\"]?(?:https?:)?//", page.text)
    assert "/api/calls" in page.text
    assert schema["openapi"].startswith("3.1")
    assert {"/api/calls", "/api/auth/register", "/api/personas/{persona_id}"} <= set(schema["paths"])
    assert not [path for path in schema["paths"] if path.startswith(("/simulator", "/webhooks"))]
    shapes = set(schema["components"]["schemas"])
    assert {name for name in shapes if not name.isidentifier()} == set()
    assert {"PhonePage", "Call", "CallPage"} <= shapes
    assert set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(schema))) <= shapes
    assert set(re.findall(r"href='#([^']+)'", page.text)) <= set(re.findall(r"id='([^']+)'", page.text))


async def test_the_type_of_every_problem_leads_to_its_description(house: House, ann: Person):
    page = await house.client().get("/docs")
    met = [
        await house.client().get("/api/auth/me"),
        await ann.client.get("/api/personas/nobody"),
        await ann.client.post("/api/calls", json={}),
        await ann.client.put("/api/calls"),
    ]
    places = re.findall(r"id='([^']+)'", page.text)

    assert len(places) == len(set(places))
    assert {meaning.code for meaning in problems.catalogue()} <= set(places)
    for answer in met:
        page_path, _, place = answer.json()["type"].partition("#")
        assert page_path == "/docs"
        assert place in places
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, spec) for path, methods in schema["paths"].items() for method, spec in methods.items()]


async def test_every_operation_documents_its_refusals_and_who_may(house: House):
    schema = (await house.client().get("/docs/openapi.json")).json()
    public = set()
    for path, method, spec in operations(schema):
        if spec.get("security") == [] or spec.get("security") == [{}]:
            public.add(f"{method.upper()} {path}")
        elif path.startswith("/api/"):
            assert "401" in spec["responses"], path
        assert spec.get("description") or spec.get("summary"), path
        assert path != "/ready" or set(spec["responses"]) == {"200", "503"}
        for status, response in spec["responses"].items():
            if status >= "400" and path.startswith("/api/"):
                assert "application/problem+json" in response["content"], (path, status)

    assert public == {
        "POST /api/auth/register", "POST /api/auth/login", "POST /api/auth/password/forgot",
        "POST /api/auth/password/reset", "POST /api/auth/email/verify", "GET /api/personas",
        "GET /api/personas/{persona_id}", "GET /calendar/{name}", "GET /health", "GET /ready", "GET /metrics",
    }  # fmt: skip


async def test_draining_takes_no_calls_and_lets_live_ones_end(house: House, ann: Person):
    await house.script(PHONE, says=["Tell me everything."], hangs_up=False, ring_seconds=0.1)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.until(ann, placed["id"], {"in_progress"})
    ben = await house.person("ben@example.org", phone="+12025550102")
    drained = asyncio.create_task(house.services.drain(8.0))
    await asyncio.sleep(0.2)
    refused = await ben.client.post("/api/calls", json={"persona_id": "brad"})
    ready = await house.client().get("/ready")
    ended = await drained
    done = (await ann.client.get(f"/api/calls/{placed['id']}")).json()

    assert problem(refused) == (503, "draining")
    assert (ready.status_code, ready.json()["parts"]["calls"]) == (503, "draining")
    assert ended is True
    assert (done["status"], done["end_reason"]) == ("completed", "draining")


async def test_a_call_that_the_server_cuts_is_settled_before_the_end(
    build: Build, books: psycopg.Connection[dict[str, Any]]
):
    """No drain before: the process is told to end at once, with a call in it."""
    house = await build()
    ann = await house.person(phone=PHONE)
    await house.script(PHONE, says=["Tell me everything."], hangs_up=False, ring_seconds=0.1)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.until(ann, placed["id"], {"in_progress"})
    await asyncio.sleep(1)
    await house.stack.aclose()
    row = house.row("SELECT status, hold_open, end_reason FROM calls WHERE id = %s", placed["id"])

    assert row["status"] == "completed"
    assert row["hold_open"] is False
    assert row["end_reason"] in ("lost", "draining", "hung_up")


async def test_a_database_that_restarts_in_a_call_loses_nothing(
    house: House, ann: Person, superuser: psycopg.Connection, database_url: str
):
    """Every connection is cut in the middle of the talk, again and again; the talk goes on and is settled once."""
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 5, 'promotion', 'test:1')", (ann.id,))
    await house.script(PHONE, says=["One.", "Two."], ring_seconds=0.1)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.until(ann, placed["id"], {"in_progress"})
    for _ in range(3):
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename <> %s",
            (database_url.rpartition("/")[2], roles.OWNER),
        )
        await asyncio.sleep(1)
    done = await house.until(ann, placed["id"])
    proof = house.row("SELECT bool_and(is_proved) AS proved FROM ledger_proof")

    assert (done["status"], done["end_reason"], done["credits_used"]) == ("completed", "hung_up", 1)
    assert [line["text"] for line in done["transcript"] if line["speaker"] == "user"] == ["One.", "Two."]
    assert house.row("SELECT count(*) AS n FROM credit_transactions WHERE call_id = %s", done["id"])["n"] == 1
    assert proof["proved"]


async def test_s09_the_api_s_own_role_sees_its_person_alone(house: House, ann: Person):
    """The second wall: even a statement that forgets to say whose rows it wants meets only one's own."""
    ben = await house.person("ben@example.org", phone="+12025550102")
    await ann.client.put("/api/relationships/brad", json={"custom_system_prompt": "Secret."})
    await ann.client.post("/api/personas", json={"name": "Zoë", "core_system_prompt": "Secret."})
    dsn = roles.dsn_for(roles.API, house.settings.role_secret or "", house.settings.database_url or "")
    tables = ("phones", "user_credits", "user_persona_relationships", "calls", "transcripts", "credit_transactions")
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT set_config('callmeback.user_id', %s, false)", (ben.id,))
        for table in tables:
            rows = connection.execute(f"SELECT DISTINCT user_id FROM {table}").fetchall()
            assert {row[0] for row in rows} <= {ben.id}, table
        assert connection.execute("SELECT count(*) FROM personas WHERE owner_user_id IS NOT NULL").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
        changed = connection.execute("UPDATE users SET name = 'Mallory' WHERE id = %s", (ann.id,)).rowcount
        assert changed == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT password_hash FROM users")


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Gives the loggers back to pytest."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_as_it_was")
async def test_s16_what_is_logged_names_nobody(house: House, ann: Person, capsys: pytest.CaptureFixture[str]):
    """A whole call, logged as a house logs it, and a crash on top."""
    logs.configure(json=True, level="DEBUG")
    secret = "Sherlock's secret is a red herring"
    await house.script(PHONE, says=[secret], ring_seconds=0.1)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad", "context": secret})).json()
    await house.until(ann, placed["id"])
    house.books.execute("ALTER TABLE user_preferences RENAME TO user_preferences_gone")
    await ann.client.get("/api/preferences")
    printed = "".join(capsys.readouterr())

    assert '"event": "call_held"' in printed
    assert '"event": "request_crashed"' in printed
    for word in (secret, "2025550101", ann.email, ann.token, "correct horse"):
        assert word not in printed


def test_every_way_a_session_ends_has_its_word():
    """The vocabulary of calls.end_reason; what limits a call names itself."""
    limits = {voice_host._unnamed("time_limit"), voice_host._unnamed("budget_reached")}

    assert set(voice_host.REASONS.values()) == {
        "hung_up", "goodbye", "hang_up_requested", "silence", "voicemail", "vendor_failed", "draining", "lost"
    }  # fmt: skip
    assert limits | set(voice_host.LIMITS.values()) == {
        "time_limit", "call_budget_reached", "credits_used_up", "month_budget_reached"
    }  # fmt: skip


async def test_background_work_is_bounded_and_its_failures_stay_there(house: House):
    services: Services = house.services

    async def fail() -> None:
        raise OSError("nobody sees this")

    async def wait() -> None:
        await asyncio.sleep(30)

    failed = services.later("fail", fail())
    assert failed is not None
    await failed
    kept = [services.later("wait", wait()) for _ in range(201)]
    running = [task for task in kept if task is not None]
    await asyncio.sleep(0)
    for task in running:
        task.cancel()

    assert len(running) == 200
    assert kept[-1] is None
