"""A noise that seemed to be speech, in virtual time: the persona falls silent at once, and goes on where it was."""

import asyncio

import pytest
from tests.voice.line import Brain, Call, ticket_of, virtually

from callmeback.voice import prompts


def call_of(card, **changes):
    return Call(ticket_of(card, **changes))


def test_a_noise_that_interrupted_lets_the_persona_finish(card):
    sentence = "First I want to tell you this. And then there is also that to be told."

    async def story():
        call = call_of(card)
        call.brain = Brain([sentence])

        async def person(call):
            await call.persona_speaks()
            await asyncio.sleep(1.5)
            call.listener.put("start_of_turn")
            await asyncio.sleep(0.5)
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert " ".join(turn.text for turn in outcome.transcript).split() == sentence.split(), "nothing lost, nothing twice"
    assert len(outcome.transcript) == 2
    assert outcome.interrupt_count == 0
    assert len(call.brain.requests) == 1


def test_noises_lose_nothing_of_a_long_reply(card):
    sentences = [f"This is sentence number {index} of a long story." for index in range(12)]

    async def story():
        call = call_of(card, max_tokens=1000)
        call.brain = Brain([" ".join(sentences)])

        async def person(call):
            for _ in range(2):
                await call.persona_speaks()
                await asyncio.sleep(3.0)
                call.listener.put("start_of_turn")
                await asyncio.sleep(0.5)
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert " ".join(turn.text for turn in outcome.transcript).split() == " ".join(sentences).split()
    assert len(call.brain.requests) == 1
    assert outcome.interrupt_count == 0


@pytest.mark.parametrize("after", [0.1, 0.5, 1.4])
@pytest.mark.parametrize("stalls_after", [0, 9])
@pytest.mark.parametrize("told", [False, True], ids=["nothing follows", "told to be none"])
def test_a_noise_while_a_slow_brain_thinks_loses_nothing_of_the_answer(card, after, stalls_after, told):
    answer = "It is a tree, a very old one. It was planted by a king. Nobody knows his name."

    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", answer])

        async def person(call):
            await call.persona_is_done()
            call.brain.stalls_after, call.brain.stall_seconds = stalls_after, 0.9 if stalls_after == 0 else 2.0
            await call.listener.hears("What is it?")
            if stalls_after:
                await call.persona_speaks()
            await asyncio.sleep(after)
            call.listener.put("start_of_turn")
            await asyncio.sleep(0.3)
            if told:
                call.listener.put("end_of_turn")
            await call.persona_is_done()
            await asyncio.sleep(3.0)
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    said = " ".join(turn.text for turn in outcome.transcript if turn.speaker == "persona")
    assert said == f"Hi. {answer}"
    assert len(call.brain.requests) == 2, "the answer isn't paid for twice"
    assert call.brain.cancelled == 0
    assert outcome.interrupt_count == 0


@pytest.mark.parametrize("told_at_once", [False, True])
def test_words_end_the_thought_that_a_noise_would_have_kept(card, told_at_once):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "It is a tree, a very old one. It was planted by a king.", "Sure."])

        async def person(call):
            await call.persona_is_done()
            call.brain.stalls_after, call.brain.stall_seconds = 9, 2.0
            await call.listener.hears("What is it?")
            await call.persona_speaks()
            call.brain.stalls_after = None
            await asyncio.sleep(0.2)
            call.listener.put("start_of_turn", "Wait" if told_at_once else "")
            await asyncio.sleep(0.2)
            call.cancelled_at_the_start = call.brain.cancelled
            call.listener.put("update", "Wait, a tree")
            await asyncio.sleep(0.02)
            call.cancelled_at_words = call.brain.cancelled
            call.listener.put("end_of_turn", "Wait, a tree?")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert (call.cancelled_at_the_start, call.cancelled_at_words) == (int(told_at_once), 1)
    assert [turn.text for turn in outcome.transcript][-2:] == ["Wait, a tree?", "Sure."]
    assert "king" not in "".join(call.opened[0].texts)
    assert outcome.interrupt_count == 1
    assert outcome.usage.brain_output_tokens >= call.brain.generated, "what was cut stays counted"


def test_a_noise_does_not_take_a_goodbye_back(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", f"Goodbye then, and sleep well, my friend. {prompts.END_MARK}"])

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("Good night, Brad.")
            await call.persona_speaks()
            await asyncio.sleep(0.5)
            call.listener.put("start_of_turn")

        return await call.run(person)

    assert virtually(story()).end_reason == "persona_ended"


def test_a_noise_before_the_answer_was_ready_does_not_swallow_it(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "It is a tree."], latency=0.6)

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("What is it?")
            await asyncio.sleep(0.1)
            call.listener.put("start_of_turn")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert [turn.text for turn in outcome.transcript] == ["Hi.", "What is it?", "It is a tree."]
    assert [message.role for message in call.brain.requests[-1]][-1] == "user"
    assert outcome.interrupt_count == 0


@pytest.mark.parametrize(("latency", "after"), [(0.5, 0.0), (0.25, 1.0), (0.25, 3.0)])
def test_a_noise_in_a_warning_costs_neither_it_nor_the_answer_after_it(card, latency, after):
    """Before a word of it was heard and the answer was ready, in its first half, and after that."""
    answer = "It is a tree, and it is a very old one."

    async def story():
        call = call_of(card, granted_seconds=100, warn_at_percent=20)
        call.brain = Brain(["Hi.", answer], latency=latency)

        async def person(call):
            await call.persona_is_done()
            await asyncio.sleep(3.0)
            # The warning becomes due while this is said.
            await call.listener.hears("What is it? " + "I have been looking at it for so long. " * 6)
            while prompts.warning(call.ticket, "time") not in "".join(call.opened[0].texts):
                await asyncio.sleep(0.01)
            await asyncio.sleep(after)
            call.listener.put("start_of_turn")
            await asyncio.sleep(0.5)
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    said = " ".join(turn.text for turn in outcome.transcript[2:])
    assert said.endswith(f" {answer}")
    assert [said.count(words) for words in (answer, prompts.warning(call.ticket, "time")[-20:])] == [1, 1]
    assert outcome.interrupt_count == 0
