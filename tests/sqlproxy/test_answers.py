"""First answers to batches: kept in the batch's own transaction, by the role of its key and nobody else's."""

import threading

import psycopg
import pytest
from tests.sqlproxy.conftest import Made, MakeKey, refusal

pytestmark = pytest.mark.anyio

HASH, OTHER_HASH = b"h" * 32, b"o" * 32
CLAIM = "SELECT public.claim_answer(%s, 'first', %s)"
KEEP = "SELECT public.keep_answer(%s, 'first', %s)"


def claim(session: psycopg.Connection, key: Made, request_hash: bytes = HASH) -> bytes | None:
    row = session.execute(CLAIM, (key.id, request_hash)).fetchone()
    assert row is not None

    return row[0]


@pytest.fixture
async def key(books: psycopg.Connection, make_key: MakeKey) -> Made:
    return await make_key(writes=("blocked_numbers",))


async def test_the_second_request_gets_the_first_answer(key: Made) -> None:
    with key.login() as session:
        with session.transaction():
            first = claim(session, key)
            session.execute(KEEP, (key.id, b"the answer"))
        second = claim(session, key)
        conflict = refusal(session, CLAIM, key.id, OTHER_HASH)
        overwritten = refusal(session, KEEP, key.id, b"another")

    assert (first, second) == (None, b"the answer")
    assert (conflict, overwritten) == ("CM006", "CM008")


async def test_an_answer_that_was_rolled_back_was_never_given(key: Made) -> None:
    with key.login() as session:
        with session.transaction(force_rollback=True):
            claim(session, key)
            session.execute(KEEP, (key.id, b"lost"))
        again = claim(session, key, OTHER_HASH)

    assert again is None


async def test_a_second_request_waits_for_the_first(key: Made) -> None:
    found: list[bytes | None] = []

    def repeat() -> None:
        with key.login() as other:
            found.append(claim(other, key))

    with psycopg.connect(key.dsn) as session:
        claim(session, key)
        session.execute(KEEP, (key.id, b"the answer"))
        thread = threading.Thread(target=repeat)
        thread.start()
        thread.join(0.3)
        was_waiting = thread.is_alive()
        session.commit()
        thread.join()

    assert was_waiting
    assert found == [b"the answer"]


async def test_answers_of_another_role_are_out_of_reach(
    key: Made, make_key: MakeKey, books: psycopg.Connection
) -> None:
    other = await make_key(writes=("user_preferences",))
    reader = await make_key(reads=("all",))
    with key.login() as session, session.transaction():
        claim(session, key)
        session.execute(KEEP, (key.id, b"the answer"))
    with other.login() as session:
        taken = refusal(session, CLAIM, key.id, HASH)
        written = refusal(session, KEEP, key.id, b"mine")
    with reader.login() as session:
        read = [refusal(session, CLAIM, key.id, HASH), refusal(session, "SELECT * FROM public.proxy_answers")]

    assert (taken, written) == ("CM008", "CM008")
    assert read == ["42501", "42501"]


async def test_old_answers_are_swept(key: Made, books: psycopg.Connection) -> None:
    with key.login() as session, session.transaction():
        claim(session, key)
        session.execute(KEEP, (key.id, b"the answer"))
    kept = books.execute("SELECT sweep_expired()").fetchone()
    books.execute("UPDATE proxy_answers SET created_at = now() - interval '3 days'")
    swept = books.execute("SELECT sweep_expired()").fetchone()

    assert (kept, swept) == ((0,), (1,))
