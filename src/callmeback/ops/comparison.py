"""The provider's own list of money against ours, object by object and to the cent.

Both lists are of one period. What differs is looked at a second time on both sides as it stands now: money at the edge
of the period, a dispute that was won later, an event that came in between.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from callmeback.domain import books
from callmeback.domain.books import Flow, FlowKind
from callmeback.pg.pool import Database
from callmeback.providers.stripe import Cashier

# A webhook that was lost is found in the provider's list within this; until then a difference may be on its way.
ON_ITS_WAY: Final = timedelta(minutes=10)
SECOND_LOOKS_MAX: Final = 2_000
READ_SECONDS_MAX: Final = 300.0

Key = tuple[FlowKind, str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An object that isn't the same in both books; cents, plus is money that came in."""

    kind: FlowKind
    object_id: str
    our_cents: Decimal
    their_cents: Decimal


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of the period in both books and what differs; `on_its_way` is too young to be judged.

    `fees_cents` is what the provider kept, `other_movements` what is neither payment, refund nor dispute (payouts).
    """

    objects: int
    our_cents: Decimal
    their_cents: Decimal
    fees_cents: Decimal
    other_movements: int
    differences: tuple[Difference, ...]
    on_its_way: tuple[Difference, ...]


class _Theirs(msgspec.Struct):
    cents: dict[Key, int]
    newest: dict[Key, datetime]
    fees: int = 0
    others: int = 0


async def compare(
    db: Database, cashier: Cashier, since: datetime, until: datetime, *, on_its_way: timedelta = ON_ITS_WAY
) -> Comparison:
    """Compare a period; raises VendorFailed where the provider can't be asked."""
    theirs = await _theirs(cashier, since, until)
    async with db.transaction(read_only=True, deadline_s=READ_SECONDS_MAX) as tx:
        ours = _by_object(await books.flows(tx, since, until))
    unlike = [key for key in ours.keys() | theirs.cents.keys() if ours.get(key, 0) != theirs.cents.get(key, 0)]
    red: list[Difference] = []
    young: list[Difference] = []
    by_invoice: set[Key] = set()
    # Theirs first: a payment that we know by its invoice alone is found from its intent.
    for number, key in enumerate(sorted(unlike, key=lambda key: (key not in theirs.cents, key))):
        kind, object_id = key
        if key in by_invoice:
            continue
        found = Difference(
            kind=kind,
            object_id=object_id,
            our_cents=ours.get(key, Decimal(0)),
            their_cents=Decimal(theirs.cents.get(key, 0)),
        )
        again, invoice = (await _again(db, cashier, found)) if number < SECOND_LOOKS_MAX else (found, None)
        if invoice is not None:
            by_invoice.add(("payment", invoice))
        if again.our_cents == again.their_cents:
            continue
        age = datetime.now(UTC) - theirs.newest.get(key, since)
        (young if timedelta(0) <= age < on_its_way else red).append(again)

    return Comparison(
        objects=len(ours.keys() | theirs.cents.keys()),
        our_cents=sum(ours.values(), Decimal(0)),
        their_cents=Decimal(sum(theirs.cents.values())),
        fees_cents=Decimal(theirs.fees),
        other_movements=theirs.others,
        differences=tuple(red),
        on_its_way=tuple(young),
    )


async def _theirs(cashier: Cashier, since: datetime, until: datetime) -> _Theirs:
    found = _Theirs({}, {})
    async for page in cashier.movements(since, until):
        for movement in page:
            found.fees += movement.fee_cents
            if movement.kind == "other":
                found.others += 1
                continue
            key = (movement.kind, movement.object_id)
            found.cents[key] = found.cents.get(key, 0) + movement.amount_cents
            found.newest[key] = max(found.newest.get(key, movement.moved_at), movement.moved_at)

    return found


def _by_object(flows: list[Flow]) -> dict[Key, Decimal]:
    sums: dict[Key, Decimal] = defaultdict(Decimal)
    for flow in flows:
        sums[flow.flow, flow.object_id] += flow.amount_cents

    return dict(sums)


async def _again(db: Database, cashier: Cashier, found: Difference) -> tuple[Difference, str | None]:
    """The object as both sides have it now, and the invoice that it paid: we may know it by that alone."""
    theirs = await cashier.net_of(found.kind, found.object_id)
    invoice = await cashier.invoice_of(found.object_id) if found.kind == "payment" and theirs else None
    async with db.transaction(read_only=True) as tx:
        ours = await books.flow_of(tx, found.kind, found.object_id, invoice)

    return msgspec.structs.replace(found, our_cents=ours, their_cents=Decimal(theirs)), invoice
