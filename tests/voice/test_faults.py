"""What goes wrong in a call and what the person hears of it: lost vendors, a lost database, wishes from outside."""

import asyncio

import pytest
from tests.voice.line import Brain, Call, Mouth, now, ticket_of, virtually

from callmeback.providers.failures import VendorUnavailable
from callmeback.voice import prompts

LONG = "This is the first sentence of it. This is the second sentence of it. And here comes the third one of them."


def call_of(card, **changes):
    call = Call(ticket_of(card, **changes))
    call.brain = Brain(["Hi."])
    return call


def persona(outcome):
    return [turn.text for turn in outcome.transcript if turn.speaker == "persona"]


def longest_silence(call, since):
    """The longest the person heard nothing after a moment, until something was heard."""
    return min(at for at in call.line.heard_at if at > since) - since


async def asks_once(call):
    await call.persona_is_done()
    await call.listener.hears("What is it?")
    call.asked_at = now()
    await call.persona_is_done()
    await call.persona_is_done() if call.line.speaking() else await asyncio.sleep(1.5)
    call.line.person_hangs_up()


@pytest.mark.parametrize("aligns", [True, False])
@pytest.mark.parametrize("drops_after", [0, 30, 60, 100])
def test_a_voice_that_drops_mid_sentence_is_finished_by_the_local_one(card, drops_after, aligns):
    async def story():
        call = call_of(card)
        call.mouths = [Mouth(drops_after=drops_after, aligns=aligns), Mouth()]
        call.brain = Brain([LONG, "Yes indeed."])

        return call, await call.talk("And?")

    call, outcome = virtually(story())

    assert call.local.texts != []
    assert persona(outcome)[-1] == "Yes indeed."
    if aligns:
        assert persona(outcome)[0] == LONG, "all of it was said"
        said = sum(len(text) for text in call.local.texts) + call.opened[0].spoken_characters
        assert len(LONG) - 3 <= said <= len(LONG) + 10, "and none of it twice, but for the word that was cut"
    assert call.opened[1].texts == ["Yes indeed. "], "the next answer has the vendor's voice again"
    assert outcome.usage.local_characters == sum(len(text) for text in call.local.texts)


@pytest.mark.parametrize("stalls_after", [0, 40])
def test_a_voice_that_goes_quiet_is_replaced_within_two_seconds(card, stalls_after):
    async def story():
        call = call_of(card)
        call.mouths = [Mouth(stalls_after=stalls_after)]
        call.brain = Brain([LONG])

        async def person(call):
            await asyncio.sleep(20)
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert persona(outcome)[0] == LONG
    assert call.line.heard_at[0] - call.line.began_at <= 2.0
    gaps = [after - before for before, after in zip(call.line.heard_at, call.line.heard_at[1:], strict=False)]
    assert max(gaps[:10]) <= 2.0
    assert "voice:stalled" in outcome.failures


def test_a_voice_that_can_not_be_had_leaves_the_local_one(card):
    async def story():
        call = call_of(card)
        call.mouths = []
        return call, await call.run(asks_once)

    _call, outcome = virtually(story())

    assert outcome.usage.voice_characters == 0
    assert persona(outcome)[0] == "Hi."
    assert outcome.failures.count("voice:unreachable") == 4


def test_a_voice_that_opens_late_is_waited_for_only_a_moment(card):
    async def story():
        call = call_of(card)
        call.mouth_opening_seconds = 1.2
        return call, await call.run(asks_once)

    call, _outcome = virtually(story())

    assert call.line.heard_at[0] - call.line.began_at <= 2.0
    assert call.local.texts[0] in (prompts.FILLER, "Hi. ")


def test_a_failing_brain_is_replaced_by_the_second(card):
    async def story():
        call = call_of(card)
        call.brain.fails = True
        call.second_brain = Brain(["Hello from me.", "It is that."])
        return call, await call.run(asks_once)

    call, outcome = virtually(story())

    assert persona(outcome)[:2] == ["Hello from me.", "It is that."]
    assert outcome.usage.fallback_output_tokens == 6
    assert longest_silence(call, call.asked_at) <= 2.0


def test_a_brain_that_hangs_is_given_up_and_a_filler_is_heard_meanwhile(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "Never said."])
        call.second_brain = Brain(["It is that."], latency=1.5)

        async def person(call):
            await call.persona_is_done()
            call.brain.stalls_after = 0
            await asks_again(call)

        async def asks_again(call):
            await call.listener.hears("What is it?")
            call.asked_at = now()
            await asyncio.sleep(8)
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert call.local.texts == [prompts.FILLER]
    assert longest_silence(call, call.asked_at) <= 2.0
    assert persona(outcome) == ["Hi.", "It is that."], "a filler is no part of what was said"
    assert "brain:slow" in outcome.failures


def test_an_answer_that_is_cut_keeps_its_whole_sentences(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "First one. Second two. Third never"], cut_after=None)

        async def person(call):
            await call.persona_is_done()
            call.brain.cut_after = 5
            await asks(call)

        async def asks(call):
            await call.listener.hears("What is it?")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return await call.run(person)

    outcome = virtually(story())

    assert persona(outcome) == ["Hi.", "First one. Second two."]
    assert outcome.usage.fallback_output_tokens == 0


def test_when_no_brain_answers_there_is_an_apology_and_a_hang_up(card):
    async def story():
        call = call_of(card)

        async def person(call):
            await call.persona_is_done()
            call.brain.fails = call.second_brain.fails = True
            await call.listener.hears("What is it?")

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "vendor_failure"
    assert persona(outcome)[-1] == prompts.goodbye("vendor_failure")
    assert call.line.hang_ups == 1


def test_without_any_brain_the_persona_still_greets(card):
    async def story():
        call = call_of(card)
        call.brain.fails = call.second_brain.fails = True

        return call, await call.talk()

    call, outcome = virtually(story())

    assert persona(outcome) == [prompts.greeting(call.ticket)]
    assert outcome.costs.brain_cents > 0, "a failed request may be billed: it is counted as it was sent"


def test_a_listener_that_drops_while_nobody_speaks_is_covered_by_a_word(card):
    async def story():
        call = call_of(card)

        async def person(call):
            await call.persona_is_done()
            call.listener.put("start_of_turn")
            call.listener.put("update", "I wanted to")
            await asyncio.sleep(0.5)
            call.listener.drops()
            call.dropped_at = now()
            await asyncio.sleep(3)
            await call.listener.hears("I wanted to tell you this.")
            await call.persona_is_done()
            call.line.person_hangs_up()

        call.brain = Brain(["Hi.", "Tell me."])
        return call, await call.run(person)

    call, outcome = virtually(story())

    assert longest_silence(call, call.dropped_at) <= 2.0
    assert prompts.LINE_FILLER.startswith(persona(outcome)[1])
    assert outcome.transcript[-1].text == "Tell me."
    assert [turn.text for turn in outcome.transcript].count("I wanted to tell you this.") == 1


def test_a_listener_that_can_not_be_had_back_ends_the_call_politely(card):
    async def story():
        call = call_of(card)

        async def person(call):
            await call.persona_is_done()
            call.listener.dies()

        return call, await call.run(person)

    _call, outcome = virtually(story())

    assert outcome.end_reason == "vendor_failure"
    assert persona(outcome)[-1] == prompts.goodbye("vendor_failure")
    assert outcome.hang_up_confirmed


def test_the_end_of_a_turn_that_was_lost_with_a_socket_is_found_by_the_clock(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "I heard you."])

        async def person(call):
            await call.persona_is_done()
            call.listener.put("start_of_turn")
            call.listener.put("update", "Do you hear me?")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return await call.run(person)

    outcome = virtually(story())

    assert [turn.text for turn in outcome.transcript][-2:] == ["Do you hear me?", "I heard you."]


@pytest.mark.parametrize("failures", [1, 6])
def test_a_hang_up_is_tried_until_the_carrier_confirms(card, failures):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Bye! [end]"])
        call.line.hang_up_failures = failures
        return call, await call.run()

    call, outcome = virtually(story())

    assert outcome.hang_up_confirmed
    assert call.line.hang_ups == failures + 1
    assert call.line.ended_at - call.line.began_at < 4, "the stream is closed at the first failure, which hangs up too"


def test_a_carrier_that_never_confirms_is_left_to_its_own_limit(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Bye! [end]"])
        call.line.hang_up_failures = 10_000
        return call, await call.run()

    call, outcome = virtually(story())

    assert not outcome.hang_up_confirmed
    assert call.line.hang_ups == 30
    assert outcome.duration_seconds <= 3, "the minutes of a deaf carrier are nobody's talk"
    assert call.books.outcomes == [outcome]


def test_a_report_of_the_end_confirms_what_a_deaf_carrier_does_not(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Bye! [end]"])
        call.line.hang_up_failures = 10_000

        async def person(call):
            while call.line.hang_ups < 2:
                await asyncio.sleep(0.1)
            call.control.ended()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.hang_up_confirmed
    assert call.line.hang_ups <= 3


def test_a_broken_stream_is_hung_up_by_rest(card):
    async def story():
        call = call_of(card)

        async def person(call):
            await call.persona_is_done()
            call.line.breaks()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "stream_lost"
    assert call.line.hang_ups == 1


def test_a_database_lost_during_the_call_stops_nobody_and_loses_nothing(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "It is that."])
        call.books.down_until = now() + 30

        return call, await call.run(asks_once)

    call, outcome = virtually(story())

    assert persona(outcome)[:2] == ["Hi.", "It is that."]
    assert call.books.outcomes == [outcome], "settled once, when the database was back"
    assert outcome.duration_seconds < 10


def test_the_user_s_hang_up_ends_the_call_at_once(card):
    async def story():
        call = call_of(card)
        call.brain = Brain([LONG])

        async def person(call):
            await call.persona_speaks()
            await asyncio.sleep(0.5)
            call.control.hang_up()
            call.wished_at = now()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "hung_up_by_request"
    assert call.line.ended_at - call.wished_at <= 0.5
    assert LONG.startswith(persona(outcome)[0]), "what was heard of the cut reply is in the transcript"


def test_c12_a_machine_is_hung_up_on(card):
    async def story():
        call = call_of(card)

        async def person(call):
            await asyncio.sleep(2)
            call.control.answered("machine_start")

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert (outcome.end_reason, outcome.answered_by) == ("voicemail", "machine")
    assert call.line.hang_ups == 1


@pytest.mark.parametrize(("word", "wait"), [("machine_end_beep", 0.5), ("machine_start", 9.5)])
def test_c12_a_message_is_left_after_the_beep_if_the_user_wants_that(card, word, wait):
    async def story():
        call = call_of(card, voicemail_policy="leave_message")
        call.brain = Brain([LONG])

        async def person(call):
            await call.persona_speaks()
            call.control.answered(word)
            call.told_at = now()
            await call.listener.hears("Please leave a message after the tone.")

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "voicemail"
    assert persona(outcome)[-1] == prompts.voicemail(call.ticket)
    assert len(call.brain.requests) == 1, "no answer is thought of for a machine"
    assert longest_silence(call, call.told_at + 0.3) <= wait


def test_a_human_is_talked_to(card):
    async def story():
        call = call_of(card)
        call.control.answered("human")
        return await call.run(asks_once)

    assert virtually(story()).end_reason == "user_hung_up"


def test_a_drain_lets_the_call_go_on_and_then_says_goodbye(card):
    async def story():
        call = call_of(card)

        async def person(call):
            await asyncio.sleep(3)
            call.control.drain(20)
            call.drained_at = now()
            while True:
                await call.persona_is_done()
                await call.listener.hears("Go on.")

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "drained"
    assert persona(outcome)[-1] == prompts.goodbye("drained")
    assert 12 <= call.line.ended_at - call.drained_at <= 20


def test_a_cancelled_session_hangs_up_and_settles_first(card):
    async def story():
        call = call_of(card)
        task = asyncio.create_task(call.run())
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.wait((task,))
        return call, task.cancelled()

    call, cancelled = virtually(story())

    assert cancelled
    assert call.line.hang_ups == 1
    assert [outcome.end_reason for outcome in call.books.outcomes] == ["drained"]


def test_an_unforeseen_error_ends_the_call_and_is_settled(card):
    async def story():
        call = call_of(card)

        async def broken(text):
            raise ZeroDivisionError(text)

        call.mouths = []
        call.local.speak = broken
        return call, await call.run()

    call, outcome = virtually(story())

    assert outcome.end_reason == "vendor_failure"
    assert "reply:ZeroDivisionError" in outcome.failures
    assert call.books.outcomes == [outcome]


def test_a_call_of_which_nothing_works_ends_and_costs_what_was_used(card):
    async def story():
        call = call_of(card)
        call.mouths = []
        call.brain.fails = call.second_brain.fails = True

        async def no_ears():
            raise VendorUnavailable("listener", "work")

        call._open_ears = no_ears
        return call, await call.run()

    _call, outcome = virtually(story())

    assert outcome.end_reason == "vendor_failure"
    assert outcome.usage.listener_seconds == 0
    assert outcome.usage.voice_characters == 0
    assert persona(outcome)[-1] == prompts.goodbye("vendor_failure")
