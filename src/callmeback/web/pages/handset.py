"""What the simulated phone asks the page: who is calling."""

from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from callmeback.domain import calls
from callmeback.web.pages import frame, words
from callmeback.web.session import Caller


class Calling(msgspec.Struct, frozen=True):
    """The persona of the open call, as the phone shows it."""

    id: str
    name: str
    avatar: str | None
    hue: int


@get("/handset/caller")
async def show_caller(caller: NamedDependency[Caller]) -> Response[Any]:
    """The open call's persona; 204 where no call is open."""
    async with caller.transaction(read_only=True) as tx:
        call_id = await calls.open_call(tx, caller.user_id)
        found = None if call_id is None else await calls.call(tx, caller.user_id, call_id)
    if found is None:
        return Response(None, status_code=204, headers=frame.HEADERS)
    calling = Calling(found.id, found.persona_name, words.own_picture(found.avatar_url), words.hue(found.persona_name))

    return Response(calling, headers=frame.HEADERS)


HANDLERS: Final = (show_caller,)
