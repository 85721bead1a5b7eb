"""Routes of calls: place, list, show, watch, end."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody
from litestar.response import ServerSentEvent

from callmeback.domain import calls
from callmeback.domain.calls import KEY_LENGTH_MAX, Call, CallOrder
from callmeback.web import calls as desk
from callmeback.web import watch
from callmeback.web.api.pages import LIMIT_DEFAULT, Cursor, Limit, Page, cursor, key_of
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller

TAG = ["calls"]

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=KEY_LENGTH_MAX,
        description="A repeat with the same key and body answers with the first call.",
    ),
]

LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="The last id that was seen: only later turns are told again."),
]


class _CallKey(msgspec.Struct, frozen=True):
    at: datetime
    id: str


@post("/api/calls", status_code=202, tags=TAG, responses=documented(401, 402, 403, 404, 409))
async def place_call(
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    data: JSONBody[CallOrder],
    idempotency_key: IdempotencyKey = None,
) -> Call:
    """Have a persona call you. Plan, credits, budgets and `max_minutes` limit its length, and all of that is held."""
    return await desk.place(services, caller, data, idempotency_key)


@get("/api/calls", tags=TAG, responses=documented(401))
async def list_calls(
    caller: NamedDependency[Caller], limit: Limit = LIMIT_DEFAULT, cursor_: Cursor = None
) -> Page[Call]:
    """Your calls, newest first."""
    key = key_of(cursor_, _CallKey)
    before_at, before_id = (None, None) if key is None else (key.at, key.id)
    async with caller.transaction(read_only=True) as tx:
        found = await calls.calls(tx, caller.user_id, before_at=before_at, before_id=before_id, most=limit + 1)
    last = found[limit - 1] if len(found) > limit else None

    return Page(found[:limit], None if last is None else cursor(_CallKey(last.created_at, last.id)))


@get("/api/calls/{call_id:str}", tags=TAG, responses=documented(401, 404))
async def show_call(caller: NamedDependency[Caller], call_id: FromPath[str]) -> Call:
    """One call; while it goes on, with what it has used so far."""
    async with caller.transaction(read_only=True) as tx:
        return await calls.call(tx, caller.user_id, call_id)


@post("/api/calls/{call_id:str}/hangup", status_code=202, tags=TAG, responses=documented(401, 403, 404, 502))
async def hang_up_call(
    caller: NamedDependency[Caller], services: NamedDependency[Services], call_id: FromPath[str]
) -> Call:
    """End a call, or cancel it before it is dialled; one that has ended already is no error."""
    return await desk.hang_up(services, caller, call_id)


@get("/api/calls/{call_id:str}/events", tags=TAG, responses=documented(401, 404), media_type="text/event-stream")
async def watch_call(
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    call_id: FromPath[str],
    last_event_id: LastEventId = None,
) -> ServerSentEvent:
    """A stream of `status`, `meter` and `turn` events until the call is settled; the last one is a `status`."""
    async with caller.transaction(read_only=True) as tx:
        first = await calls.call(tx, caller.user_id, call_id)
    services.watchers.require_room(caller.user_id)

    return ServerSentEvent(watch.events(services.watchers, caller, first, watch.turns_told(last_event_id)))


HANDLERS = (place_call, list_calls, show_call, hang_up_call, watch_call)
