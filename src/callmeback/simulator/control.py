"""What tests, benchmarks and the page may see and set: phones, manners, what was heard, texts and mails."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import FromPath, FromQuery

from callmeback.simulator.answers import Sim, number_of, problem
from callmeback.simulator.behaviour import GOOD_MANNERS, VENDORS, Behaviour
from callmeback.simulator.persons import Script
from callmeback.simulator.state import Call, Letter, now_text

BODY_BYTES_MAX: Final = 256_000
LETTERS_SHOWN_MAX: Final = 100

Answer = Response[Any]


class _Mail(msgspec.Struct):
    to: str
    body: str
    subject: str | None = None
    message_id: str | None = None


@put("/phones/{number:str}", status_code=200)
async def put_phone(request: Request[Any, Any, Any], number: FromPath[str], sim: Sim) -> Answer:
    """Script who picks up a number; answers the whole script."""
    phone = number_of(number)
    if phone is None:
        return problem(400, "validation_failed", "The number is not E.164.")
    try:
        script = msgspec.json.decode((await request.body())[:BODY_BYTES_MAX], type=Script)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    sim.set_phone(phone, script)
    return Response(msgspec.to_builtins(script))


@delete("/phones/{number:str}", status_code=204)
async def delete_phone(number: FromPath[str], sim: Sim) -> None:
    """Forget a number's script: it rings in its page again, or at the default person."""
    sim.phones.pop(number_of(number) or "", None)


@put("/vendors/{name:str}", status_code=200)
async def put_vendor(request: Request[Any, Any, Any], name: FromPath[str], sim: Sim) -> Answer:
    """Set a vendor's manners; what isn't named falls back to its good manners. Answers all of them."""
    if name not in VENDORS:
        return problem(404, "not_found", f"The vendors are {', '.join(VENDORS)}.")
    try:
        given = msgspec.json.decode((await request.body())[:BODY_BYTES_MAX])
        usual = msgspec.to_builtins(GOOD_MANNERS[name])
        if not isinstance(given, dict):
            raise msgspec.ValidationError("Expected `object`")
        behaviour = msgspec.convert(usual | given, type=Behaviour)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    sim.manners.set(name, behaviour)
    return Response(msgspec.to_builtins(behaviour))


@get("/vendors")
async def list_vendors(sim: Sim) -> dict[str, Any]:
    """The manners of all vendors, and since when they remember anything."""
    return {
        "items": [{"name": name, **msgspec.to_builtins(sim.manners[name])} for name in VENDORS],
        "next": None,
        "began_at": sim.began_at,
    }


@get("/calls")
async def list_calls(sim: Sim) -> dict[str, Any]:
    """The newest calls."""
    calls = [seen(call) for _, call in zip(range(LETTERS_SHOWN_MAX), reversed(sim.calls.values()), strict=False)]
    return {"items": calls, "next": None}


@get("/calls/{sid:str}")
async def get_call(sid: FromPath[str], sim: Sim) -> Answer:
    """What the other side heard and saw of a call."""
    call = sim.calls.get(sid)
    return Response(seen(call)) if call is not None else problem(404, "not_found", "There is no such call.")


def seen(call: Call) -> dict[str, Any]:
    """A call from the person's end.

    `text`: the persona's words that were heard, cut where the sound was cut · `audio_seconds`: how long the persona was
    heard · `cut_at`: seconds from the answer to the last interruption that threw sound away, or None · `ended_by`:
    person, api, twiml (our socket was closed), time_limit, shutdown or None · `events`: with `at` in seconds since
    the request.
    """
    return {
        "sid": call.sid,
        "to": call.to,
        "from": call.caller,
        "status": call.status,
        "answered_by": call.answered_by,
        "text": call.handset.heard.text(),
        "audio_seconds": round(call.handset.heard.seconds, 3),
        "cut_at": call.cut_at,
        "duration_seconds": call.duration_seconds,
        "ended_by": call.ended_by,
        "time_limit_seconds": call.time_limit_seconds,
        "events": list(call.events),
    }


@get("/messages")
async def list_messages(sim: Sim, to: FromQuery[str | None] = None) -> Answer:
    """Texts, newest first."""
    number = None if to is None else number_of(to)
    if to is not None and number is None:
        return problem(400, "validation_failed", "The number is not E.164.")
    return Response(_letters(sim.messages, number))


@get("/mails")
async def list_mails(sim: Sim, to: FromQuery[str | None] = None) -> Answer:
    """Mails, newest first."""
    # A plus in a query is often sent bare, and read as a blank; no address has a blank.
    return Response(_letters(sim.mails, None if to is None else to.replace(" ", "+")))


@post("/mails", status_code=201)
async def take_mail(request: Request[Any, Any, Any], sim: Sim) -> Answer:
    """The mailbox that `providers/mail.py` sends to where there is no SMTP server."""
    try:
        mail = msgspec.json.decode((await request.body())[:BODY_BYTES_MAX], type=_Mail)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    if mail.message_id is not None:
        # The same message again, as mailboxes know it that suppress duplicates.
        if (mail.to, mail.message_id) in sim.mail_ids:
            return Response({}, status_code=201)
        sim.mail_ids.append((mail.to, mail.message_id))
    sim.mails.appendleft(Letter(to=mail.to, body=mail.body, sent_at=now_text(), subject=mail.subject))
    return Response({}, status_code=201)


def _letters(letters: Iterable[Letter], to: str | None) -> dict[str, Any]:
    chosen = [letter for letter in letters if to is None or letter.to.lower() == to.lower()]
    return {"items": [msgspec.to_builtins(letter) for letter in chosen[:LETTERS_SHOWN_MAX]], "next": None}


HANDLERS: Iterable[Any] = (
    put_phone,
    delete_phone,
    put_vendor,
    list_vendors,
    list_calls,
    get_call,
    list_messages,
    list_mails,
    take_mail,
)
