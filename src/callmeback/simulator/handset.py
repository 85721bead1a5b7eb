"""The person's end of a call: what they say goes out frame by frame, what is played to them is heard and written
down."""

import asyncio
from collections.abc import Callable
from typing import Final

from callmeback import mulaw
from callmeback.providers.espeak import LocalVoice, Style
from callmeback.simulator.clips import Heard, Registry

SPEECH_BYTES_MAX: Final = 120 * mulaw.RATE_HZ
POLL_S: Final = 0.05
PERSON: Final = Style("en-us+f5", pitch=50)
_LOUD_SAMPLE: Final = 64
_LOUD: Final = bytes(
    abs(int.from_bytes(mulaw.decode(bytes([code])), "little", signed=True)) >= _LOUD_SAMPLE for code in range(256)
)
_SILENT_FRAME: Final = mulaw.silence(mulaw.FRAME_MS)


class Handset:
    """Held by a person, a machine or a page. Sound is in frames of 20 ms, and time is counted in it."""

    def __init__(self, voice: LocalVoice, clips: Registry) -> None:
        self.heard = Heard(clips)
        self.digits: asyncio.Queue[str] = asyncio.Queue(maxsize=64)
        self.on_sound: Callable[[bytes], None] | None = None
        self.on_clear: Callable[[], None] | None = None
        self.on_caption: Callable[[str], None] | None = None
        self._voice = voice
        self._clips = clips
        self._speech = bytearray()
        self._saying = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._loud_frames = 0
        self._quiet_frames = 0

    async def say(self, text: str, style: Style = PERSON) -> None:
        """Begin to say something, after what is being said already. Too much at once is cut."""
        self._saying += 1
        self._idle.clear()
        try:
            sound = await self._voice.speak(text, style)
            if sound:
                self.play(self._clips.add(text, sound))
        finally:
            self._saying -= 1
            self._rest()

    def play(self, sound: bytes) -> None:
        """Send a sound as it is, after what is being said already."""
        self._speech += sound[: SPEECH_BYTES_MAX - len(self._speech)]
        self._idle.clear()

    async def said(self) -> None:
        """Return once everything was said."""
        await self._idle.wait()

    def next_frame(self) -> bytes:
        """The next 20 ms from the person; silence when they say nothing."""
        if not self._speech:
            return _SILENT_FRAME
        frame = bytes(self._speech[: mulaw.FRAME_BYTES])
        del self._speech[: mulaw.FRAME_BYTES]
        self._rest()
        return frame.ljust(mulaw.FRAME_BYTES, b"\xff")

    def _rest(self) -> None:
        if not self._speech and not self._saying:
            self._idle.set()

    def hear(self, sound: bytes) -> None:
        """20 ms were played to the person; empty for silence of the line."""
        if sound:
            for text in self.heard.feed(sound):
                if self.on_caption is not None:
                    self.on_caption(text)
            if self.on_sound is not None:
                self.on_sound(sound)
        if sound and 1 in sound.translate(_LOUD):
            self._loud_frames += 1
            self._quiet_frames = 0
        else:
            self._quiet_frames += 1

    def cut(self) -> None:
        """What was queued for the person was thrown away."""
        self.heard.cut()
        if self.on_clear is not None:
            self.on_clear()

    async def other_spoke(self, pause_seconds: float, patience_seconds: float) -> bool:
        """Wait until the other side has spoken and then kept quiet for the pause; False when patience ran out first."""
        self._loud_frames = 0
        pause = pause_seconds * 1000 / mulaw.FRAME_MS
        return await self._until(lambda: self._loud_frames > 0 and self._quiet_frames >= pause, patience_seconds)

    async def other_speaks(self, for_seconds: float, patience_seconds: float) -> bool:
        """Wait until the other side has been speaking for so long; False when patience ran out first."""
        self._loud_frames = 0
        frames = for_seconds * 1000 / mulaw.FRAME_MS
        return await self._until(lambda: self._loud_frames >= frames, patience_seconds)

    async def _until(self, reached: Callable[[], bool], patience_seconds: float) -> bool:
        for _ in range(int(patience_seconds / POLL_S)):
            if reached():
                return True
            await asyncio.sleep(POLL_S)
        return False
