"""The calendar: what is coming, what repeats, what didn't come about; planning, moving, pausing, skipping, ending."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import UNSET

from callmeback import errors
from callmeback.domain import agenda, calendars, personas, phones, planning, recurrence, schedules
from callmeback.domain.calendars import Coming
from callmeback.domain.personas import Card
from callmeback.domain.phones import Phone
from callmeback.domain.schedules import Schedule
from callmeback.domain.wishes import ScheduleChange, ScheduleOrder
from callmeback.pg.pool import Session
from callmeback.web import problems
from callmeback.web.pages import frame, planner, surroundings, words
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

SOON: Final = timedelta(minutes=10)
REPEATS_SHOWN: Final = timedelta(days=14)
MESSAGES: Final = {
    "planned": "Planned. Your phone rings when it is time.",
    "changed": "Saved.",
    "moved": "Moved. The times after it stay as they were.",
    "skipped": "Left out. It goes on with the time after that.",
    "paused": "It rests until you wake it.",
    "resumed": "It goes on.",
    "ended": "It won't ring any more.",
    "unlinked": "The link no longer works.",
}
# Where a refusal leads to.
WAYS: Final[dict[type[errors.CallMeBackError], tuple[str, str]]] = {
    errors.PhoneNotVerified: ("/phones", "Verify a number")
}


@get("/calendar")
async def show_calendar(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], done: FromQuery[str] = ""
) -> Response[Any]:
    """Everything that is planned, on the person's clock."""
    return await show(request, caller, services, Form(), message=MESSAGES.get(done))


@post("/calendar/soon")
async def call_soon(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """A call in ten minutes, by one tap."""
    form = Form(await read_form(request))
    soon = (datetime.now(UTC) + SOON).replace(microsecond=0)
    order = form.shape(
        ScheduleOrder,
        {"persona_id": form.values.get("persona_id", ""), "at": soon.isoformat()},
        {"persona_id": planner.SENTENCES["persona_id"]},
    )
    if order is None:
        return await show(request, caller, services, form, status=400)
    try:
        async with caller.transaction() as tx:
            await planning.create(
                tx, caller.user_id, order, phone_number=caller.user.phone, timezone=caller.user.timezone
            )
    except (errors.ValidationFailed, errors.PersonaNotFound, errors.PhoneNotVerified, errors.TooManySchedules) as exc:
        form.trouble = exc.detail
        way = WAYS.get(type(exc))
        return await show(request, caller, services, form, way=way, status=problems.status_of(exc))

    return frame.go("/calendar?done=planned")


@get("/calendar/new")
async def show_planner(
    request: Asked,
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    pick: FromQuery[str] = "",
    persona: FromQuery[str] = "",
) -> Response[Any]:
    """The form, filled in for a quick pick."""
    async with caller.transaction(read_only=True):
        values = planner.picked(pick, caller.user.timezone)

    return await planner_page(request, caller, services, Form({"persona_id": persona, **values}), looks=bool(pick))


@post("/calendar")
async def plan(request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[Any]:
    """Show the next times of what was typed, or plan it."""
    form = Form(await read_form(request))
    async with caller.transaction(read_only=True):
        timezone = caller.user.timezone
    order = planner.wanted(form, timezone)
    if order is None:
        return await planner_page(request, caller, services, form, looks=True)
    try:
        async with caller.transaction() as tx:
            number = _number(order, caller, services)
            await planning.create(tx, caller.user_id, order, phone_number=number, timezone=timezone)
    except errors.Unauthorized:
        raise
    except errors.CallMeBackError as exc:
        planner.refuse(form, exc)
        return await planner_page(request, caller, services, form, status=problems.status_of(exc))

    return frame.go("/calendar?done=planned")


@get("/calendar/calls/{schedule_id:str}")
async def show_plan(
    request: Asked,
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    schedule_id: FromPath[str],
    done: FromQuery[str] = "",
) -> Response[Any]:
    """One thing that is planned: how it stands, and the form that changes it."""
    return await _plan(request, caller, services, schedule_id, message=MESSAGES.get(done))


@post("/calendar/calls/{schedule_id:str}")
async def change_plan(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], schedule_id: FromPath[str]
) -> Response[Any]:
    """Show the next times of what was typed, or write it."""
    form = Form(await read_form(request))
    async with caller.transaction(read_only=True) as tx:
        timezone = caller.user.timezone
        now = await schedules.schedule(tx, caller.user_id, schedule_id)
    form.values["repeat"] = "once" if now.kind == "once" else form.values.get("repeat", "")
    order = planner.wanted(form, timezone)
    if order is None:
        return await _plan(request, caller, services, schedule_id, form=form, looks=True)
    number = _number(order, caller, services)
    return await _change(request, caller, services, schedule_id, _change_of(order, now), "changed", number, form)


@post("/calendar/calls/{schedule_id:str}/move")
async def move_next(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], schedule_id: FromPath[str]
) -> Response[Any]:
    """Move the next time of a schedule, and only that."""
    form = Form(await read_form(request))
    async with caller.transaction(read_only=True):
        timezone = caller.user.timezone
    at = planner.moment(form, timezone, "move_day", "move_time")
    if at is None:
        return await _plan(request, caller, services, schedule_id, moved=form, status=400)
    change = ScheduleChange(at=at.isoformat())
    return await _change(request, caller, services, schedule_id, change, "moved", None, None, moved=form)


@post("/calendar/calls/{schedule_id:str}/pause")
async def pause_plan(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], schedule_id: FromPath[str]
) -> Response[Any]:
    """Let a schedule rest, or wake it."""
    rests = (await read_form(request)).get("paused") == "yes"
    change = ScheduleChange(paused=rests)

    return await _change(request, caller, services, schedule_id, change, "paused" if rests else "resumed", None, None)


@post("/calendar/calls/{schedule_id:str}/skip")
async def skip_next(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], schedule_id: FromPath[str]
) -> Response[Any]:
    """Leave the next time out."""
    try:
        async with caller.transaction() as tx:
            await planning.skip(tx, caller.user_id, schedule_id)
    except (errors.NotWaiting, errors.ValidationFailed) as exc:
        return await _plan(request, caller, services, schedule_id, trouble=exc)

    return frame.go("/calendar?done=skipped")


@post("/calendar/calls/{schedule_id:str}/end")
async def end_plan(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], schedule_id: FromPath[str]
) -> Response[Any]:
    """Take back what was planned."""
    try:
        async with caller.transaction() as tx:
            await planning.cancel(tx, caller.user_id, schedule_id)
    except errors.NotWaiting as exc:
        return await _plan(request, caller, services, schedule_id, trouble=exc)

    return frame.go("/calendar?done=ended")


def _number(order: ScheduleOrder, caller: Caller, services: Services) -> str | None:
    if order.phone_number is None:
        return caller.user.phone

    return phones.normalise(order.phone_number, services.settings.allowed_regions, field="phone_number")


def _change_of(order: ScheduleOrder, now: Schedule) -> ScheduleChange:
    """The change that makes a plan what its form says."""
    wishes: dict[str, Any] = {
        "persona_id": order.persona_id,
        "context": order.context,
        "scenario_id": UNSET if order.scenario_id is None else order.scenario_id,
        "max_minutes": order.max_minutes,
        "reminder_minutes": order.reminder_minutes,
        # What the form doesn't ask stays.
        "retries": msgspec.structs.replace(
            now.retries, max=order.retries.max, after_minutes=order.retries.after_minutes
        ),
        "quiet_hours": order.quiet_hours,
    }
    if now.kind == "once":
        assert order.at is not None and now.at is not None, "the form of a single call has a time"
        # What was not touched stays as it was, to the fraction of a second that no field shows.
        is_same = datetime.fromisoformat(order.at) == now.at.replace(microsecond=0)
        return ScheduleChange(at=UNSET if is_same else order.at, **wishes)
    assert order.rrule is not None and order.starts_at is not None, "the form of a schedule has a rule"

    return ScheduleChange(
        rrule=order.rrule,
        starts_at=order.starts_at,
        timezone=order.timezone,
        ends_at=order.ends_at,
        ends_after=order.ends_after,
        **wishes,
    )


async def _change(
    request: Asked,
    caller: Caller,
    services: Services,
    schedule_id: str,
    change: ScheduleChange,
    done: str,
    number: str | None,
    form: Form | None,
    *,
    moved: Form | None = None,
) -> Response[Any]:
    try:
        async with caller.transaction() as tx:
            await planning.change(
                tx, caller.user_id, schedule_id, change, phone_number=number, timezone=caller.user.timezone
            )
    except (errors.Unauthorized, errors.NotFound):
        raise
    except errors.CallMeBackError as exc:
        return await _plan(request, caller, services, schedule_id, form=form, moved=moved, trouble=exc)

    return frame.go(f"/calendar?done={done}")


async def show(
    request: Asked,
    caller: Caller,
    services: Services,
    form: Form,
    *,
    message: str | None = None,
    way: tuple[str, str] | None = None,
    link: str | None = None,
    status: int = 200,
) -> Response[Any]:
    """The calendar, with whatever a form brought here; `link` is a secret one that was just made."""
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        coming = await calendars.coming(tx, caller.user_id)
        repeating = await agenda.repeating(tx, caller.user_id)
        missed = await agenda.not_come_about(tx, caller.user_id)
        cards = await personas.catalogue(tx)
        feed = await calendars.feed(tx, caller.user_id)

    return frame.page(
        request,
        services,
        "calendar.html",
        status=status,
        caller=caller,
        place="calendar",
        surroundings=around,
        form=form,
        message=message,
        way=way,
        link=link,
        feed=feed,
        days=by_day(coming, caller.user.timezone),
        repeating=repeating,
        missed=missed,
        personas=cards,
        picks=planner.PICKS,
        can_call=any(phone.verified for phone in around["numbers"]),
    )


def by_day(coming: Sequence[Coming], timezone: str) -> list[tuple[str, list[Coming]]]:
    """What rings, by the person's days: single calls as far as they go, what repeats as far as anybody reads."""
    last = datetime.now(UTC) + REPEATS_SHOWN
    shown = [one for one in coming if one.schedule_id is None or one.at <= last]

    return [(day, list(group)) for day, group in groupby(shown, key=lambda one: words.day_to_come(one.at, timezone))]


async def _choices(tx: Session, around: dict[str, Any]) -> tuple[list[Card], list[Phone]]:
    """Who can call, and where."""
    return await personas.catalogue(tx), [phone for phone in around["numbers"] if phone.verified]


async def planner_page(
    request: Asked, caller: Caller, services: Services, form: Form, *, looks: bool = False, status: int = 200
) -> Response[Any]:
    """The form that plans, with what was typed; `looks` shows when that would ring."""
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        cards, numbers = await _choices(tx, around)
    if not form.values.get("persona_id") and cards:
        form.values["persona_id"] = cards[0].id
    preview, status = _preview(form, caller.user.timezone, status) if looks else (None, status)

    return frame.page(
        request,
        services,
        "planner.html",
        status=status,
        caller=caller,
        place="calendar",
        surroundings=around,
        form=form,
        preview=preview,
        personas=cards,
        verified=numbers,
        picks=planner.PICKS,
        plan=None,
        action="/calendar",
    )


def _preview(form: Form, timezone: str, status: int) -> tuple[planner.Preview | None, int]:
    """The preview of a form, or what is wrong with it."""
    order = planner.order(form, timezone)
    if order is None:
        return None, 400
    try:
        return planner.preview(order, timezone), status
    except errors.CallMeBackError as exc:
        planner.refuse(form, exc)
        return None, problems.status_of(exc)


async def _plan(
    request: Asked,
    caller: Caller,
    services: Services,
    schedule_id: str,
    *,
    form: Form | None = None,
    moved: Form | None = None,
    trouble: errors.CallMeBackError | None = None,
    message: str | None = None,
    looks: bool = False,
    status: int = 200,
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        plan = await schedules.schedule(tx, caller.user_id, schedule_id)
        cards, numbers = await _choices(tx, around)
    timezone = caller.user.timezone
    form = form or Form(planner.values_of(plan, timezone))
    moved = moved or Form(planner.moved_values(plan, timezone))
    if trouble is not None:
        planner.refuse(moved if moved.values.get("step") == "move" else form, trouble)
        status = problems.status_of(trouble)
    preview, status = _preview(form, timezone, status) if looks else (None, status)

    return frame.page(
        request,
        services,
        "planner.html",
        status=status,
        caller=caller,
        place="calendar",
        surroundings=around,
        form=form,
        moved=moved,
        preview=preview,
        message=message,
        personas=cards,
        verified=numbers,
        picks=(),
        plan=plan,
        is_open=plan.status in ("active", "paused", "scheduled"),
        starts=None if plan.starts_at is None else recurrence.local_time(plan.starts_at),
        action=f"/calendar/calls/{plan.id}",
    )


HANDLERS: Final = (
    show_calendar, call_soon, show_planner, plan, show_plan, change_plan, move_next, pause_plan, skip_next, end_plan,
)  # fmt: skip
