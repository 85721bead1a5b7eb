"""The simulated mailbox: without a mail server, what would have been mailed is read here, on this machine only."""

import re
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors
from callmeback.simulator.answers import loopback_only
from callmeback.web.pages import frame
from callmeback.web.services import Services

LETTERS_MAX: Final = 20
ADDRESS_LENGTH_MAX: Final = 320
_LINK: Final = re.compile(r"(https?://\S+)")


class Letter(msgspec.Struct, frozen=True):
    """A mail, its text cut where a link begins or ends: every second piece is a link."""

    subject: str
    pieces: list[str]


def address(services: Services, email: str) -> str | None:
    """Where to read what was mailed to somebody; None where mails really go out."""
    if services.simulator is None or services.settings.smtp_url is not None:
        return None

    return f"/mailbox?{urlencode({'to': email})}"


@get("/mailbox", guards=[loopback_only])
async def show_mailbox(
    request: Request[Any, Any, State], services: NamedDependency[Services], to: FromQuery[str]
) -> Response[Any]:
    """The newest mails to an address."""
    if services.simulator is None or address(services, to) is None:
        raise errors.NotFound()
    wanted = to[:ADDRESS_LENGTH_MAX].lower()
    found = [mail for mail in services.simulator.mails if mail.to.lower() == wanted][:LETTERS_MAX]
    letters = [Letter(mail.subject or "", _LINK.split(mail.body)) for mail in found]

    return frame.page(request, services, "mailbox.html", letters=letters, to=wanted)


HANDLERS: Final = (show_mailbox,)
