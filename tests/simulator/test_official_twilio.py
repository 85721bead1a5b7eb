"""The carrier's own client, blocking and unaware, against the simulated carrier."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from callmeback.simulator import Simulator

pytestmark = pytest.mark.anyio
TO = "+12025550121"


@pytest.fixture
def client(base: str, sim: Simulator) -> Any:
    client = Client(sim.config.account_sid, sim.config.auth_token, http_client=TwilioHttpClient(timeout=10))
    client.api.base_url = f"{base}/carrier"
    yield client
    client.http_client.session.close()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.02)


async def test_it_places_fetches_lists_and_ends_a_call(client: Any, sim: Simulator) -> None:
    twiml = '<Response><Pause length="20"/></Response>'
    call = await asyncio.to_thread(
        client.calls.create,
        to=TO,
        from_=sim.config.number,
        twiml=twiml,
        status_callback_event=["initiated", "completed"],
    )
    listed = await asyncio.to_thread(client.calls.list, to=TO, limit=5)
    await until(lambda: sim.calls[call.sid].status == "in-progress")
    ended = await asyncio.to_thread(client.calls(call.sid).update, status="completed")

    assert (call.status, call.direction, call.to) == ("queued", "outbound-api", TO)
    assert call.date_created.tzinfo is not None
    assert [other.sid for other in listed] == [call.sid]
    assert ended.status == "completed"
    with pytest.raises(TwilioRestException) as refusal:
        for _ in range(50):
            await asyncio.to_thread(client.calls(call.sid).update, status="completed")
    assert (refusal.value.status, refusal.value.code) == (404, 20404)


async def test_it_pages_through_calls(client: Any, sim: Simulator) -> None:
    for _ in range(5):
        await asyncio.to_thread(client.calls.create, to=TO, from_=sim.config.number, twiml="<Response/>")
    listed = await asyncio.to_thread(client.calls.list, to=TO, page_size=2)

    assert len({call.sid for call in listed}) == 5


async def test_it_sends_a_text(client: Any, sim: Simulator) -> None:
    message = await asyncio.to_thread(client.messages.create, to=TO, from_=sim.config.number, body="Hello")

    assert (message.status, message.num_segments, message.error_code) == ("queued", "1", None)
    assert sim.messages[0].body == "Hello"


async def test_it_reads_our_refusals(client: Any, sim: Simulator) -> None:
    with pytest.raises(TwilioRestException) as invalid:
        await asyncio.to_thread(client.calls.create, to="x", from_=sim.config.number, twiml="<Response/>")
    with pytest.raises(TwilioRestException) as redirect:
        ended = await asyncio.to_thread(client.calls.create, to=TO, from_=sim.config.number, twiml="<Response/>")
        await until(lambda: sim.calls[ended.sid].over)
        await asyncio.to_thread(client.calls(ended.sid).update, twiml="<Response/>")
    client.username = client.password = "wrong"
    client.auth = ("wrong", "wrong")
    with pytest.raises(TwilioRestException) as stranger:
        await asyncio.to_thread(client.calls(ended.sid).fetch)

    assert (invalid.value.code, redirect.value.code, stranger.value.code) == (21211, 21220, 20003)
    assert stranger.value.status == 401
