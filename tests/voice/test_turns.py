"""The table of turns, row by row and walked at random."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.voice.turns import TABLE, Action, Event, State, step

# The persona speaks by itself, or goes on; nothing was asked.
_UNASKED = (Event.SAY, Event.WARN, Event.LEAVE, Event.NOISE)


@pytest.mark.parametrize(
    ("state", "event", "expected"),
    [
        (State.LISTENING, Event.EAGER_END, (State.THINKING, (Action.THINK,))),
        (State.THINKING, Event.RESUMED, (State.LISTENING, (Action.DROP,))),
        (State.THINKING, Event.END_OF_TURN, (State.SPEAKING, (Action.HEAR, Action.SPEAK))),
        (
            State.THINKING,
            Event.END_OF_OTHER_TURN,
            (State.SPEAKING, (Action.DROP, Action.THINK, Action.HEAR, Action.SPEAK)),
        ),
        (State.LISTENING, Event.END_OF_TURN, (State.SPEAKING, (Action.THINK, Action.HEAR, Action.SPEAK))),
        (State.SPEAKING, Event.START_OF_TURN, (State.INTERRUPTED, (Action.CUT,))),
        (State.INTERRUPTED, Event.NOISE, (State.SPEAKING, (Action.RESUME,))),
        (State.SPEAKING, Event.WARN, (State.SPEAKING, (Action.CUT, Action.RESUME))),
        (State.SPEAKING, Event.PLAYED, (State.LISTENING, ())),
    ],
)
def test_the_rules_of_the_turns(state, event, expected):
    assert step(state, event) == expected


@pytest.mark.parametrize("event", list(Event))
def test_nothing_interrupts_or_answers_during_the_goodbye(event):
    state, actions = step(State.LEAVING, event)

    assert state is State.LEAVING
    assert set(actions) <= {Action.HEAR}


def test_what_means_nothing_changes_nothing():
    assert step(State.LISTENING, Event.PLAYED) == (State.LISTENING, ())
    assert step(State.LISTENING, Event.START_OF_TURN) == (State.LISTENING, ())
    assert step(State.SPEAKING, Event.SAY) == (State.SPEAKING, ())


@given(st.lists(st.sampled_from(list(Event)), max_size=60))
def test_any_sequence_keeps_at_most_one_reply_and_one_thought(events):
    """Walks the table with a ledger of what is running, as the session would keep it."""
    state = State.LISTENING
    thought = reply = False
    for event in events:
        if event is Event.PLAYED and not reply:
            continue
        before = state
        state, actions = step(state, event)
        if event is Event.PLAYED:
            reply = False
        for action in actions:
            if action is Action.CUT:
                assert before is State.SPEAKING
                reply = thought = False
            elif action is Action.DROP:
                assert thought, "only a thought that is there can be dropped"
                thought = False
            elif action is Action.THINK:
                assert not thought, "a second thought would be paid for twice"
                thought = True
            elif action in (Action.SPEAK, Action.RESUME):
                assert not reply, "two replies would be heard at once"
                assert thought or Action.THINK in actions or event in _UNASKED
                thought, reply = False, True
        assert thought == (state is State.THINKING)
        if state is not State.LEAVING:
            assert reply == (state is State.SPEAKING)


def test_only_the_goodbye_has_no_way_out():
    left = {state for (state, _), (after, _) in TABLE.items() if after is not state}

    assert left == set(State) - {State.LEAVING}
