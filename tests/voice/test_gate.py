"""The gate: what may be spent, in tables and in a machine that spends whatever it is let."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callmeback.voice.gate import HANG_UP_SECONDS, Gate, Reserve
from callmeback.voice.meter import Meter, Price, PriceCard
from callmeback.voice.ticket import Limits

RESERVE = Reserve(warning_characters=60, goodbye_characters=50)


def gate_of(card, cents, seconds=600):
    return Gate(card, Limits(Decimal(cents), seconds), RESERVE)


def test_a_spend_passes_up_to_the_reserve_and_not_a_hair_beyond(card):
    gate = gate_of(card, 100)
    room = Decimal(100) - gate.reserved_cents() - gate.held_cents()

    assert gate.ask(Decimal(0), room + Decimal("1e-10")) is None
    assert gate.ask(Decimal(0), room) is not None


def test_what_is_running_counts_until_it_is_settled(card):
    gate = gate_of(card, 100)
    warning = gate.held_cents()
    room = Decimal(100) - gate.reserved_cents() - warning

    running = gate.ask(Decimal(0), room)
    assert running is not None
    assert gate.ask(Decimal(0), Decimal("0.01")) is None

    running.settle()
    running.settle()
    assert gate.held_cents() == warning
    assert gate.ask(Decimal(0), room) is not None


def test_a_lowered_limit_cuts_and_a_raised_one_waits(card):
    gate = gate_of(card, 100, 600)

    gate.lower(Limits(Decimal(40), 900))
    assert gate.limits == Limits(Decimal(40), 600)

    gate.lower(Limits(Decimal(90), 300))
    assert gate.limits == Limits(Decimal(40), 300)


def test_m12_a_limit_of_nothing_lets_nothing_through(card):
    gate = gate_of(card, 0)

    assert gate.ask(Decimal(0), Decimal("0.0000000001")) is None
    assert gate.leaving_due(Decimal(0), 0.0)
    assert gate.cut_due(Decimal(0), 0.0)


def test_the_warning_is_due_by_money_or_by_time_whichever_comes_first(card):
    gate = gate_of(card, 100, 600)
    talk = 600 - gate.goodbye_seconds() - HANG_UP_SECONDS

    assert not gate.warning_due(Decimal("74.99"), talk * 0.75 - 0.1, 75, Decimal(100))
    assert gate.warning_due(Decimal(75), 0.0, 75, Decimal(100))
    assert gate.warning_due(Decimal(0), talk * 0.75, 75, Decimal(100))
    assert gate.warning_due(Decimal(30), 0.0, 75, Decimal(40)), "of the user's own limit if that is the smaller"

    gate.warned()
    assert not gate.warning_due(Decimal(99), 599.0, 75, Decimal(100))


@pytest.mark.parametrize("percent", [1, 50, 100])
@pytest.mark.parametrize("seconds", [25, 26, 60, 300])
def test_the_warning_by_time_can_be_heard_before_the_goodbye(card, seconds, percent):
    """Goodbye and hang-up take 9 seconds, the warning 8: from 25 on there are as many before it."""
    gate = gate_of(card, 1000, seconds)
    moments = [tenths / 10 for tenths in range(seconds * 10)]

    warned = next(at for at in moments if gate.warning_due(Decimal(0), at, percent, Decimal(1000)))
    pressing = next(at for at in moments if gate.warning_presses(Decimal(0), at))
    leaving = next(at for at in moments if gate.leaving_due(Decimal(0), at))

    assert warned <= pressing == leaving - RESERVE.warning_seconds()


@pytest.mark.parametrize("percent", [1, 50, 100])
@pytest.mark.parametrize("cents", ["5.9", "8", "30"])
def test_the_warning_by_money_can_be_heard_before_the_goodbye(card, cents, percent):
    gate = gate_of(card, cents)
    spent = [Decimal(hundredths) / 100 for hundredths in range(int(Decimal(cents) * 100) + 1)]

    warned = next(at for at in spent if gate.warning_due(at, 0.0, percent, Decimal(cents)))
    pressing = next(at for at in spent if gate.warning_presses(at, 0.0))
    leaving = next(at for at in spent if gate.leaving_due(at, 0.0))

    assert warned <= pressing
    assert leaving - pressing > gate.warned().cents - Decimal("0.01")


@pytest.mark.parametrize(("cents", "seconds"), [("5.8", 600), ("1000", 24)])
def test_a_call_too_small_for_talk_and_warning_sets_nothing_aside_for_one(card, cents, seconds):
    gate = gate_of(card, cents, seconds)

    assert not gate.owes_warning()
    assert gate.held_cents() == 0
    assert gate.warning_due(Decimal(5), 15.0, 50, Decimal(cents)) is None
    assert not gate.warning_presses(Decimal(5), 15.0)


def test_the_warning_stays_set_aside_until_it_is_paid_for(card):
    gate = gate_of(card, 100)
    set_aside = gate.held_cents()

    passed = gate.warned()
    assert gate.held_cents() == set_aside > 2 * gate.speech_cents(RESERVE.warning_characters, local=False)
    assert gate.owes_warning()

    passed.settle()
    assert gate.held_cents() == 0
    assert not gate.owes_warning()


def test_a_warning_too_little_of_which_was_heard_is_set_aside_again_if_there_is_room_for_it(card):
    gate = gate_of(card, 100, 600)
    set_aside = gate.held_cents()
    room = Decimal(100) - gate.reserved_cents() - set_aside
    latest = 600 - gate.goodbye_seconds() - HANG_UP_SECONDS - RESERVE.warning_seconds()

    gate.warned().settle()
    assert not gate.warn_again(room + Decimal(1), 0.0)
    assert not gate.warn_again(room, latest)
    assert gate.held_cents() == 0

    assert gate.warn_again(room, latest - 0.1)
    assert gate.warn_again(room, latest - 0.1)
    assert gate.held_cents() == set_aside
    assert not gate.warning_presses(room, latest - 0.1)
    assert gate.warning_presses(room, latest)
    assert gate.warning_due(Decimal(99), 599.0, 75, Decimal(100)) is None


def test_the_goodbye_begins_early_enough_to_end_within_the_granted_seconds(card):
    gate = gate_of(card, 1000, 300)
    begin = 300 - RESERVE.goodbye_seconds() - HANG_UP_SECONDS

    assert not gate.leaving_due(Decimal(0), begin - 0.1)
    assert gate.leaving_due(Decimal(0), begin)
    assert gate.cut_due(Decimal(0), 299 - HANG_UP_SECONDS) is None
    assert gate.cut_due(Decimal(0), 300 - HANG_UP_SECONDS) == "time_limit"


@given(st.lists(st.text(max_size=300), max_size=6), st.integers(0, 400))
def test_no_prompt_can_cost_more_than_its_worst_case(card, texts, max_tokens):
    worst = gate_of(card, 100).thought_cents(texts, max_tokens, fallback=False)
    tokens = sum(len(text.encode()) for text in texts)

    assert worst >= (tokens + max_tokens) * Decimal(10) / 1_000_000


@pytest.mark.parametrize("local", [True, False])
def test_speech_is_priced_by_who_speaks(card, local):
    assert gate_of(card, 1).speech_cents(1000, local=local) == (0 if local else 15)


class Spending(RuleBasedStateMachine):
    """A call that spends whatever the gate lets pass, at the worst, while time goes by: never past the hold."""

    @initialize(
        limit=st.integers(5, 400),
        seconds=st.integers(30, 900),
        carrier=st.integers(1, 400),
        character=st.integers(1, 60),
        token=st.integers(1, 4000),
        local=st.integers(0, 10),
    )
    def begin(self, limit, seconds, carrier, character, token, local):
        self.card = PriceCard(
            carrier_second=Price(Decimal(carrier) / 100, 60),
            listener_second=Price(Decimal("0.78"), 60),
            brain_input=Price(Decimal(token), 1_000_000),
            brain_output=Price(Decimal(token), 1_000_000),
            voice_character=Price(Decimal(character), 1000),
            fallback_input=Price(Decimal(token), 1_000_000),
            fallback_output=Price(Decimal(token), 1_000_000),
            local_character=Price(Decimal(local), 1000),
        )
        self.gate = Gate(self.card, Limits(Decimal(limit), seconds), RESERVE)
        self.limit, self.granted = Decimal(limit), seconds
        self.meter = Meter(self.card)
        self.elapsed = 0
        self.running = []
        self.left = self.gate.leaving_due(Decimal(0), 0.0)
        self.viable = not self.left

    @precondition(lambda self: not self.left)
    @rule(texts=st.lists(st.text(min_size=1, max_size=900), min_size=1, max_size=8), tokens=st.integers(1, 300))
    def think(self, texts, tokens):
        worst = self.gate.thought_cents(texts, tokens, fallback=False)
        passed = self.gate.ask(self.meter.spent_cents(), worst)
        if passed is not None:
            request = self.meter.request("brain", sum(len(text.encode()) for text in texts) // 4)
            self.running.append((passed, request, sum(len(text.encode()) for text in texts), tokens))

    @precondition(lambda self: not self.left and self.running)
    @rule(index=st.integers(0, 100))
    def answer_arrives_at_its_worst(self, index):
        passed, request, input_tokens, output_tokens = self.running.pop(index % len(self.running))
        request.reconcile(input_tokens, output_tokens)
        passed.settle()

    @precondition(lambda self: not self.left)
    @rule(characters=st.integers(1, 240), local=st.booleans())
    def speak(self, characters, local):
        passed = self.gate.ask(self.meter.spent_cents(), self.gate.speech_cents(characters, local=local))
        if passed is not None:
            (self.meter.local if local else self.meter.voice)(characters)
            passed.settle()

    @precondition(lambda self: not self.left)
    @rule()
    def the_warning_is_said_and_cut(self):
        self.gate.warned().settle()
        twice = self.gate.speech_cents(2 * RESERVE.warning_characters, local=False)
        passed = self.gate.ask(self.meter.spent_cents(), twice)
        if passed is not None:
            self.meter.voice(2 * RESERVE.warning_characters)
            passed.settle()
        self.gate.warn_again(self.meter.spent_cents(), self.elapsed)

    @precondition(lambda self: not self.left)
    @rule(parts=st.integers(1, 60))
    def limits_are_lowered_a_little(self, parts):
        cents = self.gate.limits.cents - (self.gate.limits.cents - self.meter.spent_cents()) * parts / 200
        room = self.gate.reserved_cents() + self.gate.held_cents() + self.meter.spent_cents()
        if cents > room + Decimal(1):
            self.gate.lower(Limits(cents, self.granted))
            self.limit = self.gate.limits.cents

    @precondition(lambda self: not self.left)
    @rule(seconds=st.integers(1, 20))
    def time_goes_by(self, seconds):
        for _ in range(seconds):
            if self.gate.leaving_due(self.meter.spent_cents(), self.elapsed):
                self.leave()
                return
            self.elapsed += 1
            self.meter.connected(self.elapsed, Decimal(self.elapsed))

    def leave(self):
        """The goodbye at its dearest: said again on a new socket, then by the local voice, and all heard once more."""
        self.left = True
        for _, request, _, _ in self.running:
            request.delta("cut")
        self.meter.voice(2 * RESERVE.goodbye_characters)
        self.meter.local(RESERVE.goodbye_characters)
        for _ in range(RESERVE.goodbye_seconds()):
            if self.gate.cut_due(self.meter.spent_cents(), self.elapsed):
                break
            self.elapsed += 1
            self.meter.connected(self.elapsed, Decimal(self.elapsed + 6))
        self.elapsed += HANG_UP_SECONDS
        self.meter.connected(self.elapsed, Decimal(self.elapsed + 6))

    @precondition(lambda self: self.left)
    @rule()
    def hung_up(self):
        """Nothing happens after the end."""

    @invariant()
    def never_past_the_hold(self):
        if getattr(self, "viable", False):
            assert self.meter.spent_cents() <= self.limit
            assert self.elapsed <= self.granted


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
