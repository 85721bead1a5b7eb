"""What the brain is told and what the persona says without it."""

from datetime import UTC, datetime

from tests.voice.line import ticket_of

from callmeback.voice import prompts
from callmeback.voice.ticket import PromptLayers, Turn

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_layers_stand_in_their_order_and_empty_ones_are_left_out():
    text = prompts.system_prompt(
        PromptLayers(identity="You are Brad.", relationship="coach", facts=("runs at six", "has a dog"))
    )

    places = [text.index(part) for part in ("You are Brad.", "coach", "- runs at six\n- has a dog", "[end]")]
    assert places == sorted(places)
    assert "This call:" not in text


def test_own_rules_replace_the_house_s():
    assert prompts.system_prompt(PromptLayers(identity="I.", rules="Speak.")) == "I.\n\nSpeak."


def test_a_call_opens_with_a_cue_to_greet():
    messages = prompts.conversation("S", [], None)

    assert [(message.role, message.content) for message in messages] == [
        ("system", "S"),
        ("user", prompts.GREETING_CUE),
    ]


def test_who_says_hello_before_the_greeting_is_still_greeted():
    messages = prompts.conversation("S", [], "Hello?")

    assert [message.content for message in messages] == ["S", f"{prompts.GREETING_CUE} Hello?"]


def test_roles_alternate_and_what_is_said_now_comes_last():
    history = [Turn("persona", "Hi.", NOW), Turn("user", "Hello.", NOW), Turn("user", "Are you there?", NOW)]

    messages = prompts.conversation("S", history, "Brad?")

    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[-1].content == "Hello. Are you there? Brad?"


def test_a_long_talk_keeps_its_newest_turns_within_the_bounds():
    history = [Turn("user" if index % 2 else "persona", f"{index} " + "x" * 500, NOW) for index in range(300)]

    messages = prompts.conversation("S", history, "now")

    assert sum(len(message.content) for message in messages[1:]) <= prompts.HISTORY_BYTES_MAX + 500
    assert messages[-1].content.endswith("now")
    assert "299 " in messages[-1].content


def test_the_longest_goodbye_is_what_is_set_aside(card):
    call = ticket_of(card)
    reasons = ["budget_reached", "time_limit", "silence", "vendor_failure", "drained", "persona_ended"]

    assert max(len(prompts.goodbye(reason)) for reason in reasons) == prompts.longest_last_words(call)
    leaving_word = ticket_of(card, voicemail_policy="leave_message", persona_name="B" * 60)
    assert prompts.longest_last_words(leaving_word) == len(prompts.voicemail(leaving_word))
