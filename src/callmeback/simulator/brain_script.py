"""The simulated brain's wits: a small scripted conversationalist. Pure and deterministic: the same conversation gets
the same answer. It follows the system prompt's name, manner and occasion, remembers what was said, and owns up to
being a script."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

PHRASE_WORDS_MAX: Final = 12


class Said(msgspec.Struct, frozen=True):
    """One message of the request."""

    role: str
    content: str


class _Scene(msgspec.Struct, frozen=True):
    """What the prompt and the conversation give to go by."""

    name: str
    manner: str
    occasion: str
    end_mark: str
    heard: list[str]
    turn: int


_NAME: Final = re.compile(r"\b(?:[Yy]ou are|[Yy]our name is|[Yy]ou play|I am|I'm)\s+(?!an?\b|the\b)([A-Z][\w'-]+)")
_OCCASION: Final = re.compile(
    r"(?:This call|Context|Scenario|Situation|Reason for (?:this|the) call)\s*:\s*(?:[A-Z][\w' ]{3,60}:\s*)?(.+)", re.I
)
_END_MARK: Final = re.compile(r"\[(?:end|hang[ _-]?up|goodbye|bye|end[ _-]call)\]", re.I)
_MANNERS: Final = (
    ("coach", re.compile(r"\b(coach|motivat\w*|workout|fitness|train\w*|energetic|accountab\w*)", re.I)),
    ("wit", re.compile(r"\b(joke\w*|witty|wit|humou?r\w*|funny|playful|sarcas\w*|curious)", re.I)),
    ("warmth", re.compile(r"\b(listen\w*|gentle|calm\w*|warm\w*|empath\w*|caring|kind|support\w*)", re.I)),
)

_FAREWELL: Final = re.compile(
    r"\b(good ?bye|bye|good night|see you|talk (to you )?(later|soon)|hang(ing)? up)\b"
    r"|\b(have to|need to|must|got to|gotta|should|'ll) (go|run|leave)( now)?\s*([.,!]|$)",
    re.I,
)
_ABOUT_ITSELF: Final = re.compile(
    r"\bare you (a |an |even |really |actually )*(real|human|robot|ai|bot|machine|computer|person|program|script\w*)"
    r"|\b(am i|i'm|i am) (talking|speaking) to a\b|\bwhat are you\b|\bartificial intelligence\b",
    re.I,
)
_WHO: Final = re.compile(r"\bwho (are you|is this|am i (talking|speaking) to)\b|\byour name\b", re.I)
_WHY: Final = re.compile(r"\bwhy (did|do|are|would) you (call|ring|phone)|\bwhat('s| is) this (call )?about\b", re.I)
_HOW_ARE_YOU: Final = re.compile(r"\bhow are you\b|\bhow('s| is) it going\b|\bhow do you do\b", re.I)
_THANKS: Final = re.compile(r"\bthank(s| you)\b", re.I)
_SAD: Final = re.compile(
    r"\b(sad|tired|lonely|stress\w*|bad|awful|terrible|anxious|worried|sick|hard|difficult|angry|afraid|lost)\b", re.I
)
_GLAD: Final = re.compile(r"\b(good|great|well|happy|fine|wonderful|excited|glad|proud|nice|better|love\w*)\b", re.I)

# A cue of the house stands in brackets; nobody said it.
_CUE: Final = re.compile(r"^\s*\([^)]*\)")

_MIRROR: Final = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "am": "are", "i'm": "you're",
    "i've": "you've", "i'd": "you'd", "i'll": "you'll", "was": "were", "we": "you", "our": "your", "us": "you",
    "you": "I", "your": "my", "yours": "mine", "you're": "I'm", "you've": "I've",
}  # fmt: skip
_OPENING: Final = re.compile(
    r"^(oh|well|so|and|but|yes|yeah|no|okay|ok|hi|hello|hey|um|uh|hm+|i think|you know)[,.! ]+", re.I
)


def reply(messages: Sequence[Said]) -> str:
    """What the persona says next, one to three short sentences."""
    scene = _scene(messages)
    last = scene.heard[-1] if scene.heard else ""
    if not last:
        return _greeting(scene)
    if _FAREWELL.search(last):
        return f"{_GOODBYES[scene.manner]} Take care, bye! {scene.end_mark}".strip()
    if _ABOUT_ITSELF.search(last):
        return (
            "I'm not a person, and not even a real AI: I'm a scripted stand-in, because no brain is connected here. "
            f"But I'm happy to keep talking as {scene.name}. What is on your mind?"
        )
    if _WHO.search(last):
        return f"This is {scene.name}. You asked to be called, so here I am. What would you like to talk about?"
    if _WHY.search(last):
        about = f"It is about this: {scene.occasion}." if scene.occasion else "You asked me to call you back."
        return f"{about} Shall we start with that?"
    return _answer(scene, last)


def _scene(messages: Sequence[Said]) -> _Scene:
    system = "\n".join(message.content for message in messages if message.role == "system")
    named, occasion, mark = _NAME.search(system), _OCCASION.search(system), _END_MARK.search(system)
    counts = [(len(pattern.findall(system)), name) for name, pattern in _MANNERS]
    strongest = max(counts, key=lambda count: count[0])
    return _Scene(
        name=named[1] if named else "your friend",
        manner=strongest[1] if strongest[0] else "plain",
        occasion=_short(occasion[1]) if occasion else "",
        end_mark=mark[0] if mark else "",
        heard=[
            said for message in messages if message.role == "user" and (said := _CUE.sub("", message.content).strip())
        ],
        turn=sum(message.role == "assistant" for message in messages),
    )


_HELLOS: Final = {
    "coach": "Ready to get moving?",
    "wit": "I was hoping you'd pick up, the dial tone is poor company.",
    "warmth": "It's lovely to hear you.",
    "plain": "It's good to reach you.",
}
_GOODBYES: Final = {
    "coach": "Good work today, keep it up.",
    "wit": "I'll stop while I'm ahead.",
    "warmth": "It was lovely to talk with you.",
    "plain": "It was good to talk to you.",
}
_GLADNESS: Final = {
    "coach": "That's the spirit!",
    "wit": "Careful, that much cheer is contagious.",
    "warmth": "That makes me happy to hear.",
    "plain": "I'm glad to hear that.",
}
_COMFORT: Final = {
    "coach": "Tough days count double.",
    "wit": "Well, that deserves a better joke than I have.",
    "warmth": "I'm sorry, that sounds heavy.",
    "plain": "I'm sorry to hear that.",
}
_QUESTIONS: Final = {
    "coach": ("What is the next small step?", "When will you do it?", "What got you through last time?"),
    "wit": ("And what happened then?", "Who else knows about this?", "Would you do it again?"),
    "warmth": ("How did that feel?", "What would help you right now?", "Do you want to tell me more?"),
    "plain": ("How was that for you?", "What happened next?", "What do you make of it?"),
}


def _greeting(scene: _Scene) -> str:
    about = f"I'm calling about this: {scene.occasion}." if scene.occasion else _HELLOS[scene.manner]
    return f"Hi, this is {scene.name}. {about} How are you today?"


def _answer(scene: _Scene, last: str) -> str:
    """React, take up their words, ask on; every third time come back to something said before."""
    question = _QUESTIONS[scene.manner][scene.turn % len(_QUESTIONS[scene.manner])]
    if _HOW_ARE_YOU.search(last):
        mood = "I'm well, thank you." if not scene.occasion else f"I'm well, and thinking about this: {scene.occasion}."
        return f"{mood} Tell me, what has your day been like?"
    if last.endswith("?"):
        return f"Good question: {_mirrored(last)} I would rather hear your view first. What do you think?"
    if _THANKS.search(last) and len(last.split()) < 6:
        return f"You're very welcome. {question}"
    mood = _COMFORT[scene.manner] if _SAD.search(last) else _GLADNESS[scene.manner] if _GLAD.search(last) else ""
    if scene.turn % 3 == 2 and len(scene.heard) > 2:
        return f"{mood} Earlier you said: {_mirrored(scene.heard[-3])} Does this belong together?".strip()
    return f"{mood} So {_lowered(_mirrored(last))} {question}".strip()


def _mirrored(text: str) -> str:
    """The gist of a sentence as seen from the other side, as a sentence."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]
    longest = max(sentences, key=len, default=text)
    stripped = longest
    for _ in range(3):
        stripped = _OPENING.sub("", stripped)
    words = [_MIRROR.get(word.lower().strip(",;"), word) for word in stripped.strip(" .!?").split()]
    phrase = " ".join(words[:PHRASE_WORDS_MAX]) or "that"
    return phrase[0].upper() + phrase[1:] + ("?" if text.endswith("?") else ".")


def _lowered(sentence: str) -> str:
    return sentence if sentence.startswith(("I ", "I'")) else sentence[0].lower() + sentence[1:]


def _short(text: str) -> str:
    return " ".join(text.split()[:24]).rstrip(" .")


_PIECE: Final = re.compile(r"\s*\S{1,6}|\s+")


def tokens(text: str) -> list[str]:
    """The text in pieces of about a token each; joined they are the text again."""
    return _PIECE.findall(text)


def prompt_tokens(messages: Sequence[Said]) -> int:
    """What the prompt would count: its pieces, and a few for each message's frame."""
    return sum(len(tokens(message.content)) + 4 for message in messages) + 3
