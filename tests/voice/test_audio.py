"""Frames, chunks and silence: nothing is lost, reordered or invented."""

from hypothesis import given
from hypothesis import strategies as st

from callmeback.voice import audio


def test_frames_of_20_ms_reach_the_listener_as_chunks_of_80_ms():
    gatherer = audio.Gatherer()
    frames = [bytes([index]) * 160 for index in range(9)]

    chunks = [chunk for frame in frames if (chunk := gatherer.add(frame)) is not None]

    assert chunks == [b"".join(frames[:4]), b"".join(frames[4:8])]
    assert gatherer.take() == frames[8]
    assert gatherer.take() == b""


@given(st.lists(st.binary(max_size=900), max_size=30), st.integers(1, 1000))
def test_gathering_loses_and_reorders_nothing(frames, size):
    gatherer = audio.Gatherer(size)

    chunks = [chunk for frame in frames if (chunk := gatherer.add(frame)) is not None]
    rest = gatherer.take()

    assert b"".join(chunks) + rest == b"".join(frames)
    assert all(len(chunk) >= size for chunk in chunks)
    assert len(rest) < size


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_slices_are_the_audio_in_order_and_never_empty(sound, size):
    pieces = list(audio.slices(sound, size))

    assert b"".join(pieces) == sound
    assert all(0 < len(piece) <= size for piece in pieces)


def test_silence_has_the_asked_length_and_none_for_the_past():
    assert audio.silence(0.5) == b"\xff" * 4000
    assert audio.silence(-1) == b""
    assert audio.seconds(4000) == 0.5
