"""The vendors of the benchmark on their own wires, with fixed latencies, light enough not to be what is measured.

One process holds the callers, the listener, the brain, the voice and the carrier's REST side, and reads the clock at
each hand-over. It is driven over its standard input and answers there: see `main`.
"""

import asyncio
import base64
import contextlib
import json
import re
import sys
import time
from urllib.parse import parse_qs, urlsplit

from bench.voice.callers import Caller, TurnTimes
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

# Published: first token 150 ms and more, first sound 75 to 150 ms, end of turn about 260 ms after the speech.
BRAIN_LATENCY_SECONDS = 0.15
PIECE_SECONDS = 0.005
VOICE_LATENCY_SECONDS = 0.1
VOICE_CHUNK_SECONDS = 0.5
VOICE_PACE_SECONDS = 0.1
EAGER_AFTER_SECONDS = 0.16
END_AFTER_SECONDS = 0.24
UPDATE_SECONDS = 0.25
CHARACTERS_PER_SECOND = 15
ANSWER = "That is a very good question and I like it a lot. What do you think about it yourself?"
HEARD = "So tell me what you think about this."
SPOKEN_BYTE = 0x55

callers: dict[int, Caller] = {}


def caller_of(path: str) -> Caller:
    found = re.search(r"/c/(\d+)/", path)
    assert found is not None, path
    return callers[int(found.group(1))]


# The listener.


class Flux:
    """Turn events from the loudness of the bytes: µ-law or linear, silence is one repeated byte."""

    def __init__(self, socket, caller: Caller, query: dict[str, list[str]]) -> None:
        self.socket = socket
        self.caller = caller
        self.eager = "eager_eot_threshold" in query
        self.bytes_per_second = 8000 if query.get("encoding", [""])[0] == "mulaw" else 16000
        self.silent = b"\xff" if self.bytes_per_second == 8000 else b"\x00"
        self.sequence = 0
        self.turn = 0
        self.seconds = 0.0
        self.updated = 0.0
        self.talking = False
        self.speech_end = 0.0
        self.eagerly = False

    async def run(self) -> None:
        await self.socket.send(json.dumps({"type": "Connected", "request_id": "r", "sequence_id": 0}))
        async for message in self.socket:
            if isinstance(message, bytes):
                await self.hear(message)
            elif "CloseStream" in message:
                return

    async def hear(self, sound: bytes) -> None:
        self.seconds += len(sound) / self.bytes_per_second
        loud = sound.count(self.silent) < len(sound) * 0.7
        now = time.monotonic()
        if loud:
            self.speech_end = self.seconds
            if not self.talking:
                self.talking = True
                if self.caller.persona_speaks(now):
                    self.caller.started_at = now
                await self.send("StartOfTurn", "So")
            elif self.eagerly:
                self.eagerly = False
                await self.send("TurnResumed", "So")
        elif self.talking and self.seconds - self.speech_end >= END_AFTER_SECONDS:
            self.talking = self.eagerly = False
            await self.send("EndOfTurn", HEARD)
            self.note("ended")
            self.turn += 1
        elif self.talking and self.eager and not self.eagerly and self.seconds - self.speech_end >= EAGER_AFTER_SECONDS:
            self.eagerly = True
            await self.send("EagerEndOfTurn", HEARD)
            self.note("eager")
        elif self.seconds - self.updated >= UPDATE_SECONDS:
            await self.send("Update", "So tell me" if self.talking else "")

    def note(self, what: str) -> None:
        now = time.monotonic()
        turn = self.caller.current
        if what == "eager" or turn is None or turn.ended:
            turn = self.caller.current = TurnTimes()
            self.caller.turns.append(turn)
        setattr(turn, what, now)

    async def send(self, event: str, text: str) -> None:
        self.updated = self.seconds
        self.sequence += 1
        words = [
            {"word": word, "confidence": 0.98, "start": 0.1, "end": round(self.speech_end, 3)} for word in text.split()
        ]
        message = {
            "type": "TurnInfo",
            "request_id": "r",
            "sequence_id": self.sequence,
            "event": event,
            "turn_index": self.turn,
            "audio_window_start": 0.0,
            "audio_window_end": round(self.seconds, 3),
            "transcript": text,
            "words": words,
            "end_of_turn_confidence": 0.8,
            "languages": ["en"],
        }
        if event == "EndOfTurn":
            message["trigger"] = "model"
        await self.socket.send(json.dumps(message))


# The voice.


class Speech:
    """One socket of multi-stream-input."""

    def __init__(self, socket, caller: Caller, query: dict[str, list[str]]) -> None:
        self.socket = socket
        self.caller = caller
        self.width = 1 if query.get("output_format", [""])[0].startswith("ulaw") else 2
        self.contexts: dict[str, tuple[asyncio.Queue, asyncio.Task]] = {}

    async def run(self) -> None:
        try:
            async for raw in self.socket:
                message = json.loads(raw)
                if message.get("close_socket"):
                    return
                name = message.get("context_id", "")
                if message.get("close_context"):
                    if name in self.contexts:
                        self.contexts[name][0].put_nowait(None)
                    continue
                text = message.get("text", "")
                if not text.strip():
                    continue
                if name not in self.contexts:
                    queue: asyncio.Queue = asyncio.Queue()
                    self.contexts[name] = (queue, asyncio.create_task(self.speak(name, queue)))
                    turn = self.caller.current
                    if turn is not None and turn.asked and not turn.text:
                        turn.text = time.monotonic()
                self.contexts[name][0].put_nowait(text)
        finally:
            for _, task in self.contexts.values():
                task.cancel()

    async def speak(self, name: str, queue: asyncio.Queue) -> None:
        await asyncio.sleep(VOICE_LATENCY_SECONDS)
        step = round(VOICE_CHUNK_SECONDS * CHARACTERS_PER_SECOND)
        with contextlib.suppress(ConnectionClosed):
            while (text := await queue.get()) is not None:
                for start in range(0, len(text), step):
                    part = text[start : start + step]
                    count = len(part) * 8000 // CHARACTERS_PER_SECOND * self.width
                    audio = base64.b64encode(bytes((SPOKEN_BYTE,)) * count).decode()
                    times = [index * 1000 // CHARACTERS_PER_SECOND for index in range(len(part))]
                    alignment = {
                        "chars": list(part),
                        "charStartTimesMs": times,
                        "charDurationsMs": [1000 // CHARACTERS_PER_SECOND] * len(part),
                    }
                    await self.socket.send(
                        json.dumps({"audio": audio, "isFinal": None, "contextId": name, "alignment": alignment})
                    )
                    turn = self.caller.current
                    if turn is not None and turn.text and not turn.audio:
                        turn.audio = time.monotonic()
                    await asyncio.sleep(VOICE_PACE_SECONDS)
            await self.socket.send(json.dumps({"audio": None, "isFinal": True, "contextId": name}))
        self.contexts.pop(name, None)


async def vendor_socket(socket) -> None:
    path = socket.request.path
    query = parse_qs(urlsplit(path).query)
    kind = Flux if "/v2/listen" in path else Speech
    with contextlib.suppress(ConnectionClosed):
        await kind(socket, caller_of(path), query).run()


# The brain, and the carrier's REST side: HTTP by hand, for a framework would cost more than it serves.


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?i)\r\ncontent-length: (\d+)", head)
            body = await reader.readexactly(int(length.group(1)) if length else 0)
            path = head.split(" ", 2)[1]
            if path.endswith("/chat/completions"):
                await think(writer, body)
            else:
                await hang_up(writer, path)
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        # The client is done, or the run is.
        pass
    finally:
        writer.close()


async def think(writer: asyncio.StreamWriter, body: bytes) -> None:
    found = re.search(rb"call-(\d+)-", body)
    turn = callers[int(found.group(1))].current if found else None
    if turn is not None and not turn.asked:
        turn.asked = time.monotonic()
    else:
        turn = None
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    await asyncio.sleep(BRAIN_LATENCY_SECONDS)
    for word in ANSWER.split(" "):
        await event(writer, {"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]})
        if turn is not None and word.endswith("."):
            turn.sentence = turn.sentence or time.monotonic()
        await asyncio.sleep(PIECE_SECONDS)
    await event(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": len(body) // 5, "completion_tokens": 19, "total_tokens": len(body) // 5 + 19}
    await event(writer, {"choices": [], "usage": usage})
    await write(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def event(writer: asyncio.StreamWriter, fields: dict) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    await write(writer, b"data: " + json.dumps(chunk).encode() + b"\n\n")


async def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


async def hang_up(writer: asyncio.StreamWriter, path: str) -> None:
    found = re.search(r"/Calls/CA0*(\d+)\.json", path)
    if found and int(found.group(1)) in callers:
        callers[int(found.group(1))].ended = True
    body = json.dumps({"sid": "CA0", "status": "completed"}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    await writer.drain()


# The run.


async def ping(port: int, until: float, noise_ms: list[float]) -> None:
    """Three hand-overs to a process that does nothing, as often as a turn has them, ten times a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        began = time.monotonic()
        for _ in range(3):
            writer.write(b"." * 400)
            await reader.readexactly(400)
        noise_ms.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(0.1)
    writer.close()


async def measure(order: dict) -> dict:
    """Hold the calls of an order: its media URL with {n}, the echo's port, calls, seconds to settle and to measure."""
    callers.clear()
    callers.update({number: Caller(number) for number in range(1, order["calls"] + 1)})
    began = time.monotonic()
    window = began + order["settle_seconds"]
    until = window + order["measure_seconds"]
    tasks = []
    for number, caller in callers.items():
        url = order["media"].replace("{n}", str(number))
        tasks.append(asyncio.create_task(caller.run(url, until + 0.5)))
        # Spread over the settling, so that the calls don't move in step.
        await asyncio.sleep(order["settle_seconds"] * 0.6 / order["calls"])
    await asyncio.sleep(max(0.0, window - time.monotonic()))
    say({"event": "measuring"})
    noise_ms: list[float] = []
    pinging = asyncio.create_task(ping(order["echo"], until, noise_ms))
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    say({"event": "measured"})
    await pinging
    done, _ = await asyncio.wait(tasks, timeout=20)
    failed = sum(task.cancelled() or task.exception() is not None for task in done) + len(tasks) - len(done)
    turns = [turn for caller in callers.values() for turn in caller.turns if turn.ended and turn.ended >= window]
    whole = [turn for turn in turns if turn.whole()]
    return {
        "event": "result",
        "failed_calls": failed,
        "turns": len(turns),
        "whole_turns": len(whole),
        "added_ms": sorted(turn.added_ms() for turn in whole),
        "noise_ms": sorted(noise_ms),
        "legs_ms": [sorted(turn.legs_ms()[leg] for turn in whole) for leg in range(3)],
        "response_ms": sorted(turn.response_ms() for turn in whole),
        "clear_ms": sorted(value for caller in callers.values() for value in caller.clears_ms),
        "onset_ms": sorted(value for caller in callers.values() for value in caller.onsets_ms),
    }


def say(message: dict) -> None:
    print(json.dumps(message), flush=True)


async def main() -> None:
    """Print the ports, then for each order on a line of standard input print its result."""
    web = await asyncio.start_server(http, "127.0.0.1", 0)
    sockets = await serve(vendor_socket, "127.0.0.1", 0, compression=None, max_size=None)
    say(
        {
            "event": "ready",
            "http": web.sockets[0].getsockname()[1],
            "sockets": next(iter(sockets.sockets)).getsockname()[1],
        }
    )
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        say(await measure(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main())
