"""What the carrier sends us: webhooks and the media socket, genuine, forged, twice, too late and out of order."""

import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from tests.web.house import PATIENCE_S, Build, House, Person, problem
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from callmeback.providers import twilio
from callmeback.web.webhooks import stream_token

pytestmark = pytest.mark.anyio

PHONE = "+12025550101"


class Dialled(msgspec.Struct, frozen=True):
    """A call that rings at the carrier, which tells us nothing of it: the tests speak for the carrier."""

    id: str
    user_id: str
    sid: str


async def dialled(house: House, person: Person) -> Dialled:
    house.books.execute("UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001, refilled_at = now()")
    await house.script(PHONE, ring_seconds=300)
    answer = await person.client.post("/api/calls", json={"persona_id": "brad"})
    assert answer.status_code == 202, answer.text
    call_id = str(answer.json()["id"])
    order = twilio.Order(to=PHONE, twiml="<Response><Hangup/></Response>", ring_seconds=300)
    placed = await house.services.carrier.place(order)
    await house.change("UPDATE open_calls SET dial_claimed_at = now()")
    await house.change("SELECT advance_call(%s, %s, 'calling', %s)", person.id, call_id, placed.sid)

    return Dialled(call_id, person.id, placed.sid)


async def send(house: House, hook: str, call: Dialled, **fields: str) -> httpx.Response:
    """A webhook as the carrier signs it."""
    query = urlencode({"user_id": call.user_id, "call_id": call.id})
    url = f"{house.settings.base_url}/webhooks/twilio/{hook}?{query}"
    form = {"CallSid": call.sid, "AccountSid": house.services.carrier.config.account_sid} | fields
    signed = twilio.signature(house.services.carrier.config.auth_token, url, form.items())

    return await house.client().post(
        f"/webhooks/twilio/{hook}?{query}", data=form, headers={twilio.SIGNATURE_HEADER: signed}
    )


def status(house: House, call: Dialled) -> str:
    return str(house.row("SELECT status FROM calls WHERE id = %s", call.id)["status"])


@pytest.mark.parametrize("hook", ["voice", "status", "amd"])
async def test_s11_a_forged_webhook_is_403_and_changes_nothing(house: House, ann: Person, hook: str):
    call = await dialled(house, ann)
    query = urlencode({"user_id": ann.id, "call_id": call.id})
    path = f"/webhooks/twilio/{hook}?{query}"
    form = {"CallSid": call.sid, "CallStatus": "completed", "SequenceNumber": "1", "AnsweredBy": "machine_start"}
    good = twilio.signature(house.services.carrier.config.auth_token, house.settings.base_url + path, form.items())
    for signature in (None, "", "nonsense", good[::-1], twilio.signature("another token", path, form.items())):
        headers = {} if signature is None else {twilio.SIGNATURE_HEADER: signature}
        assert problem(await house.client().post(path, data=form, headers=headers)) == (403, "forged_webhook")
    changed = await house.client().post(
        path, data=form | {"CallStatus": "busy"}, headers={twilio.SIGNATURE_HEADER: good}
    )
    elsewhere = await house.client().post(
        path.replace(ann.id, "user_x"), data=form, headers={twilio.SIGNATURE_HEADER: good}
    )

    assert problem(changed) == problem(elsewhere) == (403, "forged_webhook")
    assert status(house, call) == "calling"
    assert house.row("SELECT count(*) AS n FROM carrier_events")["n"] == 0


async def test_s11_the_signature_is_of_our_public_url_whatever_the_host_header_says(build: Build):
    house = await build(public_url="https://call.example.com")
    ann = await house.person(phone=PHONE)
    call = await dialled(house, ann)
    genuine = await send(house, "status", call, CallStatus="ringing", SequenceNumber="1")
    query = urlencode({"user_id": ann.id, "call_id": call.id})
    local = f"{house.url}/webhooks/twilio/status?{query}"
    form = {"CallSid": call.sid, "CallStatus": "completed", "SequenceNumber": "2"}
    signed = twilio.signature(house.services.carrier.config.auth_token, local, form.items())
    forged = await house.client().post(local, data=form, headers={twilio.SIGNATURE_HEADER: signed})

    assert genuine.status_code == 204
    assert problem(forged) == (403, "forged_webhook")


async def test_the_voice_webhook_joins_the_call_to_its_media_socket(house: House, ann: Person):
    call = await dialled(house, ann)
    answer = await send(house, "voice", call, CallStatus="in-progress")
    token = stream_token(house.services.keys, call.user_id, call.id, call.sid)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert f'<Stream url="ws://127.0.0.1:{house.settings.port}/media/{call.id}"' in answer.text
    assert token in answer.text
    assert answer.text.endswith("<Hangup/></Response>")
    assert status(house, call) == "connected"


async def test_the_voice_webhook_of_a_call_that_has_ended_hangs_up(house: House, ann: Person):
    call = await dialled(house, ann)
    await send(house, "status", call, CallStatus="canceled", SequenceNumber="3")
    late = await send(house, "voice", call, CallStatus="in-progress")
    unknown = await send(house, "voice", msgspec.structs.replace(call, id="call_unknown"), CallStatus="in-progress")

    assert status(house, call) == "canceled"
    for answer in (late, unknown):
        assert answer.status_code == 200
        assert "<Stream" not in answer.text
        assert "<Hangup/>" in answer.text


async def test_c01_c02_events_repeat_and_overtake_one_another(house: House, ann: Person):
    call = await dialled(house, ann)
    for sequence, word in (("2", "in-progress"), ("0", "initiated"), ("1", "ringing"), ("2", "in-progress")):
        answer = await send(house, "status", call, CallStatus=word, SequenceNumber=sequence)
        assert answer.status_code == 204
        assert status(house, call) == "connected"
    await send(house, "status", call, CallStatus="completed", SequenceNumber="3", CallDuration="7")
    await send(house, "status", call, CallStatus="ringing", SequenceNumber="4")
    await send(house, "status", call, CallStatus="busy", SequenceNumber="5")
    events = house.books.execute("SELECT event_key, verdict, reason FROM carrier_events ORDER BY event_key").fetchall()

    assert status(house, call) == "completed"
    assert [tuple(event.values()) for event in events] == [
        ("0", "ignored", "backward"),
        ("1", "ignored", "backward"),
        ("2", "applied", None),
        ("3", "applied", None),
        ("4", "ignored", "call has ended"),
        ("5", "ignored", "call has ended"),
    ]
    assert house.row("SELECT carrier_duration_seconds AS s FROM calls")["s"] == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"CallStatus": "dancing", "SequenceNumber": "1"},
        {"CallStatus": "completed", "SequenceNumber": "9" * 500},
        {"CallStatus": "completed", "CallDuration": "-5", "SequenceNumber": "1"},
        {"CallStatus": "ringing", "CallDuration": "٣", "SequenceNumber": "1"},
        {"CallStatus": "ringing", "SequenceNumber": "1", "AnsweredBy": "a dog"},
        {"SequenceNumber": "1"},
        {},
    ],
)
async def test_strange_but_genuine_events_are_no_500(house: House, ann: Person, fields: dict[str, str]):
    call = await dialled(house, ann)
    answer = await send(house, "status", call, **fields)

    assert answer.status_code == 204


async def test_c12_a_machine_that_answers_before_the_talk_is_hung_up_on(house: House, ann: Person):
    call = await dialled(house, ann)
    await send(house, "status", call, CallStatus="in-progress", SequenceNumber="1")
    await send(house, "amd", call, AnsweredBy="machine_start", MachineDetectionDuration="900")
    done = await house.until(ann, call.id)
    seen = (await house.client().get(f"/simulator/calls/{call.sid}")).json()

    assert (done["status"], done["end_reason"], done["answered_by"]) == ("completed", "voicemail", "machine")
    assert done["credits_used"] == 0
    assert seen["ended_by"] == "api"


async def test_a_person_who_answers_is_noted(house: House, ann: Person):
    call = await dialled(house, ann)
    await send(house, "status", call, CallStatus="in-progress", SequenceNumber="1")
    human = await send(house, "amd", call, AnsweredBy="human", MachineDetectionDuration="900")
    row = house.row("SELECT answered_by, status FROM calls WHERE id = %s", call.id)

    assert human.status_code == 204
    assert row == {"answered_by": "human", "status": "connected"}


async def open_socket(house: House, call: Dialled, signature: str | None = None) -> ClientConnection:
    url = f"ws://127.0.0.1:{house.settings.port}/media/{call.id}"
    signed = twilio.signature(house.services.carrier.config.auth_token, url) if signature is None else signature

    return await connect(url, additional_headers={twilio.SIGNATURE_HEADER: signed}, proxy=None)


def start(call_sid: str, **parameters: str) -> str:
    body = {
        "accountSid": "AC1",
        "streamSid": "MZ1",
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": parameters,
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": body})


async def close_code(socket: ClientConnection) -> int | None:
    """The code with which we are refused; frames before that are a failure."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            frame = await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else None
    raise AssertionError(frame)


@pytest.mark.parametrize("signature", ["", "nonsense"])
async def test_s11_a_media_socket_with_a_forged_handshake_isnt_opened(house: House, ann: Person, signature: str):
    call = await dialled(house, ann)
    with pytest.raises(InvalidStatus) as refused:
        await open_socket(house, call, signature)

    assert refused.value.response.status_code == 403


async def connected(house: House, ann: Person) -> tuple[Dialled, str]:
    """A call whose voice webhook was answered, and its token."""
    call = await dialled(house, ann)
    await send(house, "voice", call, CallStatus="in-progress")

    return call, stream_token(house.services.keys, call.user_id, call.id, call.sid)


async def test_s11_a_media_stream_needs_the_token_of_its_call(house: House, ann: Person):
    call, token = await connected(house, ann)
    wrong: list[dict[str, Any]] = [
        {"user_id": ann.id},
        {"user_id": ann.id, "token": "0" * 64},
        {"user_id": "user_x", "token": token},
        {"user_id": ann.id, "token": token, "call_sid": "CA" + "1" * 32},
        {"user_id": ann.id, "token": stream_token(house.services.keys, ann.id, "call_x", call.sid)},
    ]
    for parameters in wrong:
        socket = await open_socket(house, call)
        await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        await socket.send(start(**({"call_sid": call.sid} | parameters)))

        assert await close_code(socket) == 1008, parameters
    assert status(house, call) == "connected"


async def test_a_media_stream_in_another_format_is_closed(house: House, ann: Person):
    call, token = await connected(house, ann)
    socket = await open_socket(house, call)
    await socket.send(start(call.sid, user_id=ann.id, token=token).replace("audio/x-mulaw", "audio/l16"))

    assert await close_code(socket) == 1003
    assert status(house, call) == "connected"


@pytest.mark.parametrize("first", ["nonsense", "{}", '{"event": "start"}', json.dumps({"event": "stop"})])
async def test_a_media_stream_that_doesnt_start_is_closed(house: House, ann: Person, first: str):
    call, _ = await connected(house, ann)
    socket = await open_socket(house, call)
    for _ in range(12):
        await socket.send(first)

    assert await close_code(socket) == 1008


async def test_s11_a_media_token_opens_once(house: House, ann: Person):
    call, token = await connected(house, ann)
    first = await open_socket(house, call)
    await first.send(start(call.sid, user_id=ann.id, token=token))
    async with asyncio.timeout(PATIENCE_S):
        greeting = json.loads(await first.recv())
    second_status = None
    try:
        second = await open_socket(house, call)
    except InvalidStatus as refused:
        second_status = refused.response.status_code
    else:
        await second.send(start(call.sid, user_id=ann.id, token=token))
        second_status = await close_code(second)
    await first.close()
    done = await house.until(ann, call.id)
    third = await open_socket(house, call)
    await third.send(start(call.sid, user_id=ann.id, token=token))

    assert greeting["event"] in ("media", "mark")
    assert second_status == 403
    assert done["status"] == "completed"
    assert await close_code(third) == 1008


async def echo_marks(socket: ClientConnection) -> None:
    """What is sent is played at once, and said to be."""
    with contextlib.suppress(ConnectionClosed):
        async for frame in socket:
            if json.loads(frame)["event"] == "mark":
                await socket.send(frame)


@pytest.mark.parametrize("is_first", [False, True])
async def test_c12_the_beep_of_a_machine_is_heard_by_the_talk_whichever_process_was_told_of_it(
    house: House, ann: Person, build: Build, is_first: bool
):
    """The carrier's callbacks go to any of several processes, the talk is one's alone."""
    other = await build()
    await ann.client.put("/api/preferences", json={"voicemail_policy": "leave_message"})
    call, token = await connected(house, ann)
    if is_first:
        await send(other, "amd", call, AnsweredBy="machine_end_beep", MachineDetectionDuration="900")
    async with await open_socket(house, call) as socket:
        await socket.send(start(call.sid, user_id=ann.id, token=token))
        await socket.recv()
        control = house.services.host.admission.live[call.id]
        if not is_first:
            await send(other, "amd", call, AnsweredBy="machine_end_beep", MachineDetectionDuration="900")
        await echo_marks(socket)
    done = await house.until(ann, call.id)

    assert (done["end_reason"], done["answered_by"]) == ("voicemail", "machine")
    assert "I tried to reach you" in done["transcript"][-1]["text"]
    # Who still waits for a beep that has been speaks into a machine that has hung up.
    assert control.answered_by == "machine_end_beep"


async def test_a_stream_that_breaks_is_settled_to_its_last_second(house: House, ann: Person):
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 5, 'promotion', 'test:1')", (ann.id,))
    call, token = await connected(house, ann)
    socket = await open_socket(house, call)
    await socket.send(start(call.sid, user_id=ann.id, token=token))
    await socket.recv()
    await asyncio.sleep(1.5)
    socket.transport.abort()
    done = await house.until(ann, call.id)

    assert (done["status"], done["end_reason"]) == ("completed", "lost")
    assert 1 <= done["duration_seconds"] <= 10
    assert done["credits_used"] == 1
    assert (await ann.client.get("/api/credits")).json()["available_credits"] == 4


async def test_a_full_process_says_so_and_the_person_hears_it(house: House, ann: Person):
    call = await dialled(house, ann)
    house.services.host.admission.calls_max = 0
    answer = await send(house, "voice", call, CallStatus="in-progress")

    assert "<Say>" in answer.text
    assert "<Stream" not in answer.text
    with pytest.raises(InvalidStatus) as refused:
        await open_socket(house, call)
    assert refused.value.response.status_code == 403


async def test_c03_a_refused_dial_fails_the_call_and_gives_back_the_hold(build: Build):
    """The carrier's number is not its own: every create is refused for good."""
    house = await build()
    ann = await house.person(phone=PHONE)
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 5, 'promotion', 'test:1')", (ann.id,))
    house.books.execute("UPDATE personas SET phone_number = '+12025550000' WHERE id = 'brad'")
    object.__setattr__(house.services.carrier, "_account", f"{house.url}/simulator/carrier/2010-04-01/Accounts/ACwrong")
    done = await house.until(ann, (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()["id"])

    assert (done["status"], done["end_reason"]) == ("failed", "dial_failed")
    credits = (await ann.client.get("/api/credits")).json()
    assert (credits["available_credits"], credits["held_credits"], credits["calls_today"]) == (5, 0, 0)


async def test_c03_after_an_unclear_dial_the_call_is_never_dialled_again(house: House, ann: Person):
    """Half of the creates that fail have placed the call all the same. We don't know, so we look, and never dial."""
    await house.script(PHONE, answers="no_answer")
    await house.client().put("/simulator/vendors/carrier", json={"fail_rate": 0.9999})
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await asyncio.sleep(1.5)
    await house.client().put("/simulator/vendors/carrier", json={"fail_rate": 0})
    await asyncio.sleep(1.5)
    calls = (await house.client().get("/simulator/calls")).json()["items"]
    now = (await ann.client.get(f"/api/calls/{placed['id']}")).json()
    claimed = house.row("SELECT count(*) AS n FROM open_calls WHERE dial_claimed_at IS NOT NULL")["n"]

    # Either the carrier rang and told us, or the claim stands and the reaper will ask.
    assert (len(calls), claimed, now["status"]) in [(1, 0, "no_answer"), (1, 1, "calling"), (0, 1, "initiating")]


async def test_c03_a_carrier_that_is_silent_at_create_may_ring_all_the_same(house: House, ann: Person):
    """Its answer never comes, its callbacks do: the call goes on, and is dialled once."""
    await house.script(PHONE, says=[], ring_seconds=0.1)
    impatient = msgspec.structs.replace(house.services.carrier.config, answer_timeout_s=0.2)
    house.services.dialler._carrier = twilio.Carrier(impatient)
    await house.client().put("/simulator/vendors/carrier", json={"latency_ms": 500})
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    done = await house.until(ann, placed["id"])
    await house.services.dialler._carrier.aclose()

    assert (done["status"], done["end_reason"]) == ("completed", "hung_up")
    assert len((await house.client().get("/simulator/calls")).json()["items"]) == 1


async def test_a_call_canceled_while_it_was_dialled_is_ended_at_the_carrier(house: House, ann: Person):
    await house.script(PHONE, ring_seconds=30)
    await house.client().put("/simulator/vendors/carrier", json={"latency_ms": 800})
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    while not house.row("SELECT count(*) AS n FROM open_calls WHERE dial_claimed_at IS NOT NULL")["n"]:
        await asyncio.sleep(0.02)
    canceled = await ann.client.post(f"/api/calls/{placed['id']}/hangup")
    async with asyncio.timeout(15):
        while True:
            items = (await house.client().get("/simulator/calls")).json()["items"]
            if items and items[0]["ended_by"] is not None:
                break
            await asyncio.sleep(0.05)

    assert canceled.json()["status"] == "canceled"
    assert items[0]["ended_by"] == "api"
    assert (await ann.client.get(f"/api/calls/{placed['id']}")).json()["status"] == "canceled"
