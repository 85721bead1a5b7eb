"""The one rounding rule, against exact fractions and the specification's figures."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback import money

QUANTITIES = st.decimals(min_value=0, max_value=10**9, places=3)
PRICES = st.decimals(min_value=0, max_value=10**5, places=10)
UNITS = st.sampled_from([1, 7, 60, 1_000, 3_600, 1_000_000])


@given(QUANTITIES, PRICES, UNITS)
def test_m10_price_is_the_exact_fraction_rounded_half_up_once(quantity: Decimal, price: Decimal, per: int) -> None:
    exact = Fraction(quantity) * Fraction(price) / per * 10**money.COST_SCALE
    expected = (exact + Fraction(1, 2)).__floor__()

    actual = money.price(quantity, price, per)

    assert int(actual.scaleb(money.COST_SCALE)) == expected
    assert actual.as_tuple().exponent == -money.COST_SCALE


def test_m10_the_specifications_example_costs_13_17_cents() -> None:
    # Section 8: five minutes of carrier and listener, 2,000 tokens, 300 characters.
    total = (
        money.price(300, Decimal("1.30"), 60)
        + money.price(300, Decimal("0.43"), 60)
        + money.price(2_000, Decimal(10), 1_000_000)
        + money.price(300, Decimal(15), 1_000)
    )

    assert money.format_cents(total) == "13.17"


def test_m10_one_token_is_not_free() -> None:
    assert money.price(1, Decimal(10), 1_000_000) == Decimal("0.00001")


def test_m10_cumulative_pricing_does_not_drift() -> None:
    cumulative = money.price(60 * 5, Decimal("1.30"), 60)
    summed = sum((money.price(5, Decimal("1.30"), 60) for _ in range(60)), Decimal(0))

    assert cumulative == Decimal("6.5")
    assert summed != cumulative


@pytest.mark.parametrize(
    ("cents", "text"),
    [
        ("13.1700000000", "13.17"),
        ("100", "100.00"),
        ("100.5", "100.50"),
        ("0.0000100000", "0.00001"),
        ("0E-10", "0.00"),
        ("-0E-10", "0.00"),
        ("-1.2300000000", "-1.23"),
        ("1E+3", "1000.00"),
    ],
)
def test_format_keeps_every_digit_that_matters(cents: str, text: str) -> None:
    assert money.format_cents(Decimal(cents)) == text


@pytest.mark.parametrize("text", ["0", "1000", "13.17", "0.0000000001"])
def test_an_amount_is_read_from_digits_and_a_point(text: str) -> None:
    assert money.parse_amount(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    ["", "1_000", "１２", "1e3", " 5 ", "5\n", "+5", "-5", "-0", "NaN", "Infinity", "1,000", ".5", "5.", "1" * 16],
)
def test_what_only_python_reads_is_no_amount(text: str) -> None:
    assert money.parse_amount(text) is None


def test_display_rounds_half_up() -> None:
    assert [money.display_cents(Decimal(value)) for value in ("0.005", "0.0049", "2.675")] == ["0.01", "0.00", "2.68"]
