"""What a person has made of a persona: how they stand to one another, a prompt and a voice of its own.

For prompt and voice, null means: as the persona has it. The voice in force comes from the view `effective_voices`.
"""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from callmeback import errors, ids
from callmeback.domain.personas import VoiceId, VoiceSettings
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "relationships.sql")

RELATIONSHIPS_MAX: Final = 500


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A relationship as the database has it."""

    persona_id: str
    persona_name: str
    persona_description: str | None
    avatar_url: str | None
    relationship_type: str
    custom_system_prompt: str | None
    voice_id: str | None
    voice_settings: dict[str, Any] | None
    is_favorite: bool
    is_archived: bool
    total_calls: int
    total_duration_seconds: int
    last_call_at: datetime | None
    effective_voice_id: str | None
    effective_voice_settings: dict[str, Any]


class Voice(msgspec.Struct, frozen=True):
    """The voice that a call would have."""

    voice_id: str | None
    voice_settings: dict[str, Any]


class Relationship(msgspec.Struct, frozen=True, kw_only=True):
    """A relationship as JSON."""

    persona_id: str
    persona_name: str
    persona_description: str | None
    avatar_url: str | None
    relationship_type: str
    custom_system_prompt: str | None
    voice_id: str | None
    voice_settings: dict[str, Any] | None
    effective_voice: Voice
    is_favorite: bool
    is_archived: bool
    total_calls: int
    total_duration_seconds: int
    last_call_at: datetime | None


class RelationshipChange(msgspec.Struct, frozen=True, kw_only=True):
    """Only what is given is changed; null for prompt and voice means: as the persona has it."""

    relationship_type: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    custom_system_prompt: Annotated[str, Meta(max_length=4_000)] | UnsetType | None = UNSET
    voice_id: VoiceId | UnsetType | None = UNSET
    voice_settings: VoiceSettings | UnsetType | None = UNSET
    is_favorite: bool | UnsetType = UNSET
    is_archived: bool | UnsetType = UNSET


async def relationships(tx: Session, user_id: str, *, favorite: bool | None = None) -> list[Relationship]:
    """A person's relationships: all of them, the favourites, or (False) the others."""
    found = await tx.all(SQL.relationships, Row, user_id=user_id, favorite=favorite, most=RELATIONSHIPS_MAX)

    return [_relationship(row) for row in found]


async def relationship(tx: Session, user_id: str, persona_id: str) -> Relationship | None:
    """One relationship; None where a person made nothing of a persona yet."""
    row = await tx.maybe(SQL.relationship, Row, user_id=user_id, persona_id=persona_id)

    return None if row is None else _relationship(row)


async def change(tx: Session, user_id: str, persona_id: str, wanted: RelationshipChange) -> Relationship:
    """Write what was given; raises PersonaNotFound for a persona that the person can't see, or a retired one anew."""
    written = await tx.run(
        SQL.change,
        id=ids.new("rel"),
        user_id=user_id,
        persona_id=persona_id,
        relationship_type=_or_none(wanted.relationship_type),
        custom_system_prompt=_or_none(wanted.custom_system_prompt) or None,
        set_custom_system_prompt=wanted.custom_system_prompt is not UNSET,
        voice_id=_or_none(wanted.voice_id),
        set_voice_id=wanted.voice_id is not UNSET,
        voice_settings=_or_none(wanted.voice_settings),
        set_voice_settings=wanted.voice_settings is not UNSET,
        is_favorite=_or_none(wanted.is_favorite),
        is_archived=_or_none(wanted.is_archived),
    )
    if not written:
        raise errors.PersonaNotFound()

    return _relationship(await tx.one(SQL.relationship, Row, user_id=user_id, persona_id=persona_id))


def _or_none(value: Any) -> Any:
    return None if value is UNSET else value


def _relationship(row: Row) -> Relationship:
    values = msgspec.structs.asdict(row)
    voice = Voice(values.pop("effective_voice_id"), values.pop("effective_voice_settings"))

    return Relationship(effective_voice=voice, **values)
