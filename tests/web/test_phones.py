"""Phone numbers over HTTP: what may be called, codes by text, and who owns a number."""

import asyncio

import pytest
from tests.web.house import House, Person, problem

pytestmark = pytest.mark.anyio

PHONE = "+12025550102"


@pytest.fixture
async def ben(house: House) -> Person:
    """Somebody without a phone."""
    return await house.person("ben@example.org")


async def test_a_number_is_proved_by_six_digits_that_stand_together(house: House, ben: Person):
    added = await ben.client.post("/api/phones", json={"number": "+1 (202) 555-0102"})
    code = await house.code(PHONE)
    verified = await ben.client.post("/api/phones/verify", json={"number": PHONE, "code": code})
    listed = (await ben.client.get("/api/phones")).json()

    assert (added.status_code, added.json()["number"], added.json()["verified"]) == (201, PHONE, False)
    assert (verified.status_code, verified.json()["verified"], verified.json()["is_primary"]) == (200, True, True)
    assert listed == {"items": [verified.json()], "next": None}
    assert (await ben.client.get("/api/auth/me")).json()["phone"] == PHONE


async def test_a_number_given_at_registration_is_sent_its_code(house: House):
    person = await house.person("cat@example.org", phone=None)
    answer = await house.client().post(
        "/api/auth/register",
        json={"email": "dan@example.org", "password": "correct horse", "phone": PHONE},
    )
    for _ in range(100):
        if (await house.client().get("/simulator/messages", params={"to": PHONE})).json()["items"]:
            break
        await asyncio.sleep(0.02)
    dan = house.client(answer.json()["token"])
    verified = await dan.post("/api/phones/verify", json={"number": PHONE, "code": await house.code(PHONE)})

    assert verified.status_code == 200
    assert (await person.client.get("/api/phones")).json()["items"] == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("+15551234567", "phone_invalid"),
        ("2025550102", "phone_invalid"),
        ("+1202555010", "phone_invalid"),
        ("+12025550102 ext. 5", "phone_invalid"),
        ("+1202555010a", "phone_invalid"),
        ("+", "phone_invalid"),
        ("+" + "9" * 39, "phone_invalid"),
        ("\0+12025550102", "validation_failed"),
        ("+２０２５５５０１０２", "phone_invalid"),
        ("+19005550102", "premium_number"),
        ("+449098790879", "premium_number"),
        ("+5521987654321", "region_not_allowed"),
        ("+8613812345678", "region_not_allowed"),
    ],
)
async def test_c09_a_number_that_may_not_be_called_is_refused(house: House, ben: Person, number: str, code: str):
    answer = await ben.client.post("/api/phones", json={"number": number})

    assert problem(answer) == (400, code)
    assert (await house.client().get("/simulator/messages")).json()["items"] == []


async def test_c09_the_operator_decides_which_countries_are_called(build):
    house = await build(allowed_regions=("BR",))
    person = await house.person()

    assert (await person.client.post("/api/phones", json={"number": "+5521987654321"})).status_code == 201
    assert problem(await person.client.post("/api/phones", json={"number": PHONE})) == (400, "region_not_allowed")


async def test_c09_a_number_on_the_block_list_is_refused(house: House, ben: Person):
    house.books.execute("INSERT INTO blocked_numbers (number, reason) VALUES (%s, 'asked not to be called')", (PHONE,))

    assert problem(await ben.client.post("/api/phones", json={"number": PHONE})) == (403, "number_blocked")


async def test_c09_two_people_prove_one_number_and_one_gets_it(house: House):
    people = [await house.person(f"p{n}@example.org") for n in range(2)]
    codes = []
    for person in people:
        assert (await person.client.post("/api/phones", json={"number": PHONE})).status_code == 201
        codes.append(await house.code(PHONE))
    answers = await asyncio.gather(
        *(
            person.client.post("/api/phones/verify", json={"number": PHONE, "code": code})
            for person, code in zip(people, codes, strict=True)
        )
    )
    late = await (await house.person("p3@example.org")).client.post("/api/phones", json={"number": PHONE})

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert {problem(answer)[1] for answer in answers if answer.status_code == 409} == {"phone_taken"}
    assert house.row("SELECT count(*) AS n FROM phones WHERE verified_at IS NOT NULL")["n"] == 1
    assert problem(late) == (409, "phone_taken")


async def test_a_code_is_tried_five_times_at_most(house: House, ben: Person):
    await ben.client.post("/api/phones", json={"number": PHONE})
    code = await house.code(PHONE)
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    answers = [
        await ben.client.post("/api/phones/verify", json={"number": PHONE, "code": guess})
        for guess in [*[wrong] * 5, code]
    ]
    await ben.client.post("/api/phones", json={"number": PHONE})
    fresh = await ben.client.post("/api/phones/verify", json={"number": PHONE, "code": await house.code(PHONE)})

    assert {problem(answer) for answer in answers[:5]} == {(400, "invalid_token")}
    assert problem(answers[5]) == (429, "too_many_attempts")
    assert fresh.status_code == 200


async def test_an_expired_code_is_worth_nothing(house: House, ben: Person):
    await ben.client.post("/api/phones", json={"number": PHONE})
    house.books.execute("UPDATE phones SET code_expires_at = now() - interval '1 second'")
    answer = await ben.client.post("/api/phones/verify", json={"number": PHONE, "code": await house.code(PHONE)})

    assert problem(answer) == (400, "invalid_token")


async def test_a_code_is_one_person_s(house: House, ann: Person, ben: Person):
    await ben.client.post("/api/phones", json={"number": PHONE})
    answer = await ann.client.post("/api/phones/verify", json={"number": PHONE, "code": await house.code(PHONE)})

    assert problem(answer) == (400, "invalid_token")


async def test_s16_codes_are_not_kept_in_the_clear(house: House, ben: Person):
    await ben.client.post("/api/phones", json={"number": PHONE})
    code = await house.code(PHONE)
    row = house.row("SELECT code_hash, phones::text AS everything FROM phones")

    assert len(row["code_hash"]) == 32
    assert code not in row["everything"]


async def test_s14_codes_are_limited_by_person(house: House, ben: Person):
    answers = [await ben.client.post("/api/phones", json={"number": f"+120255501{n:02}"}) for n in range(11)]

    assert [answer.status_code for answer in answers] == [201] * 10 + [429]
    assert len((await house.client().get("/simulator/messages")).json()["items"]) == 10


async def test_a_carrier_that_fails_is_told_as_502(house: House, ben: Person):
    await house.client().put("/simulator/vendors/carrier", json={"fail_rate": 1})

    status, code = problem(await ben.client.post("/api/phones", json={"number": PHONE}))

    assert (status, code) == (502, "vendor_failed")


async def test_a_verified_number_is_removed_and_the_next_one_is_primary(house: House, ann: Person):
    await house.verify(ann, PHONE)
    removed = await ann.client.delete("/api/phones/%2B12025550101")
    again = await ann.client.delete("/api/phones/%2B12025550101")
    [left] = (await ann.client.get("/api/phones")).json()["items"]

    assert removed.status_code == 204
    assert problem(again) == (404, "not_found")
    assert (left["number"], left["is_primary"]) == (PHONE, True)


async def test_s09_numbers_of_others_are_neither_seen_nor_removed(ann: Person, ben: Person):
    assert (await ben.client.get("/api/phones")).json()["items"] == []
    assert problem(await ben.client.delete("/api/phones/%2B12025550101")) == (404, "not_found")
    assert len((await ann.client.get("/api/phones")).json()["items"]) == 1
