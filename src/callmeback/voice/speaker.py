"""What the persona says: text to a voice, its audio to the carrier, and the marks that tell what was heard.

One utterance is spoken at a time and each has a generation; whatever still arrives for an older one is dropped. When
the vendor's voice fails, the local one says what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from callmeback.providers.failures import VendorError
from callmeback.voice import audio
from callmeback.voice.gate import Gate, Pass
from callmeback.voice.meter import Meter
from callmeback.voice.speech import CHARACTERS_PER_SECOND, Record
from callmeback.voice.vendors import LocalVoice, MediaStream, Mouth, Silent, Spoken

# Text is given to the voice only this far ahead of what is heard: what is never said is never paid for.
LOOKAHEAD_SECONDS = 6.0
LOOKAHEAD_NAP_SECONDS_MIN = 0.02
LOOKAHEAD_NAP_SECONDS_MAX = 1.0
# The first words wait so long for a voice that is just being opened; then the local one says them.
MOUTH_WAIT_SECONDS_MAX = 0.8
# A voice that has text and gives no audio for this long has failed, if the person hears silence by then.
STALL_SECONDS_MAX = 1.0
# A mark that the carrier lost must not hold the line; playback is over by the clock.
MARK_LATE_SECONDS_MAX = 2.0
# Of an unaligned utterance that ends early, less than this part voiced means that the rest was lost.
UNALIGNED_PART_MIN = 0.5

NO_CENTS = Decimal(0)


class Utterance(Record):
    """Something being said, from its first text to its last mark."""

    __slots__ = (
        "closed",
        "context",
        "first_audio_at",
        "generation",
        "hummed_at",
        "last_audio_at",
        "last_text_at",
        "marked_bytes",
        "play_until",
        "played",
        "refused",
        "reserved",
        "silent",
        "with_local",
    )

    def __init__(self, generation: int, now: float, *, reserved: bool = False) -> None:
        super().__init__()
        self.reserved = reserved
        """It is paid for from what was set aside: the gate isn't asked."""
        self.generation = generation
        self.context = f"g{generation}"
        self.closed = False
        """No more text will come."""
        self.silent = False
        """No more audio will come."""
        self.with_local = False
        self.refused = False
        """The gate refused to pay for some of it."""
        self.first_audio_at: float | None = None
        self.hummed_at: float | None = None
        self.last_audio_at = now
        self.last_text_at = now
        self.play_until = now
        self.marked_bytes = 0
        self.played = asyncio.Event()


class Speaker:
    """The persona's mouth for one call."""

    def __init__(
        self,
        stream: MediaStream,
        local_voice: LocalVoice,
        meter: Meter,
        gate: Gate,
        clock: Callable[[], float],
        failures: list[str],
        first_audio: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._local_voice = local_voice
        self._meter = meter
        self._gate = gate
        self._clock = clock
        self._failures = failures
        self._first_audio = first_audio
        self._mouth: Mouth | None = None
        self._characters_counted = 0
        # A voice that lost its socket is sent again what has no sound yet: that much stays set aside.
        self._resend = gate.hold()
        # Set while it is known whether there is a voice of the vendor's; clear while one is being opened.
        self._mouth_known = asyncio.Event()
        self._generation = 0
        # Sentences said by the local voice keep their order though each is awaited.
        self._local_turn = asyncio.Lock()
        self.current: Utterance | None = None

    def expect(self) -> None:
        """The vendor's voice is being opened: a first sentence may wait for it, but not long."""
        self._mouth_known.clear()

    def use(self, mouth: Mouth | None) -> None:
        """The vendor's voice is there, or could not be had."""
        self._mouth = mouth
        self._characters_counted = mouth.characters_sent if mouth is not None else 0
        self._mouth_known.set()

    def begin(self, *, reserved: bool = False) -> Utterance:
        """A new utterance takes the line; the one before must be over or cut. A `reserved` one is paid for already."""
        self._generation += 1
        self.current = Utterance(self._generation, self._clock(), reserved=reserved)
        return self.current

    async def say(self, utterance: Utterance, sentence: str, *, aside: Pass | None = None) -> bool:
        """Say one more sentence; False if the gate refused it. Words for an utterance that was cut are dropped.

        One said `aside` is no part of the utterance's own text, and is paid for from what was set aside for it.
        """
        if self._mouth is None and not self._mouth_known.is_set() and not utterance.with_local:
            await self._wait_for_mouth()
        while utterance is self.current:
            nap = self._ahead_seconds(utterance) - LOOKAHEAD_SECONDS
            if nap <= 0:
                break
            await asyncio.sleep(min(max(nap, LOOKAHEAD_NAP_SECONDS_MIN), LOOKAHEAD_NAP_SECONDS_MAX))
        if utterance is not self.current:
            return True
        text = sentence + " "
        if aside is not None:
            aside.settle()
        if self._mouth is None or utterance.with_local:
            utterance.wrote(text, aside=aside is not None)
            return await self._say_locally(utterance, text)
        # Twice its price: it may have to be sent again.
        if not utterance.reserved and not self._affords(2 * len(text), local=False):
            utterance.refused = True
            return False
        utterance.wrote(text, aside=aside is not None)
        utterance.last_text_at = self._clock()
        self._characters_counted += len(text)
        self._meter.voice(len(text))
        self._set_resend_aside(utterance)
        try:
            await self._mouth.say(utterance.context, text)
        except VendorError:
            self._failures.append("voice:lost")
            return await self.fall_back()
        return True

    async def _wait_for_mouth(self) -> None:
        try:
            async with asyncio.timeout(MOUTH_WAIT_SECONDS_MAX):
                await self._mouth_known.wait()
        except TimeoutError:
            self._failures.append("voice:slow")

    async def hum(self, utterance: Utterance, filler: str) -> None:
        """A filler while the answer is late; by the local voice, for the other may be what is late."""
        if utterance.hummed_at is not None or not self._affords(len(filler), local=True):
            return
        utterance.hummed_at = self._clock()
        self._meter.local(len(filler))
        async with self._local_turn:
            sound = await self._speak_locally(filler)
            if utterance is self.current and utterance.first_audio_at is None:
                await self._send(utterance, sound, lambda size, _: utterance.hummed(size))

    async def close(self, utterance: Utterance) -> None:
        """No more text: what is held is spoken, and the last mark tells when it was heard."""
        if utterance is not self.current:
            return
        utterance.closed = True
        # Never an utterance without text: naming its context to the vendor would open one.
        if utterance.text and not utterance.with_local and self._mouth is not None:
            try:
                await self._mouth.finish(utterance.context)
            except VendorError:
                self._failures.append("voice:lost")
                await self.fall_back()
            return
        await self._end_of_audio(utterance)

    async def cut(self) -> Utterance | None:
        """Barge-in: the generation rises, the carrier forgets, the voice stops. Answers what was cut."""
        self._generation += 1
        self._resend.cents = NO_CENTS
        utterance, self.current = self.current, None
        # Also with nothing of ours queued: the carrier may hold seconds of it.
        await self._stream.send_clear()
        if utterance is not None and utterance.text and not utterance.silent and self._mouth is not None:
            try:
                await self._mouth.cancel(utterance.context)
            except VendorError:
                self._failures.append("voice:lost")
                self._mouth = None
        return utterance

    def mark(self, name: str) -> None:
        """A mark came back; one of an older generation doesn't mean that anything was heard."""
        utterance = self.current
        generation, _, byte_count = name.partition(":")
        if utterance is None or generation != str(utterance.generation) or not byte_count.isdecimal():
            return
        utterance.heard(int(byte_count))
        self._look_whether_played(utterance)

    async def event(self, event: Spoken | Silent) -> None:
        """Something came from the vendor's voice; dropped if it belongs to what was cut, or was said locally since."""
        utterance = self.current
        if utterance is None or event.context != utterance.context or utterance.with_local:
            return
        if isinstance(event, Spoken):
            await self._send(utterance, event.audio, utterance.sent, len(event.text))
            self._set_resend_aside(utterance)
            if utterance.silent:
                # The closing word came before the last sound; the end is now here.
                utterance.settle()
                await self._mark(utterance)
        elif utterance.closed:
            await self._end_of_audio(utterance)

    async def lost(self) -> None:
        """The vendor's voice is gone: the local one says what has no audio yet."""
        self._failures.append("voice:lost")
        self._mouth = None
        await self.fall_back()

    async def fall_back(self) -> bool:
        """Say the rest of the current utterance with the local voice; False if the gate refused it."""
        utterance = self.current
        if utterance is None or utterance.with_local or not utterance.text:
            return True
        utterance.with_local = True
        self._resend.cents = NO_CENTS
        missing = utterance.unvoiced_text()
        said = not missing or await self._say_locally(utterance, missing)
        if utterance.closed:
            await self._end_of_audio(utterance)
        return said

    async def look(self) -> None:
        """To be called many times a second: notices a voice that went quiet and a mark that never came."""
        self.count_resent()
        utterance, now = self.current, self._clock()
        if utterance is None or utterance.play_until > now:
            return
        if utterance.silent:
            if now - utterance.play_until > MARK_LATE_SECONDS_MAX:
                utterance.heard(utterance.bytes_sent)
                self._look_whether_played(utterance)
            return
        if utterance.with_local or not utterance.text:
            return
        quiet_since = max(utterance.last_text_at, utterance.last_audio_at, utterance.play_until)
        if now - quiet_since > STALL_SECONDS_MAX and self._misses_audio(utterance):
            await self._give_up_on_voice(utterance)

    def count_resent(self) -> None:
        """Count what the voice had to send again: it is billed again."""
        if self._mouth is not None and self._mouth.characters_sent > self._characters_counted:
            self._meter.voice(self._mouth.characters_sent - self._characters_counted)
            self._characters_counted = self._mouth.characters_sent

    def _set_resend_aside(self, utterance: Utterance) -> None:
        waiting = max(0, len(utterance.text) - utterance.voiced_characters())
        self._resend.cents = self._gate.speech_cents(waiting, local=False)

    def _misses_audio(self, utterance: Utterance) -> bool:
        """Is there text that should have been heard by now?"""
        if utterance.aligned():
            return bool(utterance.unvoiced_text()) or utterance.closed
        return utterance.closed or utterance.last_audio_at <= utterance.last_text_at

    async def _give_up_on_voice(self, utterance: Utterance) -> None:
        """Stop waiting for the vendor: either only its closing word is missing, or the local voice says the rest."""
        whole = utterance.voiced_characters() >= len(utterance.text) * UNALIGNED_PART_MIN
        if not utterance.unvoiced_text() or (utterance.closed and not utterance.aligned() and whole):
            await self._end_of_audio(utterance)
            return
        self._failures.append("voice:stalled")
        if self._mouth is not None:
            try:
                await self._mouth.cancel(utterance.context)
            except VendorError:
                self._mouth = None
        await self.fall_back()

    async def _say_locally(self, utterance: Utterance, text: str) -> bool:
        utterance.with_local = True
        if not utterance.reserved and not self._affords(len(text), local=True):
            utterance.refused = True
            return False
        self._meter.local(len(text))
        utterance.last_text_at = self._clock()
        upto = len(utterance.text)
        async with self._local_turn:
            sound = await self._speak_locally(text)
            if utterance is self.current:
                voiced = utterance.voiced_characters()
                await self._send(utterance, sound, utterance.sent, upto - voiced)
        return True

    async def _speak_locally(self, text: str) -> bytes:
        """The last voice there is; when even that fails nothing is heard, and the call goes on to its silence."""
        try:
            return await self._local_voice.speak(text)
        except VendorError:
            self._failures.append("local:lost")
            return b""

    async def _send(
        self, utterance: Utterance, sound: bytes, note: Callable[[int, int], None], characters: int = 0
    ) -> None:
        """Audio to the carrier in slices, each noted with the characters it says."""
        sent_bytes = sent_characters = 0
        for piece in audio.slices(sound):
            if utterance is not self.current:
                return
            now = self._clock()
            if utterance.first_audio_at is None:
                utterance.first_audio_at = now
                self._first_audio()
            await self._stream.send_audio(piece)
            sent_bytes += len(piece)
            upto = characters * sent_bytes // len(sound)
            note(len(piece), upto - sent_characters)
            sent_characters = upto
            utterance.last_audio_at = now
            utterance.play_until = max(utterance.play_until, now) + audio.seconds(len(piece))
            if utterance.bytes_sent - utterance.marked_bytes >= audio.SLICE_BYTES:
                await self._mark(utterance)

    async def _mark(self, utterance: Utterance) -> None:
        utterance.marked_bytes = utterance.bytes_sent
        await self._stream.send_mark(f"{utterance.generation}:{utterance.bytes_sent}")

    async def _end_of_audio(self, utterance: Utterance) -> None:
        if utterance.silent or utterance is not self.current:
            return
        utterance.silent = True
        utterance.settle()
        self._resend.cents = NO_CENTS
        if utterance.bytes_sent > utterance.marked_bytes:
            await self._mark(utterance)
        self._look_whether_played(utterance)

    def _look_whether_played(self, utterance: Utterance) -> None:
        if utterance.silent and utterance.bytes_heard >= utterance.bytes_sent:
            utterance.played.set()

    def _ahead_seconds(self, utterance: Utterance) -> float:
        """How much of what was given to a voice is still to be heard, as far as can be told."""
        answered = utterance.last_audio_at > utterance.last_text_at
        if answered and not utterance.aligned() and utterance.play_until <= self._clock():
            # Nothing is left to play: where the text stands is a guess that must not hold the rest back.
            return 0.0
        waiting = max(0, len(utterance.text) - utterance.voiced_characters()) / CHARACTERS_PER_SECOND
        return max(0.0, utterance.play_until - self._clock()) + waiting

    def _affords(self, characters: int, *, local: bool) -> bool:
        passed = self._gate.ask(self._meter.spent_cents(), self._gate.speech_cents(characters, local=local))
        if passed is None:
            return False
        # Counted by the meter in the next line of the caller: nothing stays to be held.
        passed.settle()
        return True
