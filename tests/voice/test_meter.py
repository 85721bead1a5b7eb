"""The meter against exact decimals, and what becomes of an estimate."""

from decimal import ROUND_HALF_UP, Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as st

from callmeback.voice.meter import Meter, Price, PriceCard, Usage, cost, estimated_tokens, prompt_tokens

prices = st.builds(
    Price,
    st.decimals(0, 10_000, places=6, allow_nan=False, allow_infinity=False),
    st.sampled_from([1, 60, 1000, 1_000_000]),
)
cards = st.builds(
    PriceCard,
    carrier_second=prices,
    listener_second=prices,
    brain_input=prices,
    brain_output=prices,
    voice_character=prices,
    fallback_input=prices,
    fallback_output=prices,
    local_character=prices,
)
counts = st.integers(0, 10_000_000)
usages = st.builds(
    Usage,
    carrier_seconds=counts,
    listener_seconds=st.decimals(0, 100_000, places=3, allow_nan=False, allow_infinity=False),
    brain_input_tokens=counts,
    brain_output_tokens=counts,
    voice_characters=counts,
    fallback_input_tokens=counts,
    fallback_output_tokens=counts,
    local_characters=counts,
)


def exact(quantity, price):
    """The one rounding rule, computed apart from the code under test."""
    with localcontext() as context:
        context.prec = 60
        return (Decimal(quantity) * price.cents / price.per).quantize(Decimal("1e-10"), ROUND_HALF_UP)


@given(usages, cards)
def test_m10_cost_is_exact_to_ten_decimals_of_a_cent(usage, card):
    costs = cost(usage, card)

    assert costs.carrier_cents == exact(usage.carrier_seconds, card.carrier_second)
    assert costs.listener_cents == exact(usage.listener_seconds, card.listener_second)
    assert costs.brain_cents == (
        exact(usage.brain_input_tokens, card.brain_input)
        + exact(usage.brain_output_tokens, card.brain_output)
        + exact(usage.fallback_input_tokens, card.fallback_input)
        + exact(usage.fallback_output_tokens, card.fallback_output)
    )
    assert costs.voice_cents == (
        exact(usage.voice_characters, card.voice_character) + exact(usage.local_characters, card.local_character)
    )
    assert costs.total_cents == costs.carrier_cents + costs.listener_cents + costs.brain_cents + costs.voice_cents


def test_m10_the_specification_s_own_example_costs_13_17(card):
    usage = Usage(
        carrier_seconds=300,
        listener_seconds=Decimal(300),
        brain_input_tokens=800,
        brain_output_tokens=1200,
        voice_characters=300,
    )

    assert cost(usage, card).total_cents == Decimal("13.17")


def test_sixty_times_five_seconds_cost_what_five_minutes_do(card):
    meter = Meter(card)
    for second in range(5, 301, 5):
        meter.connected(second, Decimal(second))
        meter.read()

    assert meter.read()[1].carrier_cents == Decimal("6.5")


def test_a_request_cut_before_its_usage_keeps_its_estimate(card):
    meter = Meter(card)
    request = meter.request("brain", 120)
    for _ in range(53):
        request.delta(" word")

    usage, _ = meter.read()

    assert (usage.brain_input_tokens, usage.brain_output_tokens) == (120, 67)
    assert usage.brain_output_tokens >= 53, "each piece is at least one token"


def test_the_vendor_s_figure_replaces_the_estimate_and_later_pieces_add_nothing(card):
    meter = Meter(card)
    request = meter.request("fallback", 500)
    request.delta("Hello there, how are you?")
    meter.read()
    request.reconcile(20, 3)
    request.delta("late")

    usage, costs = meter.read()

    assert (usage.fallback_input_tokens, usage.fallback_output_tokens, usage.brain_input_tokens) == (20, 3, 0)
    assert costs.brain_cents == Decimal("0.00023")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("voice"), st.integers(0, 500)),
            st.tuples(st.just("local"), st.integers(0, 500)),
            st.tuples(st.just("time"), st.integers(0, 4000)),
            st.tuples(st.just("brain"), st.integers(0, 4000)),
            st.tuples(st.just("fallback"), st.integers(0, 4000)),
            st.tuples(st.just("delta"), st.integers(0, 40)),
            st.tuples(st.just("look"), st.just(0)),
        ),
        max_size=60,
    )
)
def test_quantities_add_up_never_fall_and_a_number_names_one_state(card, events):
    meter, request = Meter(card), None
    expected = {"voice": 0, "local": 0, "brain": 0, "fallback": 0}
    seconds = 0
    states: dict[int, Usage] = {}
    before = Usage()
    for kind, amount in events:
        if kind == "voice":
            meter.voice(amount)
        elif kind == "local":
            meter.local(amount)
        elif kind == "time":
            seconds = max(seconds, amount)
            meter.connected(amount, Decimal(amount) + Decimal("0.25"))
        elif kind in ("brain", "fallback"):
            request = meter.request(kind, amount)
        elif kind == "delta" and request is not None:
            request.delta("x" * amount)
        if kind in expected:
            expected[kind] += amount
        usage, _ = meter.read()
        assert states.setdefault(meter.sequence, usage) == usage, "one number, one state"
        assert all(getattr(usage, field) >= getattr(before, field) for field in usage.__struct_fields__)
        before = usage

    usage, costs = meter.read()

    assert usage.voice_characters == expected["voice"]
    assert usage.local_characters == expected["local"]
    assert usage.brain_input_tokens == expected["brain"]
    assert usage.fallback_input_tokens == expected["fallback"]
    assert usage.carrier_seconds == seconds
    assert costs == cost(usage, card)


@given(st.text(max_size=400))
def test_a_text_s_tokens_are_counted_in_bytes(text):
    assert estimated_tokens(text) * 4 >= len(text.encode()) > (estimated_tokens(text) - 1) * 4
    assert prompt_tokens([text, text]) == 32 + 2 * estimated_tokens(text)
