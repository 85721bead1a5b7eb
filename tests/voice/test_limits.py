"""Money and time: the warning, the reserved goodbye, the cut, and two hundred calls that must not pass their holds."""

import asyncio
import itertools
import random
from decimal import Decimal

import pytest
from tests.voice.line import Brain, Call, Mouth, random_words, ticket_of, virtually

from callmeback.voice import prompts
from callmeback.voice.gate import HANG_UP_SECONDS, Reserve
from callmeback.voice.meter import Price, PriceCard, cost
from callmeback.voice.ticket import Limits


async def chatting(call):
    """A person who answers whatever is said, for as long as the line is up."""
    while True:
        await call.persona_is_done()
        await call.listener.hears("Tell me more about it, please.")


def talkative(card, **changes):
    call = Call(ticket_of(card, **changes))
    call.brain = Brain(["I could tell you about this for hours and hours. It is a really long story. And so on."])
    return call


def texts(outcome):
    return [turn.text for turn in outcome.transcript if turn.speaker == "persona"]


def test_the_goodbye_is_heard_whole_within_the_granted_seconds(card):
    async def story():
        call = talkative(card, granted_seconds=60, hold_cents=Decimal(100))
        return call, await call.run(chatting)

    call, outcome = virtually(story())

    assert outcome.end_reason == "time_limit"
    assert texts(outcome)[-1] == prompts.goodbye("time_limit")
    assert outcome.duration_seconds <= 60
    assert call.line.ended_at - call.line.began_at <= 60
    assert outcome.duration_seconds >= 45, "the granted time is used"
    assert call.line.hang_ups == 1


def test_the_budget_ends_the_call_with_the_goodbye_paid_for(card):
    async def story():
        call = talkative(card, granted_seconds=3600, hold_cents=Decimal("12"))
        return call, await call.run(chatting)

    _call, outcome = virtually(story())

    assert outcome.end_reason == "budget_reached"
    assert texts(outcome)[-1] == prompts.goodbye("budget_reached")
    assert Decimal("9") < outcome.costs.total_cents <= Decimal("12")
    assert outcome.costs == cost(outcome.usage, card)


def test_the_warning_is_spoken_once_at_the_user_s_percent_of_the_money(card):
    async def story():
        call = talkative(card, granted_seconds=3600, hold_cents=Decimal("30"), warn_at_percent=50)
        return call, await call.run(chatting)

    call, outcome = virtually(story())

    warning = prompts.warning(call.ticket, "money")
    assert sum(text.count(warning) for text in texts(outcome)) == 1
    warned_at = next(turn.at for turn in outcome.transcript if warning in turn.text)
    spent = [
        costs.total_cents
        for at, _, _, costs in call.books.states
        if at - call.line.began_at <= (warned_at - outcome.answered_at).total_seconds()
    ]
    assert Decimal("15") <= spent[-1] <= Decimal("20")


def test_the_warning_comes_by_time_when_time_is_first_and_breaks_a_silence(card):
    async def story():
        call = talkative(card, granted_seconds=100, hold_cents=Decimal("1000"), warn_at_percent=20)
        call.brain = Brain(["Hi."])

        async def person(call):
            await asyncio.sleep(26)
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    warning = prompts.warning(call.ticket, "time")
    at = next((turn.at - outcome.answered_at).total_seconds() for turn in outcome.transcript if turn.text == warning)
    talk = 100 - Reserve(0, prompts.longest_last_words(call.ticket) + 1).goodbye_seconds() - HANG_UP_SECONDS
    assert talk * 0.2 <= at <= 26


def test_a_warning_percent_of_the_user_s_own_limit_with_cut_off_off(card):
    async def story():
        call = talkative(
            card, granted_seconds=600, hold_cents=Decimal(200), warn_cents=Decimal(10), enable_auto_cutoff=False
        )

        async def person(call):
            await asyncio.wait_for(chatting(call), 90)

        async def hang_up_later(call):
            try:
                await person(call)
            except TimeoutError:
                call.line.person_hangs_up()

        return call, await call.run(hang_up_later)

    call, outcome = virtually(story())

    assert outcome.end_reason == "user_hung_up", "with cut-off off the limit per call only warns"
    assert outcome.costs.total_cents > 10
    warning = prompts.warning(call.ticket, "money")
    assert "budget" in warning, "time isn't short: the call goes on"
    assert sum(text.count(warning) for text in texts(outcome)) == 1


# What a talk may cost at most in a minute, as the grant reckons, and a grant that never ends it.
GRANTS = {"by the grant": lambda cents: int(cents * 60 / 17), "by the money": lambda cents: 3600}


@pytest.mark.parametrize("granted", GRANTS.values(), ids=GRANTS.keys())
@pytest.mark.parametrize("cents", [3, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30])
@pytest.mark.parametrize("percent", [50, 99])
def test_a_budget_that_pays_for_warning_and_goodbye_has_both_heard(card, cents, percent, granted):
    changes = {"hold_cents": Decimal(cents), "granted_seconds": granted(cents), "limited_by": "call_budget"}

    async def story():
        call = talkative(card, warn_at_percent=percent, **changes)
        return call, await call.run(chatting)

    call, outcome = virtually(story())

    warning, goodbye = prompts.warning(call.ticket, "money"), prompts.goodbye("budget_reached")
    said = " ".join(texts(outcome))
    pays_for_both = cents >= 7 if granted(cents) == 3600 else cents >= 8
    assert said.count(warning) == pays_for_both
    assert said.endswith(goodbye)
    assert outcome.end_reason in ("budget_reached", "time_limit")
    assert outcome.costs.total_cents <= cents
    assert outcome.duration_seconds <= granted(cents)


def test_a_warning_that_can_wait_no_longer_breaks_into_a_long_sentence_that_then_goes_on(card):
    sentence = " ".join(f"and number {index}" for index in range(17)) + "."

    async def story():
        call = Call(ticket_of(card, granted_seconds=60, warn_at_percent=99))
        call.brain = Brain(["Hi.", sentence], latency=0.1)

        async def person(call):
            await call.persona_is_done()
            # The answer begins two seconds before the warning is due, and would end after its last moment.
            await call.listener.hears("Well, " * 72)

        return call, await call.run(person)

    call, outcome = virtually(story())

    warning = prompts.warning(call.ticket, "time")
    before, _, after = " ".join(texts(outcome)[1:]).partition(f" {warning} ")
    rest, _, _ = after.partition(prompts.goodbye("time_limit"))
    assert before
    assert rest.strip()
    assert sentence.startswith(f"{before} {rest.strip()}")


def test_a_warning_is_said_to_someone_who_does_not_stop_talking(card):
    async def story():
        call = talkative(card, granted_seconds=60)

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("And another thing is this. " * 40)

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert prompts.warning(call.ticket, "time") in texts(outcome)
    assert outcome.end_reason == "time_limit"


async def cuts_the_warning(call, *words):
    """Someone who chats, and who says these words whenever the warning has just begun."""
    warning = prompts.warning(call.ticket, "time")
    for seen, said in enumerate(words):
        chat = asyncio.create_task(chatting(call))
        while sum(warning in text for mouth in call.opened for text in mouth.texts) == seen:
            await asyncio.sleep(0.02)
        chat.cancel()
        await call.persona_speaks()
        await asyncio.sleep(0.5)
        await call.listener.hears(said)


@pytest.mark.parametrize("cuts", [1, 2], ids=["once", "twice"])
def test_whoever_interrupts_the_warning_and_talks_on_hears_it_at_the_last_moment(card, cuts):
    """A second attempt comes with the next answer, the last one only when it can wait no longer."""
    talk = "And another thing is this. " * 40

    async def story():
        call = talkative(card, granted_seconds=80, warn_at_percent=30)
        call.brain = Brain(["Hi."])

        async def person(call):
            if cuts == 1:
                await cuts_the_warning(call, talk)
            await cuts_the_warning(call, "Go on, then.", "Go on, then.")
            await call.persona_is_done()
            await call.listener.hears(talk)

        return call, await call.run(person)

    call, outcome = virtually(story())

    warning = prompts.warning(call.ticket, "time")
    *before, last, goodbye = texts(outcome)
    assert [text for text in before if text.startswith("Just")] == ["Just"] * cuts
    assert (last, goodbye) == (warning, prompts.goodbye("time_limit"))
    assert outcome.duration_seconds <= 80
    times = [turn.at for turn in outcome.transcript if turn.speaker == "persona"]
    assert (times[-1] - times[-2]).total_seconds() < 10
    assert (times[-2] - times[-3]).total_seconds() > 20


def test_nobody_waits_for_an_answer_where_money_is_too_short_for_it_and_for_another_warning(card):
    async def story():
        call = talkative(card, granted_seconds=3600, hold_cents=Decimal(7), warn_at_percent=1)
        call.brain = Brain(["Hi.", "It is a story " + "of a man and his dog and " * 9])
        call.spoke_at = []

        async def person(call):
            await cuts_the_warning(call, "Go on, then.", "And another thing is this. " * 30)
            while True:
                call.spoke_at.append(asyncio.get_running_loop().time())
                await call.persona_is_done()
                await call.listener.hears("Tell me more about it, please.")

        return call, await call.run(person)

    call, outcome = virtually(story())

    heard_at = [*call.line.heard_at, call.line.ended_at]
    assert call.spoke_at
    assert max(min(at for at in heard_at if at >= spoke) - spoke for spoke in call.spoke_at) <= 2
    assert texts(outcome)[-1] == prompts.goodbye("budget_reached")
    assert outcome.costs.total_cents <= 7


def test_a_goodbye_that_its_voice_sends_again_stays_within_the_hold(card):
    async def story():
        call = talkative(card, granted_seconds=3600, hold_cents=Decimal(12), warn_at_percent=1)
        call.mouths = [Mouth(sends_again="That's all")]

        async def person(call):
            await call.persona_is_done()
            # By the second the money runs down to what is set aside for the goodbye, and not a hair less.
            await call.listener.hears("And another thing is this. " * 300)

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert sum("That's all" in text for text in call.opened[0].texts) == 2
    assert texts(outcome)[-1] == prompts.goodbye("budget_reached")
    assert outcome.costs.total_cents <= 12


@pytest.mark.parametrize("noise_at", [None, 30, 45], ids=["undisturbed", "noise while it waits", "noise in it"])
def test_the_warning_comes_between_the_sentences_of_a_long_reply(card, noise_at):
    sentences = [f"This is sentence number {index} of a story that goes on and on." for index in range(16)]

    async def story():
        call = Call(ticket_of(card, granted_seconds=600, hold_cents=Decimal(40), warn_at_percent=20, max_tokens=1000))
        call.brain = Brain([" ".join(sentences)])

        async def person(call):
            if noise_at is not None:
                await call.persona_speaks()
                await asyncio.sleep(noise_at)
                call.listener.put("start_of_turn")
                await asyncio.sleep(0.5)
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    warning = prompts.warning(call.ticket, "money")
    before, _, after = " ".join(texts(outcome)).partition(warning)
    assert before.split()
    assert after.split()
    assert (before + after).split() == " ".join(sentences).split(), "nothing lost, nothing twice"


@pytest.mark.parametrize("cuts", [[""], ["Go on."], ["", "Go on."]], ids=["noise", "words", "noise and words"])
def test_a_warning_that_is_cut_short_is_heard_whole_and_once(card, cuts):
    async def story():
        call = Call(ticket_of(card, granted_seconds=600, hold_cents=Decimal(40), warn_at_percent=0))
        call.brain = Brain(["I begin to tell.", "I go on to tell."])

        async def person(call):
            for words in cuts:
                await call.persona_speaks()
                await asyncio.sleep(0.4)
                call.listener.put("start_of_turn")
                await asyncio.sleep(0.1)
                if words:
                    await call.listener.hears(words)
            await asyncio.sleep(3)
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    warning = prompts.warning(call.ticket, "money")
    said = " ".join(texts(outcome))
    assert said.count(warning[-20:]) == 1
    assert (warning in said) is True


def test_a_limit_lowered_during_the_call_cuts_it_and_a_raised_one_does_not_lengthen_it(card):
    async def story():
        call = talkative(card, granted_seconds=600, hold_cents=Decimal(100))

        async def person(call):
            asyncio.get_running_loop().call_later(20, lambda: setattr(call.books, "limit", Limits(Decimal(100), 60)))
            asyncio.get_running_loop().call_later(25, lambda: setattr(call.books, "limit", Limits(Decimal(500), 900)))
            await chatting(call)

        return call, await call.run(person)

    _call, outcome = virtually(story())

    assert outcome.end_reason == "time_limit"
    assert 40 <= outcome.duration_seconds <= 60


def test_a_hold_too_small_for_a_word_ends_at_once_and_costs_nothing_beyond_it(card):
    async def story():
        call = talkative(card, granted_seconds=60, hold_cents=Decimal("0.05"))
        return call, await call.run(chatting)

    call, outcome = virtually(story())

    assert outcome.end_reason == "budget_reached"
    assert call.line.hang_ups == 1
    assert outcome.usage.voice_characters == 0
    assert outcome.duration_seconds <= 1


def test_the_goodbye_is_said_by_the_local_voice_when_the_other_drops_in_it(card):
    async def story():
        call = talkative(card, granted_seconds=3600, hold_cents=Decimal("12"))
        call.mouths = [Mouth(drops_after=10_000)]

        async def person(call):
            talking = asyncio.create_task(chatting(call))
            while "That's" not in "".join(call.opened[0].texts if call.opened else []):
                await asyncio.sleep(0.02)
            call.opened[0].drops_after = call.opened[0].spoken_characters + 12
            await talking

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "budget_reached"
    assert texts(outcome)[-1] == prompts.goodbye("budget_reached")
    assert call.local.texts != []
    assert outcome.costs.total_cents <= Decimal("12")


def test_running_cost_reaches_the_books_within_the_second(card):
    async def story():
        call = talkative(card)

        async def person(call):
            await asyncio.wait_for(chatting(call), 20)

        async def until(call):
            try:
                await person(call)
            except TimeoutError:
                call.line.person_hangs_up()

        return call, await call.run(until)

    call, outcome = virtually(story())

    times = [at for at, *_ in call.books.states]
    assert max(after - before for before, after in itertools.pairwise(times)) <= 0.2
    sequences = [sequence for _, sequence, _, _ in call.books.states]
    assert sequences == sorted(sequences)
    totals = [costs.total_cents for *_, costs in call.books.states]
    assert totals[-1] == outcome.costs.total_cents


async def one_random_call(seed, card):
    """A call with random limits, latencies and interruptions; vendors bill what they generated, cut or not."""
    rng = random.Random(seed)
    hold = Decimal(rng.randint(300, 4000)) / 100
    call = Call(
        ticket_of(
            card,
            hold_cents=hold,
            granted_seconds=rng.choice([30, 45, 60, 90, 120, 180]),
            warn_at_percent=rng.choice([50, 75, 90]),
            limited_by=rng.choice(["tier", "credits", "call_budget"]),
        )
    )
    answers = [random_words(rng, 60) + " " + random_words(rng, 60) for _ in range(12)]
    call.brain = Brain(answers, latency=rng.uniform(0.05, 0.9))
    call.mouths = [Mouth(latency=rng.uniform(0.05, 0.6), aligns=rng.random() < 0.7) for _ in range(4)]
    if rng.random() < 0.2:
        call.mouths[0].drops_after = rng.randint(50, 900)
    if rng.random() < 0.2:
        call.brain.cut_after = rng.randint(1, 20)
    call.line.hang_up_failures = rng.choice([0, 0, 0, 1])

    async def person(call):
        while True:
            if rng.random() < 0.4:
                await call.persona_speaks()
                await asyncio.sleep(rng.uniform(0.1, 4.0))
            else:
                await call.persona_is_done()
            await call.listener.hears(random_words(rng, 15), resumes=rng.random() < 0.2)

    return call, await call.run(person)


def billed(call, outcome):
    """What the vendors would bill: text taken, audio taken, seconds held, whatever we believe ourselves."""
    seconds = call.line.ended_at - call.line.began_at
    characters = sum(len(text) for mouth in call.opened for text in mouth.texts)
    return seconds, characters


@pytest.mark.slow
def test_two_hundred_calls_with_random_limits_never_pass_their_holds():
    million = 1_000_000
    card = PriceCard(
        carrier_second=Price(Decimal("1.30"), 60),
        listener_second=Price(Decimal("0.78"), 60),
        brain_input=Price(Decimal(35), million),
        brain_output=Price(Decimal(75), million),
        voice_character=Price(Decimal(15), 1000),
        fallback_input=Price(Decimal(10), million),
        fallback_output=Price(Decimal(10), million),
        local_character=Price(Decimal(1), 1000),
    )
    overshoots = []
    reasons = {}
    for seed in range(200):
        call, outcome = virtually(one_random_call(seed, card))
        seconds, characters = billed(call, outcome)
        reasons[outcome.end_reason] = reasons.get(outcome.end_reason, 0) + 1
        assert outcome.usage.voice_characters == characters, seed
        assert outcome.usage.carrier_seconds >= seconds, seed
        assert outcome.costs == cost(outcome.usage, card)
        assert outcome.costs.total_cents <= call.ticket.hold_cents, seed
        assert seconds <= call.ticket.granted_seconds, seed
        overshoots.append(outcome.costs.total_cents / call.ticket.hold_cents - 1)

    assert max(overshoots) <= Decimal("0.01")
    assert set(reasons) <= {"time_limit", "budget_reached"}
    assert min(reasons.values()) >= 20, f"both limits must have been met: {reasons}"
