"""The simulated carrier's REST interface, as Twilio's: calls and texts, Basic authentication, its error bodies."""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from callmeback.providers.twilio import API_VERSION, ENDED
from callmeback.simulator import live, webhooks
from callmeback.simulator.answers import Sim
from callmeback.simulator.handset import Handset
from callmeback.simulator.state import Call, Letter, Simulator, now_text

ROOT: Final = f"/carrier/{API_VERSION}/Accounts/{{account:str}}"
FORM_BYTES_MAX: Final = 65_536
TWIML_CHARACTERS_MAX: Final = 4000
BODY_CHARACTERS_MAX: Final = 1600
PAGE_SIZE_MAX: Final = 1000
STATUS_EVENTS: Final = frozenset({"initiated", "ringing", "answered", "completed"})
PRICE_A_MINUTE: Final = "0.01400"
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")

Form = dict[str, list[str]]
Answer = Response[dict[str, Any]]


def error(status: int, code: int, message: str) -> Answer:
    """The carrier's error body."""
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return Response(body, status_code=status, media_type=MediaType.JSON)


def _not_found(request: Request[Any, Any, Any]) -> Answer:
    path = request.url.path[request.url.path.find(f"/{API_VERSION}") :]
    return error(404, 20404, f"The requested resource {path} was not found")


async def _refusal(request: Request[Any, Any, Any], sim: Simulator, account: str) -> Answer | None:
    """The answer for a request that isn't let in: misbehaviour asked for, or wrong credentials."""
    await sim.manners.delay("carrier")
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        given = ""
    expected = f"{sim.config.account_sid}:{sim.config.auth_token}"
    if scheme.lower() != "basic" or not hmac.compare_digest(given.encode(), expected.encode()):
        return error(401, 20003, "Authenticate")
    if account != sim.config.account_sid:
        return _not_found(request)
    return None


async def _form(request: Request[Any, Any, Any]) -> Form:
    body = await request.body()
    return parse_qs(body[:FORM_BYTES_MAX].decode("utf-8", "replace"), keep_blank_values=True)


@post(f"{ROOT}/Calls.json", status_code=201)
async def create_call(request: Request[Any, Any, Any], account: FromPath[str], sim: Sim) -> Answer:
    """Place a call. Of the requests that fail on purpose some have placed it nevertheless."""
    # Read before the delay: what was asked in full is done, though whoever asked has given up waiting.
    form = await _form(request)
    refusal = await _refusal(request, sim, account)
    if refusal is not None:
        return refusal
    complaint = _complaint(form)
    if complaint is not None:
        return complaint
    fails = sim.manners.fails("carrier")
    if fails and not sim.manners.does_anyway("carrier"):
        return error(500, 20500, "An internal server error has occurred")
    call = Call(form, account, Handset(sim.voice, sim.clips))
    sim.add_call(call)
    sim.start(live.live(sim, call))
    if fails:
        return error(500, 20500, "An internal server error has occurred")
    return Response(_call_body(sim, call), status_code=201)


def _complaint(form: Form) -> Answer | None:
    """What the carrier would find wrong with a new call."""
    to, caller = form.get("To", [""])[0], form.get("From", [""])[0]
    if not _E164.fullmatch(to):
        return error(400, 21211, "The 'To' number is not a valid phone number")
    if not _E164.fullmatch(caller):
        return error(400, 21212, "The 'From' number is not a valid phone number")
    url, document = form.get("Url", [None])[0], form.get("Twiml", [None])[0]
    if url is None and document is None:
        return error(400, 21205, "Url parameter is required.")
    if url is not None and not webhooks.acceptable_url(url):
        return error(400, 21205, "Url is not a valid URL")
    if document is not None and len(document) > TWIML_CHARACTERS_MAX:
        return error(400, 21218, "Twiml is too long")
    if not set(form.get("StatusCallbackEvent", [])) <= STATUS_EVENTS:
        return error(400, 21626, "StatusCallbackEvent is not valid")
    for name in ("Timeout", "TimeLimit"):
        value = form.get(name, ["1"])[0]
        if not value.isdigit() or int(value) < 1:
            return error(400, 21220, f"{name} is not valid")
    return None


@get(f"{ROOT}/Calls.json")
async def list_calls(request: Request[Any, Any, Any], account: FromPath[str], sim: Sim) -> Answer:
    """Calls, newest first, filtered by To, From, Status and StartTime (`StartTime>` and `StartTime<` too)."""
    refusal = await _refusal(request, sim, account)
    if refusal is not None:
        return refusal
    query = parse_qs(request.scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
    size = min(max(_count(query, "PageSize", 50), 1), PAGE_SIZE_MAX)
    page = _count(query, "Page", 0)
    found = [call for call in reversed(sim.calls.values()) if _matches(call, query)]
    shown = found[page * size : (page + 1) * size]
    own = f"/{API_VERSION}/Accounts/{account}/Calls.json"

    def link(number: int) -> str:
        kept = [(key, value) for key, values in query.items() if key != "Page" for value in values]
        return f"{own}?{urlencode([*kept, ('Page', str(number))])}"

    body = {
        "calls": [_call_body(sim, call) for call in shown],
        "page": page,
        "page_size": size,
        "start": page * size,
        "end": max(0, page * size + len(shown) - 1),
        "uri": link(page),
        "first_page_uri": link(0),
        "previous_page_uri": link(page - 1) if page else None,
        "next_page_uri": link(page + 1) if (page + 1) * size < len(found) else None,
    }
    return Response(body)


def _count(query: Form, name: str, default: int) -> int:
    text = query.get(name, [""])[0]
    return int(text) if text.isdigit() else default


def _matches(call: Call, query: Form) -> bool:
    shown = {"To": call.to, "From": call.caller, "Status": call.status}
    if any(query[key][0] != value for key, value in shown.items() if key in query):
        return False
    # A call that hasn't started is found by when it was asked for.
    start = (call.started_at or call.created_at).isoformat()
    after, before = query.get("StartTime>"), query.get("StartTime<")
    on = query.get("StartTime")
    return not (
        (after and start < after[0].replace("Z", "+00:00"))
        or (before and start > before[0].replace("Z", "+00:00"))
        or (on and not start.startswith(on[0][:10]))
    )


def _named(sim: Simulator, file: str) -> Call | None:
    return sim.calls.get(file.removesuffix(".json")) if file.endswith(".json") else None


@get(f"{ROOT}/Calls/{{file:str}}")
async def fetch_call(request: Request[Any, Any, Any], account: FromPath[str], file: FromPath[str], sim: Sim) -> Answer:
    """One call."""
    refusal = await _refusal(request, sim, account)
    if refusal is not None:
        return refusal
    if sim.manners.fails("carrier"):
        return error(500, 20500, "An internal server error has occurred")
    call = _named(sim, file)
    return Response(_call_body(sim, call)) if call is not None else _not_found(request)


@post(f"{ROOT}/Calls/{{file:str}}", status_code=200)
async def update_call(request: Request[Any, Any, Any], account: FromPath[str], file: FromPath[str], sim: Sim) -> Answer:
    """End a call, or send it to other TwiML."""
    refusal = await _refusal(request, sim, account)
    if refusal is not None:
        return refusal
    if sim.manners.fails("carrier"):
        return error(500, 20500, "An internal server error has occurred")
    form, call = await _form(request), _named(sim, file)
    if call is None:
        return _not_found(request)
    status = form.get("Status", [None])[0]
    if status is not None:
        if status not in {"completed", "canceled"}:
            return error(400, 20001, "Status is not valid")
        if call.over or call.ending.is_set():
            return _not_found(request)
        if status == "canceled" and call.started_at is not None:
            return error(400, 21220, "Call is not queued or ringing. Cannot cancel.")
        call.end("api")
    elif "Url" in form or "Twiml" in form:
        if call.status != "in-progress":
            return error(400, 21220, "Call is not in-progress. Cannot redirect.")
        kind = "Url" if "Url" in form else "Twiml"
        call.next_twiml = (kind, form[kind][0])
        call.redirected.set()
    limit = form.get("TimeLimit", [""])[0]
    if limit.isdigit():
        call.time_limit_seconds = int(limit)
    body = _call_body(sim, call)
    return Response(body | {"status": "completed"} if status and call.started_at else body)


@post(f"{ROOT}/Messages.json", status_code=201)
async def create_message(request: Request[Any, Any, Any], account: FromPath[str], sim: Sim) -> Answer:
    """Send a text; it lies in `GET /simulator/messages` at once."""
    refusal = await _refusal(request, sim, account)
    if refusal is not None:
        return refusal
    if sim.manners.fails("carrier"):
        return error(500, 20500, "An internal server error has occurred")
    form = await _form(request)
    to, sender, text = (form.get(key, [""])[0] for key in ("To", "From", "Body"))
    if not _E164.fullmatch(to):
        return error(400, 21211, f"Invalid 'To' Phone Number: {to[:4]}XXXX")
    if not _E164.fullmatch(sender) and not form.get("MessagingServiceSid"):
        return error(400, 21603, "A 'From' phone number is required.")
    if not text:
        return error(400, 21602, "Message body is required.")
    if len(text) > BODY_CHARACTERS_MAX:
        return error(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
    sim.messages.appendleft(Letter(to=to, body=text, sent_at=now_text()))
    return Response(_message_body(account, to, sender, text), status_code=201)


@get(f"{ROOT}/Messages.json")
async def list_messages(request: Request[Any, Any, Any], account: FromPath[str], sim: Sim) -> Answer:
    """Texts, newest first, filtered by To and the day they were sent (`DateSent>`)."""
    refusal = await _refusal(request, sim, account)
    if refusal is not None:
        return refusal
    if sim.manners.fails("carrier"):
        return error(500, 20500, "An internal server error has occurred")
    query = parse_qs(request.scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
    to, since = query.get("To", [None])[0], query.get("DateSent>", [""])[0]
    size = min(max(_count(query, "PageSize", 50), 1), PAGE_SIZE_MAX)
    found = [letter for letter in sim.messages if to in {None, letter.to} and letter.sent_at >= since][:size]
    shown = [
        {
            "to": letter.to,
            "body": letter.body,
            "status": "delivered",
            "date_created": format_datetime(datetime.fromisoformat(letter.sent_at)),
        }
        for letter in found
    ]
    return Response({"messages": shown, "page": 0, "page_size": size, "next_page_uri": None})


def _message_body(account: str, to: str, sender: str, text: str) -> dict[str, Any]:
    sid = "SM" + secrets.token_hex(16)
    return {
        "sid": sid,
        "account_sid": account,
        "to": to,
        "from": sender,
        "body": text,
        "status": "queued",
        "direction": "outbound-api",
        "num_segments": str(_segments(text)),
        "num_media": "0",
        "price": None,
        "price_unit": "USD",
        "error_code": None,
        "error_message": None,
        "messaging_service_sid": None,
        "api_version": API_VERSION,
        "date_created": format_datetime(datetime.now(UTC)),
        "date_updated": format_datetime(datetime.now(UTC)),
        "date_sent": None,
        "uri": f"/{API_VERSION}/Accounts/{account}/Messages/{sid}.json",
        "subresource_uris": {},
    }


def _segments(text: str) -> int:
    """160 characters of plain ASCII a segment, 153 in a row of them; 70 and 67 with anything else."""
    alone, joined = (160, 153) if text.isascii() else (70, 67)
    return 1 if len(text) <= alone else -(-len(text) // joined)


def _call_body(sim: Simulator, call: Call) -> dict[str, Any]:
    path = f"/{API_VERSION}/Accounts/{call.account_sid}/Calls/{call.sid}"
    return {
        "sid": call.sid,
        "account_sid": call.account_sid,
        "to": call.to,
        "to_formatted": call.to,
        "from": call.caller,
        "from_formatted": call.caller,
        "status": call.status,
        "direction": "outbound-api",
        "queue_time": str(call.queue_ms),
        "date_created": format_datetime(call.created_at),
        "date_updated": _when(call.ended_at or call.started_at),
        "start_time": _when(call.started_at),
        "end_time": _when(call.ended_at),
        "duration": None if call.duration_seconds is None else str(call.duration_seconds),
        "price": _price(sim, call),
        "price_unit": "USD",
        "answered_by": call.answered_by,
        "api_version": API_VERSION,
        "parent_call_sid": None,
        "phone_number_sid": "PN" + "0" * 32,
        "group_sid": None,
        "forwarded_from": None,
        "caller_name": None,
        "trunk_sid": None,
        "annotation": None,
        "uri": f"{path}.json",
        "subresource_uris": {"events": f"{path}/Events.json"},
    }


def _when(moment: datetime | None) -> str | None:
    return format_datetime(moment) if moment else None


def _price(sim: Simulator, call: Call) -> str | None:
    """Negative, by started minutes, and only known some time after the end."""
    if call.ended_at is None or not call.duration_seconds or call.status not in ENDED:
        return None
    if datetime.now(UTC) - call.ended_at < timedelta(seconds=sim.config.rating_seconds):
        return None
    cents_thousandths = int(PRICE_A_MINUTE.replace(".", "")) * -(-call.duration_seconds // 60)
    return f"-{cents_thousandths / 100_000:.5f}"


HANDLERS: Iterable[Any] = (create_call, list_calls, fetch_call, update_call, create_message, list_messages)
