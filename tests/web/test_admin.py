"""What admins may see, and that nobody else does."""

import pytest
from tests.web.house import Build, House, Person, problem

pytestmark = pytest.mark.anyio

ROUTES = (
    "/api/admin/users", "/api/admin/users/x", "/api/admin/reports", "/api/admin/reports/balances",
    "/api/admin/calls/live", "/api/admin/doctor",
)  # fmt: skip
PHONE = "+12025550101"


@pytest.fixture
async def admin(house: House) -> Person:
    """Somebody whom an operator made an admin."""
    person = await house.person("root@example.org")
    house.books.execute("INSERT INTO admin_users (user_id, granted_by) VALUES (%s, 'test')", (person.id,))

    return person


@pytest.mark.parametrize("path", ROUTES)
async def test_s10_admin_routes_are_for_admins_alone(house: House, ann: Person, path: str):
    assert problem(await house.client().get(path)) == (401, "unauthorized")
    assert problem(await ann.client.get(path)) == (403, "forbidden")


async def test_s10_the_role_counts_and_not_the_email_or_the_token(house: House, admin: Person):
    pretender = await house.person("admin@callmeback.example", name="admin")
    assert (await admin.client.get("/api/auth/me")).json()["is_admin"] is True
    assert (await admin.client.get("/api/admin/users")).status_code == 200
    house.books.execute("DELETE FROM admin_users")

    assert problem(await admin.client.get("/api/admin/users")) == (403, "forbidden")
    assert problem(await pretender.client.get("/api/admin/users")) == (403, "forbidden")


async def test_accounts_are_listed_by_key_and_shown(house: House, admin: Person, ann: Person):
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 7, 'promotion', 'test:1')", (ann.id,))
    first = (await admin.client.get("/api/admin/users", params={"limit": 1})).json()
    second = (await admin.client.get("/api/admin/users", params={"limit": 1, "cursor": first["next"]})).json()
    by_id = (await admin.client.get(f"/api/admin/users/{ann.id}")).json()
    by_email = (await admin.client.get(f"/api/admin/users/{ann.email.upper()}")).json()

    assert [item["id"] for item in first["items"] + second["items"]] == [ann.id, admin.id]
    assert second["next"] is None
    assert by_id == by_email == first["items"][0]
    assert (by_id["available_credits"], by_id["tier"], by_id["role"]) == (7, "basic", "user")
    assert "password_hash" not in by_id
    assert problem(await admin.client.get("/api/admin/users/nobody")) == (404, "not_found")


async def test_the_doctor_s_page_asks_only_what_its_role_may(admin: Person):
    """What is refused would stand in the server's log, and be the doctor's own next finding."""
    found = (await admin.client.get("/api/admin/doctor", params={"area": "money"})).json()["items"]

    assert {one["verdict"] for one in found} == {"green"}


async def test_m14_reports_tell_revenue_from_cost(house: House, admin: Person, ann: Person):
    await house.script(PHONE, says=[], ring_seconds=0.1)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    live = (await admin.client.get("/api/admin/calls/live")).json()["items"]
    done = await house.until(ann, placed["id"])
    house.books.execute(
        "INSERT INTO purchases (user_id, id, sku, credits, amount_cents, currency, status, completed_at) "
        "VALUES (%s, 'pur_1', 'credits-100', 100, 999, 'usd', 'completed', now())",
        (ann.id,),
    )

    async def report(name: str) -> list[dict[str, object]]:
        answer = await admin.client.get(f"/api/admin/reports/{name}")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    [margin] = await report("margin")
    vendors = {row["vendor"]: row["cost_cents"] for row in await report("vendor_costs")}
    [dearest] = await report("dearest_calls")
    [volume] = await report("volume")
    [top] = await report("top_personas")
    balances = await report("balances")

    assert [call["call_id"] for call in live] == [done["id"]]
    assert (margin["revenue_cents"], margin["cost_cents"]) == ("999.00", done["cost_cents"])
    assert float(str(margin["margin_cents"])) == pytest.approx(999 - float(done["cost_cents"]))
    assert {name: vendors[name] for name in done["costs"]} == done["costs"]
    assert vendors["total"] == done["cost_cents"] == dearest["cost_cents"]
    assert (volume["calls"], volume["completed"], volume["live"]) == (1, 1, 0)
    assert (top["persona_id"], top["calls"]) == ("brad", 1)
    assert {row["user_id"] for row in balances} == {ann.id, admin.id}
    assert problem(await admin.client.get("/api/admin/reports/secrets")) == (404, "not_found")
    for name, query in (("margin", {"days": "0"}), ("balances", {"days": "7"}), ("margin", {"user": ann.id})):
        refused = await admin.client.get(f"/api/admin/reports/{name}", params=query)
        assert problem(refused) == (400, "validation_failed"), (name, query)
        assert [one["field"] for one in refused.json()["fields"]] == list(query)


async def test_low_credits_lists_those_who_pay_by_credits(house: House, admin: Person, ann: Person):
    ben = await house.person("ben@example.org")
    for person, credits in ((ann, 3), (ben, 50)):
        house.books.execute("SELECT set_tier(%s, 'basic')", (person.id,))
        house.books.execute("SELECT move_credits(%s, %s, 'promotion', 'test:1')", (person.id, credits))
    items = (await admin.client.get("/api/admin/reports/low_credits")).json()["items"]

    assert [(row["user_id"], row["available_credits"]) for row in items] == [(ann.id, 3)]


async def test_reports_come_from_the_replica_and_nothing_else_does(build: Build):
    house = await build(database_read_url="postgresql://a:b@127.0.0.1:1/nowhere")
    admin = await house.person("root@example.org")
    house.books.execute("INSERT INTO admin_users (user_id, granted_by) VALUES (%s, 'test')", (admin.id,))
    report = await admin.client.get("/api/admin/reports/balances")

    assert problem(report) == (503, "database_unavailable")
    assert int(report.headers["retry-after"]) > 0
    assert (await admin.client.get("/api/credits")).status_code == 200
    assert (await house.client().get("/ready")).status_code == 200
    assert 'callmeback_pool_connections{pool="reports",state="limit"}' in (await house.client().get("/metrics")).text


async def test_reports_of_a_replica_are_those_of_the_database(build: Build, database_url: str):
    house = await build(database_read_url=f"{database_url}?target_session_attrs=prefer-standby")
    admin = await house.person("root@example.org")
    house.books.execute("INSERT INTO admin_users (user_id, granted_by) VALUES (%s, 'test')", (admin.id,))
    report = await admin.client.get("/api/admin/reports/balances")

    assert [row["user_id"] for row in report.json()["items"]] == [admin.id]
