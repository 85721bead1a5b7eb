"""The callers of the benchmark: a carrier's media streams, a person on each, and the clock readings of every turn.

A person waits until the persona has finished, speaks for a while, and every second time speaks into the answer.
What a turn took is read here from the vendors' side of the wire: CLOCK_MONOTONIC is one for all processes of a machine.
"""

import asyncio
import heapq
import json
import time
from dataclasses import dataclass, field

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

FRAME_SECONDS = 0.02
SPEECH_FRAMES = 50
PAUSE_SECONDS = 0.4
BARGE_IN_AFTER_SECONDS = 1.2
BARGE_IN_EVERY = 2
SPEAKS_SECONDS = 0.1
ANSWER_SECONDS_MAX = 6.0
SPEECH = "VVVV" * 53 + "VQ=="
SILENCE = ("////" * 53) + "/w=="


@dataclass
class TurnTimes:
    """When things of one turn happened, on the monotonic clock; 0 where they didn't."""

    eager: float = 0.0
    ended: float = 0.0
    asked: float = 0.0
    sentence: float = 0.0
    text: float = 0.0
    audio: float = 0.0
    heard: float = 0.0

    def whole(self) -> bool:
        return all((self.ended, self.asked, self.sentence, self.text, self.audio, self.heard))

    def added_ms(self) -> float:
        """What the pipeline itself took, in all its legs."""
        return sum(self.legs_ms())

    def legs_ms(self) -> tuple[float, float, float]:
        """From the event to the request, from the sentence to the voice, and from the voice's sound to the carrier. The
        middle leg can't begin before the turn has ended."""
        thought = self.asked - (self.eager or self.ended)
        spoke = self.text - max(self.sentence, self.ended)
        played = self.heard - self.audio
        return thought * 1000, spoke * 1000, played * 1000

    def response_ms(self) -> float:
        """From the end of the turn to the first sound."""
        return (self.heard - self.ended) * 1000


@dataclass
class Caller:
    """One call: its person, what the carrier has queued, and its turns."""

    number: int
    turns: list[TurnTimes] = field(default_factory=list)
    clears_ms: list[float] = field(default_factory=list)
    """From the listener's StartOfTurn to the carrier's clear."""
    onsets_ms: list[float] = field(default_factory=list)
    """From the first frame of speech to the carrier's clear: the listener's detection and the way there too."""
    current: TurnTimes | None = None
    onset_at: float = 0.0
    started_at: float = 0.0
    queue_end: float = 0.0
    ended: bool = False
    marks: list[tuple[float, int, str]] = field(default_factory=list)
    received_audio_at: float = 0.0

    @property
    def call_sid(self) -> str:
        return f"CA{self.number:032d}"

    @property
    def stream_sid(self) -> str:
        return f"MZ{self.number:032d}"

    def persona_speaks(self, now: float) -> bool:
        """Is something being heard? A pipeline may send ahead, or one frame at a time."""
        return self.queue_end > now or now - self.received_audio_at < SPEAKS_SECONDS

    async def run(self, url: str, until: float) -> None:
        """Be called until the clock says so, or the other side hangs up."""
        async with connect(url, compression=None, max_size=None) as socket:
            await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
            media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
            start = {
                "accountSid": "AC0",
                "streamSid": self.stream_sid,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": media_format,
                "customParameters": {"call": str(self.number)},
            }
            await socket.send(
                json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": self.stream_sid, "start": start})
            )
            reader = asyncio.create_task(self._read(socket))
            try:
                await self._speak(socket, until)
                stop = {"event": "stop", "streamSid": self.stream_sid, "stop": {"callSid": self.call_sid}}
                await socket.send(json.dumps(stop))
                await asyncio.wait((reader,), timeout=5)
            except ConnectionClosed:
                pass
            finally:
                reader.cancel()

    async def _read(self, socket) -> None:
        async for raw in socket:
            now = time.monotonic()
            message = json.loads(raw)
            kind = message["event"]
            if kind == "media":
                turn = self.current
                if turn is not None and turn.audio and not turn.heard:
                    turn.heard = now
                seconds = len(message["media"]["payload"]) * 0.75 / 8000
                self.queue_end = max(self.queue_end, now) + seconds
                self.received_audio_at = now
            elif kind == "mark":
                heapq.heappush(self.marks, (max(self.queue_end, now), len(self.marks), message["mark"]["name"]))
            elif kind == "clear":
                if self.started_at:
                    self.clears_ms.append((now - self.started_at) * 1000)
                    self.onsets_ms.append((now - self.onset_at) * 1000)
                    self.started_at = 0.0
                self.queue_end = now
                self.marks = [(now, index, name) for index, (_, _, name) in enumerate(self.marks)]

    async def _speak(self, socket, until: float) -> None:
        """One frame every 20 ms, silence or speech, and the marks that are due."""
        due = time.monotonic()
        chunk = speaking = count = 0
        wait_since = due
        while not self.ended and due < until:
            now = time.monotonic()
            while self.marks and self.marks[0][0] <= now:
                _, _, name = heapq.heappop(self.marks)
                await socket.send(json.dumps({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}}))
            if speaking == 0 and self._may_speak(now, count, wait_since):
                speaking, count = SPEECH_FRAMES, count + 1
                self.onset_at = now
            chunk += 1
            payload = SPEECH if speaking else SILENCE
            await socket.send(
                f'{{"event":"media","sequenceNumber":"{chunk + 2}","streamSid":"{self.stream_sid}",'
                f'"media":{{"track":"inbound","chunk":"{chunk}","timestamp":"{chunk * 20}","payload":"{payload}"}}}}'
            )
            if speaking:
                speaking -= 1
                wait_since = now
            due += FRAME_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _may_speak(self, now: float, count: int, wait_since: float) -> bool:
        if now - wait_since > ANSWER_SECONDS_MAX and now > self.queue_end:
            return True
        if self.received_audio_at <= wait_since:
            return False
        if count % BARGE_IN_EVERY == BARGE_IN_EVERY - 1 and self.current is not None and self.current.heard:
            return now - self.current.heard > BARGE_IN_AFTER_SECONDS and self.persona_speaks(now)
        return now - self.queue_end > PAUSE_SECONDS and now - self.received_audio_at > PAUSE_SECONDS
