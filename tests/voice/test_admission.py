"""How many calls a process takes, and how it lets them end."""

import asyncio

import pytest
from tests.voice.line import Call, now, ticket_of, virtually

from callmeback.voice.admission import Admission, CallsFull, Draining


def test_a_process_takes_as_many_calls_as_it_can_carry_and_refuses_the_next():
    admission = Admission(calls_max=2)

    with admission.admit("call_1"), admission.admit("call_2"):
        with pytest.raises(CallsFull), admission.admit("call_3"):
            pass
        assert set(admission.live) == {"call_1", "call_2"}

    with admission.admit("call_3"):
        assert set(admission.live) == {"call_3"}
    assert admission.live == {}


def test_a_call_is_not_taken_twice():
    admission = Admission()

    with admission.admit("call_1"), pytest.raises(CallsFull), admission.admit("call_1"):
        pass


def test_a_call_that_fails_frees_its_place():
    admission = Admission()

    with pytest.raises(ZeroDivisionError), admission.admit("call_1"):
        raise ZeroDivisionError
    assert admission.live == {}


def test_a_drain_refuses_new_calls_and_lets_live_ones_say_goodbye(card):
    async def story():
        admission = Admission()

        async def hold_call():
            with admission.admit("call_1") as control:
                call = Call(ticket_of(card))
                call.control = control
                return await call.run()

        task = asyncio.create_task(hold_call())
        await asyncio.sleep(4)
        began = now()
        drained = await admission.drain(15)
        took = now() - began
        with pytest.raises(Draining), admission.admit("call_2"):
            pass
        return drained, took, await task

    drained, took, outcome = virtually(story())

    assert drained
    assert took <= 16
    assert outcome.end_reason == "drained"


def test_a_drain_waits_for_nobody_for_ever():
    async def story():
        admission = Admission()
        with admission.admit("call_1"):
            return await admission.drain(5)

    assert virtually(story()) is False
