"""The person's audio on its way to the listener: gathered, but sent at once while there is somebody to interrupt."""

import asyncio

from tests.voice.line import Call, Line, Listener, now, ticket_of, virtually

from callmeback.providers.deepgram import EndOfTurn, StartOfTurn
from callmeback.voice.hearing import EARLY_BYTES_MAX, Hearing

FRAME = b"\x55" * 160


class Counting(Listener):
    def __init__(self):
        super().__init__()
        self.chunks = []

    def send(self, sound):
        super().send(sound)
        self.chunks.append(len(sound))


async def opened(listener, failures=()):
    hearing = Hearing(lambda: asyncio.sleep(0, listener), now, list(failures))
    events = hearing.events()
    task = asyncio.create_task(anext(events))
    await asyncio.sleep(0.01)
    return hearing, events, task


def test_frames_are_gathered_unless_somebody_may_interrupt():
    async def story():
        listener = Counting()
        hearing, _, task = await opened(listener)
        for _ in range(8):
            hearing.take(FRAME)
        hearing.attend(closely=True)
        for _ in range(3):
            hearing.take(FRAME)
        hearing.attend(closely=False)
        for _ in range(4):
            hearing.take(FRAME)
        task.cancel()
        return listener.chunks

    assert virtually(story()) == [640, 640, 160, 160, 160, 640]


def test_messages_without_sound_do_not_keep_silence_from_the_listener():
    async def story():
        listener = Counting()
        hearing, _, task = await opened(listener)
        for _ in range(30):
            await asyncio.sleep(0.1)
            hearing.take(b"")
            hearing.fill_pause()
        task.cancel()
        return sum(listener.chunks)

    assert virtually(story()) >= 2.5 * 8000


def test_audio_from_before_the_listener_was_there_is_heard_first_and_bounded():
    async def story():
        listener = Counting()
        gate = asyncio.Event()

        async def late():
            await gate.wait()
            return listener

        hearing = Hearing(late, now, [])
        task = asyncio.create_task(anext(hearing.events()))
        for _ in range(4 * 100):
            hearing.take(FRAME)
        early = listener.bytes
        gate.set()
        await asyncio.sleep(0.1)
        task.cancel()
        return early, listener.bytes

    early, later = virtually(story())

    assert early == 0
    assert EARLY_BYTES_MAX - 640 < later <= EARLY_BYTES_MAX


def test_the_end_of_speech_is_placed_on_our_clock_by_the_audio_s_time():
    async def story():
        hearing, _, task = await opened(Listener())
        began = now()
        await asyncio.sleep(0.02)
        hearing.take(FRAME)
        await asyncio.sleep(3)
        known = hearing.said_at(EndOfTurn(0, "hi", 2.0)) - began
        unknown = hearing.said_at(EndOfTurn(0, "hi", None)) - now()
        future = hearing.said_at(EndOfTurn(0, "hi", 99.0)) - now()
        task.cancel()
        return known, unknown, future, hearing.said_at(StartOfTurn(0)) - now()

    known, unknown, future, other = virtually(story())

    assert abs(known - 2.0) < 0.001
    assert (unknown, future, other) == (0, 0, 0)


def test_in_a_call_frames_go_at_once_while_the_persona_speaks(card):
    async def story():
        call = Call(ticket_of(card), line=Line(frame_seconds=0.02), listener=Counting())

        async def person(call):
            await call.persona_speaks()
            await asyncio.sleep(0.5)
            call.while_speaking = set(call.listener.chunks[-5:])
            await call.persona_is_done()
            await asyncio.sleep(0.5)
            call.while_listening = set(call.listener.chunks[-3:])
            call.line.person_hangs_up()

        await call.run(person)
        return call

    call = virtually(story())

    assert call.while_speaking == {160}
    assert call.while_listening == {640}
