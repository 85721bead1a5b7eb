"""Calls: placing one, watching it, its receipt and transcript, and all of them."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from callmeback import errors, ids, money
from callmeback.domain import budgets, calls, receipts
from callmeback.domain.calls import Call, CallOrder
from callmeback.domain.receipts import Bill, Leg
from callmeback.settings import Vendor
from callmeback.web import calls as desk
from callmeback.web import problems
from callmeback.web.api.pages import cursor, key_of
from callmeback.web.pages import frame, home, surroundings, words
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

CALLS_A_PAGE: Final = 30

SENTENCES: Final = {
    "max_minutes": f"Whole minutes from 1 to {calls.MINUTES_MAX}, or nothing.",
    "context": f"At most {calls.CONTEXT_MAX:,} characters, please.",
    "scenario_id": "This situation can't be chosen any more.",
    "phone_number": "This number can't be chosen.",
}
# Where a refusal leads to.
WAYS: Final = {
    errors.InsufficientCredits: ("/credits", "Look at your credits"),
    errors.DebtOutstanding: ("/credits", "Look at your credits"),
    errors.BudgetExceeded: ("/budget", "Look at your budget"),
    errors.PhoneNotVerified: ("/phones", "Verify a number"),
    errors.NumberBlocked: ("/phones", "Use another number"),
    errors.CallInProgress: ("/calls", "See your calls"),
    errors.DailyLimit: ("/plans", "See the plans"),
    errors.CardMissing: ("/paying", "Save a card"),
    errors.PaymentDeclined: ("/paying", "Use another card"),
}


class HistoryKey(msgspec.Struct, frozen=True):
    """Where the next page of the history begins."""

    at: datetime
    id: str


class BillLine(msgspec.Struct, frozen=True):
    """A line of the receipt, in words."""

    quantity: Decimal
    unit: str
    rate: str


class BillLeg(msgspec.Struct, frozen=True):
    """A leg of the receipt, in words."""

    title: str
    cents: Decimal
    lines: list[BillLine]
    model: str
    simulated: bool


class Said(msgspec.Struct, frozen=True):
    """A turn, with the seconds since the answer."""

    speaker: str
    text: str
    offset: int


@post("/calls")
async def place_call(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Ask for a call and watch it. The form's key makes a second click the same call."""
    form = Form(await read_form(request))
    order = form.shape(CallOrder, _order(form.values), SENTENCES)
    if order is None:
        return await home.show(request, caller, services, form, status=400)
    try:
        call = await desk.place(services, caller, order, form.values.get("key") or None)
    except errors.Unauthorized:
        raise
    except errors.CallMeBackError as exc:
        form.refuse(exc, SENTENCES)
        status, way = problems.status_of(exc), WAYS.get(type(exc))
        return await home.show(request, caller, services, form, status=status, way=way)

    return frame.go(f"/calls/{call.id}")


@get("/calls")
async def show_calls(
    request: Asked,
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    before: FromQuery[str | None] = None,
) -> Response[Any]:
    """The history, newest first."""
    key = key_of(before, HistoryKey)
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        found = await calls.calls(
            tx,
            caller.user_id,
            before_at=key.at if key else None,
            before_id=key.id if key else None,
            most=CALLS_A_PAGE + 1,
        )
    shown, last = found[:CALLS_A_PAGE], found[CALLS_A_PAGE - 1] if len(found) > CALLS_A_PAGE else None

    return frame.page(
        request,
        services,
        "calls.html",
        caller=caller,
        place="calls",
        surroundings=around,
        days=_by_day(shown, caller.user.timezone),
        is_later_page=before is not None,
        next=cursor(HistoryKey(last.created_at, last.id)) if last else None,
    )


@get("/calls/{call_id:str}")
async def show_call(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], call_id: FromPath[str]
) -> Response[Any]:
    """A call that goes on, or what is left of one."""
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        call = await calls.call(tx, caller.user_id, call_id)
        figures = await receipts.bill(tx, caller.user_id, call_id)
        budget = await budgets.budget(tx, caller.user_id, caller.user.timezone)
        is_idle = await calls.open_call(tx, caller.user_id) is None
    shared: dict[str, Any] = {"caller": caller, "place": "calls", "surroundings": around, "call": call}
    if call.status not in calls.TERMINAL:
        return frame.page(request, services, "call_live.html", **shared, warn_percent=budget.warn_at_percent_per_call)

    return frame.page(
        request,
        services,
        "call_over.html",
        **shared,
        turns=_turns(call),
        legs=[_leg(leg, services) for leg in receipts.legs(figures)],
        credits_sentence=_credits_sentence(call, figures),
        can_call=is_idle,
        key=ids.new("tok"),
    )


@post("/calls/{call_id:str}/hangup")
async def hang_up(
    caller: NamedDependency[Caller], services: NamedDependency[Services], call_id: FromPath[str]
) -> Response[Any]:
    """End a call, or cancel it before it is answered."""
    await desk.hang_up(services, caller, call_id)

    return frame.go(f"/calls/{call_id}")


def _order(values: dict[str, str]) -> dict[str, object]:
    return {
        "persona_id": values.get("persona_id", ""),
        "phone_number": values.get("phone_number") or None,
        "scenario_id": values.get("scenario_id") or None,
        "context": values.get("context", "").strip() or None,
        "max_minutes": values.get("max_minutes", "").strip() or None,
    }


def _by_day(found: Iterable[Call], zone: str) -> list[tuple[str, list[Call]]]:
    return [(day, list(group)) for day, group in groupby(found, lambda call: words.day(call.created_at, zone))]


def _turns(call: Call) -> list[Said]:
    began = call.started_at or call.created_at

    return [Said(turn.speaker, turn.text, max(0, int((turn.at - began).total_seconds()))) for turn in call.transcript]


_LEGS: Final[dict[str, tuple[Vendor, str]]] = {
    "carrier": ("carrier", "Phone line"),
    "listener": ("listener", "Listening"),
    "brain": ("brain", "Thinking"),
    "voice": ("voice", "Speaking"),
}
_UNITS: Final = {
    "second": "s",
    "input_token": "tokens read",
    "output_token": "tokens written",
    "character": "characters",
}
_STAND_INS: Final = {"fallback": " by the second brain", "local": " by the local voice"}
_PER: Final = {
    ("second", 60): "a minute",
    ("input_token", 1_000_000): "a million",
    ("output_token", 1_000_000): "a million",
    ("character", 1_000): "a thousand",
}


def _leg(leg: Leg, services: Services) -> BillLeg:
    lines = [
        BillLine(
            line.quantity,
            _UNITS[line.unit] + _STAND_INS.get(line.service, ""),
            f"{money.format_cents(line.price_cents)} ¢ {_PER.get((line.unit, line.per), f'for {line.per:,}')}",
        )
        for line in leg.lines
    ]
    vendor, title = _LEGS[leg.service]

    model = "outgoing call" if leg.service == "carrier" else leg.lines[0].model

    return BillLeg(title, leg.cents, lines, model, services.settings.simulated(vendor))


def _credits_sentence(call: Call, figures: Bill) -> str:
    if call.credits_used:
        return f"{words.plural(call.credits_used, 'started minute')} of talk."
    if figures.payment_method != "credit":
        return "Your plan includes this call."
    if call.hold_credits:
        return f"Nothing was taken; the {words.plural(call.hold_credits, 'credit')} set aside are yours again."

    return "Nothing was taken."


HANDLERS: Final = (place_call, show_calls, show_call, hang_up)
