"""Pipecat on the same work: its own services for the same vendors' wires, its Twilio serializer, its turn handling.

Run by the interpreter of its own environment (see `__main__.py`); it imports nothing of ours. Driven as `ours.py` is.
"""

import asyncio
import json
import sys
import time

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.deepgram.flux.stt import DeepgramFluxSTTService
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

GREETING = "Hi, it is me. How are you today?"

app = FastAPI()
vendors = {"http": int(sys.argv[1]), "sockets": int(sys.argv[2])}


@app.websocket("/media/{number}")
async def media(websocket: WebSocket, number: int) -> None:
    await websocket.accept()
    messages = websocket.iter_text()
    await anext(messages)
    start = json.loads(await anext(messages))["start"]
    sockets = f"ws://127.0.0.1:{vendors['sockets']}/c/{number}"
    serializer = TwilioFrameSerializer(
        stream_sid=start["streamSid"], params=TwilioFrameSerializer.InputParams(auto_hang_up=False)
    )
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer),
    )
    stt = DeepgramFluxSTTService(api_key="k", url=f"{sockets}/v2/listen", enable_eager_end_of_turn=True)
    llm = OpenAILLMService(
        api_key="k",
        base_url=f"http://127.0.0.1:{vendors['http']}/v1",
        settings=OpenAILLMService.Settings(model="m"),
    )
    tts = ElevenLabsTTSService(
        api_key="k",
        url=sockets,
        settings=ElevenLabsTTSService.Settings(voice="v", model="eleven_flash_v2_5"),
    )
    context = LLMContext([{"role": "system", "content": f"You are call-{number}-. You speak on the telephone."}])
    pair = LLMContextAggregatorPair(context)
    pipeline = Pipeline([transport.input(), stt, pair.user(), llm, tts, transport.output(), pair.assistant()])
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(
            audio_in_sample_rate=8000, audio_out_sample_rate=8000, enable_metrics=True, enable_usage_metrics=True
        ),
    )

    @transport.event_handler("on_client_connected")
    async def greet(*_):
        context.add_message({"role": "assistant", "content": GREETING})
        await tts.queue_frame(TTSSpeakFrame(GREETING))

    @transport.event_handler("on_client_disconnected")
    async def gone(*_):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def main() -> None:
    logger.remove()
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(json.dumps({"event": "ready", "media": f"ws://127.0.0.1:{port}/media/{{n}}"}), flush=True)
    loop = asyncio.get_running_loop()
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip() == "cpu":
        print(json.dumps({"event": "cpu", "seconds": time.process_time()}), flush=True)
    server.should_exit = True
    await task


if __name__ == "__main__":
    asyncio.run(main())
