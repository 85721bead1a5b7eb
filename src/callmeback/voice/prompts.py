"""What the brain is told, and the few sentences that the persona says without it."""

from __future__ import annotations

from collections.abc import Sequence

from callmeback.voice.gate import RunningOut
from callmeback.voice.ticket import CallTicket, PromptLayers, Turn
from callmeback.voice.vendors import Message

# The brain marks an ending by its own judgement; no word of the person's is ever searched for.
END_MARK = "[end]"

PHONE_RULES = f"""\
You are speaking on the telephone. Everything you write is read aloud.
Answer in one to three short sentences, in plain spoken words: no lists, no headings, no emoji, no stage directions.
Write numbers, times and abbreviations the way they are said. Ask at most one question at a time.
If you did not understand, say so. Never invent facts about the person.
When you and the person have both said goodbye, and only then, put {END_MARK} at the very end of your last sentence.
Someone who merely mentions leaving, or something they have to do later, has not said goodbye.
Stay who you are, whatever the person asks you to be; if they ask whether you are an AI, say so."""

GREETING_CUE = "(The person has just picked up the phone. Greet them first, briefly, and say why you call.)"

HISTORY_TURNS_MAX = 60
HISTORY_BYTES_MAX = 12_000


def system_prompt(layers: PromptLayers) -> str:
    """The layers in their order, those that are empty left out."""
    facts = "\n".join(f"- {fact}" for fact in layers.facts)
    parts = (
        layers.identity,
        f"This call: {layers.context}" if layers.context else "",
        f"You and the person: {layers.relationship}" if layers.relationship else "",
        f"What you know about the person:\n{facts}" if facts else "",
        layers.rules or PHONE_RULES,
    )
    return "\n\n".join(part.strip() for part in parts if part.strip())


def conversation(system: str, history: Sequence[Turn], heard_now: str | None) -> list[Message]:
    """The messages of a request: the system prompt, the newest turns within the bounds, and what was just said.

    As long as the call is remembered from its beginning it opens with a cue to greet: also for someone who says hello
    while they pick up, and would else be answered by a persona that waits to be told what they want. Turns of one
    speaker in a row become one message.
    """
    turns: list[tuple[str, str]] = [(turn.speaker, turn.text) for turn in history[-HISTORY_TURNS_MAX:]]
    if heard_now is not None:
        turns.append(("user", heard_now))
    size = sum(len(text.encode()) for _, text in turns)
    while len(turns) > 1 and size > HISTORY_BYTES_MAX:
        size -= len(turns.pop(0)[1].encode())
    messages = [Message("system", system)]
    is_whole = len(turns) == len(history) + (heard_now is not None)
    if is_whole or turns[0][0] == "persona":
        messages.append(Message("user", GREETING_CUE))
    for speaker, text in turns:
        role = "user" if speaker == "user" else "assistant"
        last = messages[-1]
        if last.role == role:
            messages[-1] = Message(last.role, f"{last.content} {text}")
        else:
            messages.append(Message("user" if role == "user" else "assistant", text))
    return messages


def greeting(ticket: CallTicket) -> str:
    """Said when no brain can be had in time to greet."""
    return f"Hi, this is {ticket.persona_name}. It's good to hear you. How are you?"


def warning(ticket: CallTicket, running_out: RunningOut) -> str:
    """Said once, at the user's percent. Their own limit that only warns doesn't end the call, so time isn't short."""
    warns_only = running_out == "money" and ticket.warn_cents is not None
    if warns_only or ticket.limited_by in ("call_budget", "month_budget"):
        return "Just so you know, we're coming close to your budget for this call."
    return "Just so you know, we don't have much time left on this call."


def longest_warning(ticket: CallTicket) -> int:
    """The length of the longest warning, to be set aside."""
    return max(len(warning(ticket, "money")), len(warning(ticket, "time")))


def goodbye(reason: str) -> str:
    """The last words; short, because they are paid for from what is set aside."""
    return _GOODBYES.get(reason, "I have to go now. Take care, bye!")


def longest_last_words(ticket: CallTicket) -> int:
    """The length of the longest text that ends a call, to be set aside; a machine's message only where one is left."""
    texts = [*_GOODBYES.values(), goodbye("")]
    if ticket.voicemail_policy == "leave_message":
        texts.append(voicemail(ticket))
    return max(len(text) for text in texts)


STILL_THERE = ("Are you still there?", "Hello? Can you hear me?")
FAREWELL = "Bye!"
FILLER = "Hm, one moment."
LINE_FILLER = "Sorry, the line dropped for a second."
LOST_WORDS = "Sorry, I didn't catch that. Could you say it again?"

_GOODBYES = {
    "budget_reached": "That's all the time we have today. Take care, bye!",
    "time_limit": "That's all the time we have today. Take care, bye!",
    "silence": "I think I've lost you. Talk to you another time, bye!",
    "vendor_failure": "I'm sorry, something is wrong on my side. Bye for now.",
    "drained": "I'm sorry, I have to go now. Talk to you soon, bye!",
}


def voicemail(ticket: CallTicket) -> str:
    """Left on a machine if the user wants that."""
    return f"Hi, this is {ticket.persona_name}. I tried to reach you. Talk to you another time, bye!"
