"""The simulated listener's wire: Deepgram Flux on /v2/listen."""

import asyncio
import json
import secrets
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect

from callmeback.simulator.answers import Sim, refuse
from callmeback.simulator.ear import Ear, Thresholds
from callmeback.simulator.state import Simulator

MODELS: Final = frozenset({"flux-general-en", "flux-general-multi"})
KNOWN: Final = frozenset(
    {
        "model", "encoding", "sample_rate", "eot_threshold", "eager_eot_threshold", "eot_timeout_ms", "keyterm", "tag",
        "language_hint", "numerals", "profanity_filter", "redact", "mip_opt_out",
    }
)  # fmt: skip
_CONTROLS: Final = frozenset({"CloseStream", "ForceEndTurn", "Configure"})


class _Limits(msgspec.Struct):
    eot_threshold: float | None = None
    eager_eot_threshold: float | None = None
    eot_timeout_ms: int | None = None


class _Control(msgspec.Struct):
    type: str
    thresholds: _Limits | None = None
    keyterms: list[str] | None = None


_decoder: Final = msgspec.json.Decoder(_Control)


class _Socket:
    """One connection: sound in, numbered messages out."""

    def __init__(self, socket: WebSocket[Any, Any, Any], sim: Simulator, thresholds: Thresholds, multi: bool) -> None:
        self.socket = socket
        self.sim = sim
        self.multi = multi
        self.request_id = secrets.token_hex(16)
        self.ear = Ear(sim.clips, thresholds)
        self.sequence = 0

    async def run(self) -> None:
        """Hear until the client leaves or ends it, or says what nobody understands."""
        await self._send({"type": "Connected"})
        try:
            while True:
                message = await self.socket.receive()
                if message["type"] != "websocket.receive":
                    return
                sound, text = message.get("bytes"), message.get("text")
                if sound is not None:
                    for event in self.ear.feed(sound):
                        await self._say(event)
                elif text is not None and not await self._control(text):
                    return
        except WebSocketDisconnect:
            return

    async def _control(self, text: str) -> bool:
        """Obey a text frame; False when the socket is over."""
        try:
            control = _decoder.decode(text)
        except msgspec.DecodeError:
            return await self._fail("UNPARSABLE_CLIENT_MESSAGE")
        if control.type not in _CONTROLS:
            # A KeepAlive too: it isn't Flux's, and ends the socket without a status.
            await self._close_without_status()
            return False
        if control.type == "CloseStream":
            await self._say(self.ear.last_update())
            await self._close_without_status()
            return False
        if control.type == "ForceEndTurn":
            event = self.ear.force_end()
            if event is not None:
                await self._say(event)
        else:
            await self._configure(control)
        return True

    async def _configure(self, control: _Control) -> None:
        asked, now = control.thresholds or _Limits(), self.ear.thresholds
        wanted = Thresholds(
            asked.eot_threshold if asked.eot_threshold is not None else now.eot,
            asked.eager_eot_threshold if asked.eager_eot_threshold is not None else now.eager,
            asked.eot_timeout_ms if asked.eot_timeout_ms is not None else now.timeout_ms,
        )
        if _complaint(wanted):
            await self._send(
                {"type": "ConfigureFailure", "code": "INVALID_THRESHOLD", "description": _complaint(wanted)}
            )
            return
        self.ear.thresholds = wanted
        thresholds = {
            "eot_threshold": wanted.eot, "eager_eot_threshold": wanted.eager, "eot_timeout_ms": wanted.timeout_ms,
        }  # fmt: skip
        await self._send({"type": "ConfigureSuccess", "thresholds": thresholds, "keyterms": control.keyterms or []})

    async def _say(self, event: dict[str, Any]) -> None:
        if self.multi:
            event = event | {"languages": ["en"], "languages_hinted": []}
        await self.sim.manners.delay("listener")
        await self._send(event)

    async def _send(self, body: dict[str, Any]) -> None:
        message = {"type": body["type"], "request_id": self.request_id, "sequence_id": self.sequence} | body
        self.sequence += 1
        await self.socket.send_text(json.dumps(message))

    async def _fail(self, code: str) -> bool:
        await self._send({"type": "Error", "code": code, "description": "The message can't be read."})
        await self.socket.close(code=1011)
        return False

    async def _close_without_status(self) -> None:
        """An empty close frame, which the client reports as 1005; our server sends one for a code of None."""
        empty: Any = {"type": "websocket.close", "code": None, "reason": None}
        await self.socket.send(empty)


@websocket("/listener/v2/listen")
async def listen(socket: WebSocket[Any, Any, Any], sim: Sim) -> None:
    """Hear one call."""
    scheme, _, key = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in {"token", "bearer"} or not key.strip():
        await _turn_away(socket, 401, "Invalid credentials.")
        return
    thresholds = _asked(socket)
    if isinstance(thresholds, str):
        await _turn_away(socket, 400, thresholds)
        return
    if sim.manners.fails("listener"):
        await _turn_away(socket, 500, "Internal error.")
        return
    await socket.accept()
    multi = socket.query_params.get("model") == "flux-general-multi"
    try:
        async with asyncio.timeout(sim.manners["listener"].drop_after_seconds):
            await _Socket(socket, sim, thresholds, multi).run()
    except TimeoutError:
        # Left without a close frame, as by a broken line.
        return


async def _turn_away(socket: WebSocket[Any, Any, Any], status: int, words: str) -> None:
    await refuse(socket, status, {"dg-error": words, "dg-request-id": secrets.token_hex(16)})


def _asked(socket: WebSocket[Any, Any, Any]) -> Thresholds | str:
    """The thresholds of the query, or what is wrong with it."""
    query = socket.query_params
    unknown = sorted(set(query.keys()) - KNOWN)
    if unknown:
        return f"Unknown parameter {unknown[0]}."
    if query.get("model") not in MODELS:
        return "No such model."
    if query.get("encoding") != "mulaw" or query.get("sample_rate") != "8000":
        return "The simulator hears mulaw at 8000 only."
    try:
        eager = query.get("eager_eot_threshold")
        wanted = Thresholds(
            float(query.get("eot_threshold", "0.7")),
            None if eager is None else float(eager),
            int(query.get("eot_timeout_ms", "5000")),
        )
    except ValueError:
        return "A threshold is no number."
    return _complaint(wanted) or wanted


def _complaint(wanted: Thresholds) -> str:
    if not 0.5 <= wanted.eot <= 1.0:
        return "eot_threshold must be between 0.5 and 1.0."
    if wanted.eager is not None and not 0.3 <= wanted.eager <= 0.9:
        return "eager_eot_threshold must be between 0.3 and 0.9."
    if not 500 <= wanted.timeout_ms <= 60_000:
        return "eot_timeout_ms must be between 500 and 60000."
    return ""


HANDLERS: Iterable[Any] = (listen,)
