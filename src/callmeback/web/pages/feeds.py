"""Between calendars: the secret link under which other programs read a person's, and an event that is taken over."""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency

from callmeback import errors
from callmeback.domain import calendars, icalendar_text
from callmeback.web import problems
from callmeback.web.pages import calendar, frame, planner
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

FEED_PATH: Final = "/calendar/{token}.ics"
FILE_FIELD: Final = "file"


@post("/calendar/feed", status_code=200)
async def renew_feed(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Make the link, or a new one. It stands in this answer and nowhere else, so there is no page to be led to."""
    async with caller.transaction() as tx:
        token = await calendars.renew_feed(tx, caller.user_id)
    link = services.settings.base_url + FEED_PATH.format(token=token)

    return await calendar.show(request, caller, services, Form(), link=link)


@post("/calendar/feed/remove")
async def remove_feed(caller: NamedDependency[Caller]) -> Response[Any]:
    """Take the link away."""
    async with caller.transaction() as tx:
        await calendars.remove_feed(tx, caller.user_id)

    return frame.go("/calendar?done=unlinked")


@post("/calendar/import", status_code=200)
async def take_over(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Show what an event would be as a call; nothing is planned before the person has seen it."""
    form = Form(await read_form(request))
    text = await _file(request) or form.values.get("ics", "")
    try:
        async with caller.transaction(read_only=True):
            timezone = caller.user.timezone
        order = calendars.order_of(icalendar_text.read(text), form.values.get("persona_id", ""), timezone)
        shown = Form(planner.values_of_order(order, timezone))
    except (errors.CalendarInvalid, errors.UnknownTimezone, errors.ValidationFailed) as exc:
        form.wrong["ics"] = exc.detail
        return await calendar.show(request, caller, services, form, status=problems.status_of(exc))

    return await calendar.planner_page(request, caller, services, shown, looks=True)


async def _file(request: Asked) -> str:
    """The file that was chosen, if any, as far as one event may go."""
    for name, value in (await request.form()).multi_items():
        if name == FILE_FIELD and isinstance(value, UploadFile) and value.filename:
            content = await value.read(icalendar_text.READ_LENGTH_MAX + 1)
            return content.decode("utf-8", "replace")

    return ""


HANDLERS: Final = (renew_feed, remove_feed, take_over)
