"""The simulated brain: on the wire for the official client and ours, and its wits on their own."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from callmeback.providers import llm
from callmeback.providers.failures import VendorBroken, VendorRefused, VendorUnavailable
from callmeback.simulator import Simulator
from callmeback.simulator.brain import _split
from callmeback.simulator.brain_script import Said, prompt_tokens, reply, tokens

pytestmark = pytest.mark.anyio
SYSTEM = (
    "You are Brad, a motivating fitness coach.\n\nThis call: check in on the morning run\n\n"
    "When you and the person have both said goodbye, and only then, put [end] at the very end."
)
CUE = "(The person has just picked up the phone. Greet them first, briefly, and say why you call.)"


def talk(*said: str) -> list[llm.Message]:
    turns = [llm.Message("assistant" if number % 2 else "user", text) for number, text in enumerate(said)]
    return [llm.Message("system", SYSTEM), *turns]


@pytest.fixture
async def client(base: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{base}/brain/v1", max_retries=0) as client:
        yield client


@pytest.fixture
async def brain(base: str) -> AsyncIterator[llm.Brain]:
    config = llm.BrainConfig(model="gpt-oss-120b", api_key="any", base_url=f"{base}/brain/v1", first_token_timeout_s=2)
    brain = llm.Brain(config)
    yield brain
    await brain.aclose()


async def collect(brain: llm.Brain, messages: list[llm.Message], max_tokens: int = 300) -> list[Any]:
    return [event async for event in brain.stream(messages, max_tokens=max_tokens)]


async def test_official_client_streams_with_usage_in_a_chunk_of_its_own(client: openai.AsyncOpenAI) -> None:
    messages: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": CUE}]
    stream = await client.chat.completions.create(
        model="gpt-oss-120b", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert text.startswith("Hi, this is Brad.")
    assert "the morning run" in text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_usage_does_not_come_unasked(client: openai.AsyncOpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Hello there"}]
    stream = await client.chat.completions.create(model="llama-3.1-8b", messages=messages, stream=True)

    chunks = [chunk async for chunk in stream]

    assert len(chunks) > 3
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_official_client_gets_a_whole_answer(client: openai.AsyncOpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Who are you?"}]
    answer = await client.chat.completions.create(model="llama-3.1-8b", messages=messages)

    assert "your friend" in (answer.choices[0].message.content or "")
    assert answer.usage is not None and answer.usage.completion_tokens > 5
    assert "gpt-oss-120b" in [model.id async for model in client.models.list()]


async def test_official_client_reads_our_refusals(base: str, client: openai.AsyncOpenAI) -> None:
    developer: Any = [{"role": "developer", "content": "x"}]
    with pytest.raises(openai.BadRequestError) as role:
        await client.chat.completions.create(model="m", messages=developer)
    nothing = {"Authorization": "Bearer"}
    url = f"{base}/brain/v1"
    async with openai.AsyncOpenAI(api_key="x", base_url=url, max_retries=0, default_headers=nothing) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

    assert role.value.code == "invalid_role"


async def test_our_client_gets_deltas_usage_and_the_end_in_this_order(brain: llm.Brain) -> None:
    events = await collect(brain, talk(CUE))
    spoken = "".join(event.text for event in events if isinstance(event, llm.Delta) and not event.reasoning)

    assert spoken.startswith("Hi, this is Brad.")
    assert any(isinstance(event, llm.Delta) and event.reasoning for event in events)
    assert isinstance(events[-2], llm.Usage) and events[-1] == llm.Finished("stop")
    assert events[-2].output_tokens == sum(isinstance(event, llm.Delta) for event in events)
    assert events[-2].input_tokens > len(SYSTEM) / 8


async def test_characters_survive_being_cut_in_the_network(brain: llm.Brain) -> None:
    events = await collect(brain, talk("Meine Grüße an José 🙂 aus Zürich"))
    spoken = "".join(event.text for event in events if isinstance(event, llm.Delta) and not event.reasoning)

    assert "Grüße an José 🙂 aus Zürich" in spoken


async def test_limit_ends_the_answer_with_length(brain: llm.Brain) -> None:
    events = await collect(brain, talk(CUE), max_tokens=3)

    assert events[-1] == llm.Finished("length")
    assert events[-2] == llm.Usage(events[-2].input_tokens, 3)
    assert not any(isinstance(event, llm.Delta) and not event.reasoning for event in events)


async def test_cut_stream_is_broken_not_finished(brain: llm.Brain, control: httpx.AsyncClient) -> None:
    await control.put("/vendors/brain", json={"drop_after_seconds": 0.2})
    events = []
    with pytest.raises(VendorBroken) as broken:
        async for event in brain.stream(talk(CUE), max_tokens=300):
            events.append(event)

    assert broken.value.vendor_code == "truncated"
    assert events and not any(isinstance(event, llm.Finished | llm.Usage) for event in events)


async def test_failing_brain_is_unavailable(brain: llm.Brain, control: httpx.AsyncClient) -> None:
    await control.put("/vendors/brain", json={"fail_rate": 1})
    with pytest.raises(VendorUnavailable) as failure:
        await collect(brain, talk(CUE))

    assert (failure.value.http_status, failure.value.vendor_code) == (500, "internal_error")


async def test_slow_brain_runs_into_its_deadline(base: str, sim: Simulator, control: httpx.AsyncClient) -> None:
    await control.put("/vendors/brain", json={"latency_ms": 3000})
    config = llm.BrainConfig(model="m", api_key="k", base_url=f"{base}/brain/v1", first_token_timeout_s=0.3)
    brain = llm.Brain(config)
    with pytest.raises(VendorUnavailable) as late:
        await collect(brain, talk(CUE))
    await brain.aclose()

    assert late.value.vendor_code in {"timeout", None}


async def test_stranger_is_refused_without_a_word_of_the_prompt(base: str) -> None:
    brain = llm.Brain(llm.BrainConfig(model="m", base_url=f"{base}/brain/v1"))
    with pytest.raises(VendorRefused) as refusal:
        await collect(brain, talk("My secret is 12345"))
    await brain.aclose()

    assert refusal.value.http_status == 401
    assert "12345" not in repr(refusal.value)


async def test_connection_is_kept_for_the_next_answer(brain: llm.Brain) -> None:
    for _ in range(3):
        await collect(brain, talk(CUE))
    pool: Any = brain._client._transport

    assert len(pool._pool.connections) == 1


def said(*texts: str, system: str = SYSTEM) -> str:
    roles = ("user", "assistant")
    return reply([Said("system", system), *(Said(roles[n % 2], text) for n, text in enumerate(texts))])


def test_it_is_deterministic_and_never_the_same_answer_to_everything() -> None:
    lines = ["I went for a long walk.", "My knee hurts a bit.", "What should I eat?", "I feel great today.", "Thanks."]
    answers = [said(line) for line in lines]

    assert answers == [said(line) for line in lines]
    assert len(set(answers)) == len(lines)
    assert "went for a long walk" in answers[0]
    assert "Your knee hurts a bit" in answers[1] or "your knee hurts a bit" in answers[1]


def test_it_follows_the_name_manner_and_occasion() -> None:
    warm = said(CUE, system="You are Sarah, a gentle and calm listener.")

    assert said(CUE) == "Hi, this is Brad. I'm calling about this: check in on the morning run. How are you today?"
    assert warm == "Hi, this is Sarah. It's lovely to hear you. How are you today?"


@pytest.mark.parametrize(
    "question",
    ["Are you a robot?", "Are you real?", "Am I talking to a human?", "Wait, are you an AI?", "What are you?"],
)
def test_asked_it_owns_up_to_being_a_script(question: str) -> None:
    assert "scripted stand-in" in said(question)


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("Well, I have to go now. Bye!", True),
        ("Goodbye.", True),
        ("I need to leave.", True),
        ("I have to go to the doctor tomorrow.", False),
        ("We should go for a run some day.", False),
        ("I left my keys in the car.", False),
    ],
)
def test_it_ends_the_call_by_its_mark_only_on_a_farewell(line: str, ends: bool) -> None:
    assert said("Hi.", "Hello!", line).endswith("[end]") is ends


def test_it_remembers_what_was_said_before() -> None:
    texts = ["I bought a boat.", "Nice.", "It is blue.", "Oh.", "The weather turned."]

    assert "You bought a boat" in said(*texts)


@pytest.mark.parametrize("line", ["", "?", "...", "🙂", "a" * 5000, "[end]", "\n"])
def test_it_has_an_answer_to_anything(line: str) -> None:
    assert 3 < len(said(line)) < 5200


def test_tokens_join_to_the_text_and_count_consistently() -> None:
    text = "Grüße, this is  a somewhat   longer text\n with lines. "

    assert "".join(tokens(text)) == text
    assert prompt_tokens([Said("user", text)]) == len(tokens(text)) + 7


def test_writes_are_cut_within_a_character() -> None:
    pieces = _split('data: "Grüße"\n\n'.encode())

    assert b"".join(pieces) == 'data: "Grüße"\n\n'.encode()
    with pytest.raises(UnicodeDecodeError):
        pieces[0].decode()
    assert _split(b"data: plain\n\n") == (b"data: plain\n\n",)


def test_brain_quotes_the_person_and_never_the_house() -> None:
    system = Said("system", "You are Brad.\n\nThis call: Why the person wants to be called: an interview")
    cue = Said("user", "(The person has just picked up the phone. Greet them first.)")
    talk = [system, cue]
    said = []
    for line in ("I went for a walk.", "It was long.", "There was rain.", "Then I went home."):
        said.append(reply(talk))
        talk += [Said("assistant", said[-1]), Said("user", line)]
    said.append(reply(talk))

    assert reply([system, Said("user", f"{cue.content} Who is this?")]).startswith("This is Brad.")
    assert "an interview" in said[0]
    assert not any("Why the person" in answer or "picked up" in answer or "Greet" in answer for answer in said)
