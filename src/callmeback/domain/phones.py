"""Phone numbers: which ones may be called at all, and whose they are.

The rules of numbering are libphonenumber's; which countries may be called is the operator's decision.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
import phonenumbers
from phonenumbers import PhoneNumberType

from callmeback import errors
from callmeback.domain.tokens import Keys
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "phones.sql")

CODE_DIGITS: Final = 6
CODE_VALID_FOR: Final = timedelta(minutes=10)
NUMBERS_MAX: Final = 20
LENGTH_MAX: Final = 40

_PREMIUM: Final = frozenset({PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST})
_NOBODY: Final = frozenset({PhoneNumberType.PAGER, PhoneNumberType.VOICEMAIL, PhoneNumberType.UAN})

Verdict = Literal["verified", "wrong", "expired", "too_many_attempts", "taken"]


class Phone(msgspec.Struct, frozen=True):
    """A number of a person, E.164; calls go to the primary one unless another is named."""

    number: str
    verified: bool
    is_primary: bool
    created_at: datetime


def normalise(number: str, allowed_regions: Collection[str], *, field: str = "number") -> str:
    """The number in E.164, if it may be called.

    Raises PhoneInvalid, PremiumNumber, RegionNotAllowed, each with the name of the `field` that the number came in.
    Written with its country code and a plus; any separators.
    """
    if len(number) > LENGTH_MAX or not number.lstrip().startswith("+"):
        raise errors.PhoneInvalid("Write the number with its country code, such as +12025550100.", field=field)
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException as exc:
        raise errors.PhoneInvalid(field=field) from exc
    if parsed.extension or not phonenumbers.is_valid_number(parsed):
        raise errors.PhoneInvalid(field=field)
    kind = phonenumbers.number_type(parsed)
    if kind in _PREMIUM:
        raise errors.PremiumNumber(field=field)
    if kind in _NOBODY:
        raise errors.PhoneInvalid(field=field)
    if phonenumbers.region_code_for_number(parsed) not in allowed_regions:
        raise errors.RegionNotAllowed(field=field)

    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


async def numbers(tx: Session, user_id: str) -> list[Phone]:
    """A person's numbers, the primary one first."""
    return await tx.all(SQL.numbers, Phone, user_id=user_id, most=NUMBERS_MAX)


async def find(tx: Session, user_id: str, number: str) -> Phone | None:
    """One number of a person."""
    return await tx.maybe(SQL.number, Phone, user_id=user_id, number=number)


async def request_code(tx: Session, keys: Keys, user_id: str, number: str) -> str:
    """A new code of six digits for a number, to be sent to it; the database keeps a keyed hash.

    Raises PhoneTaken for a number that somebody else has verified, NumberBlocked, ValidationFailed for too many.
    """
    known = await numbers(tx, user_id)
    if len(known) >= NUMBERS_MAX and all(phone.number != number for phone in known):
        raise errors.ValidationFailed(f"A person has at most {NUMBERS_MAX} numbers; remove one first.", field="number")
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    code_hash = keys.digest("phone_code", user_id, number, code)
    await tx.run(SQL.request_code, user_id=user_id, number=number, code_hash=code_hash, valid_for=CODE_VALID_FOR)

    return code


def text_of(code: str) -> str:
    """The text message that carries a code."""
    minutes = CODE_VALID_FOR.seconds // 60

    return f"Your Call Me Back code is {code}. It works for {minutes} minutes. If you didn't ask for it, ignore this."


async def verify(tx: Session, keys: Keys, user_id: str, number: str, code: str) -> Verdict:
    """Try a code. The verdict is an answer, so that the count of attempts is kept; see `require_verified`."""
    verdict: Verdict = await tx.value(
        SQL.verify,
        user_id=user_id,
        number=number,
        code_hash=keys.digest("phone_code", user_id, number, code),
    )

    return verdict


def require_verified(verdict: Verdict) -> None:
    """Raise what a verdict means, after its commit."""
    if verdict == "taken":
        raise errors.PhoneTaken()
    if verdict == "too_many_attempts":
        raise errors.TooManyAttempts()
    if verdict == "wrong":
        raise errors.InvalidToken("The code is wrong.", field="code")
    if verdict == "expired":
        raise errors.InvalidToken("The code is no longer good; ask for a new one.", field="code")


async def remove(tx: Session, user_id: str, number: str) -> None:
    """Take a number away; raises NotFound."""
    if not await tx.value(SQL.remove, user_id=user_id, number=number):
        raise errors.NotFound()
