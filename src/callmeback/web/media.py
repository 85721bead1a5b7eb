"""The media socket: the carrier's stream of one call comes in here, is proved to be that call's, and is held.

Proof is threefold: the handshake is signed by the carrier, the stream names the call that we placed, and it carries the
token of that one call, which opens once because the step to `in_progress` happens once.
"""

from typing import Any, Final

from litestar import WebSocket, websocket
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from callmeback import errors, logs
from callmeback.providers import twilio
from callmeback.providers.failures import VendorError
from callmeback.providers.media_stream import SOUND_FORMAT, Start
from callmeback.voice import carrier_stream
from callmeback.voice.admission import CallsFull
from callmeback.voice.admission import Draining as VoiceDraining
from callmeback.voice.carrier_stream import CarrierStream
from callmeback.voice.control import Control
from callmeback.web.services import Services
from callmeback.web.webhooks import stream_token, token_matches

_log = logs.get_logger(__name__)

# RFC 6455, section 7.4.1.
UNSUPPORTED_DATA: Final = 1003
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013

Socket = WebSocket[Any, Any, State]


class SocketText:
    """A WebSocket of the server as the stream wants it: text frames, ConnectionError once it is closed."""

    def __init__(self, socket: Socket) -> None:
        self._read = socket.receive
        self._write = socket.send
        self._closed = False

    async def receive(self) -> str | bytes:
        """The next frame."""
        message = await self._read()
        if message["type"] == "websocket.disconnect":
            self._closed = True
            raise ConnectionError("the socket was closed")
        text = message.get("text")
        if text is not None:
            return str(text)
        data: bytes = message.get("bytes") or b""  # type: ignore[assignment]  # a frame has text or bytes

        return data

    async def send(self, text: str) -> None:
        """One text frame."""
        if self._closed:
            raise ConnectionError("the socket was closed")
        try:
            await self._write({"type": "websocket.send", "text": text, "bytes": None})
        except (OSError, RuntimeError) as exc:
            # The server raises RuntimeError for a socket that it has closed itself.
            self._closed = True
            raise ConnectionError("the socket was closed") from exc

    async def close(self, code: int = 1000) -> None:
        """Close it; a closed one too."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._write({"type": "websocket.close", "code": code, "reason": None})
        except (OSError, RuntimeError):
            _log.debug("socket_already_closed")


@websocket("/media/{call_id:str}")
async def media(socket: Socket, services: NamedDependency[Services], call_id: FromPath[str]) -> None:
    """Hold one call."""
    url = twilio.stream_url(services.settings.base_url, f"/media/{call_id}")
    given = socket.headers.get(twilio.SIGNATURE_HEADER)
    if not twilio.valid_signature(services.carrier.config.auth_token, url, (), given):
        _log.warning("media_forged")
        await socket.close(code=POLICY_VIOLATION)
        return
    try:
        with services.host.admission.admit(call_id) as control:
            await socket.accept()
            await _hold(services, call_id, SocketText(socket), control)
    except (CallsFull, VoiceDraining) as exc:
        _log.warning("media_refused", call_id=call_id, error=exc.code)
        await socket.close(code=TRY_AGAIN_LATER)


async def _hold(services: Services, call_id: str, text: SocketText, control: Control) -> None:
    try:
        started = await carrier_stream.start(text)
    except VendorError as exc:
        _log.warning("media_not_started", call_id=call_id, error=type(exc).__name__)
        await text.close(POLICY_VIOLATION)
        return
    given = started.start.media_format
    if (given.encoding, given.sample_rate, given.channels) != SOUND_FORMAT:
        _log.warning("media_format_unknown", call_id=call_id, encoding=given.encoding)
        await text.close(UNSUPPORTED_DATA)
        return
    user_id = started.start.custom_parameters.get("user_id", "")
    try:
        _require_token(services, user_id, call_id, started)
        row = await services.host.take(user_id, call_id, started.start.call_sid)
        await services.host.hold(row, CarrierStream(text, started.start.stream_sid), control)
    except (errors.Forbidden, errors.ImpossibleTransition, errors.NotFound) as exc:
        _log.warning("media_refused", call_id=call_id, error=exc.code)
        await text.close(POLICY_VIOLATION)
    except errors.CallMeBackError as exc:
        # The verb behind the stream hangs up; the reaper settles.
        _log.error("media_failed", call_id=call_id, error=exc.code)
        await text.close(INTERNAL_ERROR)


def _require_token(services: Services, user_id: str, call_id: str, started: Start) -> None:
    """Raise Forbidden unless the stream carries the token of its call."""
    expected = stream_token(services.keys, user_id, call_id, started.start.call_sid)
    if not token_matches(expected, started.start.custom_parameters.get("token")):
        raise errors.Forbidden()


HANDLERS = (media,)
