"""What was said, carried inside the sound that says it: a registry of spoken clips, and the mark that names one in
its audio.

The simulated listener has no speech recognition and the simulated carrier no ears. So every clip that a simulator
speaks hides its id in the lowest bits of its samples, at its start and every half second (so that a clip joined late
or cut early is still known, and for how much of it). At telephone quality the lowest bit of µ-law is inaudible. The
text itself stays in the registry.
"""

import zlib
from collections import OrderedDict
from typing import Final

import msgspec

from callmeback import mulaw

MARK_SAMPLES: Final = 160
MARK_EVERY_SAMPLES: Final = 4000
CLIPS_MAX: Final = 20_000
"""Older clips are forgotten: nobody hears them any more."""

_MAGIC: Final = bytes(int(bit) for bit in f"{0xC0FFEE5EED0BB1E5:064b}")
_LOWEST_BIT: Final = bytes(code & 1 for code in range(256))
_CLEARED: Final = bytes(code & 0xFE for code in range(256))
_DIGITS: Final = bytes.maketrans(b"\x00\x01", b"01")


class Clip(msgspec.Struct, frozen=True):
    """A piece of speech: its words, and its length in samples (a multiple of a frame)."""

    id: int
    text: str
    samples: int


class Sighting(msgspec.Struct, frozen=True):
    """A mark found in a stream: `position` is the sample of the stream at which sample `offset` of the clip stands."""

    clip_id: int
    offset: int
    samples: int
    position: int


class Registry:
    """The clips of this process, by id."""

    def __init__(self) -> None:
        self._clips: OrderedDict[int, Clip] = OrderedDict()
        self._next = 1

    def add(self, text: str, sound: bytes) -> bytes:
        """Register µ-law `sound` that says `text`; answers the sound with the marks in it, filled up to a whole
        frame."""
        sound += bytes([mulaw.SILENCE]) * (-len(sound) % MARK_SAMPLES)
        clip = Clip(self._next, text, len(sound))
        self._next += 1
        self._clips[clip.id] = clip
        if len(self._clips) > CLIPS_MAX:
            self._clips.popitem(last=False)
        return _marked(sound, clip.id)

    def text(self, clip_id: int) -> str:
        """What the clip says; empty for one that is unknown here."""
        clip = self._clips.get(clip_id)
        return clip.text if clip else ""


def _marked(sound: bytes, clip_id: int) -> bytes:
    marked = bytearray(sound)
    for offset in range(0, len(sound), MARK_EVERY_SAMPLES):
        fields = clip_id << 32 | (offset // MARK_SAMPLES) << 16 | len(sound) // MARK_SAMPLES
        bits = _MAGIC + bytes(int(bit) for bit in f"{fields << 32 | _check(fields):096b}")
        place = slice(offset, offset + MARK_SAMPLES)
        marked[place] = bytes(code | bit for code, bit in zip(sound[place].translate(_CLEARED), bits, strict=True))
    return bytes(marked)


def _check(fields: int) -> int:
    return zlib.crc32(fields.to_bytes(8, "big"))


class Reader:
    """Finds marks in a stream that comes in pieces of any size."""

    def __init__(self) -> None:
        self._tail = b""
        self.position = 0
        """Samples read so far."""

    def feed(self, sound: bytes) -> list[Sighting]:
        """The marks completed by this piece, in order."""
        bits = self._tail + sound.translate(_LOWEST_BIT)
        start = self.position - len(self._tail)
        self.position += len(sound)
        found = []
        at = bits.find(_MAGIC)
        while at != -1 and at + MARK_SAMPLES <= len(bits):
            sighting = _read(bits[at + len(_MAGIC) : at + MARK_SAMPLES], start + at)
            if sighting is not None:
                found.append(sighting)
            at = bits.find(_MAGIC, at + 1)
        # A mark that has begun is kept whole; else only as much as could begin one.
        self._tail = bits[at:] if at != -1 else bits[max(0, len(bits) - len(_MAGIC) + 1) :]
        return found


def _read(bits: bytes, position: int) -> Sighting | None:
    number = int(bits.translate(_DIGITS), 2)
    fields = number >> 32
    if number & 0xFFFFFFFF != _check(fields):
        return None
    return Sighting(
        clip_id=fields >> 32,
        offset=(fields >> 16 & 0xFFFF) * MARK_SAMPLES,
        samples=(fields & 0xFFFF) * MARK_SAMPLES,
        position=position,
    )


def portion(text: str, start: float, end: float) -> str:
    """The words of a text that lie between two fractions of its length, a word belonging to where it ends."""
    words = []
    at, length = 0, max(1, len(text))
    for word in text.split():
        at = text.index(word, at) + len(word)
        # A hair above both, so that a word is in exactly one of two neighbours.
        if start + 1e-9 < at / length <= end + 1e-9:
            words.append(word)
    return " ".join(words)


class Heard:
    """What somebody has heard of marked speech: the words, cut where the sound was cut. Fed with what was played
    only."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._reader = Reader()
        self._pieces: list[str] = []
        self._current: Sighting | None = None
        self._from = 0.0

    @property
    def seconds(self) -> float:
        """How much sound there was, marked or not."""
        return self._reader.position / mulaw.RATE_HZ

    def feed(self, sound: bytes) -> list[str]:
        """Listen on; answers the whole texts of the clips that began in this piece."""
        began = []
        for sighting in self._reader.feed(sound):
            if self._goes_on(sighting):
                continue
            self._close(sighting.position)
            self._current, self._from = sighting, sighting.offset / sighting.samples
            began.append(self._registry.text(sighting.clip_id))
        return began

    def _goes_on(self, sighting: Sighting) -> bool:
        """Whether this mark belongs to the same playing of the same clip as the one before."""
        current = self._current
        if current is None or sighting.clip_id != current.clip_id:
            return False
        return sighting.offset - current.offset == sighting.position - current.position

    def cut(self) -> None:
        """The rest of the current clip will not be heard."""
        self._close(self._reader.position)

    def text(self) -> str:
        """All words heard so far, the current clip's up to now."""
        return " ".join(piece for piece in [*self._pieces, self._heard_of_current(self._reader.position)] if piece)

    def _close(self, position: int) -> None:
        self._pieces.append(self._heard_of_current(position))
        self._current = None

    def _heard_of_current(self, position: int) -> str:
        if self._current is None:
            return ""
        heard = self._current.offset + position - self._current.position
        return portion(self._registry.text(self._current.clip_id), self._from, min(1.0, heard / self._current.samples))
