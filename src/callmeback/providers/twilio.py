"""Twilio, the carrier: its REST interface, its signatures, and TwiML. Its media stream is in `media_stream.py`.

The official library is not used at run time: it weighs 65 MB, blocks, and has neither a timeout nor a retry by
default. What is needed of it is small, and the tests hold this module against it.
"""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit
from xml.sax.saxutils import escape, quoteattr

import httpx
import msgspec

from callmeback.errors import UNREADABLE
from callmeback.providers.failures import VendorBroken, VendorError, VendorRefused, VendorUnavailable, VendorUnclear
from callmeback.providers.nearby import on_this_machine
from callmeback.providers.observed import asking

VENDOR: Final = "carrier"
BASE_URL: Final = "https://api.twilio.com"
API_VERSION: Final = "2010-04-01"
SIGNATURE_HEADER: Final = "X-Twilio-Signature"
ENDED: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
"""The statuses after which a call is over."""

CODE_NOT_FOUND: Final = "20404"
CODE_NOT_IN_PROGRESS: Final = "21220"
STATUS_EVENTS: Final = ("initiated", "ringing", "answered", "completed")
FIND_PAGES_MAX: Final = 5
FIND_PAGE_SIZE: Final = 50
LIST_PAGES_MAX: Final = 2_000
LIST_PAGE_SIZE: Final = 1_000
CLOCK_SKEW: Final = timedelta(seconds=5)
HANG_UP_ATTEMPTS_MAX: Final = 3

T = TypeVar("T")

_HASHES: Final = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}
_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class CarrierConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An account at the carrier. `number` is the caller's, in E.164."""

    account_sid: str
    auth_token: str
    number: str
    base_url: str = BASE_URL
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    connections_max: int = 20


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A call to place. Either `url` (asked for TwiML on answer) or `twiml`; times in seconds.

    `machine_detection`: `Enable` tells person from machine at once, `DetectMessageEnd` waits for the beep; both
    report to `amd_callback` while the call goes on (AsyncAmd), since the synchronous kind delays the first word by
    seconds.
    """

    to: str
    url: str | None = None
    twiml: str | None = None
    fallback_url: str | None = None
    status_callback: str | None = None
    ring_seconds: int = 30
    limit_seconds: int | None = None
    machine_detection: Literal["Enable", "DetectMessageEnd"] | None = None
    amd_callback: str | None = None
    caller: str | None = None


class CarrierCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the carrier knows it. `duration_seconds` is None if it never connected, `price` (negative, in
    `price_unit`) until it is rated; statuses in the carrier's spelling."""

    sid: str
    status: str
    to: str = ""
    caller: str = ""
    answered_by: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: int | None = None
    price: Decimal | None = None
    price_unit: str | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class CarrierText(msgspec.Struct, frozen=True, kw_only=True):
    """A text message as the carrier took it."""

    sid: str
    status: str
    segments: int = 1


class _CallBody(msgspec.Struct):
    sid: str
    status: str
    to: str | None = None
    # `from` is a keyword.
    caller: str | None = msgspec.field(name="from", default=None)
    answered_by: str | None = None
    date_created: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    duration: str | None = None
    price: str | None = None
    price_unit: str | None = None


class _CallsBody(msgspec.Struct):
    calls: list[_CallBody] = []
    next_page_uri: str | None = None


class _TextBody(msgspec.Struct):
    sid: str
    status: str
    num_segments: str | None = None


class _SentBody(msgspec.Struct):
    body: str = ""
    date_created: str | None = None


class _TextsBody(msgspec.Struct):
    messages: list[_SentBody] = []


class _ErrorBody(msgspec.Struct):
    code: int | str | None = None


class Carrier:
    """The account's REST interface; one for the process. Every request has a deadline."""

    def __init__(self, config: CarrierConfig, client: httpx.AsyncClient | None = None) -> None:
        self.config = config
        self._client = client or httpx.AsyncClient(
            auth=(config.account_sid, config.auth_token),
            timeout=httpx.Timeout(config.answer_timeout_s, connect=config.connect_timeout_s),
            limits=httpx.Limits(max_connections=config.connections_max),
            trust_env=not on_this_machine(config.base_url),
        )
        self._account = f"{config.base_url.rstrip('/')}/{API_VERSION}/Accounts/{config.account_sid}"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def place(self, order: Order) -> CarrierCall:
        """Ask for a call; it is queued at the carrier when this returns.

        Raises VendorRefused (a bad number, no funds: `vendor_code` says which), VendorUnavailable (nothing was placed),
        VendorUnclear (it may ring: the request has no idempotency key, so `find` it before asking again).
        """
        body = await self._post("Calls.json", _order_form(order, self.config.number), _CallBody, doing="place a call")
        return _call(body)

    async def fetch(self, sid: str) -> CarrierCall:
        """The call as it stands, a little behind the truth. Raises VendorRefused with code 20404 for an unknown one."""
        return _call(await self._get(f"{self._account}/Calls/{sid}.json", {}, _CallBody, doing="fetch a call"))

    async def find(self, to: str, since: datetime) -> list[CarrierCall]:
        """Calls to that number created since, newest first, to learn what became of a `place` without an answer.

        Filtered here by creation, not there by StartTime: a queued call has no start yet.
        """
        earliest = since - CLOCK_SKEW
        url: str | None = f"{self._account}/Calls.json"
        query = {"To": to, "PageSize": str(FIND_PAGE_SIZE)}
        found: list[CarrierCall] = []
        for _ in range(FIND_PAGES_MAX):
            if url is None:
                break
            page = await self._get(url, query, _CallsBody, doing="find a call")
            calls = [_call(body) for body in page.calls]
            found += [call for call in calls if call.created_at is None or call.created_at >= earliest]
            if any(call.created_at is not None and call.created_at < earliest for call in calls):
                break
            url = self.config.base_url.rstrip("/") + page.next_page_uri if page.next_page_uri else None
            query = {}
        return found

    async def calls(self, since: datetime, until: datetime) -> AsyncIterator[list[CarrierCall]]:
        """Every call of the account that started in a period, a page at a time, the newest first."""
        url = f"{self._account}/Calls.json"
        query = {
            "StartTime>": f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "StartTime<": f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "PageSize": str(LIST_PAGE_SIZE),
        }
        for _ in range(LIST_PAGES_MAX):
            page = await self._get(url, query, _CallsBody, doing="list calls")
            yield [_call(body) for body in page.calls]
            if not page.next_page_uri:
                return
            url, query = self.config.base_url.rstrip("/") + page.next_page_uri, {}
        # A list that was cut would look like calls that are missing.
        raise VendorBroken(VENDOR, "list calls")

    async def hang_up(self, sid: str) -> CarrierCall:
        """End a call whatever it does; one that has already ended is no error. Answers it as it stands then.

        Raises VendorError when the carrier didn't confirm within the attempts: the caller goes on trying, since a call
        that isn't ended costs money.
        """
        for attempt in range(1, HANG_UP_ATTEMPTS_MAX + 1):
            try:
                form = [("Status", "completed")]
                return _call(await self._post(f"Calls/{sid}.json", form, _CallBody, doing="hang up"))
            except VendorRefused as refusal:
                if refusal.vendor_code not in (CODE_NOT_FOUND, CODE_NOT_IN_PROGRESS):
                    raise
                # 20404 means unknown or ended; only the call itself can tell (pipecat-ai/pipecat#2145).
                call = await self.fetch(sid)
                if call.ended:
                    return call
                if attempt == HANG_UP_ATTEMPTS_MAX:
                    raise
            except (VendorUnavailable, VendorUnclear):
                # Asking twice to end a call is harmless, unlike asking twice for one.
                if attempt == HANG_UP_ATTEMPTS_MAX:
                    raise
        raise AssertionError("every last attempt returns or raises")

    async def send_text(self, to: str, body: str) -> CarrierText:
        """Send a text of at most 1600 characters. Raises as `place` does."""
        form = [("To", to), ("From", self.config.number), ("Body", body)]
        sent = await self._post("Messages.json", form, _TextBody, doing="send a text")
        return CarrierText(sid=sent.sid, status=sent.status, segments=_whole(sent.num_segments) or 1)

    async def was_texted(self, to: str, body: str, since: datetime) -> bool:
        """Whether this text was sent there since, to learn what became of a `send_text` without an answer."""
        # The list is asked by day: the carrier has no finer filter than its own day, UTC.
        query = {"To": to, "DateSent>": f"{since.astimezone(UTC):%Y-%m-%d}", "PageSize": str(FIND_PAGE_SIZE)}
        page = await self._get(f"{self._account}/Messages.json", query, _TextsBody, doing="find a text")

        return any(
            text.body == body and (text.date_created is None or _after(text.date_created, since))
            for text in page.messages
        )

    async def _post(self, path: str, form: list[tuple[str, str]], kind: type[T], *, doing: str) -> T:
        request = self._client.build_request(
            "POST",
            f"{self._account}/{path}",
            content=urlencode(form),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        return await self._send(request, kind, doing=doing)

    async def _get(self, url: str, query: Mapping[str, str], kind: type[T], *, doing: str) -> T:
        request = self._client.build_request("GET", url, params=query or None)
        return await self._send(request, kind, doing=doing)

    async def _send(self, request: httpx.Request, kind: type[T], *, doing: str) -> T:
        with asking(VENDOR, doing):
            return await self._answer(request, kind, doing)

    async def _answer(self, request: httpx.Request, kind: type[T], doing: str) -> T:
        try:
            response = await self._client.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise VendorUnavailable(VENDOR, doing) from exc
        except httpx.HTTPError as exc:
            # It had been sent, at least in part.
            raise VendorUnclear(VENDOR, doing) from exc
        if response.status_code >= 400:
            raise _failure(response, doing)
        try:
            return msgspec.json.decode(response.content, type=kind)
        except UNREADABLE as exc:
            raise VendorBroken(VENDOR, doing, status=response.status_code) from exc


def _order_form(order: Order, number: str) -> list[tuple[str, str]]:
    form = [("To", order.to), ("From", order.caller or number), ("Timeout", str(order.ring_seconds))]
    optional = {
        "Url": order.url,
        "Twiml": order.twiml,
        "FallbackUrl": order.fallback_url,
        "TimeLimit": None if order.limit_seconds is None else str(order.limit_seconds),
        "StatusCallback": order.status_callback,
    }
    form += [(name, value) for name, value in optional.items() if value is not None]
    if order.status_callback is not None:
        form += [("StatusCallbackEvent", event) for event in STATUS_EVENTS]
    if order.machine_detection is not None:
        form += [("MachineDetection", order.machine_detection), ("AsyncAmd", "true")]
        if order.amd_callback is not None:
            form.append(("AsyncAmdStatusCallback", order.amd_callback))
    return form


def _failure(response: httpx.Response, doing: str) -> VendorError:
    """The error for a refusal's body, whose newer form (RFC 9457) has the same `code`."""
    status = response.status_code
    try:
        body = msgspec.json.decode(response.content, type=_ErrorBody)
        code = None if body.code is None else str(body.code)
    except UNREADABLE:
        code = None
    if status == 429:
        after = response.headers.get("retry-after", "")
        wait = float(after) if after.isdecimal() else None
        return VendorUnavailable(VENDOR, doing, vendor_code=code, status=status, retry_after_seconds=wait)
    if status >= 500:
        # A server that failed may have failed after it dialled.
        return VendorUnclear(VENDOR, doing, vendor_code=code, status=status)
    return VendorRefused(VENDOR, doing, vendor_code=code, status=status)


def _call(body: _CallBody) -> CarrierCall:
    return CarrierCall(
        sid=body.sid,
        status=body.status,
        to=body.to or "",
        caller=body.caller or "",
        answered_by=body.answered_by,
        created_at=_moment(body.date_created),
        started_at=_moment(body.start_time),
        ended_at=_moment(body.end_time),
        duration_seconds=_whole(body.duration),
        price=_amount(body.price),
        price_unit=body.price_unit,
    )


def _moment(text: str | None) -> datetime | None:
    """An RFC 2822 time, as UTC; None if there is none or it can't be read."""
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None


def _after(text: str, since: datetime) -> bool:
    moment = _moment(text)

    return moment is None or moment >= since - CLOCK_SKEW


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _amount(text: str | None) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return None


def signature(token: str, url: str, params: Iterable[tuple[str, str]] = (), *, algorithm: str = "HMAC_SHA1") -> str:
    """The signature of a request as the carrier makes it (its page on webhook security).

    `url` as the carrier asked for it, raw query included; `params` are the form's pairs, in any order, repeated keys as
    several pairs. A WebSocket, a GET and a JSON body are signed by the URL alone. Raises KeyError for an unknown
    algorithm.
    """
    text = url + "".join(name + value for name, value in sorted(set(params)))
    digest = hmac.new(token.encode(), text.encode(), _HASHES[algorithm.upper()])
    return base64.b64encode(digest.digest()).decode()


def valid_signature(
    token: str,
    url: str,
    params: Iterable[tuple[str, str]],
    given: str | None,
    *,
    body: bytes | None = None,
    algorithm: str = "HMAC_SHA1",
) -> bool:
    """Whether the header `given` signs this request. Never raises.

    The carrier is inconsistent about the default port, so both forms pass, as in its own library (which forgets that
    the default of wss is 443). A `body` is given for JSON only: its hash must stand in the URL, and `params` are empty.
    """
    if not given or algorithm.upper() not in _HASHES:
        return False
    if body is not None and not _body_matches(url, body):
        return False
    pairs = () if body is not None else tuple(params)
    # Both are computed always, so that the time taken tells nothing.
    matches = [_same(signature(token, form, pairs, algorithm=algorithm), given) for form in _port_forms(url)]
    return any(matches)


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def _body_matches(url: str, body: bytes) -> bool:
    stated = parse_qs(urlsplit(url).query).get("bodySHA256", [""])[0]
    return _same(hashlib.sha256(body).hexdigest(), stated)


def _port_forms(url: str) -> tuple[str, ...]:
    """The URL without a port and with one: its own, else the default of its scheme."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return (url,)
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    with_port = f"{host}:{port or _DEFAULT_PORTS.get(parts.scheme, 80)}"
    return tuple(urlunsplit(parts._replace(netloc=netloc)) for netloc in (host, with_port))


def stream_twiml(
    stream_url: str,
    *,
    name: str,
    parameters: Mapping[str, str],
    status_callback: str | None = None,
    action: str | None = None,
) -> str:
    """TwiML that joins the call to our media socket, and hangs up when the socket closes.

    The stream's URL loses its query string at the carrier, so whatever must arrive goes into `parameters` (name and
    value together under 500 characters each: ValueError).
    """
    for key, value in parameters.items():
        if len(key) + len(value) >= 500:
            raise ValueError("a stream parameter is under 500 characters long")
    callback = f" statusCallback={quoteattr(status_callback)}" if status_callback else ""
    verb = f"<Connect action={quoteattr(action)}>" if action else "<Connect>"
    inner = "".join(f"<Parameter name={quoteattr(key)} value={quoteattr(value)}/>" for key, value in parameters.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Response>'
        f"{verb}<Stream url={quoteattr(stream_url)} name={quoteattr(name)}{callback}>{inner}</Stream></Connect>"
        "<Hangup/></Response>"
    )


def say_twiml(text: str) -> str:
    """TwiML that says one thing with the carrier's own voice and hangs up: for when nothing else works."""
    return f'<?xml version="1.0" encoding="UTF-8"?><Response><Say>{escape(text)}</Say><Hangup/></Response>'


def stream_url(public_url: str, path: str) -> str:
    """The media socket's URL under our public one: wss for https; ws only for the simulator's plain http."""
    parts = urlsplit(public_url)
    scheme = {"https": "wss", "http": "ws"}[parts.scheme]
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + path, "", ""))
