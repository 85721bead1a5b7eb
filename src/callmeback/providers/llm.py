"""The brain: chat completions streamed in OpenAI's shape, as Cerebras, Ollama, vLLM and others speak it.

No client library: theirs retries by itself and takes a cut stream for a finished one, and a call can afford neither.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

import httpx
import msgspec

from callmeback.errors import UNREADABLE
from callmeback.providers.failures import VendorBroken, VendorError, VendorRefused, VendorUnavailable
from callmeback.providers.nearby import on_this_machine
from callmeback.providers.observed import asking

VENDOR: Final = "brain"
BASE_URL: Final = "https://api.cerebras.ai/v1"
EVENT_BYTES_MAX: Final = 1_000_000
EVENTS_MAX: Final = 100_000
ERROR_BYTES_MAX: Final = 65_536
DRAIN_TIMEOUT_S: Final = 0.1
"""How long a finished answer's body may take to end, so that its connection can be used again."""


class BrainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A model behind an OpenAI-like API; `base_url` ends in /v1. Timeouts in seconds, per hop.

    `reasoning_effort` is sent only if set (gpt-oss: low); what a model reasons is billed, but never spoken.
    """

    model: str
    api_key: str | None = None
    base_url: str = BASE_URL
    reasoning_effort: Literal["low", "medium", "high"] | None = None
    connect_timeout_s: float = 2.0
    first_token_timeout_s: float = 4.0
    next_token_timeout_s: float = 2.0
    connections_max: int = 200


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Delta(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str
    reasoning: bool = False


class Usage(msgspec.Struct, frozen=True):
    """The vendor's own count; reasoning is among the output."""

    input_tokens: int
    output_tokens: int


class Finished(msgspec.Struct, frozen=True):
    """The answer is whole: stop, or cut by the limit (length), tool_calls, content_filter."""

    reason: str


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Problem(msgspec.Struct):
    """OpenAI nests its error, Cerebras doesn't."""

    error: Any = None
    code: str | int | None = None
    type: str | None = None


_chunks: Final = msgspec.json.Decoder(_Chunk)
_problems: Final = msgspec.json.Decoder(_Problem)


class Brain:
    """One model; one for the process, so that connections stay warm."""

    def __init__(self, config: BrainConfig, client: httpx.AsyncClient | None = None) -> None:
        self.config = config
        self._client = client or httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=config.connect_timeout_s, pool=config.connect_timeout_s),
            limits=httpx.Limits(max_connections=config.connections_max, max_keepalive_connections=20),
            trust_env=not on_this_machine(config.base_url),
        )
        self._headers = {"Authorization": f"Bearer {config.api_key}"} if config.api_key else {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.7
    ) -> AsyncGenerator[Delta | Usage | Finished, None]:
        """The answer as it comes: deltas, then the usage if the vendor tells it, then Finished.

        Closing the generator cancels the answer at the vendor, whose usage is then lost. Raises VendorRefused,
        VendorUnavailable (down, too busy, or no token within its deadline) and VendorBroken (unreadable, or cut:
        whatever usage was told before is yielded first).
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.first_token_timeout_s
        response = await self._open(self._body(messages, max_tokens, temperature), deadline)
        try:
            if response.status_code >= 400:
                raise await _refusal(response)
            usage: Usage | None = None
            reason: str | None = None
            async with aclosing(_events(response.aiter_raw())) as events:
                async for data in _by(events, deadline, self.config.next_token_timeout_s):
                    if data == b"[DONE]":
                        break
                    chunk = _decoded(data)
                    usage = _counted(chunk) or usage
                    for choice in chunk.choices:
                        reason = choice.finish_reason or reason
                        for delta in _deltas(choice.delta):
                            yield delta
                if usage is not None:
                    yield usage
                if reason is None:
                    raise VendorBroken(VENDOR, "answer", vendor_code="truncated")
                yield Finished(reason)
                await _drain(events)
        finally:
            await response.aclose()

    def _body(self, messages: Sequence[Message], max_tokens: int, temperature: float) -> bytes:
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": max_tokens,
            "temperature": temperature,
        }
        if self.config.reasoning_effort is not None:
            body["reasoning_effort"] = self.config.reasoning_effort
        return msgspec.json.encode(body)

    async def _open(self, body: bytes, deadline: float) -> httpx.Response:
        """The response's head. A kept connection that the vendor closed meanwhile is replaced once."""
        with asking(VENDOR, "answer"):
            return await self._head(body, deadline)

    async def _head(self, body: bytes, deadline: float) -> httpx.Response:
        request = self._client.build_request(
            "POST",
            f"{self.config.base_url.rstrip('/')}/chat/completions",
            content=body,
            headers={**self._headers, "Content-Type": "application/json", "Accept-Encoding": "identity"},
        )
        try:
            async with asyncio.timeout_at(deadline):
                try:
                    return await self._client.send(request, stream=True)
                except httpx.RemoteProtocolError:
                    return await self._client.send(request, stream=True)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise VendorUnavailable(VENDOR, "answer") from exc


async def _by(events: AsyncGenerator[bytes, None], first: float, between_seconds: float) -> AsyncGenerator[bytes, None]:
    """The events, each within its deadline. Raises VendorUnavailable and VendorBroken."""
    loop = asyncio.get_running_loop()
    deadline = first
    for _ in range(EVENTS_MAX):
        try:
            async with asyncio.timeout_at(deadline):
                data = await anext(events)
        except StopAsyncIteration:
            return
        except TimeoutError as exc:
            raise VendorUnavailable(VENDOR, "answer", vendor_code="timeout") from exc
        except httpx.HTTPError as exc:
            raise VendorBroken(VENDOR, "answer", vendor_code="connection") from exc
        yield data
        deadline = loop.time() + between_seconds
    raise VendorBroken(VENDOR, "answer", vendor_code="endless")


async def _events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of server-sent events, from bytes cut anywhere (WHATWG HTML, 9.2). Lines are split as bytes, since a
    text's own line separators may stand within an event."""
    rest, data = b"", []
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > EVENT_BYTES_MAX:
            raise VendorBroken(VENDOR, "answer", vendor_code="too long")
        for line in lines:
            field, _, value = line.rstrip(b"\r").partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif not line.rstrip(b"\r") and data:
                yield b"\n".join(data)
                data.clear()
    if data:
        # The last event lacks its blank line; it was read whole nevertheless.
        yield b"\n".join(data)


def _decoded(data: bytes) -> _Chunk:
    try:
        chunk = _chunks.decode(data)
    except UNREADABLE as exc:
        raise VendorBroken(VENDOR, "answer", vendor_code="unreadable") from exc
    if chunk.error is not None:
        raise VendorBroken(VENDOR, "answer", vendor_code=_code(chunk.error, None, None))
    return chunk


def _counted(chunk: _Chunk) -> Usage | None:
    if chunk.usage is None:
        return None
    return Usage(max(0, chunk.usage.prompt_tokens), max(0, chunk.usage.completion_tokens))


def _deltas(delta: _Delta | None) -> list[Delta]:
    if delta is None:
        return []
    thought = delta.reasoning or delta.reasoning_content
    return ([Delta(thought, reasoning=True)] if thought else []) + ([Delta(delta.content)] if delta.content else [])


async def _drain(events: AsyncGenerator[bytes, None]) -> None:
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            async for _ in events:
                pass
    except (TimeoutError, httpx.HTTPError, VendorError):
        # The answer is whole; only the connection isn't kept.
        return


async def _refusal(response: httpx.Response) -> VendorError:
    """The error for a status: asking again may help with 408, 409, 429 and 5xx only."""
    body = b""
    try:
        async with asyncio.timeout(1.0):
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > ERROR_BYTES_MAX:
                    break
        problem = _problems.decode(body)
        code = _code(problem.error, problem.code, problem.type)
    except (TimeoutError, httpx.HTTPError, *UNREADABLE):
        code = None
    status = response.status_code
    if status in {408, 409, 429} or status >= 500:
        wait = response.headers.get("retry-after", "")
        after = float(wait) if wait.replace(".", "", 1).isdecimal() else None
        return VendorUnavailable(VENDOR, "answer", vendor_code=code, status=status, retry_after_seconds=after)
    return VendorRefused(VENDOR, "answer", vendor_code=code, status=status)


def _code(error: object, code: str | int | None, kind: str | None) -> str | None:
    """The vendor's word for what is wrong, never its sentence: that may quote the prompt."""
    if isinstance(error, dict):
        code, kind = error.get("code"), error.get("type")
    word = code if code is not None else kind
    return None if word is None else str(word)[:60]
