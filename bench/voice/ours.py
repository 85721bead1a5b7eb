"""Our pipeline as the web process runs it: the same server, socket, session and providers, without the database.

The meter's batch is written to nobody once a second. Driven over standard input: a line `cpu` is answered with the CPU
seconds that this process has used.
"""

import asyncio
import json
import sys
import time
from decimal import Decimal
from typing import Any

import uvicorn
import uvloop
from litestar import Litestar, WebSocket, websocket

from callmeback import logs
from callmeback.providers import espeak, llm, twilio
from callmeback.providers.deepgram import Listener, ListenerConfig
from callmeback.providers.elevenlabs import Voice, VoiceConfig
from callmeback.voice import audio, carrier_stream, pauses, session
from callmeback.voice.admission import Admission
from callmeback.voice.batcher import MeterBatcher, MeterLimit
from callmeback.voice.meter import Price, PriceCard
from callmeback.voice.ticket import CallTicket, PromptLayers
from callmeback.voice.vendors import Vendors
from callmeback.web.media import SocketText

MILLION = 1_000_000
HOLD_CENTS = Decimal(10_000)
GRANTED_SECONDS = 3600
CARD = PriceCard(
    carrier_second=Price(Decimal("1.30"), 60),
    listener_second=Price(Decimal("0.78"), 60),
    brain_input=Price(Decimal(35), MILLION),
    brain_output=Price(Decimal(75), MILLION),
    voice_character=Price(Decimal(15), 1000),
    fallback_input=Price(Decimal(10), MILLION),
    fallback_output=Price(Decimal(10), MILLION),
    local_character=Price(Decimal(0), 1000),
)
failures: list[str] = []


class Books:
    """Books over the batch, with nothing behind it."""

    def __init__(self, slot) -> None:
        self._slot = slot
        self.meter = slot.put

    def limits(self):
        return self._slot.limits

    async def connected(self) -> None: ...

    async def turn(self, turn) -> None: ...

    async def finish(self, outcome) -> None:
        failures.extend(outcome.failures)


async def write(rows):
    return [MeterLimit(row.call_id, True, HOLD_CENTS, GRANTED_SECONDS) for row in rows]


class Host:
    """What one process has: brains and the local voice are shared, a call's sockets are its own."""

    def __init__(self, http: int, sockets: int) -> None:
        self.sockets = sockets
        self.carrier = twilio.Carrier(
            twilio.CarrierConfig(
                account_sid="AC0", auth_token="t", number="+12025550100", base_url=f"http://127.0.0.1:{http}"
            )
        )
        self.brain = llm.Brain(llm.BrainConfig(model="m", api_key="k", base_url=f"http://127.0.0.1:{http}/v1"))
        self.local_voice = espeak.LocalVoice()
        self.batcher = MeterBatcher(write)
        self.admission = Admission(calls_max=100)

    async def hold(self, number: int, text: SocketText) -> None:
        started = await carrier_stream.start(text)
        base = f"ws://127.0.0.1:{self.sockets}/c/{number}"
        identity = f"You are call-{number}-, a friendly person on the telephone. " + "You like to talk. " * 40
        call = CallTicket(
            call_id=f"call_{number}",
            user_id="user",
            carrier_sid=started.start.call_sid,
            persona_name="Brad",
            layers=PromptLayers(identity=identity),
            card=CARD,
            hold_cents=HOLD_CENTS,
            granted_seconds=GRANTED_SECONDS,
        )

        async def open_ears() -> Listener:
            listener = Listener(ListenerConfig(api_key="k", base_url=base, chunk_ms=audio.CLOSE_CHUNK_MS))
            await listener.open()
            return listener

        async def open_mouth() -> Voice:
            voice = Voice(VoiceConfig(api_key="k", voice_id="v", base_url=base))
            await voice.open()
            return voice

        vendors = Vendors(
            carrier=self.carrier,
            open_ears=open_ears,
            mind=self.brain,
            second_mind=self.brain,
            open_mouth=open_mouth,
            local_voice=self.local_voice,
        )
        slot = self.batcher.open("user", call.call_id)
        try:
            with self.admission.admit(call.call_id) as control:
                stream = carrier_stream.CarrierStream(text, started.start.stream_sid)
                await session.run(call, stream, vendors, Books(slot), control=control)
        finally:
            slot.close()


async def main() -> None:
    logs.configure(json=True)
    host = Host(int(sys.argv[1]), int(sys.argv[2]))

    @websocket("/media/{number:int}")
    async def media(socket: WebSocket[Any, Any, Any], number: int) -> None:
        await socket.accept()
        await host.hold(number, SocketText(socket))

    app = Litestar([media], openapi_config=None, logging_config=None)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", ws="websockets-sansio", ws_per_message_deflate=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    metering = asyncio.create_task(host.batcher.run())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.05)
    pauses.shorten()
    port = server.servers[0].sockets[0].getsockname()[1]
    print(json.dumps({"event": "ready", "media": f"ws://127.0.0.1:{port}/media/{{n}}"}), flush=True)
    loop = asyncio.get_running_loop()
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip() == "cpu":
        answer = {"event": "cpu", "seconds": time.process_time(), "failures": sorted(set(failures))}
        print(json.dumps(answer), flush=True)
    server.should_exit = True
    await serving
    metering.cancel()


if __name__ == "__main__":
    uvloop.run(main())
