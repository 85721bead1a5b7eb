"""The simulated listener's ear: marked speech in, Flux's turn events out. Pure, and all of its time is the sound's own.

It walks over the sound in steps of 20 ms. A clip is speech from its mark for as long as its marks go on, so a person
who is cut off is heard to stop. Sound without marks is silence to it.
"""

from collections import deque
from typing import Any, Final

import msgspec

from callmeback import mulaw
from callmeback.simulator.clips import MARK_EVERY_SAMPLES, MARK_SAMPLES, Reader, Registry, Sighting

STEP: Final = mulaw.FRAME_BYTES
UPDATE_STEPS: Final = 12
"""About every quarter of a second of sound."""

ONSET_STEPS: Final = 10
EAGER_STEPS: Final = 6
END_STEPS: Final = 13
"""260 ms of silence end a turn."""


class Thresholds(msgspec.Struct, frozen=True):
    """What the client asked for; an `eot` of 1 leaves only the timeout and ForceEndTurn."""

    eot: float = 0.7
    eager: float | None = None
    timeout_ms: int = 5000


class _Piece(msgspec.Struct):
    """Speech of one clip within the turn: from where in the stream, until where as known, and the words' place in
    it."""

    words: list[tuple[str, int, int]]
    breaks: list[int]
    origin: int
    start: int
    end: int


class Ear:
    """One socket's hearing; begins at turn 0 and second 0. `feed` answers the events, without their sequence
    numbers."""

    def __init__(self, registry: Registry, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._registry = registry
        self._reader = Reader()
        self._position = 0
        self._sightings: deque[Sighting] = deque()
        self._pieces: list[_Piece] = []
        self._turn = 0
        self._turn_from = 0
        self._open = False
        self._eager = False
        self._speech_steps = 0
        self._quiet_steps = 0
        self._since_event = 0

    def feed(self, sound: bytes) -> list[dict[str, Any]]:
        """Hear a piece of any size."""
        self._sightings.extend(self._reader.feed(sound))
        events = []
        # A mark is known one frame after its beginning, so the ear stays that far behind the sound.
        while self._position + STEP + MARK_SAMPLES <= self._reader.position:
            self._position += STEP
            event = self._step()
            if event is not None:
                self._since_event = 0
                events.append(event)
        return events

    def force_end(self) -> dict[str, Any] | None:
        """End the open turn by hand; None if there is none."""
        return self._end("manual") if self._open else None

    def last_update(self) -> dict[str, Any]:
        """What is still due when the stream is closed."""
        return self._info("Update")

    def _step(self) -> dict[str, Any] | None:
        while self._sightings and self._sightings[0].position < self._position:
            self._note(self._sightings.popleft())
        speaking = any(piece.start < self._position <= piece.end for piece in self._pieces)
        self._since_event += 1
        if speaking:
            self._speech_steps += 1
            # A pause at a sentence's end within a clip is short, and sounds like an end at first.
            paused = self._open and not self._eager and self.thresholds.eager is not None and self._sentence_ended()
            self._quiet_steps = 0
            return self._resumed() or (self._eager_end() if paused else None) or self._begun() or self._due()
        self._quiet_steps += 1
        if not self._open:
            self._speech_steps = 0
            return self._due()
        return self._quiet()

    def _note(self, sighting: Sighting) -> None:
        last = self._pieces[-1] if self._pieces else None
        origin = sighting.position - sighting.offset
        end = sighting.position + min(MARK_EVERY_SAMPLES, sighting.samples - sighting.offset)
        if last is not None and last.origin == origin:
            last.end = end
            return
        text = self._registry.text(sighting.clip_id)
        words = _words(text, origin, sighting)
        # Where a sentence ends with more to come.
        breaks = [word[2] for word in words[:-1] if word[0].endswith((".", "!", "?"))]
        self._pieces.append(_Piece(words, breaks, origin, sighting.position, end))

    def _begun(self) -> dict[str, Any] | None:
        if self._open or self._speech_steps < ONSET_STEPS:
            return None
        self._open = True
        return self._info("StartOfTurn")

    def _resumed(self) -> dict[str, Any] | None:
        if not self._eager:
            return None
        self._eager = False
        return self._info("TurnResumed")

    def _due(self) -> dict[str, Any] | None:
        return self._info("Update") if self._since_event >= UPDATE_STEPS else None

    def _quiet(self) -> dict[str, Any] | None:
        quiet_ms = self._quiet_steps * mulaw.FRAME_MS
        text = self._transcript()
        if self.thresholds.eot < 1 and self._quiet_steps >= END_STEPS and text:
            return self._end("model")
        if quiet_ms >= self.thresholds.timeout_ms:
            return self._end("timeout")
        if self.thresholds.eager is not None and not self._eager and self._quiet_steps >= EAGER_STEPS and text:
            return self._eager_end()
        return self._due()

    def _eager_end(self) -> dict[str, Any]:
        self._eager = True
        return self._info("EagerEndOfTurn")

    def _end(self, trigger: str) -> dict[str, Any]:
        info = self._info("EndOfTurn") | {"trigger": trigger}
        self._turn += 1
        self._turn_from = self._position
        self._pieces = [piece for piece in self._pieces if piece.end > self._position]
        self._open = self._eager = False
        self._speech_steps = 0
        return info

    def _sentence_ended(self) -> bool:
        return any(self._position - STEP < at <= self._position for piece in self._pieces for at in piece.breaks)

    def _said(self) -> list[tuple[str, int, int]]:
        """The words of the turn so far, each once it is whole."""
        return [word for piece in self._pieces for word in piece.words if word[2] <= min(self._position, piece.end)]

    def _transcript(self) -> str:
        return " ".join(word for word, _, _ in self._said())

    def _info(self, event: str) -> dict[str, Any]:
        """A TurnInfo, as of now; times in seconds of this socket's sound."""
        words = [
            {"word": word, "confidence": 0.98, "start": _seconds(start), "end": _seconds(end)}
            for word, start, end in self._said()
        ]
        over = {"EndOfTurn": 0.86, "EagerEndOfTurn": 0.62, "TurnResumed": 0.21}.get(event, 0.05)
        return {
            "type": "TurnInfo",
            "event": event,
            "turn_index": self._turn,
            "audio_window_start": _seconds(self._turn_from),
            "audio_window_end": _seconds(self._position),
            "transcript": self._transcript(),
            "words": words,
            "end_of_turn_confidence": over,
        }


def _words(text: str, origin: int, first: Sighting) -> list[tuple[str, int, int]]:
    """The words with their first and last sample in the stream, spread over the clip by their letters; those before the
    sighting, when the clip was joined late, are left out."""
    length = max(1, len(text))
    placed = []
    at = 0
    for word in text.split():
        begin = text.index(word, at)
        at = begin + len(word)
        start, end = (origin + first.samples * place // length for place in (begin, at))
        if end > first.position:
            placed.append((word, start, end))
    return placed


def _seconds(samples: int) -> float:
    return round(samples / mulaw.RATE_HZ, 3)
