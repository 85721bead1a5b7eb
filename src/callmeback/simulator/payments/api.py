"""The vendor's REST interface as routes: keys, idempotency, misbehaviour, and then what each endpoint does."""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import msgspec
from litestar import Request, Response, route
from litestar.types import Receive, Scope, Send

from callmeback.simulator.answers import Sim
from callmeback.simulator.payments import (
    asking,
    book,
    endpoints_billing,
    endpoints_catalogue,
    endpoints_checkout,
    endpoints_events,
    endpoints_payments,
)
from callmeback.simulator.payments.account import Account, Kept
from callmeback.simulator.payments.asking import Ask
from callmeback.simulator.payments.book import API_VERSION, Wire
from callmeback.simulator.payments.form import parse
from callmeback.simulator.payments.refusals import Refusal

VENDOR: Final = "payments"
ROOT: Final = "/payments"
FORM_BYTES_MAX: Final = 131_072
IDEMPOTENCY_KEY_MAX: Final = 255
OWN_ERROR: Final = Refusal("An error occurred on our side. Please try again.", status=500, kind="api_error")

Action = Callable[[Ask], Wire]


class Cut(Response[bytes]):
    """An answer that never comes: the connection ends instead."""

    def __init__(self) -> None:
        super().__init__(b"")

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Answers nothing, which makes the server close the connection."""
        return _nothing


async def _nothing(_scope: Scope, _receive: Receive, send: Send) -> None:
    # A head that promises a body, without one: the client sees a broken connection, and no answer of a server's.
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})


def origin_of(request: Request[Any, Any, Any]) -> str:
    """Where this simulator's pages are, as the client asked for it."""
    path = request.scope["path"]
    return f"{request.url.scheme}://{request.url.netloc}{path[: path.index(ROOT)]}{ROOT}"


async def answer(request: Request[Any, Any, Any], sim: Sim, action: Action) -> Response[Any]:
    """One request. Of those that fail on purpose some are done nevertheless."""
    account = sim.payments
    account.wake()
    # Read before the delay: what was asked in full is done, though whoever asked has given up waiting.
    content = (await request.body())[: FORM_BYTES_MAX + 1]
    request_id = account.book.new_id("req")
    kept, status, body = None, 0, b""
    try:
        _check_key(account, request)
        if len(content) > FORM_BYTES_MAX:
            raise Refusal("The request is too large.", status=413)
        kept = _claim(account, request, content)
    except Refusal as refusal:
        status, body = refusal.status, _error(refusal, request_id)
    if kept is not None and kept.body is not None:
        return _reply(kept.status, kept.body, request_id, replayed=True)
    cut = await _wait(account)
    fails = account.manners.fails(VENDOR)
    if not status and (not fails or account.manners.does_anyway(VENDOR)):
        status, body = _do(account, request, content, action, request_id, kept)
    elif kept is not None:
        # It was never begun.
        account.forget(request.headers["idempotency-key"])
    if cut:
        return Cut()
    if fails:
        return _reply(OWN_ERROR.status, _error(OWN_ERROR, request_id), request_id)
    return _reply(status, body, request_id)


def _check_key(account: Account, request: Request[Any, Any, Any]) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    if not given:
        raise Refusal("You did not provide an API key.", status=401)
    if not hmac.compare_digest(given.encode(), account.config.api_key.encode()):
        raise Refusal("Invalid API Key provided.", status=401)


def _claim(account: Account, request: Request[Any, Any, Any], content: bytes) -> Kept | None:
    """The idempotency key of a POST: what is kept under it, or a new entry. Raises Refusal."""
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return None
    if len(key) > IDEMPOTENCY_KEY_MAX:
        raise Refusal("Idempotency keys can have up to 255 characters.", kind="idempotency_error")
    fingerprint = hashlib.sha256(request.url.path.encode() + b"\0" + content).hexdigest()
    kept = account.kept(key)
    if kept is None:
        return account.keep(key, fingerprint)
    if kept.fingerprint != fingerprint:
        raise Refusal(
            "Keys for idempotent requests can only be used with the same parameters they were first used with.",
            kind="idempotency_error",
        )
    if kept.body is None:
        raise Refusal(
            "There is currently another in-progress request using this Idempotent Key.",
            status=409,
            kind="idempotency_error",
            code="idempotency_key_in_use",
        )
    return kept


async def _wait(account: Account) -> bool:
    """As long as the vendor takes; whether the connection breaks before its answer."""
    manners = account.manners[VENDOR]
    drop = manners.drop_after_seconds
    takes = manners.latency_ms / 1000
    cut = drop is not None and takes >= drop
    await asyncio.sleep(drop if drop is not None and cut else takes)
    return cut


def _do(
    account: Account,
    request: Request[Any, Any, Any],
    content: bytes,
    action: Action,
    request_id: str,
    kept: Kept | None,
) -> tuple[int, bytes]:
    """Do it, in one go: nothing else happens in between. The answer is kept under the idempotency key."""
    key = request.headers.get("idempotency-key")
    own = account.book
    own.request = book.Request(request_id, key)
    query = request.scope["query_string"]
    try:
        form = parse((content if request.method == "POST" else query).decode("utf-8", "replace"))
        ask = Ask(own, form, dict(request.path_params), origin_of(request))
        status, body = 200, msgspec.json.encode(asking.expand(own, action(ask), form))
    except Refusal as refusal:
        status, body = refusal.status, _error(refusal, request_id)
        if kept is not None and key is not None and "param" in refusal.error:
            # It failed the vendor's checks and was never begun, so nothing is kept.
            account.forget(key)
    finally:
        own.request = book.Request()
    if kept is not None:
        kept.status, kept.body = status, body
    return status, body


def _error(refusal: Refusal, request_id: str) -> bytes:
    return msgspec.json.encode({"error": refusal.error | {"request_log_url": None, "request_id": request_id}})


def _reply(status: int, body: bytes, request_id: str, *, replayed: bool = False) -> Response[bytes]:
    headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _route(method: str, path: str, action: Action) -> Any:
    @route(f"{ROOT}/v1{path}", http_method=cast(Any, method), status_code=200)
    async def handle(request: Request[Any, Any, Any], sim: Sim) -> Response[Any]:
        return await answer(request, sim, action)

    return handle


HANDLERS: Iterable[Any] = tuple(
    _route(method, path, cast(Action, action))
    for module in (
        endpoints_catalogue,
        endpoints_checkout,
        endpoints_payments,
        endpoints_billing,
        endpoints_events,
    )
    for method, path, action in module.ROUTES
)
