"""Routes of calls to come: plan, preview, list, change, skip, cancel."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from callmeback.domain import phones, planning, rrule, schedules, zones
from callmeback.domain.recurrence import Ring
from callmeback.domain.schedules import Schedule
from callmeback.domain.wishes import TIME_LENGTH_MAX, ScheduleChange, ScheduleOrder
from callmeback.web.api.pages import LIMIT_DEFAULT, Cursor, Limit, Page, cursor, key_of
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller

TAG = ["schedules"]

RuleParameter = Annotated[
    str, QueryParameter(name="rrule", max_length=rrule.LENGTH_MAX, description="RFC 5545: FREQ=WEEKLY;BYDAY=MO,FR.")
]
StartParameter = Annotated[
    str, QueryParameter(name="starts_at", max_length=TIME_LENGTH_MAX, description="Local time: 2027-03-28T07:00.")
]
ZoneParameter = Annotated[
    str | None,
    QueryParameter(
        name="timezone",
        min_length=1,
        max_length=zones.NAME_LENGTH_MAX,
        description="An IANA name such as Europe/Berlin; without it the person's own zone.",
    ),
]


class _ScheduleKey(msgspec.Struct, frozen=True):
    at: datetime
    id: str


@post("/api/schedules", status_code=201, tags=TAG, responses=documented(401, 403, 404, 409))
async def create_schedule(
    caller: NamedDependency[Caller], services: NamedDependency[Services], data: JSONBody[ScheduleOrder]
) -> Schedule:
    """Plan one call, by `at`, or recurring ones, by `rrule` and a local `starts_at`."""
    regions = services.settings.allowed_regions
    number = None if data.phone_number is None else phones.normalise(data.phone_number, regions, field="phone_number")
    async with caller.transaction() as tx:
        return await planning.create(
            tx, caller.user_id, data, phone_number=number or caller.user.phone, timezone=caller.user.timezone
        )


@get("/api/schedules", tags=TAG, responses=documented(401))
async def list_schedules(
    caller: NamedDependency[Caller], limit: Limit = LIMIT_DEFAULT, cursor_: Cursor = None
) -> Page[Schedule]:
    """What you have planned, the newest first, with what is to come, what was missed and why."""
    key = key_of(cursor_, _ScheduleKey)
    before_at, before_id = (None, None) if key is None else (key.at, key.id)
    async with caller.transaction(read_only=True) as tx:
        found = await schedules.schedules(tx, caller.user_id, before_at=before_at, before_id=before_id, most=limit + 1)
    last = found[limit - 1] if len(found) > limit else None

    return Page(found[:limit], None if last is None else cursor(_ScheduleKey(last.created_at, last.id)))


@get("/api/schedules/preview", tags=TAG, responses=documented(401))
async def preview_schedule(
    caller: NamedDependency[Caller], rule: RuleParameter, starts_at: StartParameter, zone: ZoneParameter = None
) -> Page[Ring]:
    """The next ten times of a rule, each with its zone's offset at that time. Nothing is planned."""
    async with caller.transaction(read_only=True):
        timezone = zone or caller.user.timezone

    return Page(schedules.preview(rule, starts_at, timezone))


@get("/api/schedules/{schedule_id:str}", tags=TAG, responses=documented(401, 404))
async def show_schedule(caller: NamedDependency[Caller], schedule_id: FromPath[str]) -> Schedule:
    """One schedule or single call."""
    async with caller.transaction(read_only=True) as tx:
        return await schedules.schedule(tx, caller.user_id, schedule_id)


@patch("/api/schedules/{schedule_id:str}", tags=TAG, responses=documented(401, 403, 404, 409))
async def change_schedule(
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    schedule_id: FromPath[str],
    data: JSONBody[ScheduleChange],
) -> Schedule:
    """Change, move, pause or resume what was planned; only what is given is changed."""
    regions = services.settings.allowed_regions
    number = None if data.phone_number is UNSET else phones.normalise(data.phone_number, regions, field="phone_number")
    async with caller.transaction() as tx:
        return await planning.change(
            tx, caller.user_id, schedule_id, data, phone_number=number, timezone=caller.user.timezone
        )


@delete("/api/schedules/{schedule_id:str}", status_code=200, tags=TAG, responses=documented(401, 403, 404, 409))
async def cancel_schedule(caller: NamedDependency[Caller], schedule_id: FromPath[str]) -> Schedule:
    """Cancel what was planned. Where the call was placed first, the answer is 409 `not_waiting`."""
    async with caller.transaction() as tx:
        return await planning.cancel(tx, caller.user_id, schedule_id)


@post("/api/schedules/{schedule_id:str}/skip", status_code=200, tags=TAG, responses=documented(401, 403, 404, 409))
async def skip_schedule(caller: NamedDependency[Caller], schedule_id: FromPath[str]) -> Schedule:
    """Leave the next time of a schedule out."""
    async with caller.transaction() as tx:
        return await planning.skip(tx, caller.user_id, schedule_id)


HANDLERS = (
    create_schedule, list_schedules, preview_schedule, show_schedule, change_schedule, cancel_schedule, skip_schedule,
)  # fmt: skip
