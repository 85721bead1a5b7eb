"""The life of one simulated call: queued, ringing, answered or not, TwiML, the end, and the callbacks on the way."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Final

from callmeback.providers.failures import VendorError
from callmeback.simulator import persons, twiml, webhooks
from callmeback.simulator.pages import Ring
from callmeback.simulator.state import Call, Simulator
from callmeback.simulator.stream import MediaSocket

REDIRECTS_MAX: Final = 10
AMD_HUMAN_S: Final = 0.8
AMD_MACHINE_S: Final = 1.2
LIMIT_POLL_S: Final = 0.25
TIME_LIMIT_MAX_S: Final = 86_400
GOODBYE_S: Final = 2.0
_REASONS: Final = {
    "person": "hangup",
    "time_limit": "time_limit",
    "busy": "declined",
    "no-answer": "no_answer",
}
"""What a page is told at the end; anything else was the other side's doing."""


async def live(sim: Simulator, call: Call) -> None:
    """From the queue to the last callback. Ends within the ring time, the TimeLimit and the webhooks' timeouts."""
    try:
        await _live(sim, call)
    except VendorError as exc:
        # Only our own espeak can fail here.
        call.note("failed", reason=str(exc))
        _finish(sim, call, "failed")


async def _live(sim: Simulator, call: Call) -> None:
    wait = sim.dial_wait_seconds()
    call.queue_ms = round(wait * 1000)
    if await _ended_within(call, wait):
        _finish(sim, call, "canceled")
        return
    _status(sim, call, "initiated", shown="queued")
    _status(sim, call, "ringing")
    ring = Ring(call.sid, call.caller, call.handset)
    outcome = await _first_of(call, _pick_up(sim, call, ring), within_seconds=float(call.first("Timeout") or 60))
    try:
        if outcome in {"human", "voicemail"}:
            await _answered(sim, call, str(outcome), ring)
        else:
            _finish(sim, call, _unanswered(call, outcome))
    finally:
        ring.over(_REASONS.get(call.ended_by or call.status, "remote"))


def _unanswered(call: Call, outcome: object) -> str:
    if call.ending.is_set():
        return "canceled"
    return {"busy": "busy", "reject": "busy"}.get(str(outcome), "no-answer")


async def _pick_up(sim: Simulator, call: Call, ring: Ring) -> str:
    """Ring where the number is, and answer what came of it."""
    script = sim.phones.get(call.to)
    if script is None and sim.pages.shows(call.to):
        return await sim.pages.ring(call.to, ring)
    script = script or persons.DEFAULT_SCRIPT
    if script.answers == "no_answer":
        await asyncio.sleep(sim.config.unanswered_seconds if script.ring_seconds is None else script.ring_seconds)
    elif script.answers != "busy":
        await asyncio.sleep(sim.config.ring_seconds if script.ring_seconds is None else script.ring_seconds)
    return script.answers


async def _answered(sim: Simulator, call: Call, who: str, ring: Ring) -> None:
    call.started_at, call.answered_clock = datetime.now(UTC), time.monotonic()
    _status(sim, call, "in-progress")
    side = [sim.start(_person(sim, call, who, ring)), sim.start(_limit(call))]
    if call.first("MachineDetection") in {"Enable", "DetectMessageEnd"}:
        detection = _detect(sim, call, who)
        if call.first("AsyncAmd") == "true":
            side.append(sim.start(detection))
        else:
            await _first_of(call, detection)
    await _first_of(call, _follow(sim, call))
    call.end("twiml")
    for task in side:
        task.cancel()
    _finish(sim, call, "completed")


async def _limit(call: Call) -> None:
    """End the call at its TimeLimit, which may be changed while it runs."""
    for _ in range(round(TIME_LIMIT_MAX_S / LIMIT_POLL_S)):
        left = call.time_limit_seconds - call.seconds_answered()
        if left <= 0:
            break
        await asyncio.sleep(min(left, LIMIT_POLL_S))
    call.end("time_limit")


async def _person(sim: Simulator, call: Call, who: str, ring: Ring) -> None:
    """What the one who picked up does until they hang up."""
    if ring.taken:
        await ring.done.wait()
        call.end("person")
    elif who == "voicemail":
        await persons.greet_as_machine(call.handset)
        call.note("beep")
        await asyncio.sleep(persons.RECORDING_S)
        call.end("person")
    else:
        script = sim.phones.get(call.to, persons.DEFAULT_SCRIPT)
        if await persons.talk(call.handset, script, sim.config.pause_seconds):
            call.end("person")


async def _detect(sim: Simulator, call: Call, who: str) -> None:
    """Answering machine detection, as far as the sound's author can be known."""
    began = time.monotonic()
    if who == "human":
        await asyncio.sleep(AMD_HUMAN_S)
        call.answered_by = "human"
    elif call.first("MachineDetection") == "Enable":
        await asyncio.sleep(AMD_MACHINE_S)
        call.answered_by = "machine_start"
    else:
        await call.handset.said()
        call.answered_by = "machine_end_beep"
    call.note("amd", answered_by=call.answered_by)
    url = call.first("AsyncAmdStatusCallback")
    if url is not None:
        params = {
            "CallSid": call.sid,
            "AccountSid": call.account_sid,
            "AnsweredBy": call.answered_by,
            "MachineDetectionDuration": str(round((time.monotonic() - began) * 1000)),
        }
        await webhooks.post(sim, url, params)


async def _follow(sim: Simulator, call: Call) -> None:
    """Fetch TwiML and carry it out, from redirect to redirect, until it ends."""
    url, document = call.first("Url"), call.first("Twiml")
    for _ in range(REDIRECTS_MAX):
        verbs = await _document(sim, call, url, None if url else document)
        url = await _carry_out(sim, call, verbs)
        document = None
        if call.redirected.is_set() and call.next_twiml is not None:
            call.redirected.clear()
            kind, value = call.next_twiml
            url, document = (value, None) if kind == "Url" else (None, value)
        if url is None and document is None:
            return


async def _document(sim: Simulator, call: Call, url: str | None, document: str | None) -> list[twiml.Verb]:
    """The verbs to do next; none, with a note of the carrier's error, when they can't be had."""
    if document is not None:
        return _parsed(call, document.encode()) or []
    for candidate in (url, call.first("FallbackUrl")):
        if candidate is None:
            continue
        params = webhooks.call_params(call, "in-progress")
        if call.answered_by and call.first("AsyncAmd") != "true":
            params["AnsweredBy"] = call.answered_by
        response = await webhooks.post(sim, candidate, params)
        if response is None or response.status_code >= 400:
            call.note("webhook_error", code=11205 if response is None else 11200)
            continue
        verbs = _parsed(call, response.content)
        if verbs is not None:
            return verbs
    return []


def _parsed(call: Call, document: bytes) -> list[twiml.Verb] | None:
    try:
        return twiml.parse(document)
    except ValueError as exc:
        call.note("twiml_error", reason=str(exc))
        return None


async def _carry_out(sim: Simulator, call: Call, verbs: list[twiml.Verb]) -> str | None:
    """Do the verbs in order; answers the URL to go on with, None when they are done."""
    for verb in verbs:
        match verb:
            case twiml.Stream():
                after = await _stream(sim, call, verb)
                if call.redirected.is_set() or after is not None:
                    return after
            case twiml.Say():
                await _say(sim, call, verb.text)
            case twiml.Pause():
                await _ended_within(call, verb.seconds)
            case twiml.Redirect():
                return verb.url
            case twiml.Hangup() | twiml.Reject():
                return None
    return None


async def _say(sim: Simulator, call: Call, text: str) -> None:
    """The carrier's own voice, heard by the person alone."""
    sound = sim.clips.add(text, await sim.voice.speak(text))
    for start in range(0, len(sound), 160):
        if await _ended_within(call, 0.02):
            return
        call.handset.hear(sound[start : start + 160])


async def _stream(sim: Simulator, call: Call, verb: twiml.Stream) -> str | None:
    socket = MediaSocket(sim, call, verb)
    if verb.status_callback:
        sim.start(_tell_stream(sim, call, verb, socket.sid, "stream-started", None))
    error = await socket.run()
    if verb.status_callback:
        event = "stream-error" if error else "stream-stopped"
        sim.start(_tell_stream(sim, call, verb, socket.sid, event, error))
    return verb.action


async def _tell_stream(
    sim: Simulator, call: Call, verb: twiml.Stream, stream_sid: str, event: str, error: str | None
) -> None:
    params = {
        "CallSid": call.sid,
        "AccountSid": call.account_sid,
        "StreamSid": stream_sid,
        "StreamName": verb.name,
        "StreamEvent": event,
        "Timestamp": datetime.now(UTC).isoformat(),
    }
    if error:
        params["StreamError"] = error
    assert verb.status_callback is not None
    await webhooks.post(sim, verb.status_callback, params)


def _status(sim: Simulator, call: Call, status: str, shown: str | None = None) -> None:
    call.status = shown or status
    call.note(status)
    webhooks.tell_status(sim, call, status)


def _finish(sim: Simulator, call: Call, status: str) -> None:
    call.ended_at = datetime.now(UTC)
    if call.answered_clock is not None:
        # The carrier counts begun seconds.
        call.duration_seconds = int(call.seconds_answered() + 0.999)
    call.ending.set()
    _status(sim, call, status)


async def _ended_within(call: Call, seconds: float) -> bool:
    if seconds <= 0:
        return call.ending.is_set()
    try:
        await asyncio.wait_for(call.ending.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _first_of(call: Call, work: Coroutine[Any, Any, object], within_seconds: float | None = None) -> object:
    """Do the work unless the call is ended meanwhile or the time runs out; None in both cases.

    A stream ends by itself when the call does, with its last message, so the work is waited for a moment.
    """
    task = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(call.ending.wait())
    try:
        done, _ = await asyncio.wait({task, ending}, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED)
        if task not in done:
            await asyncio.wait({task}, timeout=GOODBYE_S if call.ending.is_set() and call.started_at else 0)
        return task.result() if task.done() else None
    finally:
        for left in (task, ending):
            left.cancel()
        await asyncio.wait({task, ending})
