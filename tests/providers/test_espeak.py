"""The local voice really speaks: sound of a plausible length and loudness, in voices that differ."""

import asyncio
import math
import statistics
import struct
from operator import mul

import pytest

from callmeback import mulaw
from callmeback.providers import espeak
from callmeback.providers.failures import VendorBroken, VendorUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def voice():
    voice = espeak.LocalVoice()
    yield voice
    voice.close()


def _loudness(sound: bytes) -> float:
    pcm = struct.unpack(f"<{len(sound)}h", mulaw.decode(sound))
    return math.sqrt(sum(sample * sample for sample in pcm) / len(pcm))


async def test_a_sentence_takes_as_long_as_it_takes_to_say(voice: espeak.LocalVoice) -> None:
    sound = await voice.speak("Hello there, this is your friend calling you back.")

    assert 2.0 < mulaw.seconds(sound) < 5.0
    assert _loudness(sound) > 500


def _pitch_hertz(sound: bytes) -> float:
    """The median fundamental over the loud 40 ms pieces, by autocorrelation."""
    pcm = struct.unpack(f"<{len(sound)}h", mulaw.decode(sound))
    found = []
    for start in range(0, len(pcm) - 640, 640):
        piece = pcm[start : start + 640]
        if sum(map(abs, piece)) / 640 < 1500:
            continue
        scores = {lag: sum(map(mul, piece, piece[lag:])) for lag in range(25, 130)}
        found.append(8000 / max(scores, key=scores.__getitem__))
    return statistics.median(found)


async def test_brad_alex_and_sarah_can_be_told_apart(voice: espeak.LocalVoice) -> None:
    text = "Good morning, are you all well over there?"
    brad, alex, sarah = [_pitch_hertz(await voice.speak(text, espeak.style_for(n))) for n in ("brad", "alex", "sarah")]

    assert brad * 1.1 < alex
    assert alex * 1.1 < sarah


async def test_speed_of_the_settings_is_heard_and_bounded(voice: espeak.LocalVoice) -> None:
    text = "One two three four five six seven eight nine ten."
    slow, fast, faster = [
        mulaw.seconds(await voice.speak(text, espeak.style_for("brad", {"speed": speed}))) for speed in (0.7, 1.2, 99)
    ]

    assert slow > fast * 1.3
    assert fast == faster


async def test_the_same_text_and_style_gives_the_same_sound(voice: espeak.LocalVoice) -> None:
    first = await voice.speak("Deterministic.")

    # espeak's breath noise runs on from text to text, so a second synthesis is alike, not the same.
    assert await voice.speak("Deterministic.") == first
    assert len(espeak.synthesize("Deterministic.", espeak.Style())) == pytest.approx(len(first), rel=0.05)


@pytest.mark.parametrize("style", [*espeak._NAMED.values(), *espeak._OTHERS, espeak.Style()])
def test_every_style_is_one_that_espeak_knows(style: espeak.Style) -> None:
    assert mulaw.seconds(espeak.synthesize("Hello.", style)) > 0.2


@pytest.mark.parametrize("text", ["", "   ", "\0\n\t"])
async def test_nothing_to_say_is_no_sound(voice: espeak.LocalVoice, text: str) -> None:
    assert await voice.speak(text) == b""


async def test_any_script_and_length_is_survived(voice: espeak.LocalVoice) -> None:
    assert mulaw.seconds(await voice.speak("Grüße, 世界 🙂 \ud800 <speak>&amp;[[hello]]")) > 0.5
    assert espeak._clean("word " * 5000) == ("word " * 800).strip()


@pytest.mark.parametrize(
    ("voice_id", "name"),
    [("pNInz6obpgDQGcFmaJgB", "brad"), ("EXAVITQu4vr4xnSDxMaL", "sarah"), ("iP95p4xoKVk53GoZ742B", "alex")],
)
def test_seeded_voices_have_their_local_stand_in(voice_id: str, name: str) -> None:
    assert espeak.style_for(voice_id) == espeak.style_for(name)


@pytest.mark.parametrize("settings", [{"speed": "fast"}, {"speed": float("nan")}, {"stability": None}, {"speed": True}])
def test_settings_of_a_wrong_type_are_passed_over(settings: dict[str, object]) -> None:
    assert espeak.style_for("brad", settings) == espeak.style_for("brad", None)


async def test_an_unknown_voice_of_espeak_is_an_error(voice: espeak.LocalVoice) -> None:
    with pytest.raises(VendorBroken):
        await voice.speak("Hello.", espeak.Style("xx-none+zz"))


async def test_too_many_waiting_are_turned_away(voice: espeak.LocalVoice) -> None:
    asked = [asyncio.create_task(voice.speak(f"Number {n}.")) for n in range(espeak.WAITING_MAX + 3)]
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert sum(isinstance(answer, VendorUnavailable) for answer in answers) == 3
    assert sum(isinstance(answer, bytes) for answer in answers) == espeak.WAITING_MAX


def _tone(hertz: float, rate_hz: int) -> bytes:
    return struct.pack(
        f"<{rate_hz}h", *(int(10_000 * math.sin(2 * math.pi * hertz * n / rate_hz)) for n in range(rate_hz))
    )


def test_resampling_keeps_the_voice_and_drops_what_would_fold_back() -> None:
    def level(hertz: float) -> float:
        pcm = espeak.resampled(_tone(hertz, 22050), 22050)
        samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
        assert abs(len(samples) - 8000) <= 1
        return math.sqrt(sum(s * s for s in samples) / len(samples))

    assert level(1000) == pytest.approx(10_000 / math.sqrt(2) * 0.9, rel=0.02)
    assert level(5500) < level(1000) / 50
