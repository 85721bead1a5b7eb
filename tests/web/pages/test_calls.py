"""From the first number to the receipt: numbers, placing, taking back, what is left of a call."""

import html
import re

import pytest
from tests.web.house import Person
from tests.web.pages.browser import PHONE, Browser, typed, wrong

from callmeback.web.pages import home

pytestmark = pytest.mark.anyio


async def test_the_first_page_leads_from_a_number_to_its_code_to_a_call(mia: Browser):
    begin = await mia.get("/")
    await mia.send("/phones", {"number": "+1 202 555 0123", "back": "/"}, shown_on="/")
    waiting = await mia.get("/")
    code = await mia.house.code(PHONE)
    done = await mia.send(
        "/phones/verify", {"number": PHONE, "code": f" {code[:3]} {code[3:]} ", "back": "/"}, shown_on="/"
    )
    end = await mia.get("/")

    assert re.fullmatch(r"\+1 202-555-01\d\d", typed(begin, "number"))
    assert "Call me" not in re.sub(r"<title>.*</title>|call me back|Call Me Back", "", begin.text)
    assert 'id="code"' in waiting.text
    assert f'data-numbers="{PHONE}"' in waiting.text
    assert done.headers["location"] == "/?done=phone"
    assert 'value="brad"' in end.text


NO_NUMBERS = ["", "12025550123", "+1 900 555 0123", "+44 20 7946 0958 x9", "+12", "hello", "+7 495 123 45 67"]


async def test_a_number_that_can_not_be_called_is_refused_beside_its_field(mia: Browser):
    for number in NO_NUMBERS:
        answer = await mia.send("/phones", {"number": number, "back": "/"}, shown_on="/")

        assert answer.status_code == 400
        assert wrong(answer, "number")
        assert typed(answer, "number") == number


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "１２３４５６"])
async def test_a_code_that_is_none_is_refused_without_counting(mia: Browser, code: str):
    await mia.send("/phones", {"number": PHONE, "back": "/"}, shown_on="/")
    for _ in range(6):
        answer = await mia.send("/phones/verify", {"number": PHONE, "code": code, "back": "/"}, shown_on="/")
        assert answer.status_code == 400
        assert wrong(answer, "code") == "The code is 6 digits."

    right = await mia.house.code(PHONE)
    answer = await mia.send("/phones/verify", {"number": PHONE, "code": right, "back": "/"}, shown_on="/")

    assert answer.status_code == 303


async def test_a_wrong_code_is_refused_beside_its_field_and_kept(mia: Browser):
    await mia.send("/phones", {"number": PHONE}, shown_on="/phones")
    code = f"{(int(await mia.house.code(PHONE)) + 1) % 1_000_000:06}"

    answer = await mia.send("/phones/verify", {"number": PHONE, "code": code}, shown_on="/phones")

    assert answer.status_code == 400
    assert wrong(answer, "code") == "The code is wrong."
    assert code in answer.text


async def test_a_number_of_somebody_else_is_refused_and_another_proposed(
    mia: Browser, ann: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(home.random, "choice", max)

    answer = await mia.send("/phones", {"number": "+12025550101", "back": "/"}, shown_on="/")

    assert answer.status_code == 409
    assert wrong(answer, "number") == "This number belongs to another account. Here is another."
    assert typed(answer, "number") == "+1 202-555-0198"


async def test_a_number_is_removed(ready: Browser):
    shown = await ready.get("/phones")
    await ready.send("/phones/remove", {"number": PHONE}, shown_on="/phones")

    # A number that is free again may stand in the empty field, so the list is what tells.
    listed = f'name="number" value="{PHONE}"'
    assert listed in shown.text
    assert listed not in (await ready.get("/phones")).text
    assert (await ready.send("/phones/remove", {"number": PHONE}, shown_on="/phones")).status_code == 404


async def test_call_me_leads_to_the_call_and_a_second_click_to_the_same(ready: Browser):
    first = await ready.call(key="tok_1", context="An interview")
    second = await ready.call(key="tok_1", context="An interview")
    third = await ready.call(key="tok_2")
    page = await ready.get(first.headers["location"])

    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    assert third.status_code == 429
    assert "Brad" in page.text
    assert 'id="live"' in page.text
    assert '<noscript><meta http-equiv="refresh"' in page.text


async def test_a_refused_call_says_why_where_to_go_and_keeps_what_was_typed(ready: Browser):
    ready.house.books.execute("UPDATE user_credits SET subscription_tier = 'basic'")

    answer = await ready.call(context="An <b>interview</b>", max_minutes="5", scenario_id="scn_travel_plans")

    assert answer.status_code == 402
    assert answer.headers["hx-push-url"] == "false"
    assert "There are not enough credits for a call." in answer.text
    assert 'href="/credits"' in answer.text
    assert "An &lt;b&gt;interview&lt;/b&gt;" in answer.text
    assert typed(answer, "max_minutes") == "5"
    assert 'value="scn_travel_plans" checked' in answer.text


NO_LENGTHS = ["0", "-1", "241", "five", "1.5", "1e3"]


async def test_a_length_that_is_none_is_refused_beside_its_field(ready: Browser):
    for minutes in NO_LENGTHS:
        answer = await ready.call(max_minutes=minutes)

        assert answer.status_code == 400
        assert wrong(answer, "max_minutes")
        assert typed(answer, "max_minutes") == minutes


NOBODIES = [({"persona_id": "nobody"}, 404), ({"persona_id": ""}, 400), ({"scenario_id": "scn_none"}, 404)]


async def test_a_call_by_nobody_is_refused(ready: Browser):
    for form, status in NOBODIES:
        answer = await ready.call(**{"persona_id": "brad", **form})

        assert answer.status_code == status
        assert 'role="alert"' in answer.text


async def test_without_a_proved_number_nobody_is_called(mia: Browser):
    answer = await mia.call()

    assert answer.status_code == 403
    assert "Verify the phone number first." in answer.text


async def test_a_call_is_taken_back_before_it_is_answered(ready: Browser):
    path = (await ready.call()).headers["location"]
    answer = await ready.send(f"{path}/hangup", {}, shown_on=path)

    assert (answer.status_code, answer.headers["location"]) == (303, path)


async def test_the_call_of_somebody_else_is_not_there(ready: Browser, ann: Person):
    theirs = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()["id"]

    assert (await ready.get(f"/calls/{theirs}")).status_code == 404
    assert (await ready.send(f"/calls/{theirs}/hangup", {}, shown_on="/account")).status_code == 404


async def test_a_finished_call_has_a_receipt_that_adds_up_and_a_transcript_as_words(mia: Browser):
    await mia.prove_phone()
    await mia.house.script(PHONE, answers="human", says=["<b>Hello</b> Brad", "Goodbye Brad"], ring_seconds=0)
    path = (await mia.call()).headers["location"]
    person = Person(mia.client, "", "", "")
    call = await mia.house.until(person, path.rpartition("/")[2])

    page = await mia.get(path)

    assert call["status"] == "completed", call
    assert "<b>Hello" not in page.text
    assert [html.escape(line["text"], quote=False) in page.text.replace("&#39;", "'") for line in call["transcript"]]
    shown = re.findall(r"<b>([0-9.]+) ¢</b>", page.text)
    assert sum(float(cents) for cents in shown) == pytest.approx(float(call["cost_cents"]), abs=1e-9)
    assert f"<span>{call['cost_cents']} ¢</span>" in page.text
    assert f"{call['usage']['input_tokens']:,} tokens read" in page.text
    assert f"{call['usage']['characters']:,} characters" in page.text
    assert "Your plan includes this call." in page.text
    assert path in (await mia.get("/calls")).text


async def test_the_phone_learns_who_calls_and_only_while_a_call_is_open(ready: Browser):
    nobody = await ready.client.get("/handset/caller")
    path = (await ready.call("sarah")).headers["location"]
    somebody = await ready.client.get("/handset/caller")

    assert nobody.status_code == 204
    assert somebody.json() == {
        "id": path.rpartition("/")[2],
        "name": "Sarah",
        "avatar": "/static/avatars/sarah.svg",
        "hue": somebody.json()["hue"],
    }


async def test_the_history_is_told_page_by_page(ready: Browser):
    empty = await Browser(ready.house).sign_up("empty@example.org")
    for count in range(3):
        path = (await ready.call(key=f"tok_{count}")).headers["location"]
        await ready.send(f"{path}/hangup", {}, shown_on=path)
        await ready.house.until(Person(ready.client, "", "", ""), path.rpartition("/")[2])

    page = await ready.get("/calls")

    assert empty.status_code == 303
    assert len(re.findall(r'href="/calls/call_', page.text)) == 3
    assert (await ready.get("/calls?before=nonsense")).status_code == 400
