"""Webhooks of the simulated carrier: signed form posts, retried as the URL's fragment asks, doubled and shuffled if
told to."""

import asyncio
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import parse_qs, urldefrag, urlencode, urlsplit

import httpx

from callmeback.providers.twilio import API_VERSION, SIGNATURE_HEADER, signature
from callmeback.simulator.state import Call, Simulator

RETRIES_MAX: Final = 5
REORDER_LAG_S: Final = 0.4
RETRY_WAIT_S: Final = 0.2
EVENT_OF_STATUS: Final = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"}
"""The name under which a status is subscribed; every end is `completed`."""

SIP_CODES: Final = {"completed": "200", "busy": "486", "no-answer": "487", "canceled": "487", "failed": "404"}


def call_params(call: Call, status: str) -> dict[str, str]:
    """What every voice webhook of a call says."""
    params = {
        "CallSid": call.sid,
        "AccountSid": call.account_sid,
        "From": call.caller,
        "To": call.to,
        "CallStatus": status,
        "ApiVersion": API_VERSION,
        "Direction": "outbound-api",
        "Called": call.to,
        "Caller": call.caller,
    }
    for party in ("From", "To", "Caller", "Called"):
        country = "US" if params[party].startswith("+1") else ""
        params |= {f"{party}City": "", f"{party}State": "", f"{party}Zip": "", f"{party}Country": country}
    return params


def tell_status(sim: Simulator, call: Call, status: str) -> None:
    """Send the status callback for a status, if it was subscribed; named none, only the end is."""
    url = call.first("StatusCallback")
    event = EVENT_OF_STATUS.get(status, "completed")
    if url is None or event not in call.form.get("StatusCallbackEvent", ["completed"]):
        return
    params = call_params(call, status) | {
        "SequenceNumber": str(call.sequence),
        "Timestamp": format_datetime(datetime.now(UTC)),
        "CallbackSource": "call-progress-events",
    }
    call.sequence += 1
    if event == "completed":
        seconds = call.duration_seconds or 0
        params |= {
            "CallDuration": str(seconds),
            "Duration": str(-(-seconds // 60)),
            "SipResponseCode": SIP_CODES[status],
        }
        if call.answered_by:
            params["AnsweredBy"] = call.answered_by
    copies = 2 if sim.manners.duplicates("carrier") else 1
    for _ in range(copies):
        lag = sim.manners.lag_seconds("carrier", REORDER_LAG_S)
        sim.start(_deliver(sim, call, url, params, lag))


async def _deliver(sim: Simulator, call: Call, url: str, params: Mapping[str, str], lag_seconds: float) -> None:
    if sim.manners["carrier"].reorder:
        await asyncio.sleep(lag_seconds)
        response = await post(sim, url, params)
    else:
        # The lock is fair, so callbacks keep the order in which they arose.
        async with call.courier:
            response = await post(sim, url, params)
    call.note("callback", status=params["CallStatus"], answer=response.status_code if response is not None else None)


async def post(sim: Simulator, url: str, params: Mapping[str, str]) -> httpx.Response | None:
    """One webhook; the last answer, or None when there was none within the carrier's 15 seconds."""
    target, fragment = urldefrag(url)
    retries, kinds = _retry_policy(fragment)
    headers = {
        SIGNATURE_HEADER: signature(sim.config.auth_token, target, params.items()),
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "I-Twilio-Idempotency-Token": secrets.token_hex(16),
    }
    body = urlencode(params)
    response: httpx.Response | None = None
    for attempt in range(retries + 1):
        if attempt:
            await asyncio.sleep(RETRY_WAIT_S)
        try:
            response = await sim.webhooks.post(target, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            response = None
            failure = "ct" if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout) else "rt"
        else:
            failure = f"{response.status_code // 100}xx"
        if failure not in kinds:
            break
    return response


def _retry_policy(fragment: str) -> tuple[int, frozenset[str]]:
    """How often and after what to try again, from `#rc=2&rp=5xx,ct` (the carrier's connection overrides)."""
    options = parse_qs(fragment)
    count = options.get("rc", ["0"])[0]
    kinds = frozenset(options.get("rp", ["ct"])[0].split(","))
    if "all" in kinds:
        kinds = frozenset({"4xx", "5xx", "ct", "rt"})
    return (min(int(count), RETRIES_MAX) if count.isdigit() else 0), kinds


def acceptable_url(url: str) -> bool:
    """Whether the carrier would take this URL: http or https, a host without an underscore."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and "_" not in host
