"""Our balance at the vendor: what came in, less fees, and what went out again."""

from typing import Final

from callmeback.simulator.payments.book import DAY_SECONDS, Book
from callmeback.simulator.payments.records import BalanceTransaction, Charge

FEE_PER_MILLE: Final = 29
FEE_FIXED_CENTS: Final = 30
"""Of a card charge: 2.9 % + 30 cents, as the vendor's public prices were in 2026-11; half a cent is rounded up."""
DISPUTE_FEE_CENTS: Final = 1_500
AVAILABLE_AFTER_DAYS: Final = 2


def move(book: Book, kind: str, source: str, amount: int, fee: int, currency: str) -> str:
    """Write a movement down; answers its id."""
    movement = BalanceTransaction(
        id=book.new_id("txn"),
        created=book.now(),
        amount=amount,
        fee=fee,
        currency=currency,
        type=kind,
        source=source,
        available_on=book.now() + AVAILABLE_AFTER_DAYS * DAY_SECONDS,
    )
    return book.balance.add(movement).id


def collect(book: Book, charge: Charge, amount: int) -> None:
    """A charge's money comes in."""
    fee = (amount * FEE_PER_MILLE + 500) // 1_000 + FEE_FIXED_CENTS
    charge.balance_transaction = move(book, "charge", charge.id, amount, fee, charge.currency)
