"""Personas, relationships, scenarios, preferences, budget, credits and costs over HTTP, and walls between people."""

import base64

import pytest
from tests.web.house import House, Person, problem

pytestmark = pytest.mark.anyio

BEFORE_TIME = b'{"at": "0001-01-01T00:00:00+01:00", "id": "x"}'
CARD = {"id", "name", "description", "category", "avatar_url"}


@pytest.fixture
async def ben(house: House) -> Person:
    """Somebody else."""
    return await house.person("ben@example.org")


async def make_persona(person: Person, **changes: object) -> str:
    draft = {"name": "Zoë", "core_system_prompt": "You are Zoë, and you whisper.", "category": "own"} | changes
    answer = await person.client.post("/api/personas", json=draft)
    assert answer.status_code == 201, answer.text

    return str(answer.json()["id"])


async def test_s13_the_catalogue_publishes_cards_only(house: House):
    everybody = (await house.client().get("/api/personas")).json()
    coaches = (await house.client().get("/api/personas", params={"category": "coach"})).json()["items"]
    brad = (await house.client().get("/api/personas/brad")).json()

    assert {item["id"] for item in everybody["items"]} == {"brad", "sarah", "alex"}
    assert all(set(item) == CARD for item in everybody["items"])
    assert everybody["next"] is None
    assert [item["id"] for item in coaches] == ["alex"]
    assert set(brad) == CARD


async def test_s13_one_s_own_persona_is_whole_for_its_owner_alone(house: House, ann: Person, ben: Person):
    persona = await make_persona(ann)
    mine = (await ann.client.get(f"/api/personas/{persona}")).json()

    assert mine["core_system_prompt"] == "You are Zoë, and you whisper."
    assert set(mine) > CARD
    for other in (ben.client, house.client()):
        assert problem(await other.get(f"/api/personas/{persona}")) == (404, "not_found")
        assert persona not in [item["id"] for item in (await other.get("/api/personas")).json()["items"]]
    mine_listed = [item for item in (await ann.client.get("/api/personas")).json()["items"] if item["id"] == persona]
    assert [set(item) for item in mine_listed] == [CARD]


async def test_s09_personas_of_others_and_of_the_house_cant_be_changed(house: House, ann: Person, ben: Person):
    persona = await make_persona(ann)
    for target in (persona, "brad"):
        assert problem(await ben.client.patch(f"/api/personas/{target}", json={"name": "Mallory"}))[0] == 404
        assert problem(await ben.client.delete(f"/api/personas/{target}"))[0] == 404
    assert problem(await ben.client.put(f"/api/relationships/{persona}", json={})) == (404, "persona_not_found")

    assert house.row("SELECT name FROM personas WHERE id = 'brad'")["name"] == "Brad"
    assert house.row("SELECT name FROM personas WHERE id = %s", persona)["name"] == "Zoë"


async def test_a_persona_is_changed_in_part(ann: Person):
    persona = await make_persona(ann, description="A whisper.", default_voice_settings={"speed": 0.9})
    answer = await ann.client.patch(
        f"/api/personas/{persona}", json={"description": None, "default_voice_settings": {"stability": 0.1}}
    )

    assert answer.status_code == 200
    assert answer.json()["description"] is None
    assert answer.json()["name"] == "Zoë"
    assert answer.json()["default_voice_settings"] == {
        "speed": 0.9, "stability": 0.1, "similarity_boost": 0.75, "style": 0.0
    }  # fmt: skip


async def test_d02_a_persona_taken_away_is_retired_and_its_history_stays(house: House, ann: Person):
    persona = await make_persona(ann)
    await ann.client.put(f"/api/relationships/{persona}", json={"is_favorite": True})
    first = await ann.client.delete(f"/api/personas/{persona}")
    second = await ann.client.delete(f"/api/personas/{persona}")
    archived = await ann.client.put(f"/api/relationships/{persona}", json={"is_archived": True, "is_favorite": False})
    unknown = await make_persona(ann)
    await ann.client.delete(f"/api/personas/{unknown}")
    begun = await ann.client.put(f"/api/relationships/{unknown}", json={"is_favorite": True})

    assert first.status_code == 204
    assert (archived.json()["is_archived"], archived.json()["is_favorite"]) == (True, False)
    assert problem(begun) == (404, "persona_not_found")
    assert len((await ann.client.get("/api/relationships")).json()["items"]) == 1
    assert problem(second) == (404, "not_found")
    assert problem(await ann.client.get(f"/api/personas/{persona}")) == (404, "not_found")
    assert house.row("SELECT is_active FROM personas WHERE id = %s", persona)["is_active"] is False


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"core_system_prompt": ""}, "core_system_prompt"),
        ({"core_system_prompt": "x" * 8001}, "core_system_prompt"),
        ({"avatar_url": "javascript:alert(1)"}, "avatar_url"),
        ({"default_voice_id": "../x"}, "default_voice_id"),
        ({"default_voice_settings": {"speed": 2}}, "default_voice_settings.speed"),
        ({"default_voice_settings": "loud"}, "default_voice_settings"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"max_call_duration_seconds": 59}, "max_call_duration_seconds"),
    ],
)
async def test_a_wrong_persona_names_its_field(ann: Person, change: dict[str, object], field: str):
    persona = await make_persona(ann)
    answer = await ann.client.patch(f"/api/personas/{persona}", json=change)

    assert problem(answer) == (400, "validation_failed")
    assert answer.json()["fields"][0]["field"] == field


async def test_d06_a_relationship_inherits_what_it_doesnt_say(ann: Person):
    changed = await ann.client.put(
        "/api/relationships/brad",
        json={"relationship_type": "mentor", "voice_settings": {"speed": 0.8}, "is_favorite": True},
    )
    back = await ann.client.put("/api/relationships/brad", json={"voice_settings": None, "voice_id": "custom-1"})

    assert changed.status_code == 200
    assert changed.json()["effective_voice"]["voice_settings"]["speed"] == 0.8
    assert changed.json()["effective_voice"]["voice_settings"]["style"] == 0.1
    assert (back.json()["voice_settings"], back.json()["relationship_type"]) == (None, "mentor")
    assert back.json()["effective_voice"]["voice_id"] == "custom-1"
    assert back.json()["effective_voice"]["voice_settings"]["speed"] == 1.05
    assert back.json()["is_favorite"] is True


async def test_relationships_are_listed_and_filtered(ann: Person, ben: Person):
    await ann.client.put("/api/relationships/brad", json={"is_favorite": True})
    await ann.client.put("/api/relationships/alex", json={"is_archived": True})
    every = (await ann.client.get("/api/relationships")).json()["items"]
    favorites = (await ann.client.get("/api/relationships", params={"favorite": "true"})).json()["items"]

    others = (await ann.client.get("/api/relationships", params={"favorite": "false"})).json()["items"]
    unclear = await ann.client.get("/api/relationships", params={"favorite": "perhaps"})

    assert [item["persona_id"] for item in every] == ["brad", "alex"]
    assert [item["persona_id"] for item in favorites] == ["brad"]
    assert [item["persona_id"] for item in others] == ["alex"]
    assert problem(unclear) == (400, "validation_failed")
    assert (await ann.client.get("/api/relationships/alex")).json()["is_archived"] is True
    assert problem(await ann.client.get("/api/relationships/sarah")) == (404, "not_found")
    assert (await ben.client.get("/api/relationships")).json()["items"] == []


async def test_s08_a_relationship_is_the_token_s_whatever_the_body_says(house: House, ann: Person, ben: Person):
    await ann.client.put("/api/relationships/brad", json={"userId": ben.id, "user_id": ben.id, "is_favorite": True})

    assert house.row("SELECT user_id FROM user_persona_relationships")["user_id"] == ann.id


async def test_scenarios_are_one_s_own_besides_the_presets(house: House, ann: Person, ben: Person):
    made = await ann.client.post("/api/scenarios", json={"name": "Talk", "scenario_text": "A talk.", "icon": "🎤"})
    scenario = made.json()["id"]
    changed = await ann.client.put(f"/api/scenarios/{scenario}", json={"scenario_text": "A long talk.", "icon": None})
    listed = (await ann.client.get("/api/scenarios")).json()["items"]

    assert made.status_code == 201
    assert (changed.json()["name"], changed.json()["scenario_text"], changed.json()["icon"]) == (
        "Talk", "A long talk.", None
    )  # fmt: skip
    assert listed[0]["id"] == scenario
    assert sum(item["is_preset"] for item in listed) == 5
    for method, path in (("GET", scenario), ("PUT", scenario), ("DELETE", scenario), ("PUT", "scn_bad_date")):
        body = {"json": {"name": "Mallory"}} if method == "PUT" else {}
        assert problem(await ben.client.request(method, f"/api/scenarios/{path}", **body)) == (404, "not_found")
    assert problem(await ben.client.delete("/api/scenarios/scn_bad_date")) == (404, "not_found")
    assert (await ann.client.delete(f"/api/scenarios/{scenario}")).status_code == 204
    assert house.row("SELECT count(*) AS n FROM call_scenario_templates")["n"] == 5


async def test_preferences_have_defaults_and_change_in_part(ann: Person):
    before = (await ann.client.get("/api/preferences")).json()
    after = (
        await ann.client.put("/api/preferences", json={"voicemail_policy": "leave_message", "memory": "Likes tea."})
    ).json()

    assert before == {
        "email_notifications": True, "sms_notifications": False, "call_reminder_minutes": 5,
        "voicemail_policy": "hang_up", "memory_enabled": False, "memory": None, "pay_as_you_go": False,
    }  # fmt: skip
    assert after == before | {"voicemail_policy": "leave_message", "memory": "Likes tea."}
    assert (await ann.client.put("/api/preferences", json={"memory": None})).json()["memory"] is None
    for wrong in ({"call_reminder_minutes": 1441}, {"voicemail_policy": "shout"}, {"sms_notifications": "yes"}):
        assert problem(await ann.client.put("/api/preferences", json=wrong)) == (400, "validation_failed")


async def test_m12_a_budget_has_its_defaults_without_a_row(house: House, ann: Person):
    budget = (await ann.client.get("/api/budget")).json()

    assert house.row("SELECT count(*) AS n FROM user_budget_settings")["n"] == 0
    assert (budget["max_cost_per_call_cents"], budget["max_monthly_spend_cents"]) == ("1000.00", "10000.00")
    assert (budget["warn_at_percent_per_call"], budget["enable_auto_cutoff"]) == (75, True)
    assert (budget["spent_this_month_cents"], budget["remaining_this_month_cents"]) == ("0.00", "10000.00")


async def test_a_budget_changes_in_part(ann: Person):
    first = (await ann.client.put("/api/budget", json={"max_cost_per_call_cents": "12.5"})).json()
    second = (
        await ann.client.put("/api/budget", json={"max_monthly_spend_cents": 0, "enable_auto_cutoff": False})
    ).json()

    assert (first["max_cost_per_call_cents"], first["max_monthly_spend_cents"]) == ("12.50", "10000.00")
    number = (await ann.client.put("/api/budget", json={"max_monthly_spend_cents": 9_999_999.97})).json()

    assert (second["max_cost_per_call_cents"], second["max_monthly_spend_cents"]) == ("12.50", "0.00")
    assert number["max_monthly_spend_cents"] == "9999999.97"
    assert second["enable_auto_cutoff"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"max_cost_per_call_cents": "-1"},
        {"max_cost_per_call_cents": "1000000.01"},
        {"max_cost_per_call_cents": "1.005"},
        {"max_cost_per_call_cents": "NaN"},
        {"max_cost_per_call_cents": "Infinity"},
        {"max_cost_per_call_cents": "1e400"},
        {"max_cost_per_call_cents": "1e3"},
        {"max_cost_per_call_cents": "1_000"},
        {"max_cost_per_call_cents": "１２"},
        {"max_cost_per_call_cents": " 5 "},
        {"max_cost_per_call_cents": "much"},
        {"max_cost_per_call_cents": None},
        {"max_monthly_spend_cents": "10000001"},
        {"warn_at_percent_per_call": 0},
        {"warn_at_percent_per_call": 101},
        {"warn_at_percent_per_call": 75.5},
        {"enable_auto_cutoff": 1},
        {"warn_at_percent_per_call": "50"},
    ],
)
async def test_d09_a_wrong_budget_is_refused(house: House, ann: Person, change: dict[str, object]):
    assert problem(await ann.client.put("/api/budget", json=change)) == (400, "validation_failed")
    assert house.row("SELECT count(*) AS n FROM user_budget_settings")["n"] == 0


async def test_m08_credits_show_the_plan_s_limits(house: House, ann: Person):
    free = (await ann.client.get("/api/credits")).json()
    house.books.execute("SELECT set_tier(%s, 'premium')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 500, 'subscription_refill', 'period:test')", (ann.id,))
    premium = (await ann.client.get("/api/credits")).json()

    assert free["subscription_tier"] == free["tier"]
    assert (free["tier"], free["available_credits"], free["charges_credits"]) == ("free", 0, False)
    assert (free["max_calls_per_day"], free["max_call_duration_seconds"], free["calls_today"]) == (3, 300, 0)
    assert (premium["tier"], premium["available_credits"], premium["charges_credits"]) == ("premium", 500, True)
    assert (premium["max_calls_per_day"], premium["max_call_duration_seconds"]) == (None, 1800)
    assert (premium["held_credits"], premium["debt_credits"], premium["monthly_credit_allowance"]) == (0, 0, 500)


async def test_the_ledger_is_paged_by_key(house: House, ann: Person, ben: Person):
    for n in range(1, 6):
        house.books.execute("SELECT move_credits(%s, %s, 'promotion', %s)", (ann.id, n, f"test:{n}"))
    first = (await ann.client.get("/api/credits/transactions", params={"limit": 2})).json()
    # What comes in between the pages changes nothing in what follows.
    house.books.execute("SELECT move_credits(%s, 6, 'promotion', 'test:6')", (ann.id,))
    second = (await ann.client.get("/api/credits/transactions", params={"limit": 2, "cursor": first["next"]})).json()
    third = (await ann.client.get("/api/credits/transactions", params={"limit": 2, "cursor": second["next"]})).json()

    assert [item["amount"] for page in (first, second, third) for item in page["items"]] == [5, 4, 3, 2, 1]
    assert third["next"] is None
    assert first["items"][0]["balance_after"] == 15
    assert (await ben.client.get("/api/credits/transactions")).json() == {"items": [], "next": None}
    stolen = await ben.client.get("/api/credits/transactions", params={"cursor": first["next"]})
    assert stolen.json()["items"] == []


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/api/credits/transactions", {"limit": "0"}),
        ("/api/credits/transactions", {"limit": "101"}),
        ("/api/credits/transactions", {"limit": "many"}),
        ("/api/credits/transactions", {"cursor": "%%%"}),
        ("/api/credits/transactions", {"cursor": "ü"}),
        ("/api/credits/transactions", {"cursor": "eyJzZXEiOiJ4In0"}),
        ("/api/credits/transactions", {"cursor": base64.urlsafe_b64encode(b'{"seq": "\xff"}').decode()}),
        ("/api/credits/transactions", {"cursor": "x" * 301}),
        (
            "/api/calls",
            {"cursor": base64.urlsafe_b64encode(BEFORE_TIME).decode()},
        ),
        ("/api/calls", {"cursor": "eyJhdCI6InRvbW9ycm93IiwiaWQiOiJ4In0"}),
        ("/api/costs", {"group_by": "user"}),
        ("/api/costs", {"from": "2026-02-30"}),
        ("/api/costs", {"from": "2026-02-01T10:00:00"}),
        ("/api/costs", {"from": "2026-02-01T25:00:00Z"}),
        ("/api/costs", {"from": "2026-03-01", "to": "2026-02-01"}),
        ("/api/costs", {"from": "2020-01-01", "to": "2026-01-01"}),
        ("/api/costs", {"to": "0001-01-01"}),
        ("/api/analytics", {"days": "0"}),
        ("/api/analytics", {"days": "1e9"}),
    ],
)
async def test_wrong_parameters_are_400(ann: Person, path: str, params: dict[str, str]):
    assert problem(await ann.client.get(path, params=params)) == (400, "validation_failed")


async def test_a_period_of_costs_is_told_by_days_or_by_times_in_them(ann: Person):
    assert (await ann.client.patch("/api/auth/me", json={"timezone": "America/New_York"})).status_code == 200
    days = (await ann.client.get("/api/costs", params={"from": "2026-02-01", "to": "2026-02-03"})).json()
    times = {"from": "2026-02-02t04:59:59z", "to": "2026-02-03T23:00:00.5-05:00"}
    moments = (await ann.client.get("/api/costs", params=times)).json()

    assert days == moments
    assert (days["first_day"], days["last_day"]) == ("2026-02-01", "2026-02-03")
