"""The µ-law tables against the vectors of a codec that was in use for twenty years (`audioop`), and against
themselves."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback import mulaw

VECTORS = [
    (0, 0xFF, 0),
    (-1, 0x7E, -8),
    (8, 0xFE, 8),
    (132, 0xEF, 132),
    (1000, 0xCE, 988),
    (-1000, 0x4E, -988),
    (8031, 0xA0, 7932),
    (32767, 0x80, 32124),
    (-32768, 0x00, -32124),
]


@pytest.mark.parametrize(("sample", "code", "back"), VECTORS)
def test_sample_becomes_the_standard_code_and_returns(sample: int, code: int, back: int) -> None:
    encoded = mulaw.encode(struct.pack("<h", sample))

    assert (encoded, struct.unpack("<h", mulaw.decode(encoded))) == (bytes([code]), (back,))


def test_all_codes_decode_to_the_known_samples() -> None:
    assert hashlib.sha256(mulaw.decode(bytes(range(256)))).hexdigest().startswith("3dab54339e520bb2")


def test_all_samples_encode_to_the_known_codes() -> None:
    samples = struct.pack("<65536h", *range(-32768, 32768))

    assert hashlib.sha256(mulaw.encode(samples)).hexdigest().startswith("81d633c9e6972a18")


@given(st.binary(max_size=400))
def test_a_code_survives_the_way_there_and_back(codes: bytes) -> None:
    # Minus zero is the one code that comes back as another: both sound 0.
    assert mulaw.encode(mulaw.decode(codes)) == codes.replace(b"\x7f", b"\xff")


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError):
        mulaw.encode(b"\x00\x01\x02")


def test_silence_has_the_length_asked_for() -> None:
    assert mulaw.silence(20) == b"\xff" * mulaw.FRAME_BYTES
    assert mulaw.seconds(mulaw.silence(1500)) == 1.5
