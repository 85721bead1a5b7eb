"""Warnings of a budget: once for a month and percent, by mail and by text, whatever dies in between."""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from tests.web.house import House, Person

from callmeback.payments import warnings
from callmeback.pg import roles
from callmeback.pg.pool import Database
from callmeback.providers.mail import Mail, PutOff, SenderRefused

pytestmark = pytest.mark.anyio

PHONE = "+12025550101"
STEPS_MAX = 40
Round = Callable[..., Awaitable[int]]

# The person's own month: Ann lives in Berlin.
SPENT = (
    "UPDATE user_credits SET spent_in_month_cents = %s,"
    " spend_month = date_trunc('month', now() AT TIME ZONE 'Europe/Berlin')::date"
)


async def letters(house: House, person: Person) -> tuple[list[str], list[str]]:
    """Subjects of the mails and texts about budgets, oldest first."""
    client = house.client()
    mails = (await client.get("/simulator/mails", params={"to": person.email})).json()["items"]
    texts = (await client.get("/simulator/messages", params={"to": PHONE})).json()["items"]

    return (
        [mail["subject"] for mail in reversed(mails) if "budget" in mail["subject"]],
        [text["body"] for text in reversed(texts) if "budget" in text["body"]],
    )


async def warn(house: House, worker: Database) -> int:
    return await warnings.warn(worker, house.services.mailer, house.services.carrier, house.url)


async def wants_texts(person: Person) -> None:
    answer = await person.client.put("/api/preferences", json={"sms_notifications": True})
    assert answer.status_code == 200


async def test_one_is_told_once_a_month_and_percent(house: House, ann: Person, worker: Database):
    await wants_texts(ann)
    house.books.execute(SPENT, (7499,))
    below = await warn(house, worker)
    house.books.execute(SPENT, (7500,))
    rounds = [await warn(house, worker) for _ in range(3)]
    answer = await ann.client.put("/api/budget", json={"warn_at_percent_per_call": 50})
    another = await warn(house, worker)
    mails, texts = await letters(house, ann)

    assert answer.status_code == 200
    assert (below, rounds, another) == (0, [1, 0, 0], 1)
    assert [mail[:4] for mail in mails] == ["75 %", "50 %"]
    assert len(texts) == 2


async def test_who_wants_no_word_gets_none_and_an_erased_person_neither(house: House, ann: Person, worker: Database):
    await ann.client.put("/api/preferences", json={"email_notifications": False})
    house.books.execute(SPENT, (9000,))
    silent = await warn(house, worker)
    bob = await house.person("bob@example.org", timezone="Europe/Berlin")
    house.books.execute(SPENT, (9000,))
    house.books.execute("SELECT notice_budgets()")
    house.books.execute("SELECT erase_user(%s, 'operator')", (bob.id,))
    await warn(house, worker)

    assert silent == 1
    assert await letters(house, ann) == ([], [])
    assert (await letters(house, bob))[0] == []
    assert house.row("SELECT count(*) AS n FROM budget_notices WHERE told_at IS NULL")["n"] == 0


async def test_two_workers_tell_nobody_twice(house: House, ann: Person, worker: Database):
    await wants_texts(ann)
    house.books.execute(SPENT, (9000,))
    told = await asyncio.gather(*(warn(house, worker) for _ in range(4)))
    mails, texts = await letters(house, ann)

    assert sum(told) == 1
    assert (len(mails), len(texts)) == (1, 1)


async def test_a_warning_that_could_not_be_sent_comes_again(house: House, ann: Person, worker: Database):
    await wants_texts(ann)
    house.books.execute(SPENT, (9000,))
    await house.client().put("/simulator/vendors/carrier", json={"fail_rate": 1})
    with pytest.raises(Exception, match="carrier"):
        await warn(house, worker)
    await house.client().put("/simulator/vendors/carrier", json={})
    leased = await warn(house, worker)
    house.books.execute("UPDATE budget_notices SET claimed_until = now()")
    again = await warn(house, worker)
    mails, texts = await letters(house, ann)

    assert (leased, again) == (0, 1)
    assert (len(mails), len(texts)) == (1, 1)


async def test_an_address_that_fails_keeps_nobody_else_waiting(
    house: House, ann: Person, worker: Database, monkeypatch: pytest.MonkeyPatch
):
    """The server puts her off (451), and his comes after hers."""
    send = house.services.mailer.send

    async def picky(mail: Mail) -> None:
        if mail.to == ann.email:
            raise PutOff("mail", "send a mail", vendor_code="451")
        await send(mail)

    monkeypatch.setattr(house.services.mailer, "send", picky)
    house.books.execute(SPENT, (9000,))
    house.books.execute("SELECT notice_budgets()")
    bob = await house.person("bob@example.org", timezone="Europe/Berlin")
    house.books.execute(f"{SPENT} WHERE user_id = %s", (9000, bob.id))
    told = await warn(house, worker)
    waiting = house.row("SELECT user_id FROM budget_notices WHERE told_at IS NULL")
    monkeypatch.undo()
    house.books.execute("UPDATE budget_notices SET claimed_until = now()")
    later = await warn(house, worker)

    assert (told, later) == (1, 1)
    assert waiting["user_id"] == ann.id
    assert [len((await letters(house, person))[0]) for person in (ann, bob)] == [1, 1]


async def test_an_address_that_is_put_off_for_ever_is_tried_ever_more_rarely_and_given_up_after_five_days(
    house: House, ann: Person, worker: Database, monkeypatch: pytest.MonkeyPatch
):
    async def full(_: Mail) -> None:
        raise PutOff("mail", "send a mail", vendor_code="452")

    await wants_texts(ann)
    monkeypatch.setattr(house.services.mailer, "send", full)
    house.books.execute(SPENT, (9000,))
    pauses: list[timedelta] = []
    # Time passes where it is noted, since nobody waits here for five days.
    for _ in range(STEPS_MAX):
        with pytest.raises(PutOff):
            await warn(house, worker)
        row = house.row("SELECT given_up_at, claimed_until - clock_timestamp() AS pause FROM budget_notices")
        pauses.append(row["pause"])
        if row["given_up_at"] is not None:
            break
        house.books.execute(
            "UPDATE budget_notices SET put_off_since = put_off_since - %(pause)s, claimed_until = now()",
            {"pause": row["pause"]},
        )
    monkeypatch.undo()
    mails, texts = await letters(house, ann)

    assert pauses[0] < timedelta(minutes=16)
    assert all(later > earlier * 1.9 for earlier, later in pairwise(pauses[:6]))
    assert max(pauses) <= timedelta(hours=8)
    assert timedelta(days=5) <= sum(pauses[:-1], timedelta()) < timedelta(days=5, hours=8)
    assert (await warn(house, worker), mails, len(texts)) == (0, [], 1)


async def test_a_server_that_refuses_our_login_loses_nobody_s_warning(
    house: House, ann: Person, worker: Database, monkeypatch: pytest.MonkeyPatch
):
    async def refused(_: Mail) -> None:
        raise SenderRefused("mail", "send a mail", vendor_code="535")

    house.books.execute(SPENT, (9000,))
    with monkeypatch.context() as patched:
        patched.setattr(house.services.mailer, "send", refused)
        with pytest.raises(SenderRefused):
            await warn(house, worker)
    house.books.execute("UPDATE budget_notices SET claimed_until = now()")
    told = await warn(house, worker)

    assert told == 1
    assert len((await letters(house, ann))[0]) == 1


@pytest.mark.slow
async def test_a_worker_that_dies_anywhere_has_told_once(house: House, ann: Person, cluster: Any, database_url: str):
    await wants_texts(ann)
    house.books.execute(SPENT, (9000,))
    config = house.services.carrier.config
    task = {
        "dsn": roles.dsn_for(roles.WORKER, cluster.role_secret, database_url),
        "carrier": {
            "account_sid": config.account_sid, "auth_token": config.auth_token, "number": config.number,
            "base_url": config.base_url,
        },
        "mails": f"{house.url}/simulator/mails",
    }  # fmt: skip
    died = 0
    for fatal in range(1, STEPS_MAX):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.payments.warning_process", json.dumps(task | {"fatal": fatal}),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await process.communicate()
        # The lease of whoever died is over.
        await house.change("UPDATE budget_notices SET claimed_until = now() WHERE told_at IS NULL")
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        died += 1
    mails, texts = await letters(house, ann)

    assert died > 8
    assert (len(mails), len(texts)) == (1, 1)
    assert house.row("SELECT told_at IS NOT NULL AS told FROM budget_notices")["told"] is True


async def test_the_forecast_is_the_month_as_it_goes_on(house: House, ann: Person):
    before = (await ann.client.get("/api/budget")).json()
    row = house.row("SELECT elapsed_days, month_days FROM month_forecast WHERE user_id = %s", ann.id)
    house.books.execute("SELECT set_tier(%s, 'unlimited')", (ann.id,))
    await house.script(PHONE, says=[], ring_seconds=0.1, hangs_up=True)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.until(ann, placed["id"])
    after = (await ann.client.get("/api/budget")).json()
    spent, forecast = Decimal(after["spent_this_month_cents"]), Decimal(after["forecast_cents"])

    assert before["forecast_cents"] == "0.00"
    assert abs(forecast - spent * row["month_days"] / row["elapsed_days"]) <= Decimal("0.005")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("max_cost_per_call_cents", "call_budget_reached"), ("max_monthly_spend_cents", "month_budget_reached")],
)
async def test_m12_a_budget_that_is_lowered_cuts_the_call_that_goes_on(
    house: House, ann: Person, limit: str, reason: str
):
    house.books.execute("SELECT set_tier(%s, 'unlimited')", (ann.id,))
    await house.script(PHONE, says=["Tell me a long story."] * 20, ring_seconds=0.1)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.until(ann, placed["id"], {"in_progress"})
    lowered = await ann.client.put("/api/budget", json={limit: "0.01"})
    call = await house.until(ann, placed["id"])

    assert lowered.status_code == 200
    assert (call["status"], call["end_reason"]) == ("completed", reason)
    assert house.row("SELECT held_credits FROM user_credits WHERE user_id = %s", ann.id)["held_credits"] == 0
