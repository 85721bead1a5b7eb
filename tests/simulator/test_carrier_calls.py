"""Our carrier client and our webhooks against the simulated carrier: every way in which a call can go."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from callmeback.providers import twilio
from callmeback.providers.failures import VendorError, VendorRefused, VendorUnavailable, VendorUnclear
from callmeback.providers.twilio import Carrier, CarrierConfig, Order
from callmeback.simulator import Simulator

pytestmark = pytest.mark.anyio
TO = "+12025550101"
BYE = "<Response><Hangup/></Response>"
WAIT = '<Response><Pause length="30"/></Response>'


def order(ours: Any, **changes: Any) -> Order:
    usual = {"to": TO, "url": f"{ours.url}/voice", "status_callback": f"{ours.url}/status"}
    return Order(**(usual | changes))


def statuses(ours: Any) -> list[str]:
    return [status["CallStatus"] for status in ours.statuses]


async def test_answered_call_goes_through_all_statuses_in_order(ours: Any, carrier: Carrier, sim: Simulator) -> None:
    ours.twiml = BYE
    call = await carrier.place(order(ours))
    await ours.until(lambda: len(ours.statuses) == 4)

    assert call.status == "queued"
    assert statuses(ours) == ["initiated", "ringing", "in-progress", "completed"]
    assert [status["SequenceNumber"] for status in ours.statuses] == ["0", "1", "2", "3"]
    last = ours.statuses[-1]
    assert (last["CallDuration"], last["Duration"], last["SipResponseCode"]) == ("1", "1", "200")
    assert all(status["CallSid"] == call.sid and status["To"] == TO for status in ours.statuses)


async def test_every_webhook_is_signed(ours: Any, carrier: Carrier, sim: Simulator) -> None:
    ours.twiml = BYE
    await carrier.place(order(ours, url=f"{ours.url}/voice?user=u1&call=c1"))
    await ours.until(lambda: len(ours.statuses) == 4)

    for url, pairs, headers in ours.requests:
        given = headers["x-twilio-signature"]
        assert twilio.valid_signature(sim.config.auth_token, url, pairs, given)
        assert not twilio.valid_signature("forged", url, pairs, given)


@pytest.mark.parametrize(
    ("answers", "status", "sip"),
    [("busy", "busy", "486"), ("reject", "busy", "486"), ("no_answer", "no-answer", "487")],
)
async def test_unanswered_calls(
    ours: Any, carrier: Carrier, control: httpx.AsyncClient, answers: str, status: str, sip: str
) -> None:
    await control.put(f"/phones/{TO}", json={"answers": answers})
    call = await carrier.place(order(ours))
    await ours.until(lambda: statuses(ours)[-1:] == [status])

    ended = await carrier.fetch(call.sid)
    assert (ended.status, ended.duration_seconds, ended.price) == (status, None, None)
    assert (ours.statuses[-1]["SipResponseCode"], ours.statuses[-1]["CallDuration"]) == (sip, "0")
    assert not any("/voice" in url for url, _, _ in ours.requests)


async def test_hang_up_ends_a_live_call_and_is_harmless_afterwards(ours: Any, carrier: Carrier) -> None:
    ours.twiml = WAIT
    call = await carrier.place(order(ours))
    await ours.until(lambda: "in-progress" in statuses(ours))

    assert (await carrier.hang_up(call.sid)).status == "completed"
    await ours.until(lambda: "completed" in statuses(ours))
    assert (await carrier.hang_up(call.sid)).ended
    assert (await carrier.hang_up(call.sid)).ended


async def test_hang_up_while_ringing_cancels(ours: Any, carrier: Carrier, control: httpx.AsyncClient) -> None:
    await control.put(f"/phones/{TO}", json={"ring_seconds": 30})
    call = await carrier.place(order(ours))
    await ours.until(lambda: "ringing" in statuses(ours))
    await carrier.hang_up(call.sid)
    await ours.until(lambda: len(ours.statuses) == 3)

    assert statuses(ours)[-1] == "canceled"


async def test_hang_up_of_an_unknown_call_is_refused(carrier: Carrier) -> None:
    with pytest.raises(VendorRefused) as refusal:
        await carrier.hang_up("CA" + "0" * 32)

    assert refusal.value.vendor_code == "20404"


async def test_time_limit_is_kept(ours: Any, carrier: Carrier, control: httpx.AsyncClient) -> None:
    ours.twiml = WAIT
    call = await carrier.place(order(ours, limit_seconds=1))
    await ours.until(lambda: "completed" in statuses(ours))

    seen = (await control.get(f"/calls/{call.sid}")).json()
    assert seen["ended_by"] == "time_limit"
    assert 1 <= int(ours.statuses[-1]["CallDuration"]) <= 3


async def test_ring_time_runs_out(ours: Any, carrier: Carrier, control: httpx.AsyncClient) -> None:
    await control.put(f"/phones/{TO}", json={"ring_seconds": 60})
    await carrier.place(order(ours, ring_seconds=1))
    await ours.until(lambda: len(ours.statuses) == 3)

    assert statuses(ours)[-1] == "no-answer"


async def test_price_is_negative_and_comes_later(ours: Any, carrier: Carrier) -> None:
    ours.twiml = BYE
    call = await carrier.place(order(ours))
    await ours.until(lambda: "completed" in statuses(ours))
    await asyncio.sleep(0.3)
    rated = await carrier.fetch(call.sid)

    assert (rated.price, rated.price_unit, rated.duration_seconds) == (Decimal("-0.01400"), "USD", 1)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": "+1"}, "21211"),
        ({"to": "nobody"}, "21211"),
        ({"caller": "x"}, "21212"),
        ({"url": None}, "21205"),
        ({"url": "ftp://host/x"}, "21205"),
        ({"url": "https://bad_host/x"}, "21205"),
    ],
)
async def test_orders_that_the_carrier_refuses(ours: Any, carrier: Carrier, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(VendorRefused) as refusal:
        await carrier.place(order(ours, **changes))

    assert (refusal.value.vendor_code, refusal.value.http_status) == (code, 400)


async def test_wrong_token_is_refused_and_not_shown(base: str, sim: Simulator, ours: Any) -> None:
    config = CarrierConfig(
        account_sid=sim.config.account_sid, auth_token="hunter2", number=sim.config.number, base_url=f"{base}/carrier"
    )
    carrier = Carrier(config)
    with pytest.raises(VendorRefused) as refusal:
        await carrier.place(order(ours))
    await carrier.aclose()

    assert refusal.value.vendor_code == "20003"
    assert "hunter2" not in repr(refusal.value) and TO not in repr(refusal.value)


async def test_carrier_that_is_down_placed_nothing(ours: Any) -> None:
    config = CarrierConfig(account_sid="AC1", auth_token="t", number="+12025550199", base_url="http://127.0.0.1:9")
    carrier = Carrier(config)
    with pytest.raises(VendorUnavailable):
        await carrier.place(order(ours))
    await carrier.aclose()


async def test_failing_create_is_unclear_and_the_call_can_be_found(
    ours: Any, carrier: Carrier, control: httpx.AsyncClient
) -> None:
    ours.twiml = BYE
    since = datetime.now(UTC)
    outcomes = []
    for number in range(24):
        # Of a vendor of whom all requests fail none is done.
        await control.put("/vendors/carrier", json={"fail_rate": 0.9999 if number < 12 else 1})
        with pytest.raises(VendorUnclear):
            await carrier.place(order(ours, to=f"+120255501{number:02}"))
    await control.put("/vendors/carrier", json={})
    for number in range(24):
        outcomes.append(len(await carrier.find(f"+120255501{number:02}", since)))

    assert (set(outcomes[:12]), set(outcomes[12:])) == ({0, 1}, {0})
    assert await carrier.find("+12025550101", since + timedelta(minutes=1)) == []


async def test_silent_carrier_is_unclear_within_the_deadline(base: str, sim: Simulator, ours: Any) -> None:
    sim.manners.set("carrier", type(sim.manners["carrier"])(latency_ms=3000))
    config = CarrierConfig(
        account_sid=sim.config.account_sid,
        auth_token=sim.config.auth_token,
        number=sim.config.number,
        base_url=f"{base}/carrier",
        answer_timeout_s=0.2,
    )
    carrier = Carrier(config)
    with pytest.raises(VendorUnclear):
        await carrier.place(order(ours))
    await carrier.aclose()


async def test_find_follows_pages(ours: Any, carrier: Carrier, control: httpx.AsyncClient, monkeypatch: Any) -> None:
    monkeypatch.setattr(twilio, "FIND_PAGE_SIZE", 2)
    await control.put(f"/phones/{TO}", json={"answers": "busy"})
    placed = [(await carrier.place(order(ours))).sid for _ in range(5)]
    found = await carrier.find(TO, datetime.now(UTC) - timedelta(minutes=1))

    assert [call.sid for call in found] == placed[::-1]


async def test_callbacks_come_twice_when_told_so(ours: Any, carrier: Carrier, control: httpx.AsyncClient) -> None:
    ours.twiml = BYE
    await control.put("/vendors/carrier", json={"duplicate_rate": 1.0})
    await carrier.place(order(ours))
    await ours.until(lambda: len(ours.statuses) == 8)

    assert sorted(status["SequenceNumber"] for status in ours.statuses) == sorted("00112233")


async def test_callbacks_overtake_one_another_when_told_so(
    ours: Any, carrier: Carrier, control: httpx.AsyncClient
) -> None:
    ours.twiml = BYE
    await control.put("/vendors/carrier", json={"reorder": True})
    orders = set()
    for number in range(6):
        ours.statuses.clear()
        await carrier.place(order(ours, to=f"+120255501{number:02}"))
        await ours.until(lambda: len(ours.statuses) == 4)
        orders.add(tuple(status["SequenceNumber"] for status in ours.statuses))

    assert orders != {("0", "1", "2", "3")}


async def test_webhook_is_retried_with_the_same_token_when_the_fragment_asks(
    ours: Any, carrier: Carrier, sim: Simulator
) -> None:
    ours.twiml = BYE
    ours.failures = [500, 503]
    await carrier.place(order(ours, url=f"{ours.url}/voice#rc=2&rp=5xx", status_callback=None))
    await ours.until(lambda: len(ours.requests) == 3)

    tokens = {headers["i-twilio-idempotency-token"] for _, _, headers in ours.requests}
    assert len(tokens) == 1
    assert all("#" not in url for url, _, _ in ours.requests)


async def test_webhook_that_fails_ends_the_call_unless_there_is_a_fallback(ours: Any, carrier: Carrier) -> None:
    ours.twiml = BYE
    ours.failures = [500]
    await carrier.place(order(ours, fallback_url=f"{ours.url}/voice?again=1", status_callback=None))
    await ours.until(lambda: len(ours.requests) == 2)

    assert "again=1" in ours.requests[1][0]


async def test_human_is_told_from_machine(ours: Any, carrier: Carrier) -> None:
    ours.twiml = WAIT
    call = await carrier.place(order(ours, machine_detection="Enable", amd_callback=f"{ours.url}/amd"))
    await ours.until(lambda: bool(ours.amd))

    assert (ours.amd[0]["AnsweredBy"], ours.amd[0]["CallSid"]) == ("human", call.sid)
    assert (await carrier.fetch(call.sid)).answered_by == "human"


async def test_queue_lets_one_call_a_second_through(base: str, ours: Any, sim: Simulator, carrier: Carrier) -> None:
    sim.config = type(sim.config)(
        account_sid=sim.config.account_sid, auth_token=sim.config.auth_token, calls_per_second=4, ring_seconds=0
    )
    ours.twiml = BYE
    for number in range(4):
        await carrier.place(order(ours, to=f"+120255501{number:02}"))
    await ours.until(lambda: statuses(ours).count("completed") == 4)

    waits = sorted(call.queue_ms for call in sim.calls.values())
    assert waits[0] == 0
    assert waits[3] >= 500


async def test_texts_lie_in_the_simulators_pigeonhole(carrier: Carrier, control: httpx.AsyncClient) -> None:
    sent = await carrier.send_text(TO, "Your code is 123456")
    await carrier.send_text("+12025550102", "Grüße " * 20)
    first = (await control.get("/messages", params={"to": TO})).json()
    everything = (await control.get("/messages")).json()

    assert sent.sid.startswith("SM") and sent.segments == 1
    assert [(item["to"], item["body"]) for item in first["items"]] == [(TO, "Your code is 123456")]
    assert datetime.fromisoformat(first["items"][0]["sent_at"]).tzinfo is not None
    assert [item["to"] for item in everything["items"]] == ["+12025550102", TO]
    assert first["next"] is None


@pytest.mark.parametrize(("to", "body", "code"), [("x", "a", "21211"), (TO, "", "21602"), (TO, "a" * 1601, "21617")])
async def test_texts_that_the_carrier_refuses(carrier: Carrier, to: str, body: str, code: str) -> None:
    with pytest.raises(VendorError) as refusal:
        await carrier.send_text(to, body)

    assert refusal.value.vendor_code == code
