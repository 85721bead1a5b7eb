"""Telephone audio as the carrier sends it: µ-law, 8,000 bytes a second, one byte a sample; pure arithmetic on bytes.

The coding tables themselves stand in `callmeback.mulaw`; here are only frames, durations and the gathering of frames.
"""

from __future__ import annotations

from collections.abc import Iterator

from callmeback import mulaw

BYTES_PER_SECOND = mulaw.RATE_HZ
SILENT_BYTE = bytes((mulaw.SILENCE,))

# Deepgram advises about 80 ms a message: four carrier frames. While the persona speaks each frame goes at once, since a
# barge-in must be noticed within 50 ms.
LISTENER_CHUNK_BYTES = 4 * mulaw.FRAME_BYTES
CLOSE_CHUNK_MS = mulaw.FRAME_MS

# A mark follows each slice, so what was heard is known to this granularity: 400 ms.
SLICE_BYTES = 20 * mulaw.FRAME_BYTES


def seconds(byte_count: int) -> float:
    """The playing time of that many µ-law bytes."""
    return byte_count / BYTES_PER_SECOND


def silence(duration_seconds: float) -> bytes:
    """µ-law silence of a duration, whole samples, rounded down; nothing for a negative duration."""
    return SILENT_BYTE * max(0, int(duration_seconds * BYTES_PER_SECOND))


def slices(audio: bytes, size: int = SLICE_BYTES) -> Iterator[bytes]:
    """The audio in pieces of at most `size` bytes, in order, none empty."""
    for start in range(0, len(audio), size):
        yield audio[start : start + size]


class Gatherer:
    """Joins small frames into chunks of at least a size, so that one frame costs an append and not a send."""

    __slots__ = ("_frames", "_held", "size")

    def __init__(self, size: int = LISTENER_CHUNK_BYTES) -> None:
        self.size = size
        self._frames: list[bytes] = []
        self._held = 0

    def add(self, frame: bytes) -> bytes | None:
        """Take a frame; answers the joined chunk once enough is held, else None."""
        self._frames.append(frame)
        self._held += len(frame)
        if self._held < self.size:
            return None
        return self.take()

    def take(self) -> bytes:
        """What is held now, be it less than a chunk; empty when nothing is."""
        chunk = b"".join(self._frames)
        self._frames.clear()
        self._held = 0
        return chunk
