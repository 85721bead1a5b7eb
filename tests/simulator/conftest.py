"""The simulator on a loopback port, and a small server of ours for it to call: TwiML, callbacks, a media socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from litestar import Litestar, MediaType, Request, Response, WebSocket, post, websocket
from litestar.params import FromPath

from callmeback.providers import twilio
from callmeback.simulator import Simulator, SimulatorConfig, create
from callmeback.simulator.alone import serving

Talk = Callable[[WebSocket[Any, Any, Any]], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Ours:
    """Our side of the carrier: what it asked for, and what it is answered. `talk` holds the media socket."""

    def __init__(self) -> None:
        self.port = 0
        self.twiml: str | None = None
        self.statuses: list[dict[str, str]] = []
        self.amd: list[dict[str, str]] = []
        self.streams: list[dict[str, str]] = []
        self.requests: list[tuple[str, list[tuple[str, str]], dict[str, str]]] = []
        self.handshakes: list[tuple[str, str]] = []
        self.failures: list[int] = []
        self.talk: Talk | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str) -> str:
        return self.twiml or twilio.stream_twiml(
            f"ws://127.0.0.1:{self.port}/media/call_1",
            name="call_1",
            parameters={"token": "once"},
            status_callback=f"{self.url}/stream",
        )

    async def until(self, reached: Callable[[], bool], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not reached():
                await asyncio.sleep(0.02)


@pytest.fixture
async def ours() -> AsyncIterator[Ours]:
    ours = Ours()

    @post("/{kind:str}", status_code=200)
    async def webhook(request: Request[Any, Any, Any], kind: FromPath[str]) -> Response[str]:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True)
        ours.requests.append((str(request.url), pairs, dict(request.headers)))
        if ours.failures:
            return Response("", status_code=ours.failures.pop(0))
        if kind == "voice":
            return Response(ours.answer(kind), media_type=MediaType.XML)
        {"status": ours.statuses, "amd": ours.amd, "stream": ours.streams}[kind].append(dict(pairs))
        return Response("")

    @websocket("/media/{call_id:str}")
    async def media(socket: WebSocket[Any, Any, Any], call_id: FromPath[str]) -> None:
        ours.handshakes.append((str(socket.url), socket.headers.get("x-twilio-signature", "")))
        await socket.accept()
        assert ours.talk is not None, "this test wants no media"
        await ours.talk(socket)

    app = Litestar([webhook, media], openapi_config=None, logging_config=None, debug=True)
    async with serving(app) as ours.port:
        yield ours


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    yield Simulator(SimulatorConfig(ring_seconds=0.1, unanswered_seconds=0.3, rating_seconds=0.1))


@pytest.fixture
async def base(sim: Simulator) -> AsyncIterator[str]:
    async with serving(create(sim=sim)) as port:
        yield f"http://127.0.0.1:{port}/simulator"


@pytest.fixture
async def control(base: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        yield client


@pytest.fixture
async def carrier(base: str, sim: Simulator) -> AsyncIterator[twilio.Carrier]:
    config = twilio.CarrierConfig(
        account_sid=sim.config.account_sid,
        auth_token=sim.config.auth_token,
        number=sim.config.number,
        base_url=f"{base}/carrier",
    )
    carrier = twilio.Carrier(config)
    yield carrier
    await carrier.aclose()
