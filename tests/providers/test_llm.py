"""The brain's client against answers that no good server gives: cut, slow, odd and endless ones, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from callmeback.providers import llm
from callmeback.providers.failures import VendorBroken, VendorError, VendorRefused, VendorUnavailable

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
ASK = [llm.Message("user", "Hello")]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def brain_at(serve: Serve, **timeouts: float) -> AsyncIterator[llm.Brain]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    brain = llm.Brain(
        llm.BrainConfig(model="m", api_key="secret-key", base_url=f"http://127.0.0.1:{port}/v1", **timeouts)
    )
    try:
        yield brain
    finally:
        await brain.aclose()
        server.close()
        await server.wait_closed()


def sends(*parts: bytes, pause: float = 0.0) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return serve


async def answer(serve: Serve, **timeouts: float) -> list[object]:
    async with brain_at(serve, **timeouts) as brain:
        return [event async for event in brain.stream(ASK, max_tokens=10)]


def content(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + text.encode() + b'"},"finish_reason":null}]}\n\n'


STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


async def test_stream_cut_into_single_bytes_is_the_same_stream() -> None:
    whole = HEAD + b": hello\n\n" + content("Grüße 🙂") + STOP + DONE
    events = await answer(sends(*(whole[n : n + 1] for n in range(len(whole)))))

    assert events == [llm.Delta("Grüße 🙂"), llm.Finished("stop")]


async def test_line_separators_within_a_text_do_not_end_the_event() -> None:
    events = await answer(sends(HEAD, content("one\u2028two\u0085three"), STOP, DONE))

    assert events[0] == llm.Delta("one\u2028two\u0085three")


async def test_windows_lines_and_data_without_a_blank_are_read() -> None:
    body = (
        content("Hi").replace(b"\n", b"\r\n").replace(b"data: ", b"data:") + b"event: x\r\nid: 7\r\n\r\n" + STOP + DONE
    )

    assert await answer(sends(HEAD, body)) == [llm.Delta("Hi"), llm.Finished("stop")]


async def test_usage_is_taken_wherever_it_stands() -> None:
    with_last = (
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":3},'
        b'"time_info":{"queue_time":0.1}}\n\n'
    )
    apart = STOP + b'data: {"choices":[],"usage":{"prompt_tokens":21,"completion_tokens":4,"new":1}}\n\n'

    assert await answer(sends(HEAD, with_last, DONE)) == [llm.Usage(20, 3), llm.Finished("stop")]
    assert await answer(sends(HEAD, apart)) == [llm.Usage(21, 4), llm.Finished("stop")]


async def test_reasoning_is_told_apart_from_the_answer() -> None:
    thought = b'data: {"choices":[{"delta":{"reasoning":"hm","content":null}}]}\n\n'
    also = b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n'
    events = await answer(sends(HEAD, thought, also, content("Yes"), STOP, DONE))

    assert events[:3] == [llm.Delta("hm", reasoning=True), llm.Delta("hm", reasoning=True), llm.Delta("Yes")]


@pytest.mark.parametrize(
    "tail", [b"", DONE, b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n']
)
async def test_end_without_a_finish_reason_is_truncated(tail: bytes) -> None:
    with pytest.raises(VendorBroken) as broken:
        await answer(sends(HEAD, content("Hel"), tail))

    assert broken.value.vendor_code == "truncated"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"data: {broken\n\n", "unreadable"),
        (b'data: {"choices":7}\n\n', "unreadable"),
        (b'data: {"model":"\xff","choices":[{"delta":{"content":"\xff"}}]}\n\n', "unreadable"),
        (b'data: {"x":' + b"[" * 50_000 + b"\n\n", "unreadable"),
        (b'data: {"error":{"message":"secret prompt","code":"overloaded"}}\n\n', "overloaded"),
        (b'data: {"error":"x"}\n\n', None),
        (b"data: " + b"x" * 1_100_000, "too long"),
    ],
)
async def test_unreadable_events_are_broken(body: bytes, code: str | None) -> None:
    with pytest.raises(VendorBroken) as broken:
        await answer(sends(HEAD, content("Hel"), body))

    assert broken.value.vendor_code == code
    assert "secret" not in repr(broken.value)


async def test_reset_in_the_middle_is_broken() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"Connection: close", b"Content-Length: 5000") + content("Hel"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    with pytest.raises(VendorBroken) as broken:
        await answer(serve)

    assert broken.value.vendor_code == "connection"


async def test_pause_between_tokens_has_a_deadline() -> None:
    with pytest.raises(VendorUnavailable) as late:
        await answer(sends(HEAD + content("Hel"), content("lo"), pause=5), next_token_timeout_s=0.2)

    assert late.value.vendor_code == "timeout"


async def test_silence_has_a_deadline() -> None:
    with pytest.raises(VendorUnavailable):
        await answer(sends(b"", b"", pause=5), first_token_timeout_s=0.2)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (b"400 Bad Request", b'{"error":{"message":"m","type":"invalid_request_error","code":null}}', VendorRefused,
         "invalid_request_error"),
        (b"401 Unauthorized", b'{"message":"Wrong API Key","code":"wrong_api_key"}', VendorRefused, "wrong_api_key"),
        (b"404 Not Found", b"<html>", VendorRefused, None),
        (b"429 Too Many Requests", b'{"message":"m","type":"too_many_requests_error","param":"quota",'
         b'"code":"request_quota_exceeded"}', VendorUnavailable, "request_quota_exceeded"),
        (b"503 Service Unavailable", b"", VendorUnavailable, None),
    ],
)  # fmt: skip
async def test_statuses_tell_whether_to_ask_again(
    status: bytes, body: bytes, kind: type[VendorError], code: str | None
) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nRetry-After: 2\r\nContent-Length: %d\r\n\r\n" % len(body)
    with pytest.raises(kind) as failure:
        await answer(sends(head + body))

    assert failure.value.vendor_code == code
    if isinstance(failure.value, VendorUnavailable):
        assert failure.value.retry_after_seconds == 2.0


async def test_nobody_there_is_unavailable() -> None:
    brain = llm.Brain(llm.BrainConfig(model="m", base_url="http://127.0.0.1:9/v1"))
    with pytest.raises(VendorUnavailable):
        async for _ in brain.stream(ASK, max_tokens=5):
            pass
    await brain.aclose()


async def test_closing_the_answer_is_seen_by_the_vendor() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + content("Hel"))
        await writer.drain()
        while await reader.read(1000):
            pass
        gone.set()

    async with brain_at(serve) as brain:
        async with aclosing(brain.stream(ASK, max_tokens=10)) as events:
            assert await anext(events) == llm.Delta("Hel")
        await asyncio.wait_for(gone.wait(), 20)


async def test_what_is_asked_is_what_the_vendors_know() -> None:
    asked = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.extend(await reader.read(4000))
        writer.write(HEAD + STOP + DONE)

    await answer(serve)

    for part in (b'"stream":true', b'"include_usage":true'):
        assert part in asked
    assert b"developer" not in asked and b"reasoning_effort" not in asked
