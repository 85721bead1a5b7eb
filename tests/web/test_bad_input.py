"""What clients send by mistake or on purpose: every answer is a problem with a code, never a 500."""

import asyncio
import re

import pytest
from tests.web.house import House, Person, problem

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"nonsense", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b'{"persona_id": "\xff\xfe"}', "body"),
        (b'{"persona_id": "\\ud800"}', "body"),
        (b"[" * 100_000, "body"),
        (b'{"persona_id": ' + b"9" * 5_000 + b"}", "persona_id"),
        ('{"persona_id": "brad"}'.encode("utf-16"), "body"),
        (b"{}", "persona_id"),
        (b'{"persona_id": null}', "persona_id"),
        (b'{"persona_id": ["brad"]}', "persona_id"),
        (b'{"persona_id": ""}', "persona_id"),
        (b'{"persona_id": "brad", "max_minutes": "5"}', "max_minutes"),
        (b'{"persona_id": "brad", "max_minutes": 0}', "max_minutes"),
        (b'{"persona_id": "brad", "max_minutes": 100000}', "max_minutes"),
        (b'{"persona_id": "brad", "max_minutes": 1.5}', "max_minutes"),
        (b'{"persona_id": "brad", "max_minutes": 1e999}', "max_minutes"),
        (b'{"persona_id": "brad", "phone_number": 12025550101}', "phone_number"),
        (b'{"persona_id": "%s"}' % (b"x" * 65), "persona_id"),
        (b'{"persona_id": "brad", "context": "%s"}' % (b"x" * 2001), "context"),
    ],
)
async def test_a_wrong_body_is_400_and_names_the_field(house: House, ann: Person, content: bytes, field: str):
    answer = await ann.client.post("/api/calls", content=content, headers=JSON)

    assert problem(answer) == (400, "validation_failed")
    assert answer.json()["fields"][0]["field"] == field
    assert house.row("SELECT count(*) AS n FROM calls")["n"] == 0


async def test_a_nul_in_a_text_is_400_and_names_the_field(ann: Person):
    draft = {"name": "Mum", "core_system_prompt": "You are mum."}
    refused = [
        await ann.client.post("/api/calls", json={"persona_id": "brad\0"}),
        await ann.client.post("/api/calls", json={"persona_id": "brad", "context": "a\0b"}),
        await ann.client.put("/api/relationships/brad", json={"custom_system_prompt": "\0"}),
        await ann.client.post("/api/phones", json={"number": "+12025550102\0"}),
        await ann.client.post("/api/personas", json=draft | {"default_voice_settings": {"odd": ["\0"]}}),
    ]
    kept = await ann.client.post("/api/personas", json=draft | {"description": r"a backslash and \u0000"})

    assert {problem(answer) for answer in refused} == {(400, "validation_failed")}
    assert [answer.json()["fields"][0]["field"] for answer in refused] == [
        "persona_id", "context", "custom_system_prompt", "number", "default_voice_settings.odd[0]",
    ]  # fmt: skip
    assert kept.json()["description"] == r"a backslash and \u0000"


async def test_a_nul_beside_what_is_nested_too_deep_is_400(ann: Person):
    nested = b'{"persona_id": "brad", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b', "context": "\\u0000"}'
    answer = await ann.client.post("/api/calls", content=nested, headers=JSON)

    assert problem(answer) == (400, "validation_failed")


async def test_a_huge_body_is_413_whether_it_says_so_or_not(house: House, ann: Person):
    async def pieces():
        for _ in range(300):
            yield b"x" * 1024

    announced = await ann.client.post("/api/calls", content=b"x" * 300_000, headers=JSON)
    in_pieces = await ann.client.post("/api/calls", content=pieces(), headers=JSON)
    unknown = await house.client().post("/api/auth/login", content=pieces(), headers=JSON)

    assert problem(announced) == (413, "body_too_large")
    assert problem(in_pieces) == (413, "body_too_large")
    assert problem(unknown) == (413, "body_too_large")


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error_of_ours(house: House, ann: Person):
    for path in ("/api/calls", "/login", "/webhooks/twilio/status"):
        _, writer = await asyncio.open_connection("127.0.0.1", house.settings.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n".encode())
        writer.write(b"Cookie: form=x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()

    def answered(text: str) -> list[str]:
        return [line for line in text.splitlines() if re.match(r"callmeback_requests_total.*status=\"[45]", line)]

    async with asyncio.timeout(10):
        while len(lines := answered((await house.client().get("/metrics")).text)) < 3:
            await asyncio.sleep(0.05)

    assert [line for line in lines if 'status="5' in line] == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/calls/call_unknown",
        "/api/calls/%00",
        "/api/calls/%FF%FE",
        "/api/calls/" + "x" * 3000,
        "/api/calls/..%2F..%2Fetc",
        "/api/personas/%00",
        "/api/personas/'; DROP TABLE users; --",
        "/api/scenarios/%F0%9F%98%80",
        "/api/relationships/brad%20",
        "/api/nothing",
        "/api",
        "/api/calls/x/y/z",
    ],
)
async def test_an_unknown_address_or_id_is_404(ann: Person, path: str):
    found = problem(await ann.client.get(path))

    # A NUL can be part of no id; saying so is as good as not finding it.
    assert found == ((400, "validation_failed") if "%00" in path else (404, "not_found"))


async def test_a_method_that_isn_t_there_is_405(ann: Person):
    answer = await ann.client.put("/api/calls", json={})

    assert problem(answer) == (405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


async def test_bad_header_values_are_400(ann: Person):
    for key in ("", "x" * 201):
        answer = await ann.client.post("/api/calls", json={"persona_id": "brad"}, headers={"Idempotency-Key": key})
        assert problem(answer) == (400, "validation_failed"), key


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/costs?from=2026-13-01&to=never", ["from", "to"]),
        ("/api/calls?cursor=" + "x" * 301, ["cursor"]),
        ("/api/analytics?days=0", ["days"]),
    ],
)
async def test_a_wrong_parameter_has_the_name_that_the_client_gave_it(ann: Person, path: str, fields: list[str]):
    answer = await ann.client.get(path)

    assert problem(answer) == (400, "validation_failed")
    assert [found["field"] for found in answer.json()["fields"]] == fields
    assert "regex" not in answer.text


async def test_a_wrong_number_or_key_is_named_as_it_was_sent(house: House, ann: Person):
    order = {"persona_id": "brad", "phone_number": "+15551234567"}
    call = await ann.client.post("/api/calls", json=order)
    key = await ann.client.post("/api/calls", json={"persona_id": "brad"}, headers={"Idempotency-Key": "x" * 201})
    account = {"email": "ben@example.org", "password": "long enough", "phone": "+15551234567"}
    register = await house.client().post("/api/auth/register", json=account)

    assert (problem(call), call.json()["fields"][0]["field"]) == ((400, "phone_invalid"), "phone_number")
    assert (problem(key), key.json()["fields"][0]["field"]) == ((400, "validation_failed"), "Idempotency-Key")
    assert (problem(register), register.json()["fields"][0]["field"]) == ((400, "phone_invalid"), "phone")


async def test_s06_nothing_of_the_inside_is_told(house: House, ann: Person):
    """A table is missing: the worst that a statement can meet."""
    house.books.execute("ALTER TABLE user_preferences RENAME TO user_preferences_gone")
    answer = await ann.client.get("/api/preferences")

    assert problem(answer) == (500, "internal_error")
    assert answer.json()["detail"] == "Something went wrong on our side."
    for word in ("user_preferences", "relation", "SELECT", "42P01", "psycopg", "Traceback"):
        assert word not in answer.text


async def test_s03_nothing_that_was_sent_ends_the_process(house: House, ann: Person):
    for content in (b'{"sql": 123}', b"\x00" * 1000, b"%s" % (b'{"a":' * 5000)):
        await ann.client.post("/api/calls", content=content, headers=JSON)
        await house.client().post("/api/auth/login", content=content, headers=JSON)
        await house.client().post("/webhooks/twilio/status", content=content)

    assert (await house.client().get("/health")).status_code == 200
    assert (await ann.client.get("/api/auth/me")).status_code == 200


async def test_s04_an_error_leaves_nothing_for_the_next_request(house: House, ann: Person):
    """Every connection of the pool meets errors in a transaction; none is seen in what follows."""
    for _ in range(30):
        assert problem(await ann.client.put("/api/relationships/nobody", json={}))[0] == 404
        assert problem(await ann.client.post("/api/calls", json={"persona_id": "nobody"}))[0] == 404
    # Of the requests' own pool: the dialler and the like are at work all the time.
    states = house.books.execute(
        "SELECT state FROM pg_stat_activity WHERE application_name = 'callmeback api' "
        "AND datname = current_database() AND state <> 'idle'"
    ).fetchall()
    written = await ann.client.put("/api/preferences", json={"memory": "kept"})

    assert states == []
    assert written.json()["memory"] == "kept"
    assert house.row("SELECT memory FROM user_preferences")["memory"] == "kept"


async def test_m06_the_client_names_no_price_and_no_bypass(house: House, ann: Person):
    bypass = {
        "paymentMethod": "admin_bypass", "payment_method": "admin_bypass", "payment_status": "paid", "price": 0,
        "credits": 1000, "cost_cents": "0", "hold_credits": 0, "granted_seconds": 100_000, "user_id": "somebody",
    }  # fmt: skip
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    refused = await ann.client.post("/api/calls", json={"persona_id": "brad"} | bypass)
    house.books.execute("SELECT move_credits(%s, 2, 'promotion', 'test:1')", (ann.id,))
    placed = await ann.client.post("/api/calls", json={"persona_id": "brad"} | bypass)
    row = house.row("SELECT user_id, payment_method, hold_credits, granted_seconds FROM calls")

    assert problem(refused) == (402, "insufficient_credits")
    assert placed.status_code == 202
    assert row == {"user_id": ann.id, "payment_method": "credit", "hold_credits": 2, "granted_seconds": 120}


@pytest.mark.parametrize("token", [None, "forged", "a.b.c"])
async def test_who_is_not_logged_in_learns_that_and_not_what_is_wrong_with_the_body(house: House, token: str | None):
    headers = JSON if token is None else {**JSON, "authorization": f"Bearer {token}"}
    for method, path in (
        ("POST", "/api/calls"),
        ("POST", "/api/personas"),
        ("POST", "/api/schedules"),
        ("PUT", "/api/budget"),
        ("PATCH", "/api/auth/me"),
        ("POST", "/api/phones"),
        ("POST", "/api/credits/checkout"),
    ):
        for content in (b"{}", b"{", b"[1]"):
            answer = await house.client().request(method, path, content=content, headers=headers)

            assert problem(answer) == (401, "unauthorized"), path
    for path in ("/api/analytics?days=none", "/api/costs?from=never", "/api/admin/users?limit=none"):
        assert problem(await house.client().get(path, headers=headers)) == (401, "unauthorized")
