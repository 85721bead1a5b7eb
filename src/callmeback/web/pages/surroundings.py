"""What stands around every page of somebody who is logged in: the balance on top, the simulated phone beside it."""

from typing import Any, Final

import msgspec

from callmeback.domain import credits, phones
from callmeback.domain.credits import Account
from callmeback.domain.phones import Phone
from callmeback.pg.pool import Session
from callmeback.web.pages import words
from callmeback.web.services import Services
from callmeback.web.session import Caller

HANDSET_NUMBERS_MAX: Final = 4


class Handset(msgspec.Struct, frozen=True):
    """The simulated phone: the numbers that ring in the page, proved or not."""

    numbers: list[str]


async def of(tx: Session, caller: Caller, services: Services) -> dict[str, Any]:
    """Read it in the page's own transaction."""
    account = await credits.account(tx, caller.user_id, caller.user.timezone)
    numbers = await phones.numbers(tx, caller.user_id)

    return {"purse": _purse(account), "handset": _handset(services, numbers), "numbers": numbers, "account": account}


def _purse(account: Account) -> str:
    if account.charges_credits:
        return words.plural(account.available_credits, "credit")

    return f"{account.tier.capitalize()} plan"


def _handset(services: Services, numbers: list[Phone]) -> Handset | None:
    if not services.settings.simulated("carrier"):
        return None
    newest_first = sorted(numbers, key=lambda phone: (phone.verified, phone.is_primary, phone.created_at), reverse=True)

    return Handset([phone.number for phone in newest_first[:HANDSET_NUMBERS_MAX]])
