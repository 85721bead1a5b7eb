"""Plans: which there are, which one is in force, another one, its end. What costs money is said before it does."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from callmeback import errors
from callmeback.domain import credits, plans
from callmeback.domain.credits import Tier
from callmeback.domain.plans import PlanOrder, Subscription
from callmeback.payments import checkout
from callmeback.pg.pool import Session
from callmeback.web.pages import frame, refusals, surroundings, till
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

MESSAGES: Final = {
    "changed": "Done.",
    "kept": "Your plan goes on.",
    "ends": "Your plan ends with the period that is paid. Until then everything stays as it is.",
}

# What may be wrong with a plan that somebody chooses, told on the page.
REFUSALS: Final = (
    errors.PaymentDeclined,
    errors.PaymentsFailed,
    errors.AlreadySubscribed,
    errors.PlanChangeInProgress,
    errors.UnknownTier,
)

# How often a page that waits for the provider's word on a dearer plan looks again, every two seconds.
LOOKS_MAX: Final = 15

Step = Literal["begin", "replace", "upgrade", "later", "keep", "end", "none"]


class Choice(msgspec.Struct, frozen=True):
    """A plan as it is offered to this person: what choosing it would do."""

    tier: Tier
    is_current: bool
    step: Step

    @property
    def name(self) -> str:
        return self.tier.tier.capitalize()


@get("/plans")
async def show_plans(
    request: Asked,
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    done: FromQuery[str] = "",
    look: FromQuery[int] = 0,
) -> Response[Any]:
    """All plans, and how the person's own stands."""
    refused, cookies = refusals.taken(request, services, caller)
    form = refused.get("plans") or Form()

    return await _plans(request, caller, services, form, message=MESSAGES.get(done), look=max(0, look), cookies=cookies)


@get("/plans/{tier:str}")
async def show_change(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], tier: FromPath[str]
) -> Response[Any]:
    """What would happen, before it does; raises NotFound for a plan that nothing leads to."""
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        choices, current = await _choices(tx, caller, around["account"].tier)
    given = _given(choices, current)
    chosen = next((choice for choice in choices if choice.tier.tier == tier and choice.step != "none"), None)
    if chosen is None:
        raise errors.NotFound("There is nothing to change to there.")

    return frame.page(
        request,
        services,
        "plan_change.html",
        caller=caller,
        place="credits",
        surroundings=around,
        leads_to=till.leads_to(services),
        choice=chosen,
        current=current,
        given=given,
        is_paid_now=chosen.step in ("begin", "replace", "upgrade"),
    )


@post("/plans")
async def choose(request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[Any]:
    """Begin a plan, change it, keep it or end it; each as its page has said."""
    form = Form(await read_form(request))
    tier, desk = form.values.get("tier", "")[:64], till.desk(request, services, caller)
    async with caller.transaction(read_only=True) as tx:
        account = await credits.account(tx, caller.user_id, caller.user.timezone)
        choices, _ = await _choices(tx, caller, account.tier)
    step: Step = next((choice.step for choice in choices if choice.tier.tier == tier), "none")
    if step == "none" or form.values.get("step") != step:
        # What the page said would happen is no longer what would: nothing is charged that wasn't announced.
        form.trouble = "Your plan has changed since this was shown. Please look again."
        return refusals.show(services, caller, "/plans", "plans", form)
    try:
        if step == "end":
            await checkout.cancel_plan(desk)
            return frame.go("/plans?done=ends")
        payment = await checkout.choose_plan(desk, PlanOrder(tier=tier))
    except REFUSALS as exc:
        form.trouble = _refusal(exc, step)
        return refusals.show(services, caller, "/plans", "plans", form)
    if payment.is_changed:
        return frame.go(f"/plans?done={'kept' if step == 'keep' else 'changed'}")

    return till.go_and_pay(request, services, payment)


def _refusal(error: errors.CallMeBackError, step: Step) -> str:
    if isinstance(error, errors.PaymentDeclined):
        return "Your card was declined, so nothing has changed and nothing was charged. Another card may work."
    if isinstance(error, errors.PaymentsFailed) and step == "upgrade":
        return "The payment service didn't answer. If the change was made all the same, it stands here in a moment."

    return till.sentence_of(error)


async def _plans(
    request: Asked,
    caller: Caller,
    services: Services,
    form: Form,
    *,
    message: str | None = None,
    look: int = 0,
    cookies: Sequence[Cookie] = (),
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        choices, current = await _choices(tx, caller, around["account"].tier)
    awaited = _awaited(choices, current)

    return frame.page(
        request,
        services,
        "plans.html",
        cookies=cookies,
        caller=caller,
        place="credits",
        surroundings=around,
        leads_to=till.leads_to(services),
        form=form,
        message=message,
        choices=choices,
        current=current,
        given=_given(choices, current),
        awaited=awaited,
        next_look=look + 1 if awaited and look < LOOKS_MAX else None,
    )


def _awaited(choices: list[Choice], current: Subscription | None) -> str | None:
    """The dearer plan that was asked for and that the provider hasn't confirmed yet."""
    if current is None:
        return None

    return next((one.name for one in choices if one.tier.tier == current.pending_tier and one.step == "upgrade"), None)


async def _choices(tx: Session, caller: Caller, tier: str) -> tuple[list[Choice], Subscription | None]:
    """Every plan for this person, and the one that they pay for, if any."""
    found = await plans.subscription(tx, caller.user_id)
    current = found if found is not None and found.is_live else None
    offered = await credits.tiers(tx)

    begin: Step = "replace" if any(one.tier == tier and not _is_free(one) for one in offered) else "begin"

    return [Choice(one, one.tier == tier, _step(one, current, begin)) for one in offered], current


def _given(choices: list[Choice], current: Subscription | None) -> Choice | None:
    """The plan that is in force though nobody pays for it: an operator gave it."""
    paid = None if current is None else current.tier

    return next((one for one in choices if one.is_current and not _is_free(one.tier) and one.tier.tier != paid), None)


def _is_free(tier: Tier) -> bool:
    return tier.monthly_price_cents == Decimal(0)


def _step(tier: Tier, current: Subscription | None, begin: Step) -> Step:
    """What choosing a plan does for somebody with this one; `begin` for somebody who pays for none."""
    is_free = _is_free(tier)
    if current is None:
        return "none" if is_free else begin
    if is_free:
        return "none" if current.cancel_at_period_end else "end"
    if tier.tier == current.tier:
        return "keep" if current.cancel_at_period_end or current.pending_tier else "none"
    if tier.monthly_price_cents > current.price_cents:
        # Also one that was asked for already: asked again it is the same request, and paid once.
        return "upgrade"

    return "none" if tier.tier == current.pending_tier else "later"


HANDLERS: Final = (show_plans, show_change, choose)
