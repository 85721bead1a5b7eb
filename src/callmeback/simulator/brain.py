"""The simulated brain's wire: chat completions in OpenAI's shape, streamed or whole, with usage only when it is
asked for."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.response import Stream

from callmeback.simulator.answers import Sim
from callmeback.simulator.brain_script import Said, prompt_tokens, reply, tokens
from callmeback.simulator.state import Simulator

BODY_BYTES_MAX: Final = 1_000_000
TOKENS_PER_SECOND: Final = 400
TOKENS_A_WRITE: Final = 4
MODELS: Final = ("gpt-oss-120b", "llama-3.3-70b", "llama-3.1-8b")
REASONING_MODEL: Final = "gpt-oss"
THOUGHT: Final = "They spoke; answer briefly and kindly."


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Ask(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[list[Said], msgspec.Meta(min_length=1, max_length=1000)]
    stream: bool = False
    stream_options: _Options | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _Plan(msgspec.Struct, frozen=True):
    """An answer before it is sent: what is thought, what is said, why it ends, what it counts."""

    thought: list[str]
    words: list[str]
    reason: str
    usage: dict[str, Any]


def error(status: int, kind: str, code: str, message: str) -> Response[dict[str, Any]]:
    """An error as OpenAI nests it."""
    return Response({"error": {"message": message, "type": kind, "param": None, "code": code}}, status_code=status)


@get("/brain/v1/models")
async def list_models() -> dict[str, Any]:
    """The models; all of them are the same script."""
    models = [{"id": model, "object": "model", "created": 0, "owned_by": "simulator"} for model in MODELS]
    return {"object": "list", "data": models}


@post("/brain/v1/chat/completions", status_code=200)
async def complete(request: Request[Any, Any, Any], sim: Sim) -> Response[Any]:
    """Answer a conversation."""
    if not request.headers.get("authorization", "").removeprefix("Bearer").strip():
        return error(401, "invalid_request_error", "wrong_api_key", "Wrong API key.")
    try:
        ask = msgspec.json.decode((await request.body())[:BODY_BYTES_MAX], type=_Ask)
    except msgspec.DecodeError as exc:
        return error(400, "invalid_request_error", "invalid_request", str(exc))
    if not all(message.role in {"system", "user", "assistant", "tool"} for message in ask.messages):
        return error(400, "invalid_request_error", "invalid_role", "There is no such role.")
    if sim.manners.fails("brain"):
        return error(500, "server_error", "internal_error", "The server had an error.")
    plan = _planned(ask)
    head = {"id": f"chatcmpl-{time.time_ns():x}", "created": int(time.time()), "model": ask.model}
    if not ask.stream:
        await sim.manners.delay("brain")
        return Response(_whole(head, plan))
    usage = ask.stream_options is not None and ask.stream_options.include_usage
    return Stream(_written(sim, head, plan, usage), media_type="text/event-stream")


def _planned(ask: _Ask) -> _Plan:
    limit = ask.max_completion_tokens or ask.max_tokens or 1000
    thought = tokens(THOUGHT) if ask.model.startswith(REASONING_MODEL) else []
    answer = tokens(reply(ask.messages))
    words = answer[: max(0, limit - len(thought))]
    thought = thought[:limit]
    spent, read = len(thought) + len(words), prompt_tokens(ask.messages)
    usage = {
        "prompt_tokens": read,
        "completion_tokens": spent,
        "total_tokens": read + spent,
        "completion_tokens_details": {"reasoning_tokens": len(thought)},
    }
    return _Plan(thought, words, "stop" if len(words) == len(answer) else "length", usage)


def _whole(head: dict[str, Any], plan: _Plan) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(plan.words)}
    choice = {"index": 0, "message": message, "finish_reason": plan.reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": plan.usage}


async def _written(sim: Simulator, head: dict[str, Any], plan: _Plan, usage: bool) -> AsyncIterator[bytes]:
    """The stream's bytes, at a vendor's pace. A drop is a clean end without a finish_reason, as a cut stream looks."""
    drop_after = sim.manners["brain"].drop_after_seconds
    began = time.monotonic()
    await sim.manners.delay("brain")
    written = 0
    for event in _events(head, plan, usage):
        if drop_after is not None and time.monotonic() - began >= drop_after:
            return
        for piece in _split(event):
            yield piece
        written += 1
        if written % TOKENS_A_WRITE == 0:
            await asyncio.sleep(TOKENS_A_WRITE / TOKENS_PER_SECOND)


def _events(head: dict[str, Any], plan: _Plan, usage: bool) -> Iterable[bytes]:
    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        body = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"

    def choice(delta: dict[str, str], reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": reason}]

    yield b": simulated\n\n"
    yield chunk(choice({"role": "assistant"}))
    for piece in plan.thought:
        yield chunk(choice({"reasoning": piece}))
    for piece in plan.words:
        yield chunk(choice({"content": piece}))
    yield chunk(choice({}, plan.reason))
    if usage:
        yield chunk([], usage=plan.usage)
    yield b"data: [DONE]\n\n"


def _split(event: bytes) -> tuple[bytes, ...]:
    """The event in one write, or in two within a character, as a network may cut it."""
    cut = next((index + 1 for index, byte in enumerate(event) if byte >= 0xC0), None)
    return (event,) if cut is None else (event[:cut], event[cut:])


HANDLERS: Iterable[Any] = (list_models, complete)
