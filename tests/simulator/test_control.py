"""What the simulator lets be set and seen, and that it takes nonsense and strangers calmly."""

from typing import Any

import httpx
import pytest

from callmeback.simulator import Simulator

pytestmark = pytest.mark.anyio
PHONE = "/phones/%2B12025550131"


async def test_script_is_stored_and_forgotten(control: httpx.AsyncClient, sim: Simulator) -> None:
    put = await control.put(PHONE, json={"answers": "human", "says": ["Hello?"], "hangs_up": False})

    assert put.status_code == 200
    assert put.json()["says"] == ["Hello?"]
    assert sim.phones["+12025550131"].hangs_up is False
    assert (await control.delete(PHONE)).status_code == 204
    assert sim.phones == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PHONE, {"answers": "robot"}),
        (PHONE, {"says": "Hello"}),
        (PHONE, {"says": [""]}),
        (PHONE, {"says": ["x" * 1001]}),
        (PHONE, {"says": ["x"] * 101}),
        (PHONE, {"anwsers": "human"}),
        (PHONE, {"ring_seconds": -1}),
        (PHONE, []),
        ("/phones/abc", {}),
        ("/phones/%2B0", {}),
        ("/vendors/carrier", {"latency_ms": -1}),
        ("/vendors/carrier", {"latency_ms": "slow"}),
        ("/vendors/carrier", {"fail_rate": 1.5}),
        ("/vendors/carrier", {"fail_rate": None}),
        ("/vendors/carrier", {"drop_after_seconds": 0}),
        ("/vendors/carrier", {"speed": 1}),
        ("/vendors/carrier", []),
    ],
)
async def test_nonsense_is_a_clear_400(control: httpx.AsyncClient, path: str, body: Any) -> None:
    answer = await control.put(path, json=body)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "validation_failed"
    assert answer.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"latency_ms": 1e999}', b"null"])
async def test_bodies_that_are_no_json_are_a_400(control: httpx.AsyncClient, content: bytes) -> None:
    for path in (PHONE, "/vendors/brain"):
        assert (await control.put(path, content=content)).status_code == 400


async def test_unknown_vendor_and_call_are_not_found(control: httpx.AsyncClient) -> None:
    for answer in (await control.put("/vendors/cook", json={}), await control.get("/calls/CA0")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_manners_are_replaced_and_fall_back(control: httpx.AsyncClient) -> None:
    changed = (await control.put("/vendors/brain", json={"fail_rate": 0.5})).json()
    usual = (await control.put("/vendors/brain", json={})).json()
    listed = (await control.get("/vendors")).json()["items"]

    assert (changed["fail_rate"], changed["latency_ms"]) == (0.5, 150)
    assert usual["fail_rate"] == 0
    assert [item["name"] for item in listed] == ["carrier", "listener", "brain", "voice", "payments"]


async def test_mails_are_kept_newest_first(control: httpx.AsyncClient) -> None:
    for body in ("first", "second"):
        await control.post("/mails", json={"to": "ann+x@example.com", "subject": "Hello", "body": body})
    mails = (await control.get("/mails", params={"to": "Ann+x@example.com"})).json()
    bare = (await control.get("/mails?to=ann+x@example.com")).json()
    nobody = (await control.get("/mails", params={"to": "bob@example.com"})).json()

    assert [mail["body"] for mail in mails["items"]] == ["second", "first"]
    assert mails == bare
    assert nobody == {"items": [], "next": None}
    assert (await control.post("/mails", json={"to": 1})).status_code == 400


async def test_number_of_a_query_may_have_lost_its_plus(control: httpx.AsyncClient) -> None:
    assert (await control.get("/messages?to=+12025550131")).status_code == 200
    assert (await control.get("/messages?to=nobody")).status_code == 400


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_whoever_comes_through_a_proxy_is_kept_out(control: httpx.AsyncClient, header: str) -> None:
    answer = await control.get("/messages", headers={header: "for=203.0.113.9"})

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 403), ("127.0.0.1.evil.example:8000", 403), ("[", 403), ("localhost:8000", 200), ("[::1]", 200)],
)
async def test_a_site_whose_name_points_here_is_kept_out(control: httpx.AsyncClient, host: str, status: int) -> None:
    answer = await control.get("/messages", headers={"Host": host})

    assert answer.status_code == status
