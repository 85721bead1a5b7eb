"""What a person sets: budget, account, wishes, personas and scenarios of one's own, voices."""

import io
import re
import wave

import pytest
from tests.web.house import PASSWORD
from tests.web.pages.browser import Browser, all_wrong, typed, wrong

from callmeback.web.pages.voices import VOICES

pytestmark = pytest.mark.anyio

BUDGET = {
    "max_cost_per_call": "2.50",
    "max_monthly_spend": "20",
    "warn_at_percent_per_call": "60",
    "enable_auto_cutoff": "yes",
}
ROSA = {"name": "Rosa", "description": "Asks about the garden", "core_system_prompt": "You are Rosa, eighty-one."}


# Budget


async def test_a_budget_is_kept_to_the_cent(mia: Browser):
    answer = await mia.send("/budget", BUDGET, shown_on="/budget")
    page = await mia.get("/budget?done=kept")
    kept = (await mia.client.get("/api/budget")).json()

    assert answer.status_code == 303
    assert (kept["max_cost_per_call_cents"], kept["max_monthly_spend_cents"]) == ("250.00", "2000.00")
    assert (kept["warn_at_percent_per_call"], kept["enable_auto_cutoff"]) == (60, True)
    assert typed(page, "max_cost_per_call") == "2.50"
    assert typed(page, "warn_at_percent_per_call") == "60"


AMOUNTS = [
    ("max_cost_per_call", "0", "0.00"),
    ("max_cost_per_call", "$1,000.50", "100050.00"),
    ("max_cost_per_call", " 0.0099 ", "0.99"),
    ("max_cost_per_call", "10000", "1000000.00"),
]


async def test_amounts_are_read_as_people_write_them(mia: Browser):
    for field, value, cents in AMOUNTS:
        answer = await mia.send("/budget", {**BUDGET, field: value}, shown_on="/budget")

        assert answer.status_code == 303, answer.text
        assert (await mia.client.get("/api/budget")).json()[f"{field}_cents"] == cents


NO_BUDGETS = [
    ("max_cost_per_call", ""),
    ("max_cost_per_call", "ten"),
    ("max_cost_per_call", "-1"),
    ("max_cost_per_call", "NaN"),
    ("max_cost_per_call", "Infinity"),
    ("max_cost_per_call", "1e3"),
    ("max_cost_per_call", "2,50"),
    ("max_cost_per_call", "1_000"),
    ("max_cost_per_call", "１２"),
    ("max_cost_per_call", "10000.01"),
    ("max_cost_per_call", "0.00001"),
    ("max_monthly_spend", "100000.01"),
    ("max_monthly_spend", "1.2.3"),
    ("warn_at_percent_per_call", "0"),
    ("warn_at_percent_per_call", "101"),
    ("warn_at_percent_per_call", "500"),
    ("warn_at_percent_per_call", "half"),
    ("warn_at_percent_per_call", "７５"),
]


async def test_a_budget_that_is_none_is_refused_beside_its_field(mia: Browser):
    for field, value in NO_BUDGETS:
        answer = await mia.send("/budget", {**BUDGET, field: value}, shown_on="/budget")

        assert answer.status_code == 400
        assert wrong(answer, field)
        assert typed(answer, field) == value
        assert (await mia.client.get("/api/budget")).json()["max_cost_per_call_cents"] == "1000.00", value


async def test_the_switch_of_the_cut_off_can_be_turned_off(mia: Browser):
    form = {name: value for name, value in BUDGET.items() if name != "enable_auto_cutoff"}
    await mia.send("/budget", form, shown_on="/budget")

    assert (await mia.client.get("/api/budget")).json()["enable_auto_cutoff"] is False


# Credits


async def test_credits_show_what_there_is_and_every_movement(mia: Browser):
    mia.house.row(
        "SELECT * FROM move_credits((SELECT id FROM users), 100, 'promotion', 'promotion:welcome', NULL, 'Hi')"
    )
    page = await mia.get("/credits")
    older = await mia.get("/credits?before=1")

    assert "A gift" in page.text
    assert "+100" in page.text
    assert "A gift" not in older.text
    assert (await mia.get("/credits?before=x")).status_code == 400


# Account


async def test_name_and_zone_are_kept(mia: Browser):
    answer = await mia.send("/account", {"name": " Mia Maria ", "timezone": "Asia/Tokyo"}, shown_on="/account")
    page = await mia.get("/account")

    assert answer.status_code == 303
    assert (typed(page, "name"), typed(page, "timezone")) == ("Mia Maria", "Asia/Tokyo")


NO_ACCOUNTS = [
    ({"timezone": "Middle/Earth"}, "timezone"),
    ({"timezone": "../../etc/passwd"}, "timezone"),
    ({"timezone": ""}, "timezone"),
    ({"name": "a\x07b"}, "name"),
    ({"name": "x" * 201}, "name"),
]


async def test_an_account_that_can_not_be_is_refused_beside_its_field(mia: Browser):
    for form, field in NO_ACCOUNTS:
        answer = await mia.send("/account", {"name": "Mia", "timezone": "UTC", **form}, shown_on="/account")

        assert answer.status_code == 400
        assert wrong(answer, field)
        assert typed(answer, field) == form[field]


async def test_wishes_are_kept(mia: Browser):
    form = {
        "sms_notifications": "yes",
        "call_reminder_minutes": "30",
        "voicemail_policy": "leave_message",
        "memory_enabled": "yes",
        "memory": "I play the cello.\nI live in Lyon.",
    }
    answer = await mia.send("/account/preferences", form, shown_on="/account")
    kept = (await mia.client.get("/api/preferences")).json()

    assert answer.status_code == 303
    assert kept == {
        "email_notifications": False,
        "sms_notifications": True,
        "call_reminder_minutes": 30,
        "voicemail_policy": "leave_message",
        "memory_enabled": True,
        "memory": "I play the cello.\nI live in Lyon.",
        "pay_as_you_go": False,
    }


NO_WISHES = [
    ({"call_reminder_minutes": "soon"}, "call_reminder_minutes"),
    ({"call_reminder_minutes": "-5"}, "call_reminder_minutes"),
    ({"call_reminder_minutes": "1441"}, "call_reminder_minutes"),
    ({"memory": "x" * 4001}, "memory"),
]


async def test_a_wish_that_can_not_be_is_refused_beside_its_field(mia: Browser):
    for form, field in NO_WISHES:
        wishes = {"call_reminder_minutes": "5", "voicemail_policy": "hang_up", **form}
        answer = await mia.send("/account/preferences", wishes, shown_on="/account")

        assert answer.status_code == 400
        assert wrong(answer, field)


async def test_erasing_needs_one_s_own_address_and_is_for_good(mia: Browser):
    refused = await mia.refused("/account/erase", {"confirm": "yes"}, shown_on="/account")
    going_back = await mia.client.get("/account")
    erased = await mia.send("/account/erase", {"confirm": " MIA@example.org "}, shown_on="/account")
    browser = Browser(mia.house)
    again = await browser.send("/login", {"email": "mia@example.org", "password": PASSWORD}, shown_on="/login")

    assert "mia@example.org" in wrong(refused, "confirm")
    assert "confirm-wrong" not in going_back.text
    assert (erased.status_code, erased.headers["location"]) == (303, "/login?done=erased")
    assert again.status_code == 401
    assert (await mia.client.get("/account")).status_code == 303


async def test_nobody_but_us_says_what_a_form_was_refused_for(mia: Browser):
    answer = await mia.send("/account/erase", {"confirm": "yes"}, shown_on="/account")
    kept = answer.cookies["refused"]
    text, _, seal = kept.partition(".")
    for forged in (f"{text[:-4]}AAAA.{seal}", text, f"{text}.", ".", "é.é", "x" * 10_000, f"{text}.{seal}0"):
        page = await mia.house.client().get(
            "/account", headers={"cookie": f"session={mia.client.cookies['session']}; refused={forged}".encode()}
        )

        assert page.status_code == 200
        assert "confirm-wrong" not in page.text


# Personas


async def test_a_persona_is_made_one_s_own_and_given_back(mia: Browser):
    voice = VOICES[3].id
    form = {
        "relationship_type": "older brother",
        "custom_system_prompt": "We fish.",
        "voice_id": voice,
        "own_voice": "yes",
    }
    settings = {"speed": "0.9", "stability": "0.25"}
    answer = await mia.send("/personas/brad", {**form, **settings}, shown_on="/personas/brad")
    [kept] = (await mia.client.get("/api/relationships")).json()["items"]
    page = await mia.get("/personas/brad")
    await mia.send("/personas/brad", {"relationship_type": "friend", **settings}, shown_on="/personas/brad")
    [back] = (await mia.client.get("/api/relationships")).json()["items"]

    assert answer.status_code == 303
    assert (kept["relationship_type"], kept["custom_system_prompt"]) == ("older brother", "We fish.")
    assert (kept["voice_id"], kept["voice_settings"]) == (voice, {"speed": 0.9, "stability": 0.25})
    assert kept["effective_voice"]["voice_settings"]["similarity_boost"] == 0.75
    assert f'value="{voice}" checked' in page.text
    assert (back["voice_id"], back["voice_settings"], back["custom_system_prompt"]) == (None, None, None)


NO_RELATIONSHIPS = [
    ({"relationship_type": ""}, "relationship_type"),
    ({"relationship_type": "x" * 101}, "relationship_type"),
    ({"custom_system_prompt": "x" * 4001}, "custom_system_prompt"),
    ({"voice_id": "no such voice!"}, "voice_id"),
]


async def test_what_can_not_be_made_of_a_persona_is_refused(mia: Browser):
    for form, field in NO_RELATIONSHIPS:
        answer = await mia.send("/personas/brad", {"relationship_type": "friend", **form}, shown_on="/personas/brad")

        assert answer.status_code == 400
        assert wrong(answer, field)


NO_PACES = ["0.5", "9", "fast", "NaN"]


async def test_a_pace_out_of_bounds_is_refused(mia: Browser):
    for speed in NO_PACES:
        form = {"relationship_type": "friend", "own_voice": "yes", "speed": speed, "stability": "0.5"}
        answer = await mia.send("/personas/brad", form, shown_on="/personas/brad")

        assert answer.status_code == 400
        assert wrong(answer, "speed") == "Pace and temper are set with the two sliders."
        assert (await mia.client.get("/api/relationships")).json()["items"] == []


async def test_a_heart_is_given_and_taken_back(mia: Browser):
    await mia.send("/personas/sarah/favourite", {"on": "yes"}, shown_on="/account")
    given = (await mia.get("/")).text
    await mia.send("/personas/sarah/favourite", {"on": "no"}, shown_on="/account")
    taken = (await mia.get("/")).text

    assert len(re.findall('aria-pressed="true"', given)) == 1
    assert given.index("<h2>Sarah") < given.index("<h2>Brad")
    assert 'aria-pressed="true"' not in taken
    assert (await mia.send("/personas/nobody/favourite", {"on": "yes"}, shown_on="/account")).status_code == 404


async def test_an_invented_persona_is_one_s_own_alone(mia: Browser):
    made = await mia.send("/personas", ROSA, shown_on="/personas/new")
    persona_id = made.headers["location"].rpartition("heart-")[2]
    other = Browser(mia.house)
    await other.sign_up("other@example.org")
    rewritten = await mia.send(
        f"/personas/{persona_id}/edit", {**ROSA, "name": "Rosita"}, shown_on=f"/personas/{persona_id}/edit"
    )

    assert made.status_code == rewritten.status_code == 303
    assert "Rosita" in (await mia.get("/")).text
    assert "Rosita" not in (await other.get("/")).text
    for path in (f"/personas/{persona_id}", f"/personas/{persona_id}/edit", "/personas/brad/edit"):
        assert (await other.get(path)).status_code == 404
    for path in (f"/personas/{persona_id}/edit", f"/personas/{persona_id}/retire", f"/personas/{persona_id}"):
        assert (await other.send(path, {**ROSA, "relationship_type": "x"}, shown_on="/account")).status_code == 404

    await mia.send(f"/personas/{persona_id}/retire", {}, shown_on="/account")

    assert "Rosita" not in (await mia.get("/")).text


NO_PERSONAS = [
    ({"name": " "}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"description": "x" * 1001}, "description"),
    ({"core_system_prompt": ""}, "core_system_prompt"),
    ({"core_system_prompt": "x" * 8001}, "core_system_prompt"),
]


async def test_an_invention_that_can_not_be_is_refused_and_kept(mia: Browser):
    for form, field in NO_PERSONAS:
        answer = await mia.send("/personas", {**ROSA, **form}, shown_on="/personas/new")

        assert answer.status_code == 400
        assert wrong(answer, field)
        assert ROSA["description"] in answer.text or field == "description"


WRONG_IN_ALL = [
    ("/personas", "/personas/new", {}, {"name", "core_system_prompt"}),
    (
        "/personas",
        "/personas/new",
        {
            "name": "x" * 101,
            "description": "x" * 1001,
            "core_system_prompt": "x" * 8001,
            "voice_id": "no such voice!",
            "speed": "9",
        },
        {"name", "description", "core_system_prompt", "voice_id", "speed"},
    ),
    (
        "/personas/brad",
        "/personas/brad",
        {"voice_id": "no such voice!", "own_voice": "yes", "stability": "wild"},
        {"relationship_type", "voice_id", "speed"},
    ),
    ("/scenarios", "/scenarios", {}, {"name", "scenario_text"}),
    (
        "/scenarios",
        "/scenarios",
        {"name": "x" * 101, "scenario_text": "x" * 2001, "icon": "x" * 17},
        {"name", "scenario_text", "icon"},
    ),
]


async def test_every_wrong_field_is_named_at_once(mia: Browser):
    for path, page, form, fields in WRONG_IN_ALL:
        answer = await mia.send(path, form, shown_on=page)

        assert answer.status_code == 400
        assert all_wrong(answer) == fields


# Scenarios


async def test_a_scenario_is_written_changed_and_thrown_away(mia: Browser):
    await mia.send(
        "/scenarios", {"name": "Review", "scenario_text": "You are my lead.", "icon": "🪴"}, shown_on="/scenarios"
    )
    [path] = re.findall(r'href="(/scenarios/scn_\w+)"', (await mia.get("/scenarios")).text)
    await mia.send(path, {"name": "Monday", "scenario_text": "You are my lead.", "icon": ""}, shown_on=path)
    changed = await mia.get("/scenarios")
    other = Browser(mia.house)
    await other.sign_up("other@example.org")
    theirs = await other.get(path)
    await mia.send(f"{path}/remove", {}, shown_on=path)

    assert "<b>Monday</b>" in changed.text
    assert "<b>Review</b>" not in changed.text
    assert theirs.status_code == 404
    assert "<b>Monday</b>" not in (await mia.get("/scenarios")).text
    assert (await mia.get("/scenarios/scn_bad_date")).status_code == 404


NO_SCENARIOS = [
    ({"name": ""}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"scenario_text": " "}, "scenario_text"),
    ({"scenario_text": "x" * 2001}, "scenario_text"),
    ({"icon": "x" * 17}, "icon"),
]


async def test_a_scenario_that_can_not_be_is_refused_beside_its_field(mia: Browser):
    for form, field in NO_SCENARIOS:
        given = {"name": "Review", "scenario_text": "You are my lead.", **form}
        answer = await mia.send("/scenarios", given, shown_on="/scenarios")

        assert answer.status_code == 400
        assert wrong(answer, field)


# Voices


async def test_a_voice_is_heard_at_the_pace_asked_for(mia: Browser):
    lengths = []
    for speed in ("1.2", "0.7"):
        answer = await mia.get(f"/voices/sample.wav?voice_id={VOICES[0].id}&speed={speed}&stability=0.5")
        assert answer.headers["content-type"] == "audio/wav"
        with wave.open(io.BytesIO(answer.content)) as sound:
            lengths.append(sound.getnframes() / sound.getframerate())

    assert 1 < lengths[0] < lengths[1] < 20


NO_VOICES = ["voice_id=nobody", "voice_id=", "", f"voice_id={VOICES[0].id}&speed=nan"]


async def test_a_voice_that_is_none_is_not_heard(mia: Browser):
    for query in NO_VOICES:
        answer = await mia.get(f"/voices/sample.wav?{query}")

        assert answer.status_code in (400, 404)


async def test_voices_are_for_people_with_an_account(stranger: Browser):
    answer = await stranger.client.get(f"/voices/sample.wav?voice_id={VOICES[0].id}")

    assert answer.status_code == 303
