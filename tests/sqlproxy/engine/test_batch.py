"""Batches: one transaction, all or nothing, once."""

import asyncio
from typing import Any

import psycopg
import pytest
from tests.sqlproxy.engine.conftest import share
from tests.sqlproxy.engine.running import Running

from callmeback.sqlproxy import batch as batches
from callmeback.sqlproxy.requests import QueryBody, Request

pytestmark = pytest.mark.anyio

INSERT = {"query": "INSERT INTO things VALUES ($1, $2, 0)"}


def insert(number: int) -> dict[str, Any]:
    return INSERT | {"parameters": [number, f"batch {number}"]}


async def batch(proxy: Running, *queries: dict[str, Any], key: str | None = None, **options: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await proxy.post("/batch", {"queries": list(queries), **options}, headers=headers)


def count(hand: psycopg.Connection) -> int:
    [row] = hand.execute("SELECT count(*) FROM things WHERE id >= 1000").fetchall()
    return int(row[0])


async def test_all_statements_answer_in_order(proxy: Running, hand: psycopg.Connection) -> None:
    for start in (1000, 2000, 3000):
        answer = await batch(
            proxy, insert(start), {"query": "SELECT id FROM things WHERE id = $1", "parameters": [start]}
        )
        assert answer.json() == {
            "results": [
                {"rows": [], "rowCount": 1, "command": "INSERT"},
                {"rows": [{"id": start}], "rowCount": 1, "command": "SELECT"},
            ]
        }
    assert count(hand) == 3
    assert (await batch(proxy)).json() == {"results": []}


@pytest.mark.parametrize("key", [None, "some-key"])
async def test_s04_a_failure_leaves_nothing(proxy: Running, hand: psycopg.Connection, key: str | None) -> None:
    # Twice each, since the second one finds the statements prepared.
    for _ in range(3):
        answer = await batch(proxy, insert(1000), insert(1), insert(1001), key=key)
        assert (answer.status_code, answer.json()["sqlstate"], answer.json()["query"]) == (409, "23505", 1)
        assert count(hand) == 0
    assert proxy.services.pools.stats().idle == 1
    assert (await batch(proxy, insert(1000), key=key)).status_code == 200


async def test_a_constraint_that_is_checked_at_the_end_fails_the_batch(
    proxy: Running, hand: psycopg.Connection
) -> None:
    hand.execute("ALTER TABLE things ADD CONSTRAINT once UNIQUE (size) DEFERRABLE INITIALLY DEFERRED")
    answer = await batch(proxy, insert(1000), {"query": "UPDATE things SET size = 1 WHERE id = 2"})

    assert (answer.status_code, answer.json()["sqlstate"]) == (409, "23505")
    assert count(hand) == 0


async def test_what_is_refused_stops_the_batch_before_it_begins(proxy: Running, hand: psycopg.Connection) -> None:
    answer = await batch(proxy, insert(1000), {"query": "COMMIT"}, insert(1))

    assert (answer.status_code, answer.json()["query"]) == (403, 1)
    assert count(hand) == 0


async def test_isolation(proxy: Running) -> None:
    shown = {"query": "SHOW transaction_isolation"}
    for name, level in (
        ("ReadUncommitted", "read uncommitted"),
        ("ReadCommitted", "read committed"),
        ("RepeatableRead", "repeatable read"),
        ("serializable", "serializable"),
        ("repeatable read", "repeatable read"),
        (None, "read committed"),
    ):
        answer = await batch(proxy, shown, isolation=name)
        headers = {} if name is None else {"Neon-Batch-Isolation-Level": name}
        neon = await proxy.post("/sql", {"queries": [shown]}, headers=headers)
        found = [each.json()["results"][0]["rows"] for each in (answer, neon)]

        assert found == [[{"transaction_isolation": level}]] * 2


async def test_an_unknown_isolation_is_refused(proxy: Running) -> None:
    assert (await batch(proxy, isolation="chaos")).status_code == 400


async def test_read_only_holds_whatever_the_statements_say(proxy: Running, hand: psycopg.Connection) -> None:
    """CVE-2026-12045: COMMIT and a write after it went past another proxy's read-only switch."""
    for queries in ([insert(1000)], [{"query": "COMMIT; INSERT INTO things VALUES (1000, 'x', 1)"}]):
        answer = await batch(proxy, *queries, readOnly=True)
        neon = await proxy.post("/sql", {"queries": queries}, headers={"Neon-Batch-Read-Only": "true"})
        assert (answer.status_code, neon.status_code) == (403, 400)
    assert count(hand) == 0
    assert await proxy.value("SHOW transaction_read_only") == "off"


async def test_neon_s_transaction(proxy: Running, hand: psycopg.Connection) -> None:
    headers = {
        "Neon-Array-Mode": "true",
        "Neon-Batch-Isolation-Level": "Serializable",
        "Neon-Batch-Read-Only": "true",
        "Neon-Batch-Deferrable": "true",
    }
    queries = [{"query": "SELECT $1::int AS n", "params": [1]}, {"query": "SHOW transaction_deferrable", "params": []}]
    found = (await proxy.post("/sql", {"queries": queries}, headers=headers)).json()

    assert [each["rows"] for each in found["results"]] == [[["1"]], [["on"]]]
    failed = await proxy.post("/sql", {"queries": [insert(1000), insert(1)]})
    assert (failed.status_code, failed.json()["code"], count(hand)) == (400, "23505", 0)


async def test_more_statements_than_a_batch_may_have(proxy: Running) -> None:
    answer = await batch(proxy, *[{"query": "SELECT 1"}] * 1_001)

    assert answer.status_code == 400


async def test_a_long_batch_with_large_values_goes_through(proxy: Running) -> None:
    """More than any socket buffer holds, both ways."""
    answer = await batch(proxy, *[{"query": "SELECT repeat($1, 9000) AS x", "parameters": ["a"]}] * 900)

    assert [len(each["rows"][0]["x"]) for each in answer.json()["results"]] == [9000] * 900


# Idempotency.


async def test_judging_a_batch_lets_others_have_their_turn(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TURN_S", 0.0)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    queries = [QueryBody(query=f"SELECT {n} AS n") for n in range(300)]
    request = Request(b"POST", "/batch", {}, "127.0.0.1")
    key = await proxy.services.keyring.authenticate(proxy.token, "127.0.0.1")
    counting = asyncio.create_task(take_turns())
    allowed, _ = await batches.permit(proxy.services, request, key, queries)
    counting.cancel()

    assert len(allowed) == 300
    assert turns > 100


async def test_a_repeated_batch_gives_the_first_answer(proxy: Running, hand: psycopg.Connection) -> None:
    first = await batch(proxy, insert(1000), {"query": "SELECT now() AS at"}, key="k1")
    second = await batch(proxy, insert(1000), {"query": "SELECT now() AS at"}, key="k1")

    assert first.status_code == 200
    assert second.content == first.content
    assert count(hand) == 1


async def test_another_batch_under_the_same_key_is_a_conflict(proxy: Running, hand: psycopg.Connection) -> None:
    await batch(proxy, insert(1000), key="k1")
    other = await batch(proxy, insert(1001), key="k1")

    assert (other.status_code, other.json()["sqlstate"]) == (409, "CM006")
    assert count(hand) == 1


async def test_a_failed_batch_may_be_tried_again_under_its_key(proxy: Running, hand: psycopg.Connection) -> None:
    hand.execute("INSERT INTO things VALUES (1000, 'in the way', 0)")
    assert (await batch(proxy, insert(1000), key="k1")).status_code == 409
    hand.execute("DELETE FROM things WHERE id = 1000")

    assert (await batch(proxy, insert(1000), key="k1")).status_code == 200


async def test_a_batch_sent_many_times_at_once_runs_once(proxy: Running, hand: psycopg.Connection) -> None:
    # The insertion names no id, so each run would leave a row.
    once = {"query": "INSERT INTO things SELECT max(id) + 1000, $1 || max(id), 0 FROM things", "parameters": ["x"]}
    for round_number in range(5):
        answers = await asyncio.gather(*(batch(proxy, once, key=f"round {round_number}") for _ in range(4)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert count(hand) == round_number + 1


async def test_a_key_is_one_key_s_own(proxy: Running, hand: psycopg.Connection) -> None:
    other = await proxy.make_key(reads=("personas",), writes=("personas",), pii=True)
    share(hand, proxy.role)
    await batch(proxy, insert(1000), key="k1")
    answer = await proxy.post("/batch", {"queries": [insert(1001)]}, other.token, headers={"Idempotency-Key": "k1"})

    assert answer.status_code == 200
    assert count(hand) == 2


async def test_an_idempotency_key_has_its_length(proxy: Running) -> None:
    assert [(await batch(proxy, insert(1000), key=key)).status_code for key in ("", "x" * 201)] == [400, 400]


async def test_a_role_that_only_reads_may_send_a_key_too(proxy: Running) -> None:
    reader = await proxy.make_key(reads=("personas",))
    body = {"queries": [{"query": "SELECT now() AS at"}]}
    answers = [await proxy.post("/batch", body, reader.token, headers={"Idempotency-Key": "r"}) for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 200], answers[0].text
    write = await proxy.post("/batch", {"queries": [insert(1000)]}, reader.token, headers={"Idempotency-Key": "w"})
    assert write.status_code == 403
