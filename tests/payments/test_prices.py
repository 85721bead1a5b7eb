"""Prices, discounts and reversals as the database computes them, against exact decimals in Python."""

import itertools
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Decimal

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payments.till import USER, Till

EXAMPLES = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LEAST_CENTS = 50
_runs = itertools.count(1)

packs = st.tuples(st.integers(min_value=1, max_value=100_000), st.integers(min_value=LEAST_CENTS, max_value=10**9))
parts = st.lists(st.integers(min_value=1, max_value=10**9), min_size=1, max_size=6)


def sell(till: Till, credits: int, cents: int) -> str:
    """A pack of one's own."""
    sku = f"pack_{next(_runs)}"
    till.books.execute(
        "INSERT INTO credit_packs (sku, name, credits, price_cents, position) VALUES (%s, 'A pack', %s, %s, %s)",
        (sku, credits, cents, 1_000 + next(_runs)),
    )

    return sku


@EXAMPLES
@given(pack=packs, percent=st.integers(min_value=1, max_value=99))
def test_m09_m10_a_percentage_is_taken_off_in_whole_cents_for_the_house(
    till: Till, pack: tuple[int, int], percent: int
):
    credits, cents = pack
    code = f"P{next(_runs):05}"
    till.books.execute("INSERT INTO coupons (code, percent_off) VALUES (%s, %s)", (code, percent))
    off = (Decimal(cents) * percent / 100).quantize(Decimal(1), ROUND_DOWN)
    sku = sell(till, credits, cents)
    if cents - off < LEAST_CENTS:
        try:
            till.begin(sku, code)
        except psycopg.Error as exc:
            assert exc.sqlstate == "CM023"
            return
        raise AssertionError("sold for less than the vendor charges")
    purchase = till.begin(sku, code)
    row = till.row("SELECT amount_cents, discount_cents, credits FROM purchases WHERE id = %s", purchase)

    assert row == {"amount_cents": cents - off, "discount_cents": off, "credits": credits}
    assert row["amount_cents"] == (Decimal(cents) * (100 - percent) / 100).quantize(Decimal(1), ROUND_CEILING)


@EXAMPLES
@given(pack=packs, cents_back=parts)
def test_m10_reversals_add_up_to_the_share_of_the_money(till: Till, pack: tuple[int, int], cents_back: list[int]):
    """Whatever the parts: what is taken is the share of all, rounded once; the whole money takes the whole credits."""
    credits, cents = pack
    before = till.account()
    purchase = till.bought(sell(till, credits, cents))
    for part in cents_back:
        till.apply(till.refund(f"pi_{purchase}", min(part, cents)))
        gone = till.row("SELECT reversed_cents, reversed_credits FROM payments WHERE id = %s", purchase)
        share = Decimal(credits) * gone["reversed_cents"] / cents

        assert gone["reversed_credits"] == share.quantize(Decimal(1), ROUND_HALF_UP)
    total = min(cents, sum(min(part, cents) for part in cents_back))
    taken = (Decimal(credits) * total / cents).quantize(Decimal(1), ROUND_HALF_UP)
    balance = till.row("SELECT available_credits + held_credits - debt_credits AS n FROM user_credits")["n"]

    assert balance == before[0] + before[1] - before[2] + credits - taken
    if total == cents:
        assert taken == credits


@EXAMPLES
@given(
    price=st.integers(min_value=LEAST_CENTS, max_value=100_000),
    tier_seconds=st.integers(min_value=60, max_value=14_400),
    asked=st.none() | st.integers(min_value=1, max_value=14_400),
)
def test_m09_what_is_set_aside_is_started_minutes_at_the_tiers_price(
    till: Till, price: int, tier_seconds: int, asked: int | None
):
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    till.books.execute(
        "INSERT INTO user_preferences (user_id, pay_as_you_go) VALUES (%s, true) ON CONFLICT DO NOTHING", (USER,)
    )
    till.books.execute("SELECT note_customer(%s, 'cus_1')", (USER,))
    till.books.execute("UPDATE subscription_tiers SET payg_cents_per_credit = %s WHERE tier = 'basic'", (price,))
    till.books.execute("UPDATE user_credits SET max_call_duration_seconds = %s", (tier_seconds,))
    till.books.execute("UPDATE payment_authorizations SET created_at = created_at - interval '1 hour'")
    name = f"auth_{next(_runs)}"
    worst = till.row("SELECT credits, amount_cents FROM begin_authorization(%s, %s, 'brad', %s)", USER, name, asked)
    persona = till.row("SELECT max_call_duration_seconds AS s FROM personas WHERE id = 'brad'")["s"]
    seconds = min(limit for limit in (tier_seconds, asked, 1_800, persona) if limit is not None)
    minutes = (Decimal(seconds) / 60).quantize(Decimal(1), ROUND_CEILING)

    assert worst == {"credits": minutes, "amount_cents": minutes * price}
