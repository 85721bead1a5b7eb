"""The provider's events into the books: those that it sends, and those that it lists when some were lost on the way."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.domain import payments
from callmeback.domain.payments import Applied
from callmeback.pg.pool import Database
from callmeback.providers import stripe_events
from callmeback.providers.stripe import Cashier
from callmeback.providers.stripe_events import Event

_log = logs.get_logger(__name__)

RETRIES_MAX: Final = 200
INTENTS_MAX: Final = 20
# An event may be listed a little later than it is dated.
OVERLAP: Final = timedelta(minutes=10)
# The provider lists thirty days; after a longer silence a person has to look anyway.
LOOK_BACK_MAX: Final = timedelta(days=3)


async def receive(db: Database, event: Event) -> Applied:
    """Store and apply one event in one commit; the same event again changes nothing."""
    async with db.transaction() as tx:
        applied = await payments.apply_event(tx, event.id, event.type, event.created_at, event.facts, event.payload)
    if applied.state == "refused" and not applied.is_duplicate:
        # It says something of money that contradicts our own rows: a person must look at it.
        _log.error("payment_event_refused", event_id=event.id, type=event.type, effect=applied.effect)

    return applied


async def retry(db: Database) -> int:
    """Try again what waited for its object, one commit each; answers how many."""
    for tried in range(RETRIES_MAX):
        async with db.transaction() as tx:
            if not await tx.value(payments.SQL.retry_events, limit=1):
                return tried

    return RETRIES_MAX


async def catch_up(db: Database, cashier: Cashier, now: datetime | None = None) -> int:
    """Apply what the provider lists and we never got; answers how many events were new. Raises VendorFailed."""
    moment = now or datetime.now(UTC)
    async with db.transaction(read_only=True) as tx:
        newest: datetime | None = await tx.value(payments.SQL.newest_event)
    since = max(newest - OVERLAP, moment - LOOK_BACK_MAX) if newest else moment - LOOK_BACK_MAX
    new = 0
    for payload in await cashier.events(since):
        try:
            event = stripe_events.event_of(payload)
        except msgspec.ValidationError as exc:
            _log.error("payment_event_unreadable", error=type(exc).__name__)
            continue
        applied = await receive(db, event)
        new += not applied.is_duplicate
    await _name_invoices(db, cashier)

    return new


async def _name_invoices(db: Database, cashier: Cashier) -> None:
    """A refund or a dispute of a plan names its intent alone; the provider knows which invoice that paid."""
    async with db.transaction(read_only=True) as tx:
        unknown = await tx.all(payments.SQL.unknown_intents, payments.UnknownIntent, limit=INTENTS_MAX)
    for one in unknown:
        try:
            invoice = await cashier.invoice_of(one.payment_intent)
        except errors.VendorFailed as exc:
            _log.warning("invoice_not_found", error=exc.code)
            continue
        if invoice is None:
            continue
        facts: stripe_events.Facts = {
            "kind": "invoice_payment",
            "id": f"found_{one.payment_intent}",
            "invoice": invoice,
            "payment_intent": one.payment_intent,
        }
        found = Event(
            id=f"found_{one.payment_intent}",
            type="invoice_payment.found",
            created_at=datetime.now(UTC),
            facts=facts,
            payload={},
        )
        await receive(db, found)
