"""Who may speak now: a pure table of transitions between listening, thinking, speaking and interrupted.

The rules are those of Flux's turn events: think on an eager end of turn, drop the thought when the turn resumes, speak
at the end of the turn; a start of turn while the persona speaks is a barge-in. `session.py` acts.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """What the persona is doing."""

    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"
    LEAVING = "leaving"


class Event(Enum):
    """What happened on the line."""

    START_OF_TURN = "start_of_turn"
    EAGER_END = "eager_end"
    RESUMED = "resumed"
    END_OF_TURN = "end_of_turn"
    """The turn ended with the text of the thought in hand, or with no thought in hand."""
    END_OF_OTHER_TURN = "end_of_other_turn"
    """The turn ended with another text than the thought in hand was thought for."""
    SAY = "say"
    """The persona speaks unasked: greeting, warning, question into a silence."""
    PLAYED = "played"
    NOISE = "noise"
    """The start of turn that interrupted was no speech: nothing followed it."""
    WARN = "warn"
    """The last moment for the warning: it is said into whatever is being said."""
    LEAVE = "leave"
    """The goodbye begins; from here on nothing interrupts."""


class Action(Enum):
    """What the session does, in the order given."""

    CUT = "cut"
    """Raise the generation, clear the carrier's buffer, cancel the reply and its voice."""
    DROP = "drop"
    """Cancel the thought in hand; none of it was spoken."""
    HEAR = "hear"
    """The person's words become part of the conversation."""
    THINK = "think"
    SPEAK = "speak"
    RESUME = "resume"
    """Say what was left unheard of the reply that a noise or the warning cut."""


Step = tuple[State, tuple[Action, ...]]

# The thought takes the words with what was said before them, so they join the conversation only after it.
_ANSWER: Final = (Action.THINK, Action.HEAR, Action.SPEAK)

TABLE: Final[dict[tuple[State, Event], Step]] = {
    (State.LISTENING, Event.EAGER_END): (State.THINKING, (Action.THINK,)),
    (State.LISTENING, Event.END_OF_TURN): (State.SPEAKING, _ANSWER),
    (State.LISTENING, Event.END_OF_OTHER_TURN): (State.SPEAKING, _ANSWER),
    (State.LISTENING, Event.SAY): (State.SPEAKING, (Action.SPEAK,)),
    (State.LISTENING, Event.WARN): (State.SPEAKING, (Action.SPEAK,)),
    (State.LISTENING, Event.LEAVE): (State.LEAVING, (Action.SPEAK,)),
    # A replay after a reconnect may start a turn again that was thought about already.
    (State.THINKING, Event.START_OF_TURN): (State.LISTENING, (Action.DROP,)),
    (State.THINKING, Event.EAGER_END): (State.THINKING, (Action.DROP, Action.THINK)),
    (State.THINKING, Event.RESUMED): (State.LISTENING, (Action.DROP,)),
    (State.THINKING, Event.END_OF_TURN): (State.SPEAKING, (Action.HEAR, Action.SPEAK)),
    (State.THINKING, Event.END_OF_OTHER_TURN): (State.SPEAKING, (Action.DROP, *_ANSWER)),
    (State.THINKING, Event.LEAVE): (State.LEAVING, (Action.DROP, Action.SPEAK)),
    (State.SPEAKING, Event.START_OF_TURN): (State.INTERRUPTED, (Action.CUT,)),
    # The start of the turn may have been lost with a socket; the end of one says as much.
    (State.SPEAKING, Event.EAGER_END): (State.THINKING, (Action.CUT, Action.THINK)),
    (State.SPEAKING, Event.END_OF_TURN): (State.SPEAKING, (Action.CUT, *_ANSWER)),
    (State.SPEAKING, Event.END_OF_OTHER_TURN): (State.SPEAKING, (Action.CUT, *_ANSWER)),
    (State.SPEAKING, Event.PLAYED): (State.LISTENING, ()),
    (State.SPEAKING, Event.WARN): (State.SPEAKING, (Action.CUT, Action.RESUME)),
    (State.SPEAKING, Event.LEAVE): (State.LEAVING, (Action.CUT, Action.SPEAK)),
    (State.INTERRUPTED, Event.EAGER_END): (State.THINKING, (Action.THINK,)),
    (State.INTERRUPTED, Event.END_OF_TURN): (State.SPEAKING, _ANSWER),
    (State.INTERRUPTED, Event.END_OF_OTHER_TURN): (State.SPEAKING, _ANSWER),
    (State.INTERRUPTED, Event.NOISE): (State.SPEAKING, (Action.RESUME,)),
    (State.INTERRUPTED, Event.WARN): (State.SPEAKING, (Action.SPEAK,)),
    (State.INTERRUPTED, Event.LEAVE): (State.LEAVING, (Action.SPEAK,)),
    # Words said over the goodbye still belong to the transcript; they get no answer.
    (State.LEAVING, Event.END_OF_TURN): (State.LEAVING, (Action.HEAR,)),
    (State.LEAVING, Event.END_OF_OTHER_TURN): (State.LEAVING, (Action.HEAR,)),
}


def step(state: State, event: Event) -> Step:
    """The next state and the actions to take; an event that means nothing in a state changes nothing."""
    return TABLE.get((state, event), (state, ()))
