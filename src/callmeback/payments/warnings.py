"""Telling people that a month's budget is being used up, by mail and, if they want it, by text: once.

A warning is leased, sent, and noted as told. Whoever dies in between is followed by another worker, which asks the
carrier whether the text went out, and sends the mail again under the same Message-ID: a mailbox shows it once.
"""

import hashlib
from decimal import Decimal
from typing import Final

from callmeback import logs
from callmeback.domain import warnings
from callmeback.domain.warnings import Due, Recipient
from callmeback.errors import VendorFailed
from callmeback.pg.pool import Database
from callmeback.providers.failures import VendorRefused
from callmeback.providers.mail import Mail, Mailer, PutOff, SenderRefused
from callmeback.providers.twilio import Carrier

NOTICES_MAX: Final = 500
# So many different people's letters don't fail by chance: the vendor is away, and each would wait for its deadline.
FAILURES_IN_A_ROW_MAX: Final = 5
BUDGET_PATH: Final = "/budget"
KEY_CHARACTERS: Final = 32

_log = logs.get_logger(__name__)


async def warn(db: Database, mailer: Mailer, carrier: Carrier, base_url: str) -> int:
    """Note who reached their percent, and tell whoever wasn't told yet; answers how many were.

    Who can't be told now is left for a later round and keeps nobody else waiting; an address that is put off again and
    again is tried ever more rarely, and not for ever. Raises VendorFailed where nobody could be told: then it is the
    vendor that is away.
    """
    async with db.transaction() as tx:
        await warnings.notice(tx, NOTICES_MAX)
    told, failures_in_a_row = 0, 0
    failure: VendorFailed | None = None
    for _ in range(NOTICES_MAX):
        async with db.transaction() as tx:
            due = await warnings.claim(tx)
            person = None if due is None else await warnings.recipient(tx, due)
        if due is None:
            break
        try:
            if person is not None:
                await _tell(due, person, mailer, carrier, base_url)
        except VendorFailed as exc:
            # Its lease keeps this one away until the others had their turn.
            failure, failures_in_a_row = exc, failures_in_a_row + 1
            _log.warning("budget_warning_failed", user_id=due.user_id, error=exc.code)
            if isinstance(exc, PutOff):
                async with db.transaction() as tx:
                    if await warnings.put_off(tx, due):
                        _log.warning("budget_warning_given_up", user_id=due.user_id)
            if failures_in_a_row == FAILURES_IN_A_ROW_MAX:
                break
            continue
        failures_in_a_row = 0
        async with db.transaction() as tx:
            await warnings.told(tx, due)
        told += 1
    if failure is not None and told == 0:
        raise failure

    return told


async def _tell(due: Due, person: Recipient, mailer: Mailer, carrier: Carrier, base_url: str) -> None:
    """Raises VendorFailed where it should be tried again; what is refused for good is only logged."""
    put_off: PutOff | None = None
    if person.wants_mail:
        try:
            await mailer.send(_mail(due, person, base_url))
        except SenderRefused:
            # Somebody has to mend the settings, and then everybody is told.
            raise
        except VendorRefused as exc:
            _log.warning("budget_mail_refused", user_id=due.user_id, error=exc.code)
        except PutOff as exc:
            # The text needn't wait for the mail.
            put_off = exc
    if person.wants_text and person.number is not None:
        text = _text(due)
        try:
            if not await carrier.was_texted(person.number, text, person.noticed_at):
                await carrier.send_text(person.number, text)
        except VendorRefused as exc:
            _log.warning("budget_text_refused", user_id=due.user_id, error=exc.code)
    if put_off is not None:
        raise put_off


def _mail(due: Due, person: Recipient, base_url: str) -> Mail:
    name = f"{due.user_id}|{due.month}|{due.percent}"
    body = (
        f"Your calls of {due.month:%B} have cost {_dollars(person.spent_cents)} of the "
        f"{_dollars(person.limit_cents)} that you set as the month's limit: {due.percent} % of it is reached.\n\n"
        f"At the limit no new call begins. See and change it here:\n{base_url}{BUDGET_PATH}\n"
    )

    return Mail(
        to=person.email,
        subject=f"{due.percent} % of your budget for {due.month:%B} is used",
        body=body,
        message_id="budget." + hashlib.sha256(name.encode()).hexdigest()[:KEY_CHARACTERS],
    )


def _text(due: Due) -> str:
    """The same words each time, by which the carrier finds it again."""
    return f"Call Me Back: {due.percent} % of your budget for {due.month:%B %Y} is used. See your budget page."


def _dollars(cents: Decimal) -> str:
    return f"${cents / 100:.2f}"
