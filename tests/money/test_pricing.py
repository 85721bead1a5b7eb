"""The database prices a call as `callmeback.money.price` does over Decimal: to the last of ten digits, whatever the
batches, and by the rates of the call's own time.
"""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from callmeback import money

Connection = psycopg.Connection[dict[str, Any]]

USER, PHONE = "user_1", "+12025550123"
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


class Rate(msgspec.Struct, frozen=True):
    """Cents for `per` units."""

    price_cents: Decimal
    per: int


# The rates of a card in the order of its price version, each with vendor, unit, and the model's place in the card.
LEGS = (
    ("carrier_second", "twilio", "second", 0),
    ("listener_second", "deepgram", "second", 1),
    ("brain_input", "cerebras", "input_token", 2),
    ("brain_output", "cerebras", "output_token", 2),
    ("voice_character", "elevenlabs", "character", 3),
    ("fallback_input", "cerebras", "input_token", 4),
    ("fallback_output", "cerebras", "output_token", 4),
    ("local_character", "espeak", "character", 5),
)
WORST = Decimal("0.00000001")

prices = st.decimals(min_value=WORST, max_value=Decimal(20), places=8)
pers = st.sampled_from((1, 3, 7, 60, 61, 997, 1000, 999_983, 1_000_000))
cards = st.tuples(*(st.builds(Rate, prices, pers) for _ in LEGS))
whole = st.integers(min_value=0, max_value=2_000_000)
quantities = st.tuples(
    st.integers(min_value=0, max_value=14_400),
    st.decimals(min_value=0, max_value=20_000, places=4, allow_nan=False),
    whole, whole, whole, whole, whole, whole,
)  # fmt: skip
_numbers = itertools.count(1)


@pytest.fixture
def books(database_url: str) -> Iterator[Connection]:
    """A person on the unlimited tier without a budget, in one transaction that is rolled back."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        connection.execute("SELECT register_user(%s, 'ann@example.org', 'x', 'Ann', 'UTC', %s)", (USER, PHONE))
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("SELECT set_tier(%s, 'unlimited')", (USER,))
        connection.execute(
            "INSERT INTO user_budget_settings (user_id, max_cost_per_call_cents, max_monthly_spend_cents)"
            " VALUES (%s, 1000000, 10000000)",
            (USER,),
        )
        yield connection
        connection.rollback()


def one(books: Connection, query: str, *parameters: object) -> dict[str, Any]:
    row = books.execute(query, parameters).fetchone()
    assert row is not None

    return row


def make_card(books: Connection, rates: tuple[Rate, ...]) -> str:
    """A card of models of its own, with these rates."""
    n = next(_numbers)
    models = [f"model-{n}-{place}" for place in range(6)]
    legs = [
        (vendor, models[place], unit, rate.price_cents, rate.per)
        for rate, (_, vendor, unit, place) in zip(rates, LEGS, strict=True)
    ]
    # In one statement, since each has every card follow.
    books.execute(
        "INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)"
        " SELECT v, m, u, clock_timestamp(), c, p, 'test'"
        " FROM unnest(%s::text[], %s::text[], %s::text[], %s::numeric[], %s::integer[]) AS r (v, m, u, c, p)",
        [list(column) for column in zip(*legs, strict=True)],
    )
    card = "|".join(models)
    answer = one(books, "SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s) AS known", card, *models)
    assert answer["known"]

    return card


def add_rate(books: Connection, vendor: str, model: str, unit: str, rate: Rate | None) -> None:
    """A rate from this moment on; None ends the one before."""
    books.execute(
        "INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)"
        " VALUES (%s, %s, %s, clock_timestamp(), %s, %s, 'test')",
        (vendor, model, unit, rate and rate.price_cents, rate.per if rate else 1),
    )


def begin(books: Connection, card: str) -> str:
    """A call of ten seconds, the shortest, so that no rate is too dear for it."""
    call_id = f"call_{next(_numbers)}"
    books.execute(
        "SELECT start_call(%s, %s, 'brad', %s, %s, %s, 10)", (call_id, USER, PHONE, card, datetime.now(UTC).date())
    )

    return call_id


def meter(books: Connection, call_id: str, seq: int, used: tuple[Any, ...]) -> Decimal:
    """One state of one call; answers its total. `used` is in the order of LEGS, the function's own order differs."""
    carrier, listener, tokens_in, tokens_out, characters, fallback_in, fallback_out, local = used
    row = one(
        books,
        "SELECT total_cost_cents FROM meter_calls(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        *([value] for value in (USER, call_id, seq, carrier, listener, tokens_in, tokens_out, characters)),
        *([value] for value in (fallback_in, fallback_out, local)),
    )

    return Decimal(row["total_cost_cents"])


def finish(books: Connection, call_id: str, seq: int | None, used: tuple[Any, ...]) -> Decimal:
    """Settle with a last state; answers its cost."""
    row = one(
        books,
        "SELECT cost_cents FROM finish_call(%s, %s, 'completed', 'hung_up', %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        USER, call_id, seq, *used,
    )  # fmt: skip

    return Decimal(row["cost_cents"])


def expected(rates: tuple[Rate, ...], used: tuple[Any, ...]) -> dict[str, Decimal]:
    """The cost by leg, from Decimal alone."""
    legs = {
        name: money.price(quantity, rate.price_cents, rate.per)
        for (name, _, _, _), rate, quantity in zip(LEGS, rates, used, strict=True)
    }
    return {
        "twilio_cost_cents": legs["carrier_second"],
        "deepgram_cost_cents": legs["listener_second"],
        "cerebras_cost_cents": legs["brain_input"] + legs["brain_output"]
        + legs["fallback_input"] + legs["fallback_output"],
        "elevenlabs_cost_cents": legs["voice_character"] + legs["local_character"],
    }  # fmt: skip


def legs_of(books: Connection, call_id: str) -> dict[str, Decimal]:
    return one(
        books,
        "SELECT twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents"
        " FROM call_cost_breakdowns WHERE call_id = %s",
        call_id,
    )


@EXAMPLES
@given(rates=cards, used=quantities)
def test_m10_metered_cost_is_decimals_to_the_last_digit(
    books: Connection, rates: tuple[Rate, ...], used: tuple[Any, ...]
) -> None:
    with books.transaction(force_rollback=True):
        call_id = begin(books, make_card(books, rates))
        total = meter(books, call_id, 1, used)
        metered = legs_of(books, call_id)

    assert metered == expected(rates, used)
    assert total == sum(expected(rates, used).values())


@EXAMPLES
@given(rates=cards, used=quantities)
def test_m10_settled_cost_is_decimals_to_the_last_digit(
    books: Connection, rates: tuple[Rate, ...], used: tuple[Any, ...]
) -> None:
    with books.transaction(force_rollback=True):
        call_id = begin(books, make_card(books, rates))
        cost = finish(books, call_id, 1, used)
        settled = legs_of(books, call_id)
        events = one(books, "SELECT coalesce(sum(total_cost_cents), 0) AS total FROM call_cost_events")
        account = one(books, "SELECT spent_in_month_cents FROM user_credits")

    assert settled == expected(rates, used)
    assert cost == sum(expected(rates, used).values()) == events["total"] == account["spent_in_month_cents"]


@settings(EXAMPLES, max_examples=40)
@given(
    rates=cards,
    steps=st.lists(quantities, min_size=2, max_size=8),
    order=st.randoms(use_true_random=False),
    noted=st.sets(st.integers(0, 7)),
)
def test_m10_batches_repeated_and_reordered_never_drift(
    books: Connection, rates: tuple[Rate, ...], steps: list[tuple[Any, ...]], order: Any, noted: set[int]
) -> None:
    states = list(itertools.accumulate(steps, lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True))))
    shuffled = list(enumerate(states, 1)) * 2
    order.shuffle(shuffled)
    with books.transaction(force_rollback=True):
        call_id = begin(books, make_card(books, rates))
        for n, (seq, used) in enumerate(shuffled):
            meter(books, call_id, seq, used)
            if n in noted:
                books.execute("SELECT record_cost_events(%s, %s, 'turn')", ([USER], [call_id]))
        cost = finish(books, call_id, None, (None, 0, 0, 0, 0, 0, 0, 0))
        events = one(books, "SELECT coalesce(sum(total_cost_cents), 0) AS total FROM call_cost_events")

    assert cost == sum(expected(rates, states[-1]).values()) == events["total"]


def test_m10_sixty_steps_of_five_seconds_cost_the_minutes_they_are(books: Connection) -> None:
    """Rounded differences at 1.30 cents a minute would give 6.4999999980."""
    rates = (Rate(Decimal("1.30"), 60), *(Rate(WORST, 1) for _ in LEGS[1:]))
    call_id = begin(books, make_card(books, rates))
    for step in range(1, 61):
        total = meter(books, call_id, step, (5 * step, 0, 0, 0, 0, 0, 0, 0))
        books.execute("SELECT record_cost_events(%s, %s, 'interval')", ([USER], [call_id]))
    events = one(books, "SELECT sum(total_cost_cents) AS total, count(*) AS number FROM call_cost_events")

    assert total == events["total"] == Decimal("6.5")
    assert events["number"] == 60


def test_m10_specifications_own_example_costs_what_it_should(books: Connection) -> None:
    """Section 8.1 adds 5 minutes, 2,000 tokens and 300 characters up to 13.23; it is 13.17."""
    rates = (
        Rate(Decimal("1.30"), 60), Rate(Decimal("0.43"), 60), Rate(Decimal(10), 1_000_000),
        Rate(Decimal(10), 1_000_000), Rate(Decimal(15), 1000), *(Rate(Decimal(0), 1) for _ in range(3)),
    )  # fmt: skip
    call_id = begin(books, make_card(books, rates))
    cost = finish(books, call_id, 1, (300, Decimal(300), 1500, 500, 300, 0, 0, 0))

    assert money.format_cents(cost) == "13.17"


def test_m11_running_call_keeps_the_price_of_its_start(books: Connection) -> None:
    rates = tuple(Rate(Decimal(1), 60) for _ in LEGS)
    used = (60, Decimal(60), 60, 60, 60, 60, 60, 60)
    card = make_card(books, rates)
    old = begin(books, card)
    meter(books, old, 1, (30, Decimal(30), 30, 30, 30, 30, 30, 30))
    add_rate(books, "twilio", card.split("|")[0], "second", Rate(Decimal(5), 60))
    while_running = meter(books, old, 2, used)
    after_the_change = finish(books, old, 3, used)
    new = begin(books, card)
    with_the_new_rate = finish(books, new, 1, used)
    late = finish(books, old, 4, (120, Decimal(60), 60, 60, 60, 60, 60, 60))

    assert (while_running, after_the_change, with_the_new_rate, late) == (8, 8, 12, 9)


def test_m11_future_rate_does_not_price_the_present(books: Connection) -> None:
    card = make_card(books, tuple(Rate(Decimal(1), 60) for _ in LEGS))
    books.execute(
        "INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)"
        " VALUES ('twilio', %s, 'second', clock_timestamp() + interval '1 day', 9, 60, 'test')",
        (card.split("|")[0],),
    )
    call_id = begin(books, card)

    assert finish(books, call_id, 1, (60, 0, 0, 0, 0, 0, 0, 0)) == 1


@pytest.mark.parametrize(("vendor", "unit", "place"), [leg[1:] for leg in LEGS])
def test_m11_ended_rate_refuses_new_calls_and_prices_old_ones(
    books: Connection, vendor: str, unit: str, place: int
) -> None:
    card = make_card(books, tuple(Rate(Decimal(1), 60) for _ in LEGS))
    call_id = begin(books, card)
    add_rate(books, vendor, card.split("|")[place], unit, None)
    cost = finish(books, call_id, 1, (60, Decimal(60), 60, 60, 60, 60, 60, 60))

    assert cost == 8
    with pytest.raises(psycopg.Error) as refusal:
        begin(books, card)
    assert refusal.value.sqlstate == "CM009"


def test_m11_unknown_models_are_refused(books: Connection) -> None:
    known = one(books, "SELECT ensure_card('a|b|c|d|e|f', 'a', 'b', 'c', 'd', 'e', 'f') AS known")

    assert known["known"] is False
    for card in ("a|b|c|d|e|f", "never|heard"):
        with pytest.raises(psycopg.Error) as refusal, books.transaction():
            begin(books, card)
        assert refusal.value.sqlstate == "CM009"
