"""Sessions around a logout everywhere: which it ends, and that one can come back, however close together all is."""

import asyncio
import time

import pytest
from tests.web.conftest import HASHER_ROUNDS, JWT_SECRET
from tests.web.house import PASSWORD, House, Person

from callmeback import errors
from callmeback.cli import person
from callmeback.domain import auth, tokens
from callmeback.domain.passwords import Hasher

pytestmark = pytest.mark.anyio


async def log_out_everywhere(house: House, person: Person) -> None:
    async with house.services.api.transaction(person.id) as tx:
        await auth.end_all_sessions(tx, person.id)


async def test_s07_a_session_begun_between_two_logouts_everywhere_ends_with_the_second(house: House, ann: Person):
    """However close together they are."""
    clients = []
    for _ in range(2):
        await log_out_everywhere(house, ann)
        user = house.row("SELECT tokens_valid_from FROM users WHERE id = %s", ann.id)
        claims, _ = await auth.begin_session(house.services.api, ann.id, ann.email, user["tokens_valid_from"])
        clients.append(house.client(tokens.sign(JWT_SECRET, claims)))

    assert [(await client.get("/api/auth/me")).status_code for client in clients] == [401, 200]


async def test_s07_a_password_that_was_proved_before_a_logout_everywhere_begins_no_session(house: House, ann: Person):
    proved = await auth.authenticate(house.services.api, house.services.hasher, ann.email, PASSWORD)
    await log_out_everywhere(house, ann)

    with pytest.raises(errors.InvalidCredentials):
        await auth.begin_session(house.services.api, proved.user_id, ann.email, proved.valid_from)


async def test_s07_a_password_that_is_replaced_while_it_is_proved_lets_nobody_in(house: House, ann: Person):
    """Nor does its hash, made anew by today's rule, take the new one's place."""
    [proved] = house.row("SELECT password_hash FROM users WHERE id = %s", ann.id).values()
    async with house.services.api.transaction(ann.id) as tx:
        await tx.run(auth.SQL.change_password, user_id=ann.id, known_hash=proved, password_hash="another")
    with pytest.raises(errors.InvalidCredentials):
        async with house.services.api.transaction(ann.id) as tx:
            await tx.value(auth.SQL.admit, user_id=ann.id, known_hash=proved, rehashed=proved)

    assert house.row("SELECT password_hash FROM users WHERE id = %s", ann.id) == {"password_hash": "another"}


async def test_s07_after_many_logouts_everywhere_within_a_moment_one_can_come_back(
    house: House, ann: Person, monkeypatch: pytest.MonkeyPatch
):
    """Each dates the next session a second on; so does that of an operator who acts for the person."""
    for _ in range(20):
        await log_out_everywhere(house, ann)
    login = await house.client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})
    for name, value in {
        "DATABASE_URL": house.settings.database_url,
        "CALLMEBACK_HOME": house.settings.home,
        "CALLMEBACK_JWT_SECRET": JWT_SECRET,
        "CALLMEBACK_PORT": house.settings.port,
    }.items():
        monkeypatch.setenv(name, str(value))

    def ask() -> int:
        with person.session(ann.email) as client:
            return client.get("/api/auth/me").status_code

    assert (await house.client(login.json()["token"]).get("/api/auth/me")).status_code == 200
    assert await asyncio.to_thread(ask) == 200


async def test_s07_a_session_is_dated_by_the_clock_that_ends_it(
    house: House, ann: Person, monkeypatch: pytest.MonkeyPatch
):
    """Or a machine whose clock is ahead would begin sessions that a logout everywhere leaves alone."""
    proved = await auth.authenticate(house.services.api, house.services.hasher, ann.email, PASSWORD)
    ahead = time.time() + 5
    with monkeypatch.context() as machine:
        machine.setattr(time, "time", lambda: ahead)
        claims, _ = await auth.begin_session(house.services.api, ann.id, ann.email, proved.valid_from)
    await log_out_everywhere(house, ann)

    assert (await house.client(tokens.sign(JWT_SECRET, claims)).get("/api/auth/me")).status_code == 401


async def test_a_login_beside_one_that_makes_the_hash_anew_is_let_in_too(house: House, ann: Person):
    class Slow(Hasher):
        """Another process that is done while this one computes."""

        async def hash(self, password: str) -> str:
            await auth.authenticate(house.services.api, stronger, ann.email, PASSWORD)
            return await super().hash(password)

    stronger, slow = Hasher(HASHER_ROUNDS + 1), Slow(HASHER_ROUNDS + 1)
    proved = await auth.authenticate(house.services.api, slow, ann.email, PASSWORD)
    stronger.close()
    slow.close()

    assert proved.user_id == ann.id
