"""The local voice: espeak-ng by ctypes, text to µ-law at 8 kHz. No key, no download, nothing to reach.

The simulated voice speaks with it, and a real call falls back to it. The library keeps its state in globals, so one
thread does the speaking and what is asked meanwhile waits, within a bound.
"""

import asyncio
import ctypes
import math
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import mul
from typing import Final

import espeakng_loader
import msgspec

from callmeback import mulaw
from callmeback.providers.failures import VendorBroken, VendorUnavailable

VENDOR: Final = "local voice"
TEXT_CHARACTERS_MAX: Final = 4000
WAITING_MAX: Final = 32
SPEAK_TIMEOUT_S: Final = 10.0
CACHE_BYTES_MAX: Final = 8_000_000

WORDS_PER_MINUTE: Final = 172
"""espeak's own pace is 175; the factor `speed` of a voice's settings multiplies this."""

# From espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS: Final = 2
_CHARS_UTF8: Final = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_POSITION_CHARACTER: Final = 1


class Style(msgspec.Struct, frozen=True):
    """How to speak: espeak's voice with its variant, and espeak's own scales (pitch and range 0 to 99)."""

    voice: str = "en-us+m3"
    words_per_minute: int = WORDS_PER_MINUTE
    pitch: int = 45
    pitch_range: int = 50


_BRAD: Final = Style("en-us+m7", pitch=28, pitch_range=60)
_SARAH: Final = Style("en-us+f2", pitch=58, pitch_range=70)
_ALEX: Final = Style("en-gb-x-rp+m3", pitch=84, pitch_range=50)
# By name, and by the voices of ElevenLabs that the seeded personas have.
_NAMED: Final = {
    "brad": _BRAD,
    "sarah": _SARAH,
    "alex": _ALEX,
    "pninz6obpgdqgcfmajgb": _BRAD,
    "exavitqu4vr4xnsdxmal": _SARAH,
    "ip95p4xokvk53goz742b": _ALEX,
}
_OTHERS: Final = (
    Style("en-us+m3", pitch=40),
    Style("en-us+f3", pitch=62),
    Style("en+m4", pitch=36),
    Style("en-gb-x-rp+f4", pitch=54),
    Style("en-us+m5", pitch=48),
    Style("en-gb-scotland+f1", pitch=58),
)
_SPEED_LEAST, _SPEED_MOST = 0.7, 1.2


def style_for(voice_id: str | None, settings: Mapping[str, object] | None = None) -> Style:
    """The local stand-in for a vendor's voice: the same id always sounds the same, other ids mostly differ.

    Of `settings` (ElevenLabs' voice_settings) `speed` is kept within the vendor's 0.7 to 1.2 and multiplies the
    pace, and less `stability` means more melody; anything else, or of the wrong type, is passed over.
    """
    name = (voice_id or "").lower()
    style = next((style for key, style in _NAMED.items() if key in name), None)
    if style is None:
        style = _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)]
    speed, stability = _number(settings, "speed", 1.0), _number(settings, "stability", 0.5)
    return Style(
        voice=style.voice,
        words_per_minute=round(WORDS_PER_MINUTE * min(max(speed, _SPEED_LEAST), _SPEED_MOST)),
        pitch=style.pitch,
        pitch_range=min(99, max(0, round(style.pitch_range + 40 * (0.5 - min(max(stability, 0.0), 1.0))))),
    )


def _number(settings: Mapping[str, object] | None, key: str, default: float) -> float:
    value = (settings or {}).get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable and isinstance(value, int | float) else default


class LocalVoice:
    """Speaks, one text after the other; one for the process. What was said lately is kept and not made again."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="espeak")
        self._waiting = 0
        self._cache: OrderedDict[tuple[str, Style], bytes] = OrderedDict()
        self._cached_bytes = 0

    async def speak(self, text: str, style: Style | None = None) -> bytes:
        """The text as µ-law sound; empty for a text without a sound.

        Raises VendorUnavailable when too much waits already or it takes too long, VendorBroken when espeak fails.
        """
        key = (_clean(text), style or Style())
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if self._waiting >= WAITING_MAX:
            raise VendorUnavailable(VENDOR, "speak", vendor_code="busy")
        self._waiting += 1
        work = asyncio.get_running_loop().run_in_executor(self._executor, synthesize, *key)
        # The count falls when the thread is done with it, not when the asker stops waiting.
        work.add_done_callback(self._one_done)
        try:
            async with asyncio.timeout(SPEAK_TIMEOUT_S):
                sound = await asyncio.shield(work)
        except TimeoutError as exc:
            raise VendorUnavailable(VENDOR, "speak", vendor_code="timeout") from exc
        self._keep(key, sound)
        return sound

    def close(self) -> None:
        """Speak no more; what is being said is finished in the background."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _one_done(self, work: "asyncio.Future[bytes]") -> None:
        self._waiting -= 1
        if not work.cancelled():
            # Read, so that a failure nobody waits for any more isn't reported as forgotten.
            work.exception()

    def _keep(self, key: tuple[str, Style], sound: bytes) -> None:
        if key in self._cache:
            return
        self._cache[key] = sound
        self._cached_bytes += len(sound)
        while self._cached_bytes > CACHE_BYTES_MAX:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])


def _clean(text: str) -> str:
    """What espeak may read: bounded, and without control characters (a NUL would end the text)."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:TEXT_CHARACTERS_MAX]).strip()


_lock: Final = threading.Lock()


class _Library:
    """espeak-ng, loaded and initialised on first use; to be called under the lock."""

    def __init__(self) -> None:
        self.handle: ctypes.CDLL | None = None
        self.rate_hz = 0
        self.sound: list[bytes] = []
        self.callback: object | None = None

    def load(self) -> ctypes.CDLL:
        if self.handle is not None:
            return self.handle
        try:
            handle = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as exc:
            raise VendorBroken(VENDOR, "load espeak-ng") from exc
        handle.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        handle.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = handle.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data, 0)
        if self.rate_hz <= 0:
            raise VendorBroken(VENDOR, "load espeak-ng")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self._take)
        handle.espeak_SetSynthCallback(self.callback)
        self.handle = handle
        return handle

    def _take(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self.sound.append(ctypes.string_at(samples, count * 2))
        return 0


_library: Final = _Library()


def synthesize(text: str, style: Style) -> bytes:
    """The same as `LocalVoice.speak`, at once and in this thread. Raises VendorBroken."""
    if not text:
        return b""
    encoded = text.encode("utf-8", "replace") + b"\0"
    with _lock:
        handle = _library.load()
        _library.sound.clear()
        if handle.espeak_SetVoiceByName(style.voice.encode()) != 0:
            raise VendorBroken(VENDOR, "speak", vendor_code="voice")
        for parameter, value in ((_RATE, style.words_per_minute), (_PITCH, style.pitch), (_RANGE, style.pitch_range)):
            handle.espeak_SetParameter(parameter, value, 0)
        if handle.espeak_Synth(encoded, len(encoded), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None) != 0:
            raise VendorBroken(VENDOR, "speak", vendor_code="synth")
        pcm, rate_hz = b"".join(_library.sound), _library.rate_hz
        _library.sound.clear()
    return mulaw.encode(resampled(pcm, rate_hz))


_TAPS: Final = 40
_CUTOFF_HZ: Final = 3400.0
_GAIN: Final = 0.9
_YIELD_EVERY_SAMPLES: Final = 160
_filters: dict[int, list[tuple[float, ...]]] = {}


def resampled(pcm: bytes, rate_hz: int) -> bytes:
    """16-bit samples at `rate_hz` to 16-bit samples at 8 kHz, low-passed for the telephone; a polyphase filter."""
    up = mulaw.RATE_HZ // math.gcd(mulaw.RATE_HZ, rate_hz)
    down = rate_hz // math.gcd(mulaw.RATE_HZ, rate_hz)
    phases = _filters.setdefault(rate_hz, _phases(up, rate_hz * up))
    half = _TAPS // 2
    samples = [0] * half + memoryview(pcm).cast("h").tolist() + [0] * half
    out = []
    for index in range((len(samples) - _TAPS) * up // down):
        if index % _YIELD_EVERY_SAMPLES == 0:
            # Lets the event loop's thread run: without it each wait for the interpreter's lock costs a call up to 5 ms.
            time.sleep(0)
        start, phase = divmod(index * down, up)
        value = sum(map(mul, phases[phase], samples[start : start + _TAPS]))
        out.append(max(-32768, min(32767, int(value))))
    return ctypes.string_at((ctypes.c_int16 * len(out))(*out), len(out) * 2)


def _phases(up: int, rate_hz: int) -> list[tuple[float, ...]]:
    """For each of the `up` positions between two input samples, the weights of the samples around it (Hann window)."""
    phases = []
    for phase in range(up):
        offsets = [(tap - _TAPS // 2) * up - phase for tap in range(_TAPS)]
        weights = [
            _sinc(2 * _CUTOFF_HZ * offset / rate_hz) * (0.5 + 0.5 * math.cos(2 * math.pi * offset / (_TAPS * up + 2)))
            for offset in offsets
        ]
        total = sum(weights)
        phases.append(tuple(_GAIN * weight / total for weight in weights))
    return phases


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)
