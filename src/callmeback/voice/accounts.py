"""Which account at which vendor a process uses: the operator's, or the simulator's on this machine.

The simulator's credentials are derived from the house's secret, so that every process of one home agrees on them.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from callmeback import errors
from callmeback.providers import deepgram, elevenlabs, espeak, llm, twilio
from callmeback.providers.deepgram import Listener, ListenerConfig
from callmeback.providers.elevenlabs import Voice, VoiceConfig
from callmeback.providers.llm import Brain, BrainConfig
from callmeback.providers.mail import MailConfig
from callmeback.providers.twilio import Carrier, CarrierConfig
from callmeback.settings import Settings
from callmeback.voice import audio
from callmeback.voice.ticket import CallTicket
from callmeback.voice.vendors import Ears, Mouth, Vendors

SIMULATOR_HOST: Final = "127.0.0.1"
# Our account at the simulated carrier, and the number that calls: one of those that nobody can have.
SIMULATED_ACCOUNT: Final = "AC5157a7ed0000000000000000000000ff"
SIMULATED_NUMBER: Final = "+12025550199"
# A vendor that wants no key (a model of one's own, say) is told something all the same: the header can't be empty.
NO_KEY: Final = "none"
NO_SENDER: Final = "noreply@callmeback.invalid"
# What a persona without a voice speaks with: "Adam", a voice of the vendor's own library.
DEFAULT_VOICE: Final = "pNInz6obpgDQGcFmaJgB"


def simulator_url(settings: Settings, scheme: str, vendor: str) -> str:
    """Where a simulated vendor answers: the web process of this machine."""
    return f"{scheme}://{SIMULATOR_HOST}:{settings.port}/simulator/{vendor}"


def carrier_config(settings: Settings) -> CarrierConfig:
    """The account at the carrier."""
    if settings.simulated("carrier"):
        return CarrierConfig(
            account_sid=SIMULATED_ACCOUNT,
            auth_token=_simulated_token(settings),
            number=SIMULATED_NUMBER,
            base_url=simulator_url(settings, "http", "carrier"),
        )
    if not (settings.twilio_account_sid and settings.twilio_auth_token and settings.twilio_phone_number):
        raise errors.ConfigurationError("A carrier needs its account, token and number.")

    return CarrierConfig(
        account_sid=settings.twilio_account_sid,
        auth_token=settings.twilio_auth_token,
        number=settings.twilio_phone_number,
        base_url=settings.twilio_base_url or twilio.BASE_URL,
    )


def listener_config(settings: Settings) -> ListenerConfig:
    """The account at the listener."""
    if settings.simulated("listener"):
        base_url = simulator_url(settings, "ws", "listener")
    else:
        base_url = settings.deepgram_base_url or deepgram.BASE_URL

    return ListenerConfig(
        api_key=settings.deepgram_api_key or NO_KEY,
        model=settings.listener_model,
        base_url=base_url,
        # The session decides how much it gathers before it sends.
        chunk_ms=audio.CLOSE_CHUNK_MS,
    )


def brain_config(settings: Settings, model: str) -> BrainConfig:
    """The account at the brain, for one of its models. One that reasons is asked to do little of it: somebody waits."""
    base_url = settings.cerebras_base_url or llm.BASE_URL
    if settings.simulated("brain"):
        base_url = simulator_url(settings, "http", "brain") + "/v1"
    effort: Literal["low"] | None = "low" if model.startswith("gpt-oss") else None

    return BrainConfig(
        model=model, api_key=settings.cerebras_api_key or NO_KEY, base_url=base_url, reasoning_effort=effort
    )


def voice_config(settings: Settings, voice_id: str, voice_settings: Mapping[str, float | bool]) -> VoiceConfig:
    """The account at the voice, for one of its voices."""
    if settings.simulated("voice"):
        base_url = simulator_url(settings, "ws", "voice")
    else:
        base_url = settings.elevenlabs_base_url or elevenlabs.BASE_URL

    return VoiceConfig(
        api_key=settings.elevenlabs_api_key or NO_KEY,
        voice_id=voice_id or DEFAULT_VOICE,
        model=settings.voice_model,
        base_url=base_url,
        settings=voice_settings,
    )


def mail_config(settings: Settings) -> MailConfig:
    """Where mail goes: the operator's server, or the simulated mailbox. It is from the login there, if that is one."""
    if settings.smtp_url is None:
        return MailConfig(url=simulator_url(settings, "http", "mails"), sender=NO_SENDER)
    login = unquote(urlsplit(settings.smtp_url).username or "")
    host = urlsplit(settings.base_url).hostname or ""
    is_name = any(letter.isalpha() for letter in host) and "." in host
    sender = login if "@" in login else f"noreply@{host}" if is_name else NO_SENDER

    return MailConfig(url=settings.smtp_url, sender=sender)


class Staff:
    """Everyone that calls need: brains and the local voice are shared by a process, the rest is each call's own."""

    def __init__(self, settings: Settings, carrier: Carrier) -> None:
        self._settings = settings
        self._carrier = carrier
        self._brain = Brain(brain_config(settings, settings.brain_model))
        self._second_brain = Brain(brain_config(settings, settings.brain_fallback_model))
        self._local_voice = espeak.LocalVoice()

    async def aclose(self) -> None:
        """Close what is shared."""
        await self._brain.aclose()
        await self._second_brain.aclose()
        self._local_voice.close()

    def vendors(self, call: CallTicket) -> Vendors:
        """The vendors of one call."""

        async def open_ears() -> Ears:
            listener = Listener(listener_config(self._settings))
            await listener.open()
            return listener

        async def open_mouth() -> Mouth:
            voice = Voice(voice_config(self._settings, call.voice_id, call.voice_settings))
            await voice.open()
            return voice

        return Vendors(
            carrier=self._carrier,
            open_ears=open_ears,
            mind=self._brain,
            second_mind=self._second_brain,
            open_mouth=open_mouth,
            local_voice=StyledVoice(self._local_voice, espeak.style_for(call.voice_id, call.voice_settings)),
        )


class StyledVoice:
    """The local voice in the manner of one persona."""

    def __init__(self, voice: espeak.LocalVoice, style: espeak.Style) -> None:
        self._voice = voice
        self._style = style

    async def speak(self, text: str) -> bytes:
        """The text as µ-law audio; raises VendorError."""
        return await self._voice.speak(text, self._style)


def _simulated_token(settings: Settings) -> str:
    secret = (settings.jwt_secret or "").encode()

    return hmac.new(secret, b"callmeback:simulated_carrier", hashlib.sha256).hexdigest()[:32]
