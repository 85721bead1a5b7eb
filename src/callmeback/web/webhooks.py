"""The carrier's webhooks: what it asks when somebody picks up, and what it tells of a call.

Each is signed over our public URL, never over the Host header. Events may repeat and overtake one another: the state
machine in the database decides. Whatever goes wrong here, the person on the phone gets a polite end.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.di import NamedDependency

from callmeback import errors, logs
from callmeback.domain import dials
from callmeback.domain.dials import MACHINES, Connection, Ending, EventKind, Verdict
from callmeback.domain.tokens import Keys
from callmeback.providers import twilio
from callmeback.web.services import Services

_log = logs.get_logger(__name__)

FORM_FIELDS_MAX: Final = 200
SECONDS_MAX: Final = 86_400
XML: Final = "text/xml"
HANG_UP: Final = '<?xml version="1.0" encoding="UTF-8"?><Response><Hangup/></Response>'
BUSY_WORDS: Final = "Sorry, all our lines are taken right now. Please try again in a few minutes."
SORRY_WORDS: Final = "Sorry, something is wrong on our side. Please try again later."


class Hook(msgspec.Struct, frozen=True):
    """A verified webhook: whose call, and the form's fields."""

    user_id: str
    call_id: str
    fields: Mapping[str, str]
    digest: str

    def get(self, name: str) -> str | None:
        """A field, None where it is missing or empty."""
        return self.fields.get(name) or None


def stream_token(keys: Keys, user_id: str, call_id: str, carrier_sid: str) -> str:
    """What opens the media socket of this one call."""
    return keys.digest("stream", user_id, call_id, carrier_sid).hex()


async def verified(request: Request[Any, Any, State], services: Services) -> Hook:
    """The webhook, if the carrier signed it; raises ForgedWebhook, ValidationFailed."""
    body = await request.body()
    query = request.scope["query_string"].decode("latin-1")
    url = services.settings.base_url + request.scope["path"] + (f"?{query}" if query else "")
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX)
    except ValueError as exc:
        raise errors.ForgedWebhook() from exc
    token = services.carrier.config.auth_token
    if not twilio.valid_signature(token, url, pairs, request.headers.get(twilio.SIGNATURE_HEADER)):
        raise errors.ForgedWebhook()
    whose = dict(parse_qsl(query, keep_blank_values=True))
    if not whose.get("user_id") or not whose.get("call_id"):
        raise errors.ValidationFailed("The address names no call.")

    return Hook(whose["user_id"], whose["call_id"], dict(pairs), hashlib.sha256(body).hexdigest())


@post("/webhooks/twilio/voice", status_code=200, include_in_schema=False)
async def voice(request: Request[Any, Any, State], services: NamedDependency[Services]) -> Response[str]:
    """Somebody picked up: answer with the address of the media socket, and the token that opens it once."""
    hook = await verified(request, services)
    sid = hook.get("CallSid")
    if sid is None:
        raise errors.ValidationFailed("CallSid is missing.", field="CallSid")
    try:
        verdict = await _note(services, hook, "voice", f"{sid}:{hook.digest[:32]}", hook.get("CallStatus"))
    except errors.CallMeBackError as exc:
        # Nothing is known to be wrong with the call, but it can't be held without its books.
        _log.warning("voice_webhook_failed", call_id=hook.call_id, error=type(exc).__name__)
        return Response(twilio.say_twiml(SORRY_WORDS), media_type=XML)
    if not verdict.is_open or verdict.status in ("completed", "failed", "no_answer", "busy", "canceled"):
        return Response(HANG_UP, media_type=XML)
    if not services.host.has_room():
        return Response(twilio.say_twiml(BUSY_WORDS), media_type=XML)
    socket_url = twilio.stream_url(services.settings.base_url, f"/media/{hook.call_id}")
    parameters = {
        "user_id": hook.user_id,
        "token": stream_token(services.keys, hook.user_id, hook.call_id, sid),
    }

    return Response(twilio.stream_twiml(socket_url, name=hook.call_id, parameters=parameters), media_type=XML)


@post("/webhooks/twilio/status", status_code=204, include_in_schema=False)
async def status(request: Request[Any, Any, State], services: NamedDependency[Services]) -> None:
    """A call rings, was answered or has ended."""
    hook = await verified(request, services)
    key = hook.get("SequenceNumber") or hook.digest[:32]
    await _note(services, hook, "status", key[:128], hook.get("CallStatus"))
    control = services.host.admission.live.get(hook.call_id)
    if control is not None and hook.get("CallStatus") in twilio.ENDED:
        control.ended()


@post("/webhooks/twilio/amd", status_code=204, include_in_schema=False)
async def amd(request: Request[Any, Any, State], services: NamedDependency[Services]) -> None:
    """Who or what answered; a machine is hung up on, uncharged, or left a message, as its person wants."""
    hook = await verified(request, services)
    word = hook.get("AnsweredBy")
    verdict = await _note(services, hook, "amd", hook.digest[:32], None)
    control = services.host.admission.live.get(hook.call_id)
    if control is not None and word is not None:
        control.answered(word)
    elif verdict.is_open and dials.answered_by(word) in MACHINES:
        async with services.voice.transaction(read_only=True) as tx:
            line = await dials.connection(tx, hook.user_id, hook.call_id)
        if line is not None:
            await _refuse_machine(services, line)


async def _note(services: Services, hook: Hook, kind: EventKind, key: str, carrier_status: str | None) -> Verdict:
    seconds = hook.get("CallDuration") if kind == "status" else None
    async with services.voice.transaction() as tx:
        return await dials.note_event(
            tx,
            hook.user_id,
            hook.call_id,
            kind,
            key,
            carrier_status=carrier_status,
            carrier_sid=hook.get("CallSid"),
            answered_by=hook.get("AnsweredBy"),
            carrier_seconds=_seconds(seconds),
        )


async def _refuse_machine(services: Services, line: Connection) -> None:
    """No session of ours holds the call: it hasn't begun to talk yet, or another process has it."""
    if line.voicemail_policy != "hang_up" or line.carrier_sid is None:
        return
    await services.carrier.hang_up(line.carrier_sid)
    if line.status == "in_progress":
        # Its process sees the stream end, and reads who answered before it settles.
        return
    ending = Ending(
        status="completed", end_reason="voicemail", connected_seconds=0, answered_by="machine", is_charged=False
    )
    async with services.voice.transaction() as tx:
        await dials.finish(tx, line.user_id, line.call_id, ending)


def _seconds(text: str | None) -> int | None:
    return min(int(text), SECONDS_MAX) if text and text.isascii() and text.isdigit() else None


def token_matches(expected: str, given: str | None) -> bool:
    """Whether a stream's token is the one of its call, in constant time."""
    return given is not None and hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


HANDLERS = (voice, status, amd)
