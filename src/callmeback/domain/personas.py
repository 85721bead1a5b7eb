"""Personas: the house's, which may call everybody, and those that a person made for themselves.

How a person and a persona stand to one another is in `relationships.py`.
"""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from callmeback import errors, ids
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "personas.sql")

CATALOGUE_MAX: Final = 200
OWN_MAX: Final = 100
AVATAR_PREFIXES: Final = ("https://", "/static/")

VoiceId = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
Prompt = Annotated[str, Meta(min_length=1, max_length=8_000)]
Seconds = Annotated[int, Meta(ge=60, le=14_400)]
Tokens = Annotated[int, Meta(ge=16, le=1_000)]
Temperature = Annotated[float, Meta(ge=0, le=2)]


class VoiceSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a voice speaks, in its vendor's terms; a key that is absent is inherited."""

    stability: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    similarity_boost: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=0.7, le=1.2)] | UnsetType = UNSET
    style: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    use_speaker_boost: bool | UnsetType = UNSET


class Card(msgspec.Struct, frozen=True):
    """What everybody may know of a persona."""

    id: str
    name: str
    description: str | None
    category: str | None
    avatar_url: str | None


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """A persona that its person made, whole."""

    id: str
    name: str
    description: str | None
    category: str | None
    avatar_url: str | None
    core_system_prompt: str
    default_voice_id: str | None
    default_voice_settings: dict[str, Any]
    max_tokens: int
    temperature: float
    max_call_duration_seconds: int | None
    created_at: datetime
    updated_at: datetime


class PersonaDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A persona to be made."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    core_system_prompt: Prompt
    description: Annotated[str, Meta(max_length=1_000)] | None = None
    category: Annotated[str, Meta(max_length=50)] | None = None
    avatar_url: Annotated[str, Meta(max_length=500)] | None = None
    default_voice_id: VoiceId | None = None
    default_voice_settings: VoiceSettings = VoiceSettings()
    max_tokens: Tokens = 150
    temperature: Temperature = 0.7
    max_call_duration_seconds: Seconds | None = None


class PersonaChange(msgspec.Struct, frozen=True, kw_only=True):
    """Only what is given is changed; null takes away what may be absent."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    core_system_prompt: Prompt | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=1_000)] | UnsetType | None = UNSET
    category: Annotated[str, Meta(max_length=50)] | UnsetType | None = UNSET
    avatar_url: Annotated[str, Meta(max_length=500)] | UnsetType | None = UNSET
    default_voice_id: VoiceId | UnsetType | None = UNSET
    default_voice_settings: VoiceSettings | UnsetType = UNSET
    max_tokens: Tokens | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    max_call_duration_seconds: Seconds | UnsetType | None = UNSET


# What every voice starts from; the same as the column's default (specification, section 4.1).
DEFAULT_VOICE: Final = {"stability": 0.5, "similarity_boost": 0.75, "speed": 1.0, "style": 0.0}


async def catalogue(tx: Session, category: str | None = None) -> list[Card]:
    """Cards of all personas that the transaction's person may see; nobody sees the house's only."""
    return await tx.all(SQL.catalogue, Card, category=category, most=CATALOGUE_MAX)


async def card(tx: Session, persona_id: str) -> Card:
    """One card; raises NotFound."""
    return await tx.one(SQL.card, Card, persona_id=persona_id)


async def own(tx: Session, user_id: str, persona_id: str) -> Persona | None:
    """A persona of this person, or None."""
    return await tx.maybe(SQL.own, Persona, user_id=user_id, persona_id=persona_id)


async def create(tx: Session, user_id: str, draft: PersonaDraft) -> Persona:
    """Make a persona; raises ValidationFailed."""
    if await tx.value(SQL.count_own, user_id=user_id) >= OWN_MAX:
        raise errors.ValidationFailed(f"A person has at most {OWN_MAX} personas.")
    values: dict[str, Any] = {name: getattr(draft, name) for name in draft.__struct_fields__}
    values["default_voice_settings"] = DEFAULT_VOICE | msgspec.to_builtins(draft.default_voice_settings)
    persona_id = ids.new("per")
    await tx.run(SQL.create, id=persona_id, user_id=user_id, **_checked(values))

    return await tx.one(SQL.own, Persona, user_id=user_id, persona_id=persona_id)


async def change(tx: Session, user_id: str, persona_id: str, wanted: PersonaChange) -> Persona:
    """Change a persona of this person; raises NotFound, ValidationFailed."""
    now = await tx.one(SQL.own, Persona, user_id=user_id, persona_id=persona_id)
    values: dict[str, Any] = {}
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        values[name] = getattr(now, name) if value is UNSET else value
    if isinstance(wanted.default_voice_settings, VoiceSettings):
        values["default_voice_settings"] = now.default_voice_settings | msgspec.to_builtins(
            wanted.default_voice_settings
        )
    await tx.run(SQL.change, user_id=user_id, persona_id=persona_id, **_checked(values))

    return await tx.one(SQL.own, Persona, user_id=user_id, persona_id=persona_id)


async def retire(tx: Session, user_id: str, persona_id: str) -> None:
    """Take a persona of this person out of the catalogue; raises NotFound."""
    if not await tx.run(SQL.retire, user_id=user_id, persona_id=persona_id):
        raise errors.NotFound()


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    values["name"] = values["name"].strip()
    if not values["name"]:
        raise errors.ValidationFailed("A persona needs a name.", field="name")
    if not values["core_system_prompt"].strip():
        raise errors.ValidationFailed("A persona needs a prompt.", field="core_system_prompt")
    avatar = values["avatar_url"]
    if avatar is not None and not avatar.startswith(AVATAR_PREFIXES):
        raise errors.ValidationFailed("The picture's address must begin with https://.", field="avatar_url")

    return values
