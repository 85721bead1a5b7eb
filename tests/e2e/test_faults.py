"""What goes wrong around a call, against a whole installation: vendors, callbacks, forgers, killed processes.

Everything is done over HTTP and by the simulator's controls; the database is read afterwards, for the proofs.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.cli.test_up import wait_until
from tests.e2e.house import LINE, TERMINAL, VENDORS, House, Person, cents, said_by
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from callmeback.pg import home
from callmeback.providers.twilio import SIGNATURE_HEADER, signature
from callmeback.settings import Settings
from callmeback.voice import accounts

pytestmark = pytest.mark.slow

# Ten seconds of silence, a second look five seconds later, and the reaper's pace; the rest is for a slow machine.
SETTLED_WITHIN_S = 40.0
RINGS_WITHIN_S = 5.0
LONG_TALK = [LINE] * 40
APOLOGY = "something is wrong on my side"

Manners = Callable[..., None]


@pytest.fixture
def manners(house: House) -> Iterator[Manners]:
    """Sets a vendor's manners for one test; no call of another test is disturbed."""
    house.wait_idle()
    yield house.manners
    for vendor in VENDORS:
        house.manners(vendor)


# Callbacks and forgers.


def test_repeated_and_overtaking_callbacks_change_nothing(house: House, manners: Manners) -> None:
    people = [house.person() for _ in range(3)]
    for person, answers in zip(people, ("human", "busy", "no_answer"), strict=True):
        house.script(person, answers=answers, says=["Hello Brad."])
    manners("carrier", duplicate_rate=1, reorder=True)

    calls = [person.place() for person in people]
    ended = [person.ended(call["id"]) for person, call in zip(people, calls, strict=True)]
    callbacks = [e for p in people for c in house.carried(p) for e in c["events"] if e["event"] == "callback"]

    assert [call["status"] for call in ended] == ["completed", "busy", "no_answer"]
    assert ended[0]["end_reason"] in ("hung_up", "goodbye")
    assert [call["credits_used"] for call in ended] == [1, 0, 0]
    assert [len(house.carried(person)) for person in people] == [1, 1, 1]
    assert len(callbacks) > 2 * len(people)
    assert {event["answer"] for event in callbacks} == {204}
    house.prove(*people)


def test_forged_webhooks_are_refused_and_leave_no_trace(house: House, ann: Person) -> None:
    house.script(ann, answers="no_answer", ring_seconds=20)
    call = ann.place()
    [carried] = ann.until(call["id"], lambda _: house.carried(ann)) and house.carried(ann)[:1]
    query = urlencode({"user_id": ann.id, "call_id": call["id"]})
    fields = {"CallSid": carried["sid"], "CallStatus": "completed", "CallDuration": "3600", "SequenceNumber": "9"}

    answers = [
        forged(house, f"/webhooks/twilio/{hook}?{query}", fields, header)
        for hook in ("voice", "status", "amd")
        for header in (None, "", "forged", signature("another token", f"{house.url}/webhooks", fields.items()))
    ]
    still = ann.call(call["id"])
    ann.client.post(f"/api/calls/{call['id']}/hangup")
    ann.ended(call["id"])
    with house.books() as books:
        events = books.execute(
            "SELECT FROM carrier_events WHERE call_id = %s AND event_key = '9'", (call["id"],)
        ).fetchall()

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "forged_webhook")}
    assert still["status"] in ("initiating", "calling")
    assert events == []
    house.prove(ann)


def forged(house: House, path: str, fields: dict[str, str], header: str | None) -> httpx.Response:
    return house.client.post(path, data=fields, headers={} if header is None else {SIGNATURE_HEADER: header})


def test_media_opens_to_the_carrier_alone_and_once(house: House, ann: Person) -> None:
    house.script(ann, says=LONG_TALK)
    call = ann.place()
    ann.talking(call["id"])
    sid = house.carried(ann)[0]["sid"]
    url = f"{house.url.replace('http', 'ws')}/media/{call['id']}"
    token = stream_token(house, ann, call["id"], sid)
    signed = {SIGNATURE_HEADER: signature(auth_token(house), url)}

    # Nobody but the carrier gets in, and a second stream of a call gets no further while the first one lasts.
    for headers in ({}, {SIGNATURE_HEADER: "forged"}, {SIGNATURE_HEADER: signature("another token", url)}, signed):
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
            pass
        assert refused.value.response.status_code == 403
    still = ann.call(call["id"])
    ann.client.post(f"/api/calls/{call['id']}/hangup")
    ended = ann.ended(call["id"])

    # Afterwards the very token that opened it opens nothing.
    with connect(url, additional_headers=signed) as socket:
        start_stream(socket, sid, {"user_id": ann.id, "token": token})
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
    after = ann.call(call["id"])

    assert still["status"] == "in_progress"
    assert ended["end_reason"] == "hang_up_requested"
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    assert after == ended
    house.prove(ann)


def test_a_wrong_token_opens_no_media(house: House, bob: Person) -> None:
    """The signature is the carrier's, the call is alive, but the stream doesn't bring what our answer gave it."""
    house.script(bob, answers="no_answer", ring_seconds=20)
    call = bob.place()
    bob.until(call["id"], lambda _: house.carried(bob))
    sid = house.carried(bob)[0]["sid"]
    url = f"{house.url.replace('http', 'ws')}/media/{call['id']}"

    for parameters in ({}, {"user_id": bob.id, "token": "0" * 64}, {"user_id": "user_other", "token": ""}):
        with connect(url, additional_headers={SIGNATURE_HEADER: signature(auth_token(house), url)}) as socket:
            start_stream(socket, sid, parameters)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=30)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    assert bob.call(call["id"])["status"] in ("initiating", "calling")
    bob.client.post(f"/api/calls/{call['id']}/hangup")
    assert bob.ended(call["id"])["status"] == "canceled"
    house.prove(bob)


def auth_token(house: House) -> str:
    """What the simulated carrier signs with."""
    environ = house.installation.environ()

    return accounts.carrier_config(home.complete(Settings.from_env(environ))).auth_token


def stream_token(house: House, person: Person, call_id: str, sid: str) -> str:
    """What our answer to the carrier's question gives the stream, asked for once more as a repeated webhook does."""
    path = f"/webhooks/twilio/voice?{urlencode({'user_id': person.id, 'call_id': call_id})}"
    fields = {"CallSid": sid, "CallStatus": "in-progress"}
    signed = signature(auth_token(house), house.url + path, fields.items())
    answer = house.client.post(path, data=fields, headers={SIGNATURE_HEADER: signed})
    assert answer.status_code == 200, answer.text
    [token] = re.findall(r'name="token" value="([0-9a-f]{64})"', answer.text)

    return str(token)


def start_stream(socket: ClientConnection, sid: str, parameters: dict[str, str]) -> None:
    """The beginning of a stream as the carrier sends it."""
    stream = {"streamSid": "MZ" + "0" * 32, "event": "start", "sequenceNumber": "1"}
    start = {
        "accountSid": accounts.SIMULATED_ACCOUNT,
        "streamSid": stream["streamSid"],
        "callSid": sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": parameters,
    }
    socket.send(httpx.Request("POST", "http://x", json={"event": "connected", "protocol": "Call"}).content.decode())
    socket.send(httpx.Request("POST", "http://x", json={**stream, "start": start}).content.decode())


# The carrier doesn't place.


def test_a_create_that_fails_or_is_silent_rings_at_most_once(
    house: House, manners: Manners, ann: Person, bob: Person
) -> None:
    """Of the requests that fail every other one has rung nevertheless; a silent one rings after we gave up."""
    house.script(ann, answers="busy")
    house.script(bob, says=["Hello Brad."])
    manners("carrier", fail_rate=0.9999)
    carried_before, bobs_before = len(house.carried(ann)), len(house.carried(bob))
    counted_before = ann.credits()["calls_today"]
    placed = 0
    # As likely as heads, so twelve in a row are a broken coin.
    for _ in range(12):
        call = ann.place()
        placed += 1
        rung = carried_before + placed

        def is_decided(call: dict[str, Any], rung: int = rung) -> bool:
            is_silent = age_seconds(call) > RINGS_WITHIN_S and len(house.carried(ann)) < rung
            return call["status"] in TERMINAL or is_silent

        rang = ann.until(call["id"], is_decided)
        if rang["status"] not in TERMINAL:
            break
        assert rang["status"] == "busy"
    manners("carrier", latency_ms=11_000)
    silent = bob.place()
    bob.until(silent["id"], lambda _: len(house.carried(bob)) > bobs_before)
    manners("carrier")
    answered = bob.ended(silent["id"])
    failed = ann.ended(call["id"])

    assert (failed["status"], failed["end_reason"], failed["credits_used"]) == ("failed", "dial_failed", 0)
    assert failed["cost_cents"] == "0.00"
    assert len(house.carried(ann)) - carried_before == placed - 1
    # Those that rang were calls of that day; the one that never rang was given back.
    assert ann.credits()["calls_today"] - counted_before == placed - 1
    assert (answered["status"], len(house.carried(bob)) - bobs_before) == ("completed", 1)
    house.prove(ann, bob)


def age_seconds(call: dict[str, Any]) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(call["created_at"])).total_seconds()


# Listener, brain and voice.


# After so long each is in the middle of something: the person's line, the greeting's words, the greeting's sound.
DROPS_AFTER_S = {"listener": 2.5, "brain": 0.2, "voice": 0.4}


@pytest.mark.parametrize("vendor", DROPS_AFTER_S)
def test_a_vendor_that_drops_mid_sentence_is_done_without(
    house: House, manners: Manners, ann: Person, vendor: str
) -> None:
    house.script(ann, says=[LINE], interrupts=vendor == "listener")
    manners(vendor, drop_after_seconds=DROPS_AFTER_S[vendor])

    call = ann.place()
    ann.until(call["id"], lambda c: c["duration_seconds"] >= 1)
    # What runs keeps its drop; the next socket holds.
    manners(vendor)
    ended = ann.ended(call["id"])
    heard = house.carried(ann)[0]

    assert ended["status"] == "completed"
    assert ended["end_reason"] in ("hung_up", "goodbye")
    assert said_by(ended, "user") == [LINE]
    assert len(said_by(ended, "persona")) == 2
    assert "long walk" in said_by(ended, "persona")[1]
    assert heard["audio_seconds"] > 3
    assert ended["credits_used"] == 1
    assert cents(ended) > 0
    house.prove(ann)


@pytest.mark.parametrize(
    ("vendor", "ending", "credits_used"),
    [
        # Without ears nobody could say a word, so the house pays.
        ("listener", ("failed", "vendor_failed"), 0),
        ("brain", ("failed", "vendor_failed"), 1),
        ("voice", ("completed", "hung_up"), 1),
    ],
)
def test_a_vendor_that_always_fails_is_replaced_or_apologised_for(
    house: House, manners: Manners, ann: Person, vendor: str, ending: tuple[str, str], credits_used: int
) -> None:
    house.script(ann, says=[LINE])
    manners(vendor, fail_rate=1)

    ended = ann.ended(ann.place()["id"])
    heard = house.carried(ann)[0]

    assert (ended["status"], ended["end_reason"]) == ending
    assert ended["credits_used"] == credits_used
    assert heard["audio_seconds"] > 2
    assert (APOLOGY in " ".join(said_by(ended, "persona"))) == (ending[0] == "failed")
    # The simulated person knows the words of the simulated voice only.
    assert (APOLOGY in heard["text"]) == (ending[0] == "failed")
    house.prove(ann)


# Killed processes.


def test_a_killed_web_process_leaves_a_call_that_is_settled(house: House, ann: Person) -> None:
    house.wait_idle()
    house.script(ann, says=LONG_TALK)
    before = ann.credits()
    call = ann.place()
    metered = ann.until(call["id"], lambda c: c["status"] == "in_progress" and c["duration_seconds"] >= 3)

    os.kill(house.installation.family()["serve"], signal.SIGKILL)
    killed_at = time.monotonic()
    ended = ann.ended(call["id"])
    took = time.monotonic() - killed_at
    house.installation.wait_ready()
    after = ann.credits()

    assert took < SETTLED_WITHIN_S
    assert (ended["status"], ended["end_reason"]) == ("completed", "lost")
    # To the last metered second: what was shown before, or what was metered between that and the kill.
    assert metered["duration_seconds"] <= ended["duration_seconds"] <= metered["duration_seconds"] + 3
    assert cents(ended) >= cents(metered) > 0
    assert (ended["credits_used"], after["held_credits"]) == (1, 0)
    assert after["available_credits"] == before["available_credits"] - 1
    house.script(ann, answers="busy")
    assert ann.ended(ann.place()["id"])["status"] == "busy"
    house.prove(ann)


def test_a_killed_house_comes_back_with_everything_and_settles(house: House, ann: Person) -> None:
    house.wait_idle()
    house.script(ann, says=LONG_TALK)
    call = ann.place()
    metered = ann.until(call["id"], lambda c: c["status"] == "in_progress" and c["duration_seconds"] >= 3)
    earlier = {item["id"]: item for item in ann.client.get("/api/calls").json()["items"] if item["id"] != call["id"]}

    kill_everything(house)
    house.installation.up()
    house.installation.wait_ready()
    ended = ann.ended(call["id"], SETTLED_WITHIN_S)
    found = {item["id"]: item for item in ann.client.get("/api/calls").json()["items"] if item["id"] != call["id"]}

    assert found == earlier
    assert (ended["status"], ended["end_reason"]) == ("completed", "lost")
    # A crash of the database may take the metering of its last moments along.
    assert 1 <= ended["duration_seconds"] <= metered["duration_seconds"] + 3
    assert ended["credits_used"] == 1
    assert cents(ended) > 0
    house.prove(ann)


def kill_everything(house: House) -> None:
    process = house.installation.processes[-1]
    family = house.installation.family()
    # Stopped first, so that it revives nothing.
    process.send_signal(signal.SIGSTOP)
    for pid in family.values():
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()


def test_a_call_outlives_its_database(house: House, bob: Person) -> None:
    house.wait_idle()
    house.script(bob, says=[LINE, LINE])
    call = bob.place()
    bob.talking(call["id"])
    pid = house.installation.family()["postgres"]

    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: house.installation.family().get("postgres", pid) != pid, "the database is back")
    ended = bob.ended(call["id"])
    heard = house.carried(bob)[0]
    house.installation.wait_ready()

    assert ended["status"] == "completed"
    assert ended["end_reason"] in ("hung_up", "goodbye")
    assert said_by(ended, "user") == [LINE, LINE]
    assert heard["status"] == "completed"
    assert abs(ended["duration_seconds"] - heard["duration_seconds"]) <= 1
    assert ended["credits_used"] == 1
    assert cents(ended) > 0
    house.prove(bob)
