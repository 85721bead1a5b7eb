"""Cents: the one rounding rule, and how they are written and read. Rates and charging are the database's."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

COST_SCALE: Final = 10
"""Digits of a cent that a cost keeps: numeric(20,10) in the database. One token of a cheap model costs 0.00001 ¢."""

SECONDS_PER_CREDIT: Final = 60
"""A credit is a started minute (specification, section 4)."""

AMOUNT_FORM: Final = "digits, with a point before decimals, such as 1000 or 13.17"
"""How an amount is written in the API, in a form and in the terminal: the end of every sentence that refuses one."""

_AMOUNT: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_QUANTUM: Final = Decimal(1).scaleb(-COST_SCALE)
_CENT_DISPLAY: Final = Decimal("0.01")
# Wide enough that neither a product nor a quotient of two numeric(20,10) is rounded before the one rounding below.
_EXACT: Final = Context(prec=80, rounding=ROUND_HALF_UP)


def price(quantity: Decimal | int, price_cents: Decimal | int, per: Decimal | int) -> Decimal:
    """Cents for a quantity at `price_cents` per `per` units, half up at ten decimals.

    The same figure as PostgreSQL's `round(quantity * price_cents / per, 10)`. Price cumulative quantities: rounded
    differences drift (60 × 5 s at 1.30 ¢ a minute would give 6.4999999998).
    """
    assert per > 0, "a rate is per a positive number of units"
    product = _EXACT.multiply(Decimal(quantity), Decimal(price_cents))

    return _EXACT.divide(product, Decimal(per)).quantize(_QUANTUM, context=_EXACT)


def parse_amount(text: str) -> Decimal | None:
    """An amount in AMOUNT_FORM, or None: what Python reads besides, such as 1_000, 1e3 and NaN, is a slip."""
    return Decimal(text) if _AMOUNT.fullmatch(text) else None


def format_cents(cents: Decimal) -> str:
    """A cost as text: all digits that matter and at least two decimals ("13.17", "0.00001", "0.00")."""
    text = f"{cents:f}"
    whole, _, digits = text.partition(".")
    text = f"{whole}.{digits.rstrip('0').ljust(2, '0')}"

    return text[1:] if text == "-0.00" else text


def display_cents(cents: Decimal) -> str:
    """A cost rounded half up to hundredths of a cent, for people; books use `format_cents`."""
    return f"{cents.quantize(_CENT_DISPLAY, context=_EXACT):f}"
