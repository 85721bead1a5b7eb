"""What tests, benchmarks and the page may see and do beside the vendor's interface: move the clock, be the customer,
be the bank."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath

from callmeback.simulator.answers import Sim, problem
from callmeback.simulator.payments import (
    cards,
    checkout,
    clock,
    disputes,
    methods,
    refunds,
    wire_billing,
    wire_payments,
)
from callmeback.simulator.payments.account import Account
from callmeback.simulator.payments.book import Wire, named
from callmeback.simulator.payments.endpoints_billing import set_card
from callmeback.simulator.payments.records import Charge
from callmeback.simulator.payments.refusals import Decline, Refusal, declined, wrong

BODY_BYTES_MAX: Final = 16_384
DELIVERIES_SHOWN_MAX: Final = 200
FAILURES_MAX: Final = 20
SOMEBODY: Final = "somebody@example.com"

Answer = Response[Any]
T = TypeVar("T")
Cents = Annotated[int, msgspec.Meta(ge=1)]


class _Hands(msgspec.Struct, forbid_unknown_fields=True):
    advance_seconds: Annotated[float, msgspec.Meta(ge=0, le=clock.ADVANCE_SECONDS_MAX)] | None = None
    to: int | None = None
    speed: Annotated[float, msgspec.Meta(gt=0, le=clock.SPEED_MAX)] | None = None


class _Payment(msgspec.Struct, forbid_unknown_fields=True):
    card: str = "4242424242424242"
    email: str | None = None
    method: Literal["card", "bank"] = "card"
    outcome: Literal["succeeds", "fails"] = "succeeds"
    authenticates: bool = True


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    amount: Cents | None = None
    reason: str | None = None


class _Complaint(msgspec.Struct, forbid_unknown_fields=True):
    amount: Cents | None = None
    reason: str = "fraudulent"
    inquiry: bool = False


class _Verdict(msgspec.Struct, forbid_unknown_fields=True):
    outcome: Literal["won", "lost"]


class _NewCard(msgspec.Struct, forbid_unknown_fields=True):
    number: str


class _Failures(msgspec.Struct, forbid_unknown_fields=True):
    times: Annotated[int, msgspec.Meta(ge=0, le=FAILURES_MAX)] = 1
    decline_code: str = "generic_decline"


async def _read(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The body; none is the same as an empty object. Raises msgspec.DecodeError."""
    return msgspec.json.decode((await request.body())[:BODY_BYTES_MAX] or b"{}", type=kind)


def _refused(refusal: Refusal) -> Answer:
    if refusal.error.get("code") == "resource_missing":
        return problem(404, "not_found", str(refusal))
    return problem(409, refusal.error.get("decline_code") or refusal.error.get("code") or "refused", str(refusal))


def _shown(body: Wire) -> Answer:
    return Response(msgspec.json.encode(body), media_type="application/json")


@get("/payments/clock")
async def get_clock(sim: Sim) -> Answer:
    """The vendor's time, and what waits: things to be done, webhooks to be delivered."""
    return _shown(_hands(sim.payments))


def _hands(account: Account) -> Wire:
    hands = account.book.clock
    return {
        "now": hands.now(),
        "speed": hands.speed,
        "due": hands.waiting,
        "next_due": hands.next_due,
        "undelivered": account.courier.undelivered,
        "delivered": account.courier.delivered,
    }


@put("/payments/clock", status_code=200)
async def put_clock(request: Request[Any, Any, Any], sim: Sim) -> Answer:
    """Move it on, by seconds or to a time, doing all that falls due on the way; or let it run at another speed."""
    account = sim.payments
    account.wake()
    try:
        hands = await _read(request, _Hands)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    seconds = hands.advance_seconds or 0.0
    if hands.to is not None:
        seconds = hands.to - account.book.clock.time()
        if not 0 <= seconds <= clock.ADVANCE_SECONDS_MAX:
            return problem(400, "validation_failed", "The clock goes on by five years at most, and never back.")
    if seconds:
        await account.book.clock.advance(seconds)
    if hands.speed is not None:
        account.book.clock.run_at(hands.speed)
    return _shown(_hands(account))


@post("/payments/sessions/{session:str}/pay", status_code=200)
async def pay_session(request: Request[Any, Any, Any], session: FromPath[str], sim: Sim) -> Answer:
    """Be the customer on the Checkout page; answers the session, or 409 with what the bank said."""
    account = sim.payments
    account.wake()
    try:
        wanted = await _read(request, _Payment)
        found = named(account.book.sessions, session)
        if wanted.method == "bank":
            method = methods.new_bank_debit(account.book, wanted.outcome)
        else:
            made = methods.new_card(account.book, wanted.card)
            if isinstance(made, Decline):
                raise declined(made)
            method = made
        decline = checkout.pay(account.book, found, method, email=wanted.email or SOMEBODY)
        if decline is None and found.status == "open":
            decline = checkout.authenticate(account.book, found, wanted.authenticates)
        if decline is not None:
            raise declined(decline)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    except Refusal as refusal:
        return _refused(refusal)
    return _shown(wire_payments.session(account.book, found))


@post("/payments/charges/{charge:str}/refund", status_code=200)
async def refund_charge(request: Request[Any, Any, Any], charge: FromPath[str], sim: Sim) -> Answer:
    """Refund a charge (or an intent's), as from the vendor's dashboard."""
    account = sim.payments
    try:
        part = await _read(request, _Part)
        refund = refunds.create(account.book, _charge(account, charge), part.amount, part.reason)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    except Refusal as refusal:
        return _refused(refusal)
    return _shown(wire_payments.refund(account.book, refund))


def _charge(account: Account, name: str) -> Charge:
    """The charge with this id, or the one of the intent with it."""
    intent = account.book.intents.get(name)
    return named(account.book.charges, name if intent is None else intent.latest_charge or "")


@post("/payments/refunds/{refund:str}/fail", status_code=200)
async def fail_refund(refund: FromPath[str], sim: Sim) -> Answer:
    """The bank sends a refund back."""
    account = sim.payments
    try:
        found = named(account.book.refunds, refund)
    except Refusal as refusal:
        return _refused(refusal)
    refunds.fail(account.book, found)
    return _shown(wire_payments.refund(account.book, found))


@post("/payments/charges/{charge:str}/dispute", status_code=200)
async def dispute_charge(request: Request[Any, Any, Any], charge: FromPath[str], sim: Sim) -> Answer:
    """The customer disputes a charge (or an intent's) at the bank."""
    account = sim.payments
    try:
        complaint = await _read(request, _Complaint)
        if complaint.reason not in disputes.REASONS:
            raise wrong("reason", f"The reasons are {', '.join(disputes.REASONS)}.")
        dispute = disputes.open_dispute(
            account.book,
            _charge(account, charge),
            complaint.reason,
            complaint.amount,
            is_inquiry=complaint.inquiry,
        )
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    except Refusal as refusal:
        return _refused(refusal)
    return _shown(wire_payments.dispute(account.book, dispute))


@post("/payments/disputes/{dispute:str}/close", status_code=200)
async def close_dispute(request: Request[Any, Any, Any], dispute: FromPath[str], sim: Sim) -> Answer:
    """The bank decides."""
    account = sim.payments
    try:
        verdict = await _read(request, _Verdict)
        found = named(account.book.disputes, dispute)
        disputes.close(account.book, found, verdict.outcome)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    except Refusal as refusal:
        return _refused(refusal)
    return _shown(wire_payments.dispute(account.book, found))


@put("/payments/customers/{customer:str}/card", status_code=200)
async def put_card(request: Request[Any, Any, Any], customer: FromPath[str], sim: Sim) -> Answer:
    """The customer puts another card in; what is owed is tried again with it."""
    account = sim.payments
    try:
        found = named(account.book.customers, customer)
        set_card(account.book, found, (await _read(request, _NewCard)).number)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    except Refusal as refusal:
        return _refused(refusal)
    return _shown(wire_billing.customer(account.book, found))


@put("/payments/subscriptions/{subscription:str}/failures", status_code=200)
async def put_failures(request: Request[Any, Any, Any], subscription: FromPath[str], sim: Sim) -> Answer:
    """Let so many of a subscription's next charges fail, whatever its card is."""
    account = sim.payments
    try:
        wanted = await _read(request, _Failures)
        if wanted.decline_code not in cards.DECLINES:
            raise wrong("decline_code", f"The codes are {', '.join(cards.DECLINES)}.")
        found = named(account.book.subscriptions, subscription)
    except msgspec.DecodeError as exc:
        return problem(400, "validation_failed", str(exc))
    except Refusal as refusal:
        return _refused(refusal)
    found.failures = [cards.DECLINES[wanted.decline_code]] * wanted.times
    return _shown(wire_billing.subscription(account.book, found))


@post("/payments/events/{event:str}/resend", status_code=200)
async def resend_event(event: FromPath[str], sim: Sim) -> Answer:
    """Send an event again, however old it is."""
    account = sim.payments
    try:
        found = named(account.book.events, event)
    except Refusal as refusal:
        return _refused(refusal)
    return _shown({"deliveries": account.courier.resend(found)})


@get("/payments/deliveries")
async def list_deliveries(sim: Sim) -> dict[str, Any]:
    """The latest webhooks, newest first: event, type, url, attempts, status of the last answer, state."""
    newest = list(sim.payments.courier.deliveries)[: -DELIVERIES_SHOWN_MAX - 1 : -1]
    return {"items": [msgspec.to_builtins(delivery) for delivery in newest], "next": None}


HANDLERS: Iterable[Any] = (
    get_clock,
    put_clock,
    pay_session,
    refund_charge,
    fail_refund,
    dispute_charge,
    close_dispute,
    put_card,
    put_failures,
    resend_event,
    list_deliveries,
)
