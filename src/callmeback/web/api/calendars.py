"""Routes of calendars: a person's secret link, what calendar programs read under it, and an event taken over."""

import hashlib
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from callmeback import errors
from callmeback.domain import calendars, icalendar_text, phones, planning
from callmeback.domain.calendars import Feed, FeedLink
from callmeback.domain.calls import Id
from callmeback.domain.schedules import Schedule
from callmeback.domain.wishes import Number
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller

TAG = ["schedules"]

SUFFIX: Final = ".ics"
TOKEN_LENGTH_MAX: Final = 100
MEDIA_TYPE: Final = icalendar_text.MEDIA_TYPE
# A calendar program asks again after so long.
CACHED_SECONDS: Final = 300

IcsText = Annotated[
    str, Meta(min_length=1, max_length=icalendar_text.READ_LENGTH_MAX, description="An iCalendar text with one VEVENT.")
]


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar's event that becomes a planned call; its summary says what the call is about."""

    ics: IcsText
    persona_id: Id
    phone_number: Number | None = None


@post("/api/schedules/import", status_code=201, tags=TAG, responses=documented(401, 403, 404, 409))
async def import_event(
    caller: NamedDependency[Caller], services: NamedDependency[Services], data: JSONBody[EventBody]
) -> Schedule:
    """Plan what a calendar's event describes: DTSTART with its zone, and RRULE. SUMMARY becomes the context."""
    wanted = icalendar_text.read(data.ics)
    regions = services.settings.allowed_regions
    number = None if data.phone_number is None else phones.normalise(data.phone_number, regions, field="phone_number")
    async with caller.transaction() as tx:
        timezone = caller.user.timezone
        order = calendars.order_of(wanted, data.persona_id, timezone)
        return await planning.create(
            tx, caller.user_id, order, phone_number=number or caller.user.phone, timezone=timezone
        )


@get("/api/calendar-feed", tags=TAG, responses=documented(401, 404))
async def show_feed(caller: NamedDependency[Caller]) -> Feed:
    """When the secret link to your planned calls was made; the link itself isn't kept."""
    async with caller.transaction(read_only=True) as tx:
        found = await calendars.feed(tx, caller.user_id)
    if found is None:
        raise errors.NotFound()

    return found


@post("/api/calendar-feed", status_code=201, tags=TAG, responses=documented(401, 403))
async def renew_feed(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> FeedLink:
    """Make a secret link; an earlier one stops working. It is shown this once."""
    async with caller.transaction() as tx:
        token = await calendars.renew_feed(tx, caller.user_id)

    return FeedLink(f"{services.settings.base_url}/calendar/{token}{SUFFIX}")


@delete("/api/calendar-feed", status_code=204, tags=TAG, responses=documented(401, 403))
async def remove_feed(caller: NamedDependency[Caller]) -> None:
    """Remove the link."""
    async with caller.transaction() as tx:
        await calendars.remove_feed(tx, caller.user_id)


@get(
    "/calendar/{name:str}",
    tags=TAG,
    security=[{}],
    responses=documented(404)
    | {
        200: ResponseSpec(str, description="A calendar.", media_type=MEDIA_TYPE, generate_examples=False),
        304: ResponseSpec(None, description="Not Modified"),
    },
)
async def read_feed(
    request: Request[Any, Any, State], services: NamedDependency[Services], name: FromPath[str]
) -> Response[str]:
    """The calls to come, for calendar programs: `/calendar/` and the secret token, then `.ics`."""
    token = name.removesuffix(SUFFIX)
    if token == name or len(token) > TOKEN_LENGTH_MAX:
        raise errors.NotFound()
    async with services.api.transaction(read_only=True) as tx:
        user_id = await calendars.feed_user(tx, token)
    if user_id is None:
        raise errors.NotFound()
    async with services.api.transaction(user_id, read_only=True) as tx:
        text = calendars.text_of(await calendars.coming(tx, user_id))
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={CACHED_SECONDS}"}
    if tag in request.headers.get("if-none-match", ""):
        return Response("", status_code=304, headers=headers, media_type=MEDIA_TYPE)

    return Response(text, headers=headers, media_type=MEDIA_TYPE)


HANDLERS = (import_event, show_feed, renew_feed, remove_feed, read_feed)
