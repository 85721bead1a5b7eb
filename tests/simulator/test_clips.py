"""Marks hidden in speech: found in pieces of any size, by nobody else, and for as much as was heard."""

import random
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callmeback import mulaw
from callmeback.simulator.clips import MARK_EVERY_SAMPLES, MARK_SAMPLES, Heard, Reader, Registry, portion

_noise = random.Random(7)


def speech(seconds: float) -> bytes:
    return bytes(_noise.randrange(256) for _ in range(int(seconds * mulaw.RATE_HZ)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), lead=st.integers(0, 1000), length=st.floats(0.05, 3.0))
def test_marks_are_found_however_the_stream_is_cut(data: st.DataObject, lead: int, length: float) -> None:
    clip = Registry().add("words", speech(length))
    stream = b"\xff" * lead + clip + b"\xff" * 100
    reader, found = Reader(), []
    while stream:
        size = data.draw(st.integers(1, 2000))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    marks = range(0, len(clip), MARK_EVERY_SAMPLES)

    assert [(s.offset, s.position) for s in found] == [(offset, lead + offset) for offset in marks]
    assert all(s.samples == len(clip) for s in found)


def test_marking_is_inaudible_and_fills_a_frame() -> None:
    sound = speech(1.01)
    marked = Registry().add("words", sound)

    assert len(marked) % MARK_SAMPLES == 0
    before, after = (struct.unpack(f"<{len(sound)}h", mulaw.decode(s[: len(sound)])) for s in (sound, marked))
    # One step of the code at most: an eighth of the sample, or nearly nothing.
    assert all(abs(a - b) <= max(16, abs(a) // 8) for a, b in zip(before, after, strict=True))
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 3 * MARK_SAMPLES


def test_noise_and_silence_hold_no_mark() -> None:
    assert Reader().feed(speech(30) + mulaw.silence(10_000)) == []


def test_a_damaged_mark_is_no_mark() -> None:
    marked = bytearray(Registry().add("words", speech(0.3)))
    marked[100] ^= 1

    assert Reader().feed(bytes(marked)) == []


def test_heard_text_follows_what_was_played() -> None:
    registry = Registry()
    first, second = registry.add("a b c d", speech(2)), registry.add("e f g h", speech(2))
    heard = Heard(registry)
    heard.feed(first)
    heard.feed(second[: len(second) // 2])
    middle = heard.text()
    heard.cut()
    heard.feed(mulaw.silence(1000))

    assert middle == heard.text() == "a b c d e f"
    assert heard.seconds == 4.0


def test_a_clip_played_twice_is_heard_twice() -> None:
    registry = Registry()
    clip = registry.add("again", speech(0.7))
    heard = Heard(registry)
    began = heard.feed(clip + clip)

    assert (heard.text(), began) == ("again again", ["again", "again"])


def test_a_clip_joined_late_is_heard_from_there() -> None:
    registry = Registry()
    clip = registry.add("one two three four", speech(2))
    heard = Heard(registry)
    heard.feed(clip[len(clip) // 2 :])

    assert heard.text() == "three four"


@example(["A"], 0.9999999999999999)
@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=5), max_size=8), st.floats(0, 1))
def test_portions_of_a_text_join_to_the_whole(words: list[str], cut: float) -> None:
    text = " ".join(words)

    assert f"{portion(text, 0, cut)} {portion(text, cut, 1)}".split() == text.split()


def test_unknown_clips_have_no_text() -> None:
    assert Registry().text(99) == ""
    heard = Heard(Registry())
    heard.feed(Registry().add("elsewhere", speech(0.2)))
    assert heard.text() == ""


@pytest.mark.parametrize("seconds", [0.0, 0.001])
def test_very_short_sound_can_be_marked(seconds: float) -> None:
    registry = Registry()

    assert len(registry.add("", speech(seconds))) in {0, MARK_SAMPLES}
