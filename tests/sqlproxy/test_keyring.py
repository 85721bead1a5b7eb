"""The keyring against a real database: who is let in, from where, and how soon not any more."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, tzinfo

import psycopg
import pytest
from tests.conftest import Cluster
from tests.sqlproxy.conftest import ANN, MakeKey

from callmeback import errors
from callmeback.domain import keys
from callmeback.domain.keys import Limits
from callmeback.pg import roles
from callmeback.pg.pool import Database
from callmeback.sqlproxy import keyring
from callmeback.sqlproxy.keyring import Key, Keyring

HERE = "127.0.0.1"
# The keyring's own pace makes it a second at most; a machine that is busy with other tests takes longer.
PATIENCE_S = 20.0

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ring(cluster: Cluster, database_url: str) -> AsyncIterator[Keyring]:
    ring = await Keyring.open(roles.dsn_for(roles.PROXY, cluster.role_secret, database_url))
    yield ring
    await ring.close()


async def is_let_in(ring: Keyring, token: str, peer: str = HERE) -> bool:
    try:
        await ring.authenticate(token, peer)
    except errors.Unauthorized:
        return False
    return True


async def until_ended(ring: Keyring, key: Key) -> None:
    """Wait until an open socket with this key would end."""
    async with asyncio.timeout(PATIENCE_S):
        while ring.current(key) is not None:
            await asyncio.sleep(0.01)


async def test_a_new_key_works_at_once(ring: Keyring, make_key: MakeKey) -> None:
    made = await make_key(name="edge", reads=("users",), limits=Limits(rate=7, concurrency=3))
    key = await ring.authenticate(made.token, HERE)

    assert (key.id, key.name, key.mode, key.role) == (made.id, "edge", "policy", made.line.role)
    assert (key.masked, key.rate, key.concurrency, key.statements, key.texts) == (True, 7, 3, {}, {})
    assert ring.current(key) is key
    assert made.token.rpartition("_")[2] not in repr(key)
    assert key.proof.hex() not in repr(key)


async def test_s02_a_wrong_key_gets_one_answer(ring: Keyring, make_key: MakeKey) -> None:
    made = await make_key()
    right = made.token
    other = await make_key()
    wrong = [
        "", "x", right[:-1], right + "0", right[:-1] + ("0" if right[-1] != "0" else "1"), right.upper(), f" {right}",
        right.replace("_", "-"), f"cmb_{'0' * 16}_{right[-64:]}", f"cmb_{made.id}_{other.token[-64:]}",
        f"{right}\n", f"{right}\0", f"{right}é", "cmb_" + "a" * 100_000, right.replace("cmb", "cmc"),
    ]  # fmt: skip
    answers = set()
    for token in wrong:
        with pytest.raises(errors.Unauthorized) as caught:
            await ring.authenticate(token, HERE)
        answers.add(str(caught.value))

    assert answers == {"The API key is missing, wrong, revoked or expired."}
    assert await is_let_in(ring, right)


async def test_a_revoked_key_ends(ring: Keyring, owner: Database, make_key: MakeKey) -> None:
    made = await make_key()
    key = await ring.authenticate(made.token, HERE)
    async with owner.transaction() as tx:
        await keys.revoke(tx, made.id)

    await until_ended(ring, key)

    assert not await is_let_in(ring, made.token)


async def test_a_revoked_key_ends_without_the_hint_too(
    ring: Keyring, owner: Database, books: psycopg.Connection, make_key: MakeKey
) -> None:
    """Poolers swallow notifications; here the function that sends them is silenced."""
    made = await make_key()
    key = await ring.authenticate(made.token, HERE)
    (source,) = books.execute("SELECT pg_get_functiondef('note_key_change'::regproc)").fetchone() or ("",)
    assert "pg_notify" in source
    books.execute(source.replace("PERFORM pg_notify('callmeback_keys', '');", ""))
    async with owner.transaction() as tx:
        await keys.revoke(tx, made.id)

    await until_ended(ring, key)
    assert keyring.POLL_S <= 0.5


async def test_a_key_that_was_deleted_by_hand_ends_too(
    ring: Keyring, books: psycopg.Connection, make_key: MakeKey
) -> None:
    made = await make_key()
    key = await ring.authenticate(made.token, HERE)
    books.execute("DELETE FROM api_keys WHERE id = %s", (made.id,))

    await until_ended(ring, key)


async def test_an_erased_persons_key_is_revoked(ring: Keyring, books: psycopg.Connection, make_key: MakeKey) -> None:
    made = await make_key(reads=("calls",), as_user=ANN)
    key = await ring.authenticate(made.token, HERE)
    books.execute("DELETE FROM open_calls")
    books.execute("SELECT erase_user(%s, 'operator')", (ANN,))

    await until_ended(ring, key)


async def test_two_secrets_live_during_a_rotation(ring: Keyring, owner: Database, make_key: MakeKey) -> None:
    made = await make_key()
    opened = await ring.authenticate(made.token, HERE)
    async with owner.transaction() as tx:
        _, second = await keys.rotate(tx, made.id, timedelta(hours=1))
    both = [await is_let_in(ring, token) for token in (second, made.token)]
    async with owner.transaction() as tx:
        line, third = await keys.rotate(tx, made.id, timedelta(hours=1))
    after = [await is_let_in(ring, token) for token in (third, second)]
    await until_ended(ring, opened)
    first = await is_let_in(ring, made.token)
    async with owner.transaction() as tx:
        _, fourth = await keys.rotate(tx, made.id, timedelta(0))
    fresh = await is_let_in(ring, fourth)
    async with asyncio.timeout(PATIENCE_S):
        while await is_let_in(ring, third):
            await asyncio.sleep(0.01)

    assert both == [True, True]
    assert after == [True, True]
    assert (first, fresh) == (False, True)
    assert line.other_secret_until is not None


class AnHourLater(datetime):
    """The proxy's clock, set forward."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # it is a moment like any other
        return datetime.now(tz) + timedelta(hours=1)


async def test_the_old_secret_ends_with_its_time(
    ring: Keyring, owner: Database, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make_key()
    async with owner.transaction() as tx:
        _, newer = await keys.rotate(tx, made.id, timedelta(minutes=59))
    # Whoever shows the newer one has the keyring look for it.
    before = [await is_let_in(ring, token) for token in (newer, made.token)]
    monkeypatch.setattr(keyring, "datetime", AnHourLater)
    after = [await is_let_in(ring, token) for token in (newer, made.token)]

    assert (before, after) == ([True, True], [True, False])


async def test_a_key_expires(ring: Keyring, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make_key(limits=Limits(expires_in=timedelta(minutes=59)))
    key = await ring.authenticate(made.token, HERE)
    before = ring.current(key)
    monkeypatch.setattr(keyring, "datetime", AnHourLater)

    assert before is key
    assert ring.current(key) is None
    assert not await is_let_in(ring, made.token)


@pytest.mark.parametrize(
    ("peer", "is_welcome"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("192.0.3.7", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("", False),
        ("unix", False),
        ("192.0.2.7, 10.0.0.1", False),
    ],
)
async def test_a_key_comes_from_its_networks_only(
    ring: Keyring, make_key: MakeKey, peer: str, is_welcome: bool
) -> None:
    made = await make_key(limits=Limits(cidrs=("192.0.2.0/24", "2001:db8::/32")))
    try:
        await ring.authenticate(made.token, peer)
        is_in = True
    except errors.Forbidden:
        is_in = False

    assert is_in is is_welcome


async def test_a_stranger_is_told_nothing_of_the_networks(ring: Keyring, make_key: MakeKey) -> None:
    made = await make_key(limits=Limits(cidrs=("192.0.2.0/24",)))

    assert not await is_let_in(ring, f"cmb_{made.id}_{'0' * 64}", "10.0.0.1")


@pytest.mark.parametrize(("peer", "is_welcome"), [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False)])
async def test_admin_is_for_the_loopback(ring: Keyring, make_key: MakeKey, peer: str, is_welcome: bool) -> None:
    made = await make_key(mode="admin")
    try:
        is_in = (await ring.authenticate(made.token, peer)).mode == "admin"
    except errors.Forbidden:
        is_in = False

    assert is_in is is_welcome


async def test_statements_come_with_their_key(ring: Keyring, owner: Database, make_key: MakeKey) -> None:
    named, exact = await make_key(mode="named"), await make_key(mode="exact")
    before = await ring.authenticate(named.token, HERE)
    async with owner.transaction() as tx:
        await keys.allow(tx, named.line, "tier", "SELECT $1::text, $2::int", ["text", "integer"])
        await keys.allow(tx, exact.line, "one", "SELECT 'é'", [])
    async with asyncio.timeout(PATIENCE_S):
        while ring.current(before) is before:
            await asyncio.sleep(0.01)
    key, other = await ring.authenticate(named.token, HERE), await ring.authenticate(exact.token, HERE)

    assert key.statements["tier"].types == (25, 23)
    assert key.statements["tier"].text == "SELECT $1::text, $2::int"
    assert key.texts == {}
    assert other.texts == {hashlib.sha256("SELECT 'é'".encode()).digest(): "SELECT 'é'"}


async def test_an_exact_key_learns_while_it_may(ring: Keyring, owner: Database, make_key: MakeKey) -> None:
    made = await make_key(mode="exact")
    key = await ring.authenticate(made.token, HERE)
    before = await ring.learn(key, "SELECT 1")
    async with owner.transaction() as tx:
        await keys.learn(tx, made.id, timedelta(hours=1))
    learnt = [await ring.learn(key, text) for text in ("SELECT 1", "SELECT 1", "SELECT 2")]
    async with owner.transaction() as tx:
        await keys.learn(tx, made.id, None)
    after = await ring.learn(key, "SELECT 3")
    async with asyncio.timeout(PATIENCE_S):
        while len((await ring.authenticate(made.token, HERE)).texts) != 2:
            await asyncio.sleep(0.01)
    key = await ring.authenticate(made.token, HERE)

    assert (before, learnt, after) == (False, [True, True, True], False)
    assert set(key.texts.values()) == {"SELECT 1", "SELECT 2"}


async def test_guessing_costs_the_database_nothing(ring: Keyring, books: psycopg.Connection, make_key: MakeKey) -> None:
    """A thousand unknown keys at once share a few looks; a look is one transaction."""
    made = await make_key()
    await ring.authenticate(made.token, HERE)
    looks = 0
    look = ring._look

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await look()

    ring._look = counted  # type: ignore[method-assign]  # to count
    answers = await asyncio.gather(
        *(is_let_in(ring, f"cmb_{number:016}_{'0' * 64}") for number in range(1_000)), is_let_in(ring, made.token)
    )

    assert answers == [*[False] * 1_000, True]
    assert looks < 20


async def test_old_knowledge_lets_nobody_in(
    ring: Keyring, books: psycopg.Connection, superuser: psycopg.Connection, database_url: str, make_key: MakeKey
) -> None:
    """While the proxy's role can't log in, a revoked key could not be told from a good one."""
    made = await make_key()
    key = await ring.authenticate(made.token, HERE)
    name = database_url.rpartition("/")[2]
    superuser.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC, callmeback_proxy")
    superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'callmeback_proxy'",
        (name,),
    )
    async with asyncio.timeout(30):
        while True:
            try:
                await ring.authenticate(made.token, HERE)
            except errors.DatabaseUnavailable:
                break
            await asyncio.sleep(0.1)
        while ring.current(key) is not None:
            await asyncio.sleep(0.1)
        superuser.execute(f"GRANT CONNECT ON DATABASE {name} TO callmeback_proxy")
        while True:
            try:
                found = await ring.authenticate(made.token, HERE)
                break
            except errors.DatabaseUnavailable:
                await asyncio.sleep(0.1)

    assert found.id == made.id


async def test_no_database_no_keyring() -> None:
    with pytest.raises(errors.DatabaseUnavailable):
        await Keyring.open("postgresql://callmeback_proxy@127.0.0.1:1/none")
