"""Receipts: what was paid for, and each on a page that can be printed."""

from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from callmeback.domain import payments
from callmeback.web.api.pages import cursor, key_of
from callmeback.web.pages import frame, surroundings
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

RECEIPTS_A_PAGE: Final = 30


class ReceiptKey(msgspec.Struct, frozen=True):
    """Where the next page begins."""

    paid_at: datetime
    id: str


@get("/receipts")
async def show_receipts(
    request: Asked,
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    before: FromQuery[str | None] = None,
) -> Response[Any]:
    """All of them, newest first."""
    key = key_of(before, ReceiptKey)
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        found = await payments.receipts(
            tx,
            caller.user_id,
            before_at=None if key is None else key.paid_at,
            before_id=None if key is None else key.id,
            most=RECEIPTS_A_PAGE + 1,
        )
    last = found[RECEIPTS_A_PAGE - 1] if len(found) > RECEIPTS_A_PAGE else None

    return frame.page(
        request,
        services,
        "receipts.html",
        caller=caller,
        place="credits",
        surroundings=around,
        receipts=found[:RECEIPTS_A_PAGE],
        is_later_page=before is not None,
        next=None if last is None else cursor(ReceiptKey(last.paid_at, last.id)),
    )


@get("/receipts/{receipt_id:str}")
async def show_receipt(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], receipt_id: FromPath[str]
) -> Response[Any]:
    """One, for a screen and for paper."""
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        found = await payments.receipt(tx, caller.user_id, receipt_id)

    return frame.page(
        request, services, "receipt.html", caller=caller, place="credits", surroundings=around, receipt=found
    )


HANDLERS: Final = (show_receipts, show_receipt)
