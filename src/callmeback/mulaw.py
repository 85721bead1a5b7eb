"""µ-law, the telephone's 8-bit code (ITU-T G.711), and how it is turned to and from 16-bit samples. Pure: no I/O.

Python lost its own codec with `audioop` (PEP 594), so the tables are built here once, at import: 256 codes, 65,536
samples. What is done with the sound (frames, loudness, mixing) lives in `voice/audio.py`.
"""

import sys
from array import array
from typing import Final

RATE_HZ: Final = 8000
"""Samples, and therefore bytes, in a second."""

FRAME_MS: Final = 20
FRAME_BYTES: Final = RATE_HZ * FRAME_MS // 1000
"""One frame of the carrier: 160 bytes."""

SILENCE: Final = 0xFF
"""The code of sample 0; its twin 0x7F is minus zero."""

_BIAS = 0x21
_CLIP = 8158
_SEGMENT_ENDS = (0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF, 0x1FFF)
_EXPAND_BIAS = 0x84


def _encode_sample(sample: int) -> int:
    """The code of a 16-bit sample; works on its upper 14 bits, as the standard does, shifting minus towards minus
    infinity."""
    magnitude, mask = sample >> 2, 0xFF
    if magnitude < 0:
        magnitude, mask = -magnitude, 0x7F
    magnitude = min(magnitude, _CLIP) + _BIAS
    segment = next(index for index, end in enumerate(_SEGMENT_ENDS) if magnitude <= end)
    return ((segment << 4) | ((magnitude >> (segment + 1)) & 0xF)) ^ mask


def _decode_code(code: int) -> int:
    """The 16-bit sample in the middle of the code's step."""
    inverted = ~code & 0xFF
    magnitude = ((((inverted & 0x0F) << 3) + _EXPAND_BIAS) << ((inverted & 0x70) >> 4)) - _EXPAND_BIAS
    return -magnitude if inverted & 0x80 else magnitude


_SAMPLES: Final = tuple(_decode_code(code) for code in range(256))
# Indexed by the sample read as unsigned, so that encoding is one look-up a sample and needs no sign test. Four samples
# in a row differ in the lower two bits only, which the code doesn't know: one is worked out for all of them.
_CODES: Final = b"".join(
    bytes([_encode_sample(index - 0x10000 if index >= 0x8000 else index)]) * 4 for index in range(0, 0x10000, 4)
)


def decode(codes: bytes) -> bytes:
    """µ-law bytes to as many signed 16-bit little-endian samples."""
    samples = array("h", map(_SAMPLES.__getitem__, codes))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def encode(pcm: bytes) -> bytes:
    """Signed 16-bit little-endian samples to as many µ-law bytes. Raises ValueError for an odd number of bytes."""
    samples = array("H")
    samples.frombytes(pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return bytes(map(_CODES.__getitem__, samples))


def silence(duration_ms: int) -> bytes:
    """µ-law silence of that length."""
    return bytes([SILENCE]) * (duration_ms * RATE_HZ // 1000)


def seconds(codes: bytes) -> float:
    """How long these µ-law bytes sound."""
    return len(codes) / RATE_HZ
