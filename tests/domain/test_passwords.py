"""Passwords: the cost of a hash, equal work for everybody, and what may be one."""

import asyncio
import statistics
import time
from collections.abc import Iterator

import pytest

from callmeback import errors
from callmeback.domain import passwords
from callmeback.domain.passwords import Hasher

pytestmark = pytest.mark.anyio


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    """As a house has it, with all its rounds."""
    hasher = Hasher()
    yield hasher
    hasher.close()


async def test_a_hash_has_twelve_rounds_and_matches_its_password_alone(hasher: Hasher):
    kept = await hasher.hash("correct horse")

    assert kept.startswith("$2b$12$")
    assert await hasher.matches("correct horse", kept)
    assert not await hasher.matches("correct horsf", kept)
    assert not await hasher.matches("", kept)


async def test_s15_an_unknown_account_takes_as_long_as_a_known_one(hasher: Hasher):
    """In processor time, so that other work on this machine doesn't decide."""
    kept = await hasher.hash("correct horse")
    taken: dict[bool, list[float]] = {True: [], False: []}
    for is_known in [True, False] * 3:
        begun = time.process_time()
        assert not await hasher.matches("a wrong guess", kept if is_known else None)
        taken[is_known].append(time.process_time() - begun)

    known, unknown = statistics.median(taken[True]), statistics.median(taken[False])
    assert known > 0.02
    assert 0.5 < known / unknown < 2


async def test_nobody_s_password_matches_nobody(hasher: Hasher):
    assert not await hasher.matches("nobody has this password", None)


@pytest.mark.parametrize("kept", ["", "x", "$2b$12$", "$argon2id$v=19$m=65536$abc"])
async def test_a_hash_of_another_kind_matches_nothing(hasher: Hasher, kept: str):
    assert not await hasher.matches("correct horse", kept)


async def test_what_follows_the_72nd_byte_counts(hasher: Hasher):
    kept = await hasher.hash("x" * 72)

    assert await hasher.matches("x" * 72, kept)
    assert not await hasher.matches("x" * 73, kept)


async def test_a_weaker_hash_is_told():
    weak = Hasher(4)
    kept = await weak.hash("correct horse")
    weak.close()

    assert Hasher(5).is_weak(kept)
    assert not Hasher(4).is_weak(kept)
    assert Hasher(4).is_weak("nonsense")


async def test_hashing_leaves_the_loop_free(hasher: Hasher):
    ticks = 0
    work = asyncio.gather(*(hasher.hash("correct horse") for _ in range(4)))
    while not work.done():
        await asyncio.sleep(0.01)
        ticks += 1
    await work

    assert ticks >= 10


async def test_s14_a_flood_of_logins_is_shed():
    hasher = Hasher(6)
    answers = await asyncio.gather(
        *(hasher.matches("a guess", None) for _ in range(passwords.WAITING_MAX + 10)), return_exceptions=True
    )
    hasher.close()

    assert sum(isinstance(answer, errors.Overloaded) for answer in answers) == 10


@pytest.mark.parametrize(
    ("password", "is_fine"),
    [
        ("12345678", True),
        ("1234567", False),
        ("x" * 72, True),
        ("x" * 73, False),
        ("é" * 36, True),
        ("é" * 37, False),
        ("with space", True),
        ("null\0null", False),
        ("\ud800 lone half", False),
    ],
)
def test_what_may_be_a_password(password: str, is_fine: bool):
    if is_fine:
        assert passwords.check(password) == password
    else:
        with pytest.raises(errors.ValidationFailed) as refused:
            passwords.check(password)
        assert refused.value.extra["field"] == "password"
