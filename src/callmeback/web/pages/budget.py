"""The budget: what a call and a month may cost, what was spent so far, and what the month comes to."""

import re
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors, money
from callmeback.domain import budgets, costs, credits, receipts
from callmeback.domain.budgets import Budget, BudgetChange
from callmeback.domain.costs import CostGroup, card_name
from callmeback.web import problems
from callmeback.web.pages import charts, frame, surroundings, words
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

# Commas between thousands, and nowhere else: 2,50 is not 250.
THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
# The form speaks of dollars, the domain of cents.
FIELDS: Final = {
    "max_cost_per_call": ("max_cost_per_call_cents", budgets.CALL_CENTS_MAX),
    "max_monthly_spend": ("max_monthly_spend_cents", budgets.MONTH_CENTS_MAX),
}


class SpentDay(msgspec.Struct, frozen=True):
    """A day with calls, as the table beside the chart has it."""

    day: date
    calls: int
    cents: Decimal
    so_far: Decimal


@get("/budget")
async def show_budget(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], done: FromQuery[str] = ""
) -> Response[Any]:
    """The limits, and what is spent of them."""
    message = "Saved. A lower limit holds at once, a higher one from the next call on." if done == "kept" else None

    return await _budget(request, caller, services, None, message=message)


@post("/budget")
async def change_budget(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Write the limits."""
    form = Form(await read_form(request))
    amounts = {field: _cents(form, name, most) for name, (field, most) in FIELDS.items()}
    warn_at = _percent(form)
    if not form.is_good:
        return await _budget(request, caller, services, form, status=400)
    change = BudgetChange(
        **{field: money.format_cents(cents) for field, cents in amounts.items() if cents is not None},
        warn_at_percent_per_call=warn_at,
        enable_auto_cutoff=form.values.get("enable_auto_cutoff") == "yes",
    )
    try:
        async with caller.transaction() as tx:
            await budgets.change(tx, caller.user_id, change)
    except errors.ValidationFailed as exc:
        form.refuse(exc)
        return await _budget(request, caller, services, form, status=problems.status_of(exc))

    return frame.go("/budget?done=kept")


def _cents(form: Form, name: str, most: int) -> Decimal | None:
    """The cents of a field in dollars, or None with a sentence beside it."""
    text = form.values.get(name, "").strip().removeprefix("$").strip()
    dollars = money.parse_amount(text.replace(",", "") if THOUSANDS.fullmatch(text) else text)
    if dollars is None or not 0 <= dollars * 100 <= most:
        form.wrong[name] = f"An amount from 0 to {most // 100:,}: {money.AMOUNT_FORM}."
    elif dollars * 10_000 != (dollars * 10_000).to_integral_value():
        form.wrong[name] = "At most four digits after the point."
    else:
        return dollars * 100

    return None


def _percent(form: Form) -> int:
    text = form.values.get("warn_at_percent_per_call", "").strip().removesuffix("%").strip()
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 100:
        return int(text)
    form.wrong["warn_at_percent_per_call"] = "A whole number from 1 to 100."

    return 0


async def _budget(
    request: Asked,
    caller: Caller,
    services: Services,
    form: Form | None,
    *,
    message: str | None = None,
    status: int = 200,
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        budget = await budgets.budget(tx, caller.user_id, caller.user.timezone)
        worst = await receipts.worst_cents_a_minute(tx, card_name(services.settings))
        today = max(credits.local_day(caller.user.timezone), budget.month)
        days = costs.period(caller.user.timezone, budget.month, today)
        by_day, _ = await costs.report(tx, caller.user_id, caller.user.timezone, days, "day")
    spent, most = Decimal(budget.spent_this_month_cents), Decimal(budget.max_monthly_spend_cents)

    return frame.page(
        request,
        services,
        "budget.html",
        status=status,
        caller=caller,
        place="budget",
        surroundings=around,
        form=form or Form(_values(budget)),
        message=message,
        spent_cents=spent,
        most_cents=most,
        spent_percent=_share(spent, most),
        minutes_of_call=_minutes(Decimal(budget.max_cost_per_call_cents), worst),
        month=budget.month,
        forecast_cents=Decimal(budget.forecast_cents),
        is_over=most > 0 and Decimal(budget.forecast_cents) > most,
        chart=_chart(budget, by_day, today),
        days=_days(by_day),
    )


def _chart(budget: Budget, by_day: list[CostGroup], today: date) -> charts.MonthChart:
    return charts.month(
        budget.month,
        {date.fromisoformat(line.key): Decimal(line.cost_cents) for line in by_day},
        today=today,
        forecast_cents=Decimal(budget.forecast_cents),
        limit_cents=Decimal(budget.max_monthly_spend_cents),
    )


def _days(by_day: list[CostGroup]) -> list[SpentDay]:
    """The days with calls, the newest first, each with what the month had come to."""
    found: list[SpentDay] = []
    so_far = Decimal(0)
    for line in reversed(by_day):
        cents = Decimal(line.cost_cents)
        so_far += cents
        found.append(SpentDay(date.fromisoformat(line.key), line.calls or 0, cents, so_far))

    return found[::-1]


def _values(budget: Budget) -> dict[str, str]:
    return {
        "max_cost_per_call": _dollars(budget.max_cost_per_call_cents),
        "max_monthly_spend": _dollars(budget.max_monthly_spend_cents),
        "warn_at_percent_per_call": str(budget.warn_at_percent_per_call),
        "enable_auto_cutoff": "yes" if budget.enable_auto_cutoff else "",
    }


def _dollars(cents: str) -> str:
    """Cents as dollars with two decimals, or more where a fraction of a cent is meant."""
    whole, _, digits = f"{Decimal(cents) / 100:f}".partition(".")

    return f"{whole}.{digits.rstrip('0').ljust(2, '0')}"


def _share(spent: Decimal, most: Decimal) -> int:
    """Whole percents, 100 where nothing may be spent."""
    return min(100, int(spent * 100 / most)) if most else 100


def _minutes(cents: Decimal, worst: Decimal | None) -> str | None:
    """How long a call can be on this, if every service is used as much as can be."""
    return words.duration(int(cents * 60 / worst) // 60 * 60) if worst else None


HANDLERS: Final = (show_budget, change_budget)
