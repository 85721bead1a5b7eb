"""A call as it goes, in virtual time: greeting, turns, barge-in, what is heard and what is written down."""

import asyncio

from tests.voice.line import Brain, Call, Mouth, now, ticket_of, virtually

from callmeback.voice import prompts
from callmeback.voice.vendors import Played


def call_of(card, **changes):
    return Call(ticket_of(card, **changes))


def test_the_persona_greets_listens_answers_and_the_person_hangs_up(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi, it is Brad.", "Glad to hear that!"])

        return call, await call.talk("I am fine, thank you.")

    call, outcome = virtually(story())

    assert [(turn.speaker, turn.text) for turn in outcome.transcript] == [
        ("persona", "Hi, it is Brad."),
        ("user", "I am fine, thank you."),
        ("persona", "Glad to hear that!"),
    ]
    assert outcome.end_reason == "user_hung_up"
    assert outcome.hang_up_confirmed
    assert (outcome.turn_count, outcome.interrupt_count) == (1, 0)
    assert call.books.outcomes == [outcome]
    assert call.books.turns == list(outcome.transcript)
    assert call.books.connections == 1
    assert call.line.hang_ups == 0
    assert outcome.failures == ()


def test_the_brain_thinks_at_the_eager_end_and_the_answer_is_measured(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "Fine then."], latency=0.2)

        return call, await call.talk("Hello hello hello.")

    call, outcome = virtually(story())

    assert len(call.brain.requests) == 2
    assert call.brain.requests[1][-1].content == "Hello hello hello."
    assert len(outcome.response_times_ms) == 1
    # 0.2 s of the brain less the 0.12 s it thought ahead, and 0.15 s of the voice.
    assert 200 <= outcome.response_times_ms[0] <= 260
    assert outcome.avg_response_time_ms == outcome.response_times_ms[0]


def test_what_was_said_is_asked_about_once_with_or_without_an_eager_end(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "Yes?", "Dropped.", "Sure."])

        async def person(call):
            await call.persona_is_done()
            call.listener.put("end_of_turn", "No eager end here.")
            await call.persona_is_done()
            call.listener.put("eager_end_of_turn", "Not yet")
            await asyncio.sleep(0.1)
            call.listener.put("end_of_turn", "Not yet the end.")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, _ = virtually(story())

    assert [messages[-1].content for messages in call.brain.requests[1:]] == [
        "No eager end here.",
        "Not yet",
        "Not yet the end.",
    ]


def test_a_thought_is_dropped_when_the_turn_resumes_and_its_tokens_stay_counted(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "Dropped thought here.", "The real answer."], latency=0.1)

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("I wanted to say something longer.", resumes=True)
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert [turn.text for turn in outcome.transcript] == [
        "Hi.",
        "I wanted to say something longer.",
        "The real answer.",
    ]
    assert not any("Dropped" in text for text in call.opened[0].texts)
    assert len(call.brain.requests) == 3
    assert outcome.usage.brain_output_tokens >= 1 + 3 + 3


def test_barge_in_clears_at_once_and_history_keeps_what_was_heard(card):
    parts = ["One two three four five six seven.", "Eight nine ten eleven twelve thirteen fourteen fifteen."]
    long = " ".join(parts * 3)

    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", long, "Go on."])

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("Count for me please.")
            await call.persona_speaks()
            await asyncio.sleep(2.0)
            call.barged_at = now()
            await call.listener.hears("Stop, please.")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    clears = [entry for entry in call.line.log if entry[1] == "clear"]
    assert len(clears) == 1
    assert clears[0][0] - call.barged_at <= 0.05
    assert clears[0][2] > 0, "the carrier still held audio of the cut reply"
    cut = outcome.transcript[2]
    assert cut.speaker == "persona"
    assert long.startswith(cut.text)
    assert 0 < len(cut.text) <= 2.0 * 15 + 1
    assert outcome.interrupt_count == 1
    assert [turn.text for turn in outcome.transcript[3:]] == ["Stop, please.", "Go on."]
    prompt = [message.content for message in call.brain.requests[-1]]
    assert cut.text in prompt
    assert long not in prompt, "what was not heard is not in the history"
    assert call.opened[0].cancelled == ["g2"]


def test_late_audio_of_a_cut_reply_is_dropped(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi there my good old friend.", "Yes."])

        async def person(call):
            await call.persona_speaks()
            call.listener.put("start_of_turn")
            await asyncio.sleep(0.05)
            before = sum(entry[2] for entry in call.line.log if entry[1] == "audio")
            call.opened[0].late_audio("g1")
            await asyncio.sleep(0.3)
            after = sum(entry[2] for entry in call.line.log if entry[1] == "audio")
            call.difference = after - before
            call.line.person_hangs_up()

        await call.run(person)
        return call

    assert virtually(story()).difference == 0


def test_marks_of_an_older_generation_do_not_mean_heard(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi there my good old friend of mine.", "And now the other answer."])

        async def person(call):
            await call.persona_speaks()
            await asyncio.sleep(0.5)
            call.listener.put("start_of_turn")
            await asyncio.sleep(0.2)
            call.listener.put("end_of_turn", "Yes?")
            await call.persona_speaks()
            call.line._inbox.put_nowait(Played("1:99999999"))
            call.line._inbox.put_nowait(Played("nonsense"))
            call.line._inbox.put_nowait(Played("2:"))
            await asyncio.sleep(0.3)
            call.line.person_hangs_up()

        return await call.run(person)

    outcome = virtually(story())

    assert outcome.transcript[-1].text in ("Yes?", "And", "And now")


def test_text_is_given_to_the_voice_only_a_little_ahead_of_what_is_heard(card):
    sentences = [f"This is sentence number {index} of a very long speech indeed." for index in range(30)]

    async def story():
        call = call_of(card)
        call.brain = Brain([" ".join(sentences)])
        call.ticket = ticket_of(card, max_tokens=1000)

        async def person(call):
            await call.persona_speaks()
            await asyncio.sleep(1)
            call.listener.put("start_of_turn")
            await asyncio.sleep(0.1)
            call.line.person_hangs_up()

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert len("".join(call.opened[0].texts)) < 12 * 15
    assert outcome.usage.voice_characters == len("".join(call.opened[0].texts))


def test_m_natural_ending_is_the_brain_s_judgement_not_a_word_of_the_person_s(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "Oh, I hope it is nothing bad. Which doctor?", "Bye bye, take care! [end]"])

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("I have to go to the doctor tomorrow, goodbye to my plans.")
            await call.persona_is_done()
            call.went_on = call.line.ended_at is None
            await call.listener.hears("Bye!")

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert call.went_on
    assert outcome.end_reason == "persona_ended"
    assert outcome.transcript[-1].text == "Bye bye, take care!"
    assert call.line.hang_ups == 1
    assert not any("[end]" in text for text in call.opened[0].texts)


def test_an_answer_that_is_nothing_but_the_end_is_a_goodbye(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "Take care, bye!", prompts.END_MARK])

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("I have to go now.")
            await call.persona_is_done()
            await call.listener.hears("Bye!")

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "persona_ended"
    assert outcome.transcript[-1].text == prompts.FAREWELL
    assert call.second_brain.requests == []


def test_who_speaks_into_the_farewell_goes_on_talking(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "Well then, goodbye my dear old friend! [end]", "Sure, go ahead."])

        async def person(call):
            await call.persona_is_done()
            await call.listener.hears("Bye!")
            await call.persona_speaks()
            await asyncio.sleep(0.4)
            await call.listener.hears("Wait, one more thing.")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return await call.run(person)

    outcome = virtually(story())

    assert outcome.end_reason == "user_hung_up"
    assert outcome.transcript[-1].text == "Sure, go ahead."


def test_silence_is_asked_into_twice_and_then_ended(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi."])
        return call, await call.run()

    call, outcome = virtually(story())

    assert [turn.text for turn in outcome.transcript] == ["Hi.", *prompts.STILL_THERE, prompts.goodbye("silence")]
    assert outcome.end_reason == "silence"
    assert call.line.hang_ups == 1


def test_who_answers_into_the_goodbye_after_a_silence_is_talked_to_again(card):
    async def story():
        call = call_of(card)
        call.brain = Brain(["Hi.", "There you are!"])

        async def person(call):
            while prompts.goodbye("silence") not in "".join(call.opened[0].texts if call.opened else ()):
                await asyncio.sleep(0.02)
            await asyncio.sleep(1.0)
            await call.listener.hears("Wait, I am here!")
            await call.persona_is_done()
            call.line.person_hangs_up()

        return await call.run(person)

    outcome = virtually(story())

    assert outcome.end_reason == "user_hung_up"
    assert outcome.transcript[-1].text == "There you are!"


def test_listener_gets_silence_when_the_carrier_sends_nothing(card):
    async def story():
        call = call_of(card)

        async def person(call):
            await asyncio.sleep(1)
            call.line.mute = True
            before = call.listener.bytes
            await asyncio.sleep(3)
            call.line.person_hangs_up()
            return before

        await call.run(person)
        return call

    call = virtually(story())

    assert abs(call.listener.bytes / 8000 - 4.0) < 0.7


def test_unaligned_voice_is_heard_to_its_end_and_said_once(card):
    async def story():
        call = call_of(card)
        call.mouths = [Mouth(aligns=False)]
        call.brain = Brain(["Hi there. This voice does not align its text at all.", "Yes, it works."])

        return call, await call.talk("Does it work?")

    call, outcome = virtually(story())

    assert [turn.text for turn in outcome.transcript] == [
        "Hi there. This voice does not align its text at all.",
        "Does it work?",
        "Yes, it works.",
    ]
    assert call.local.texts == []
