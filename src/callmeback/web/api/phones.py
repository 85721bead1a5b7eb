"""Routes of phone numbers."""

from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from callmeback import errors
from callmeback.domain import phones
from callmeback.domain.phones import Phone
from callmeback.web import accounts
from callmeback.web.api.auth import Number
from callmeback.web.api.pages import Page
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller

TAG = ["phones"]


class NumberBody(msgspec.Struct, frozen=True):
    number: Number


class CodeBody(msgspec.Struct, frozen=True):
    number: Number
    code: Annotated[str, Meta(min_length=1, max_length=12)]


@post("/api/phones", tags=TAG, responses=documented(401, 403, 409, 502))
async def add_phone(
    caller: NamedDependency[Caller], services: NamedDependency[Services], data: JSONBody[NumberBody]
) -> Phone:
    """Add a number, or ask for another code: six digits are sent to it by text."""
    number = phones.normalise(data.number, services.settings.allowed_regions)
    async with caller.transaction(read_only=True) as tx:
        known = await phones.find(tx, caller.user_id, number)
    if known is not None and known.verified:
        return known
    await accounts.send_code(services, caller.user_id, number)
    async with caller.transaction(read_only=True) as tx:
        found = await phones.find(tx, caller.user_id, number)
    if found is None:
        raise errors.NotFound()

    return found


@post("/api/phones/verify", status_code=200, tags=TAG, responses=documented(401, 403, 409))
async def verify_phone(
    caller: NamedDependency[Caller], services: NamedDependency[Services], data: JSONBody[CodeBody]
) -> Phone:
    """Verify a number by its code. It belongs to whoever verifies it first."""
    number = phones.normalise(data.number, services.settings.allowed_regions)
    async with caller.transaction() as tx:
        verdict = await phones.verify(tx, services.keys, caller.user_id, number, data.code.strip())
    phones.require_verified(verdict)
    async with caller.transaction(read_only=True) as tx:
        found = await phones.find(tx, caller.user_id, number)
    if found is None:
        raise errors.NotFound()

    return found


@get("/api/phones", tags=TAG, responses=documented(401))
async def list_phones(caller: NamedDependency[Caller]) -> Page[Phone]:
    """Your numbers, the primary one first."""
    async with caller.transaction(read_only=True) as tx:
        return Page(await phones.numbers(tx, caller.user_id))


@delete("/api/phones/{number:str}", status_code=204, tags=TAG, responses=documented(401, 403, 404))
async def remove_phone(
    caller: NamedDependency[Caller], services: NamedDependency[Services], number: FromPath[str]
) -> None:
    """Remove a number."""
    try:
        known = phones.normalise(number, services.settings.allowed_regions)
    except (errors.PhoneInvalid, errors.PremiumNumber, errors.RegionNotAllowed):
        # It may have been allowed when it was added.
        known = number
    async with caller.transaction() as tx:
        await phones.remove(tx, caller.user_id, known)


HANDLERS = (add_phone, verify_phone, list_phones, remove_phone)
