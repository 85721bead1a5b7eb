"""Accounts over HTTP: registration, login, sessions, limits, links by mail, erasure."""

import asyncio
import time
from datetime import UTC, datetime

import jwt
import pytest
from tests.web.conftest import JWT_SECRET
from tests.web.house import PASSWORD, PATIENCE_S, House, Person, problem

from callmeback import errors
from callmeback.domain.attempts import WAITING_MAX, Turns
from callmeback.providers.mail import Mail
from callmeback.web import letters

pytestmark = pytest.mark.anyio


async def test_registering_answers_a_token_and_the_person(house: House):
    answer = await house.client().post(
        "/api/auth/register",
        json={"email": " Ann@Example.ORG ", "password": PASSWORD, "name": "Ann", "timezone": "Europe/Berlin"},
    )
    claims = jwt.decode(answer.json()["token"], JWT_SECRET, algorithms=["HS256"])
    user = answer.json()["user"]

    assert answer.status_code == 201
    assert set(claims) == {"jti", "sub", "email", "iat", "exp"}
    assert claims["exp"] - claims["iat"] == 7 * 24 * 3600
    assert (claims["sub"], claims["email"]) == (user["id"], "Ann@example.org")
    assert (user["email"], user["name"], user["timezone"]) == ("Ann@example.org", "Ann", "Europe/Berlin")
    assert user["email_verified"] is False
    assert user["is_admin"] is False


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": PASSWORD}, "email"),
        ({"email": 5, "password": PASSWORD}, "email"),
        ({"email": "ann", "password": PASSWORD}, "email"),
        ({"email": "ann@localhost", "password": PASSWORD}, "email"),
        ({"email": "a\r\nBcc: b@example.org", "password": PASSWORD}, "email"),
        ({"email": "ann@example.org\0", "password": PASSWORD}, "email"),
        ({"email": f"{'a' * 65}@example.org", "password": PASSWORD}, "email"),
        ({"email": f"a@{'b' * 250}.org", "password": PASSWORD}, "email"),
        ({"email": "ann@example.org", "password": "short"}, "password"),
        ({"email": "ann@example.org", "password": "é" * 37}, "password"),
        ({"email": "ann@example.org", "password": "nul\0nul\0nul"}, "password"),
        ({"email": "ann@example.org", "password": None}, "password"),
        ({"email": "ann@example.org", "password": PASSWORD, "timezone": "Mars/Olympus"}, "timezone"),
        ({"email": "ann@example.org", "password": PASSWORD, "timezone": "../../etc/passwd"}, "timezone"),
        ({"email": "ann@example.org", "password": PASSWORD, "name": "x" * 201}, "name"),
        ({"email": "ann@example.org", "password": PASSWORD, "name": "two\nlines"}, "name"),
    ],
)
async def test_a_wrong_registration_names_its_field(house: House, body: dict[str, object], field: str):
    answer = await house.client().post("/api/auth/register", json=body)

    assert problem(answer) == (400, "validation_failed")
    assert field in answer.json()["detail"] or answer.json()["fields"][0]["field"] == field
    assert house.row("SELECT count(*) AS n FROM users")["n"] == 0


async def test_s12_ten_registrations_at_once_make_one_account(house: House):
    emails = ["ann@example.org" if n % 2 else "ANN@example.org" for n in range(10)]
    answers = await asyncio.gather(
        *(house.client().post("/api/auth/register", json={"email": email, "password": PASSWORD}) for email in emails)
    )
    refused = [problem(answer) for answer in answers if answer.status_code != 201]

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    assert set(refused) == {(409, "email_taken")}
    assert house.row("SELECT count(*) AS n FROM users")["n"] == 1
    assert house.row("SELECT count(*) AS n FROM user_credits")["n"] == 1


async def test_s12_an_account_is_found_whatever_the_case_of_its_email(house: House):
    await house.person("Ann@example.org")
    answer = await house.client().post("/api/auth/login", json={"email": "aNN@EXAMPLE.org", "password": PASSWORD})

    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == "Ann@example.org"


async def test_s14_registrations_are_limited_by_address(house: House):
    client = house.client()
    answers = [
        await client.post("/api/auth/register", json={"email": f"p{n}@example.org", "password": PASSWORD})
        for n in range(21)
    ]

    assert [answer.status_code for answer in answers] == [201] * 20 + [429]
    assert problem(answers[-1]) == (429, "rate_limited")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3600


async def test_s14_ten_failed_logins_lock_an_account_and_no_other(house: House):
    await house.person("ann@example.org")
    await house.person("ben@example.org")
    client = house.client()
    for _ in range(10):
        answer = await client.post("/api/auth/login", json={"email": "ann@example.org", "password": "wrong guess"})
        assert problem(answer) == (401, "invalid_credentials")
    locked = await client.post("/api/auth/login", json={"email": "Ann@example.org", "password": PASSWORD})
    other = await client.post("/api/auth/login", json={"email": "ben@example.org", "password": PASSWORD})

    assert problem(locked) == (429, "account_locked")
    assert 0 < int(locked.headers["retry-after"]) <= 900
    assert other.status_code == 200


async def test_s14_a_reset_by_mail_ends_the_lockout(house: House, ann: Person):
    client = house.client()
    for _ in range(11):
        locked = await client.post("/api/auth/login", json={"email": ann.email, "password": "wrong guess"})
    await client.post("/api/auth/password/forgot", json={"email": ann.email.upper()})
    token = await house.mail_token(ann.email)
    await client.post("/api/auth/password/reset", json={"token": token, "password": "another horse"})
    in_again = await client.post("/api/auth/login", json={"email": ann.email, "password": "another horse"})

    assert problem(locked) == (429, "account_locked")
    assert in_again.status_code == 200


async def test_s14_a_login_clears_the_failures_before_it(house: House):
    await house.person()
    client = house.client()
    for _ in range(2):
        for _ in range(9):
            await client.post("/api/auth/login", json={"email": "ann@example.org", "password": "wrong guess"})
        answer = await client.post("/api/auth/login", json={"email": "ann@example.org", "password": PASSWORD})

        assert answer.status_code == 200


async def test_s14_right_passwords_never_count_however_many_come_at_once(house: House):
    await house.person("ann@example.org")
    client = house.client()

    async def log_in(password: str) -> int:
        answer = await client.post("/api/auth/login", json={"email": "ann@example.org", "password": password})
        return answer.status_code

    for _ in range(9):
        await log_in("wrong guess")
    right = await asyncio.gather(*(log_in(PASSWORD) for _ in range(15)))
    wrong = await asyncio.gather(*(log_in("wrong guess") for _ in range(25)))

    assert right == [200] * 15
    assert sorted(wrong) == [401] * 10 + [429] * 15


async def test_s14_a_queue_for_one_account_is_shed_and_holds_up_no_other():
    turns = Turns()
    async with turns.of("ann"):
        waiting = [asyncio.create_task(turns.of("ann").__aenter__()) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(errors.Overloaded):
            await turns.of("ann").__aenter__()
        async with turns.of("ben"):
            pass
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    async with turns.of("ann"):
        pass


async def test_s14_failed_logins_are_limited_by_address(house: House):
    client = house.client()
    answers = [
        await client.post("/api/auth/login", json={"email": f"p{n}@example.org", "password": "a guess"})
        for n in range(101)
    ]

    assert {problem(answer) for answer in answers[:100]} == {(401, "invalid_credentials")}
    assert problem(answers[100]) == (429, "rate_limited")


async def test_s14_counters_hold_nothing_readable(house: House):
    await house.client().post("/api/auth/login", json={"email": "ann@example.org", "password": "a guess"})
    buckets = [row["bucket"] for row in house.books.execute("SELECT bucket FROM login_attempts").fetchall()]

    assert len(buckets) == 2
    assert not [bucket for bucket in buckets if "ann" in bucket or "127.0.0.1" in bucket]


async def test_s15_login_doesnt_tell_an_unknown_email_by_words(house: House):
    await house.person()
    client = house.client()
    known = await client.post("/api/auth/login", json={"email": "ann@example.org", "password": "wrong guess"})
    unknown = await client.post("/api/auth/login", json={"email": "eve@example.org", "password": "wrong guess"})

    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)


async def test_s15_an_unknown_email_locks_like_a_known_one(house: House):
    client = house.client()
    for _ in range(10):
        await client.post("/api/auth/login", json={"email": "eve@example.org", "password": "a guess"})
    answer = await client.post("/api/auth/login", json={"email": "eve@example.org", "password": "a guess"})

    assert problem(answer) == (429, "account_locked")


async def test_s15_forgetting_a_password_waits_for_no_mail_and_answers_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    """A mail is begun for a known address alone; whoever measures the answer must not see that."""
    await house.person()
    may_go, gone = asyncio.Event(), asyncio.Event()
    send = house.services.mailer.send

    async def slow(mail: Mail) -> None:
        await may_go.wait()
        await send(mail)
        if mail.subject == letters.reset("", "", "").subject:
            gone.set()

    monkeypatch.setattr(house.services.mailer, "send", slow)
    client = house.client()
    answers = [
        await client.post("/api/auth/password/forgot", json={"email": email})
        for email in ("ann@example.org", "eve@example.org")
    ]
    may_go.set()
    async with asyncio.timeout(PATIENCE_S):
        await gone.wait()

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert (await client.get("/simulator/mails", params={"to": "eve@example.org"})).json()["items"] == []


async def test_a_session_is_shown_and_changed(ann: Person):
    changed = await ann.client.patch("/api/auth/me", json={"name": None, "timezone": "Asia/Tokyo", "locale": "de-AT"})
    shown = await ann.client.get("/api/auth/me")

    assert changed.status_code == 200
    assert changed.json() == shown.json()
    assert (shown.json()["name"], shown.json()["timezone"], shown.json()["locale"]) == (None, "Asia/Tokyo", "de-AT")


async def test_s08_a_body_cant_say_who_is_asking(house: House, ann: Person):
    ben = await house.person("ben@example.org")
    answer = await ann.client.patch(
        "/api/auth/me", json={"name": "Changed", "id": ben.id, "user_id": ben.id, "userId": ben.id, "is_admin": True}
    )

    assert answer.json()["id"] == ann.id
    assert answer.json()["is_admin"] is False
    assert (await ben.client.get("/api/auth/me")).json()["name"] is None


async def test_s07_logging_out_revokes_this_token_at_once(house: House, ann: Person):
    login = await house.client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})
    other = house.client(login.json()["token"])
    answer = await ann.client.post("/api/auth/logout")

    assert answer.status_code == 204
    assert problem(await ann.client.get("/api/auth/me")) == (401, "unauthorized")
    assert (await other.get("/api/auth/me")).status_code == 200


async def test_s07_logging_out_everywhere_revokes_tokens_nobody_knows(house: House, ann: Person):
    login = await house.client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})
    other = house.client(login.json()["token"])
    await ann.client.post("/api/auth/logout-everywhere")
    fresh = await house.client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})

    assert problem(await ann.client.get("/api/auth/me")) == (401, "unauthorized")
    assert problem(await other.get("/api/calls")) == (401, "unauthorized")
    # Within the same second, which tokens can't tell apart: the new one is good all the same.
    assert (await house.client(fresh.json()["token"]).get("/api/auth/me")).status_code == 200


def forged(**changes: object) -> str:
    now = int(time.time())
    claims = {"jti": "x", "sub": "user_x", "email": "a@example.org", "iat": now, "exp": now + 60} | changes

    return jwt.encode({k: v for k, v in claims.items() if v is not None}, JWT_SECRET, algorithm="HS256")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Bearer x.y.z",
        "Basic YTpi",
        f"Bearer {'x' * 5000}",
        "Bearer " + jwt.encode({"sub": "user_x"}, "k" * 40, algorithm="HS256"),
        "Bearer " + jwt.encode({"sub": "user_x"}, "", algorithm="none"),
        "Bearer " + forged(),
        "Bearer " + forged(exp=int(time.time()) - 60),
        "Bearer " + forged(iat=int(time.time()) + 3600),
        "Bearer " + forged(jti=None),
        "Bearer " + forged(sub=5),
        "Bearer " + forged(iat="now"),
        "Bearer " + forged(exp=10**18),
    ],
)
async def test_a_bad_token_is_401(house: House, header: str | None):
    headers = {} if header is None else {"Authorization": header}
    answer = await house.client().get("/api/auth/me", headers=headers)

    assert problem(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_blocked_person_is_out_and_cant_log_in(house: House, ann: Person):
    house.books.execute("UPDATE users SET blocked_at = now() WHERE id = %s", (ann.id,))
    login = await house.client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})

    assert problem(await ann.client.get("/api/auth/me")) == (401, "unauthorized")
    assert problem(login) == (401, "invalid_credentials")


async def test_an_email_is_verified_by_its_mail_once(house: House, ann: Person):
    token = await house.mail_token(ann.email)
    first = await house.client().post("/api/auth/email/verify", json={"token": token})
    second = await house.client().post("/api/auth/email/verify", json={"token": token})

    assert first.status_code == 204
    assert problem(second) == (400, "invalid_token")
    assert (await ann.client.get("/api/auth/me")).json()["email_verified"] is True


async def test_a_verification_can_be_asked_for_again(house: House, ann: Person):
    first = await house.mail_token(ann.email)
    assert (await ann.client.post("/api/auth/email/resend")).status_code == 204
    second = await house.mail_token(ann.email)

    assert first != second
    assert problem(await house.client().post("/api/auth/email/verify", json={"token": first})) == (400, "invalid_token")
    assert (await house.client().post("/api/auth/email/verify", json={"token": second})).status_code == 204


async def test_a_password_is_reset_by_mail_and_everybody_is_logged_out(house: House, ann: Person):
    await house.client().post("/api/auth/password/forgot", json={"email": "ANN@example.org"})
    token = await house.mail_token(ann.email)
    verify = await house.client().post("/api/auth/email/verify", json={"token": token})
    reset = await house.client().post("/api/auth/password/reset", json={"token": token, "password": "another horse"})
    again = await house.client().post("/api/auth/password/reset", json={"token": token, "password": "a third horse"})
    old = await house.client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})
    new = await house.client().post("/api/auth/login", json={"email": ann.email, "password": "another horse"})

    assert problem(verify) == (400, "invalid_token")
    assert reset.status_code == 204
    assert problem(again) == (400, "invalid_token")
    assert problem(old) == (401, "invalid_credentials")
    assert new.status_code == 200
    assert problem(await ann.client.get("/api/auth/me")) == (401, "unauthorized")
    assert (await house.client(new.json()["token"]).get("/api/auth/me")).status_code == 200


async def test_an_expired_link_is_worth_nothing(house: House, ann: Person):
    token = await house.mail_token(ann.email)
    house.books.execute("UPDATE one_time_tokens SET expires_at = now() - interval '1 second'")

    assert problem(await house.client().post("/api/auth/email/verify", json={"token": token})) == (400, "invalid_token")


async def test_mails_to_one_address_are_limited(house: House, ann: Person):
    before = len((await house.client().get("/simulator/mails", params={"to": ann.email})).json()["items"])
    answers = [await ann.client.post("/api/auth/email/resend") for _ in range(6)]

    assert [answer.status_code for answer in answers] == [204] * 5 + [429]
    items = (await house.client().get("/simulator/mails", params={"to": ann.email})).json()["items"]
    assert len(items) == before + 5


async def test_erasing_oneself_ends_everything(house: House, ann: Person):
    answer = await ann.client.delete("/api/auth/me")
    login = await house.client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})
    row = house.row("SELECT email, name, phone, erased_at FROM users WHERE id = %s", ann.id)

    assert answer.status_code == 204
    assert problem(await ann.client.get("/api/auth/me")) == (401, "unauthorized")
    assert problem(login) == (401, "invalid_credentials")
    assert (row["name"], row["phone"]) == (None, None)
    assert ann.email not in row["email"]
    assert row["erased_at"] <= datetime.now(UTC)
    # The address is free again.
    await house.person(ann.email)


async def test_a_page_s_session_needs_its_csrf_token(house: House, ann: Person):
    browser = house.client()
    browser.cookies.set("session", ann.token)
    without = await browser.patch("/api/auth/me", json={"name": "Mallory"})
    wrong = await browser.patch("/api/auth/me", json={"name": "Mallory"}, headers={"X-CSRF-Token": "0" * 64})
    csrf = house.services.keys.digest("csrf", jwt.decode(ann.token, JWT_SECRET, algorithms=["HS256"])["jti"]).hex()
    right = await browser.patch("/api/auth/me", json={"name": "Anna"}, headers={"X-CSRF-Token": csrf})

    assert (await browser.get("/api/auth/me")).status_code == 200
    assert problem(without) == (403, "csrf_refused")
    assert problem(wrong) == (403, "csrf_refused")
    assert right.json()["name"] == "Anna"


async def test_addresses_behind_a_proxy_are_told_apart_only_where_there_is_one(build):
    house = await build(public_url="https://call.example.com")
    for n in range(21):
        answer = await house.client().post(
            "/api/auth/register",
            json={"email": f"p{n}@example.org", "password": PASSWORD},
            headers={"X-Forwarded-For": f"198.51.100.{n}, 203.0.113.{n}"},
        )

        assert answer.status_code == 201


async def test_an_address_cant_be_made_up_without_a_proxy(house: House):
    answers = [
        await house.client().post(
            "/api/auth/register",
            json={"email": f"p{n}@example.org", "password": PASSWORD},
            headers={"X-Forwarded-For": f"203.0.113.{n}"},
        )
        for n in range(21)
    ]

    assert problem(answers[-1]) == (429, "rate_limited")
