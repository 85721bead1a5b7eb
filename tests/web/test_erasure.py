"""A person asks to be forgotten: what is left of them anywhere in the database, and what must be left."""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.web.house import PASSWORD, House, Person, problem

from callmeback.domain import upkeep
from callmeback.pg.pool import Database

pytestmark = pytest.mark.anyio

EMAIL = "Margot.Quillfeather@example.org"
NAME = "Margot Quillfeather"
PHONE, SECOND_PHONE = "+12025550143", "+12025550144"
SAID = "The marmalade is in the lighthouse."
# One word for every place that a person can write into: each is looked for in every column of every table.
WRITTEN = {
    "persona": "zanzibarcat", "description": "zanzibardog", "prompt": "zanzibareel", "relationship": "zanzibarfox",
    "type": "zanzibargnu", "scenario": "zanzibarhen", "scenario_text": "zanzibaribis", "memory": "zanzibarjay",
    "context": "zanzibarkiwi", "key": "zanzibarlynx", "instructions": "zanzibarmole", "schedule": "zanzibarnewt",
    "pretext": "zanzibarowl", "payment": "zanzibarpug", "note": "zanzibarquail", "customer": "zanzibarram",
    "avatar": "zanzibarseal", "voice": "zanzibartoad", "model": "zanzibarwasp",
}  # fmt: skip
MARKS = (EMAIL.lower(), "quillfeather", PHONE[1:], SECOND_PHONE[1:], "marmalade", *WRITTEN.values())
# Nobody's any more: what erase_user puts where a column may not be empty.
NEUTRAL = "(erased-user_[0-9a-z]+@invalid|Erased|erased|)"


@pytest.fixture
async def margot(house: House) -> Person:
    """Somebody who has left something in every place that takes words, with a call that was paid by credits."""
    person = await house.person(EMAIL, phone=PHONE, name=NAME, timezone="Europe/Berlin")
    await house.verify(person, SECOND_PHONE)
    house.books.execute("SELECT set_tier(%s, 'basic')", (person.id,))
    house.books.execute("SELECT move_credits(%s, 20, 'promotion', 'test:1')", (person.id,))
    await write(house, person)
    await settle(house, person)
    plant(house, person)

    return person


async def write(house: House, person: Person) -> None:
    """What the API takes."""
    persona = await created(
        person, "/api/personas",
        name=WRITTEN["persona"], description=WRITTEN["description"], core_system_prompt=WRITTEN["prompt"],
        avatar_url=f"/static/{WRITTEN['avatar']}.svg",
    )  # fmt: skip
    await created(person, "/api/scenarios", name=WRITTEN["scenario"], scenario_text=WRITTEN["scenario_text"])
    for persona_id in ("brad", persona["id"]):
        answer = await person.client.put(
            f"/api/relationships/{persona_id}",
            json={
                "custom_system_prompt": WRITTEN["relationship"],
                "relationship_type": WRITTEN["type"],
                "is_favorite": True,
            },
        )
        assert answer.status_code == 200, answer.text
    answer = await person.client.put("/api/preferences", json={"memory": WRITTEN["memory"], "memory_enabled": True})
    assert answer.status_code == 200, answer.text


async def created(person: Person, path: str, **body: Any) -> dict[str, Any]:
    answer = await person.client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()

    return found


async def settle(house: House, person: Person) -> None:
    """A call as if it had been held, without waiting for it."""
    await aside(house, "UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001, refilled_at = now()")
    answer = await person.client.post("/api/calls", json={"persona_id": "sarah", "context": WRITTEN["context"]})
    assert answer.status_code == 202, answer.text
    call_id = answer.json()["id"]
    await aside(house, "SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, 61, 61, 100)", person.id, call_id)
    await aside(house, "INSERT INTO transcripts VALUES (%s, %s, 0, 'user', %s, now())", person.id, call_id, SAID)
    await aside(house, "UPDATE dial_buckets SET tokens = 100, calls_per_second = 100")


async def aside(house: House, statement: str, *values: object) -> None:
    """Run a statement beside the loop: the process in it may hold the row that is waited for."""
    await asyncio.to_thread(house.books.execute, statement, values)


async def talk(house: House, person: Person) -> None:
    """A call that is really held, with a key."""
    await house.script(PHONE, says=[SAID], ring_seconds=0.05)
    answer = await person.client.post(
        "/api/calls",
        json={"persona_id": "brad", "context": WRITTEN["context"], "max_minutes": 2},
        headers={"Idempotency-Key": WRITTEN["key"]},
    )
    assert answer.status_code == 202, answer.text
    done = await house.until(person, answer.json()["id"])
    assert done["credits_used"] == 1, done


def plant(house: House, person: Person) -> None:
    """What later releases and operators write: schedules, payments, notes on unknown callers."""
    given = {"user": person.id, "phone": PHONE, "email": EMAIL, **WRITTEN}
    for statement in (
        "UPDATE calls SET custom_instructions = %(instructions)s, voice_id = %(voice)s WHERE user_id = %(user)s",
        "UPDATE users SET stripe_customer_id = %(customer)s WHERE id = %(user)s",
        "INSERT INTO call_schedules (user_id, id, persona_id, phone_number, rrule, starts_at_local, timezone,"
        " call_pretext) VALUES (%(user)s, 'sch_1', 'brad', %(phone)s, 'FREQ=DAILY', '2026-01-01T10:00', 'UTC',"
        " %(schedule)s)",
        "INSERT INTO scheduled_calls (user_id, id, persona_id, phone_number, scheduled_time, schedule_id, occurrence,"
        " call_pretext) VALUES (%(user)s, 'occ_1', 'brad', %(phone)s, now(), 'sch_1', now(), %(pretext)s)",
        "INSERT INTO scheduled_calls (user_id, id, persona_id, phone_number, scheduled_time, schedule_id, call_id,"
        " status, call_pretext) SELECT user_id, 'occ_2', 'brad', %(phone)s, now(), 'sch_1', id, 'executed',"
        " %(pretext)s FROM calls WHERE user_id = %(user)s",
        "INSERT INTO payment_events (id, type, created_at, state, user_id, payload) VALUES ('evt_1', 'charge', now(),"
        " 'applied', %(user)s, jsonb_build_object('name', %(payment)s::text, 'email', %(email)s::text))",
        "INSERT INTO purchases (user_id, id, sku, credits, amount_cents, currency, status, stripe_customer_id)"
        " VALUES (%(user)s, 'pur_1', 'credits', 10, 999, 'usd', 'completed', %(customer)s)",
        "INSERT INTO unknown_caller_attempts (phone_number, persona_id, notes) VALUES (%(phone)s, 'brad', %(note)s)",
        "INSERT INTO unknown_caller_attempts (phone_number, persona_id, converted_user_id)"
        " VALUES ('+12025550188', 'brad', %(user)s)",
        "UPDATE personas SET default_voice_id = %(voice)s, llm_model = %(model)s, category = %(type)s"
        " WHERE owner_user_id = %(user)s",
    ):
        house.books.execute(statement, given)


def tables(house: House) -> list[str]:
    rows = house.books.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
    ).fetchall()

    return [row["relname"] for row in rows]


def found(house: House, marks: tuple[str, ...]) -> dict[str, set[str]]:
    """By mark, the tables that have it in any column of any row, whatever its type and case."""
    places: dict[str, set[str]] = {mark: set() for mark in marks}
    for table in tables(house):
        query = sql.SQL("SELECT lower(t::text) AS line FROM {} AS t").format(sql.Identifier(table))
        lines = [row["line"] for row in house.books.execute(query)]
        for mark in marks:
            if any(mark in line for line in lines):
                places[mark].add(table)

    return places


def personal_columns(house: House) -> Iterator[tuple[str, str, str]]:
    """Table, column and the column that says whose row it is, of every column with a class of privacy."""
    rows = house.books.execute(
        "SELECT t.relname, a.attname, (SELECT k.attname FROM pg_attribute AS k WHERE k.attrelid = t.oid"
        " AND k.attname IN ('user_id', 'owner_user_id', 'converted_user_id')) AS owner"
        " FROM pg_attribute AS a INNER JOIN pg_class AS t ON a.attrelid = t.oid"
        " WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND a.attnum > 0"
        " AND NOT a.attisdropped AND col_description(t.oid, a.attnum) ~ '^(pii:|secret)'"
    ).fetchall()
    for row in rows:
        yield row["relname"], row["attname"], "id" if row["relname"] == "users" else row["owner"]


def left_over(house: House, person: Person) -> list[str]:
    """Columns of a class of privacy that still hold something in a row of this person."""
    left = []
    for table, column, owner in personal_columns(house):
        if owner is None:
            continue
        query = sql.SQL("SELECT {}::text AS value FROM {} WHERE {} = %s").format(
            sql.Identifier(column), sql.Identifier(table), sql.Identifier(owner)
        )
        values = [row["value"] for row in house.books.execute(query, (person.id,))]
        allowed = house.row(
            "SELECT coalesce(bool_and(v IS NULL OR v ~ %s), true) AS fine FROM unnest(%s::text[]) AS v",
            f"^{NEUTRAL}$", values,
        )  # fmt: skip
        if not allowed["fine"]:
            left.append(f"{table}.{column}")

    return left


async def test_m17_nothing_of_an_erased_person_is_left_anywhere(house: House, margot: Person):
    await talk(house, margot)
    before, classed = found(house, MARKS), left_over(house, margot)
    answer = await margot.client.delete("/api/auth/me")

    # The search finds each of them while there is something to find.
    assert [mark for mark, places in before.items() if not places] == []
    assert {"users.email", "phones.number", "transcripts.text", "calls.call_pretext"} <= set(classed)
    assert answer.status_code == 204
    assert found(house, MARKS) == {mark: set() for mark in MARKS}
    assert left_over(house, margot) == []


async def test_m17_the_ledger_and_the_figures_stay_without_the_person(house: House, margot: Person):
    kept = (
        "SELECT json_agg(t ORDER BY t.seq) AS rows FROM credit_transactions AS t WHERE user_id = %s",
        "SELECT json_agg(b) AS rows FROM call_cost_breakdowns AS b WHERE user_id = %s",
        "SELECT json_agg(e ORDER BY e.seq) AS rows FROM call_cost_events AS e WHERE user_id = %s",
        "SELECT json_agg((c.id, c.status, c.duration_seconds, c.credits_used, c.actual_cost_cents)) AS rows"
        " FROM calls AS c WHERE user_id = %s",
        "SELECT json_agg(m) AS rows FROM monthly_spend AS m WHERE user_id = %s",
        "SELECT json_agg((p.amount_cents, p.credits)) AS rows FROM purchases AS p WHERE user_id = %s",
    )
    before = [house.row(query, margot.id)["rows"] for query in kept]
    await margot.client.delete("/api/auth/me")
    after = [house.row(query, margot.id)["rows"] for query in kept]
    erasure = house.row("SELECT requested_by FROM erasures WHERE user_id = %s", margot.id)

    assert all(before)
    assert after == before
    assert len(before[0]) == 2
    assert house.row("SELECT bool_and(is_proved) AS proved FROM ledger_proof")["proved"] is True
    assert erasure["requested_by"] == "person"


async def test_m17_tokens_are_dead_and_address_and_number_are_free(house: House, margot: Person):
    login = await house.client().post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    second = house.client(login.json()["token"])
    await house.client().post("/api/auth/password/forgot", json={"email": EMAIL})
    link = await house.mail_token(EMAIL)
    await margot.client.delete("/api/auth/me")
    for client in (margot.client, second):
        for method, path in (("GET", "/api/auth/me"), ("GET", "/api/calls"), ("DELETE", "/api/auth/me")):
            assert problem(await client.request(method, path)) == (401, "unauthorized")
    again = await house.client().post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    reset = await house.client().post("/api/auth/password/reset", json={"token": link, "password": "a new horse"})
    newcomer = await house.person(EMAIL.upper(), phone=PHONE)
    calls = await newcomer.client.get("/api/calls")

    assert problem(again) == (401, "invalid_credentials")
    assert problem(reset) == (400, "invalid_token")
    assert newcomer.id != margot.id
    assert calls.json()["items"] == []


async def test_m17_only_the_one_who_asked_is_erased(house: House, margot: Person):
    ben = await house.person("ben@example.org", phone="+12025550102", name="Ben")
    await ben.client.put("/api/preferences", json={"memory": "likes tea", "memory_enabled": True})
    before = [(await ben.client.get(path)).json() for path in ("/api/auth/me", "/api/preferences", "/api/phones")]
    await margot.client.delete("/api/auth/me")
    after = [(await ben.client.get(path)).json() for path in ("/api/auth/me", "/api/preferences", "/api/phones")]
    cards = (await ben.client.get("/api/personas")).json()["items"]

    assert after == before
    assert {card["id"] for card in cards} == {"brad", "sarah", "alex"}


async def test_m17_who_talks_is_erased_after_the_call(house: House, margot: Person):
    await house.script(PHONE, ring_seconds=30)
    placed = (await margot.client.post("/api/calls", json={"persona_id": "brad"})).json()
    refused = await margot.client.delete("/api/auth/me")
    shown = (await margot.client.get("/api/auth/me")).json()
    await margot.client.post(f"/api/calls/{placed['id']}/hangup")
    await house.until(margot, placed["id"])
    erased = await margot.client.delete("/api/auth/me")

    assert problem(refused) == (429, "call_in_progress")
    assert shown["name"] == NAME
    assert erased.status_code == 204
    assert left_over(house, margot) == []


async def test_m17_what_was_being_written_while_somebody_was_erased_goes_too(
    house: House, ann: Person, worker: Database, database_url: str
):
    """A request that had begun before may end after: minutes later the person is emptied once more."""
    with psycopg.connect(database_url) as late:
        late.execute(
            "INSERT INTO call_scenario_templates (user_id, id, name, scenario_text) VALUES (%s, 'scn_1', 'x', %s)",
            (ann.id, WRITTEN["scenario_text"]),
        )
        answer = await ann.client.delete("/api/auth/me")
        late.commit()
    await house.change("UPDATE users SET name = %s WHERE id = %s", NAME, ann.id)
    soon = await upkeep.erase_again(worker)
    await house.change("UPDATE erasures SET erased_at = now() - interval '11 minutes'")
    swept = [await upkeep.erase_again(worker) for _ in range(2)]

    assert (answer.status_code, soon, swept) == (204, 0, [1, 0])
    assert house.row("SELECT count(*) AS n FROM call_scenario_templates WHERE user_id = %s", ann.id)["n"] == 0
    assert house.row("SELECT name FROM users WHERE id = %s", ann.id)["name"] is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "SELECT FROM call_schedules WHERE user_id = %s FOR NO KEY UPDATE",
            "SELECT FROM scheduled_calls WHERE user_id = %s FOR NO KEY UPDATE",
        ),
        ("SELECT FROM phones WHERE user_id = %s FOR UPDATE", "UPDATE users SET phone = NULL WHERE id = %s"),
        (
            "UPDATE users SET timezone = 'Asia/Tokyo' WHERE id = %s",
            "SELECT FROM call_schedules WHERE user_id = %s FOR NO KEY UPDATE",
        ),
        (
            "SELECT FROM payment_events WHERE user_id = %s FOR NO KEY UPDATE",
            "SELECT FROM user_credits WHERE user_id = %s FOR NO KEY UPDATE",
        ),
    ],
    ids=["a change of a schedule", "a number", "another zone", "an event of the provider"],
)
async def test_an_erasure_waits_for_what_is_under_way_and_is_not_waited_for(
    house: House, margot: Person, database_url: str, first: str, second: str
):
    """Whoever takes rows in another order than everybody else ends one of two transactions as a deadlock."""
    with psycopg.connect(database_url) as other:
        other.execute(first, (margot.id,))
        erasing = asyncio.create_task(margot.client.delete("/api/auth/me"))
        await blocked(house)
        other.execute(second, (margot.id,))
        other.commit()
    answer = await erasing

    assert answer.status_code == 204, answer.text


async def test_a_link_that_is_opened_while_its_person_is_erased_opens_nothing(
    house: House, margot: Person, database_url: str
):
    token = await house.mail_token(EMAIL)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", (margot.id,))
        erasing = asyncio.create_task(margot.client.delete("/api/auth/me"))
        await blocked(house)
        opening = asyncio.create_task(house.client().post("/api/auth/email/verify", json={"token": token}))
        await blocked(house, 2)
        other.commit()
    erased, opened = await asyncio.gather(erasing, opening)

    assert erased.status_code == 204, erased.text
    assert problem(opened) == (400, "invalid_token")


async def blocked(house: House, most: int = 1) -> None:
    """Until so many wait for a row."""
    async with asyncio.timeout(30):
        while (
            house.row(
                "SELECT count(*) AS n FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )["n"]
            < most
        ):
            await asyncio.sleep(0.02)
