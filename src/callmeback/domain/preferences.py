"""How a person wants to be reached and reminded, what a voicemail gets, and what personas may remember."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "preferences.sql")

VoicemailPolicy = Literal["hang_up", "leave_message"]


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a person."""

    email_notifications: bool
    sms_notifications: bool
    call_reminder_minutes: int
    voicemail_policy: VoicemailPolicy
    memory_enabled: bool
    memory: str | None
    pay_as_you_go: bool


class PreferencesChange(msgspec.Struct, frozen=True, kw_only=True):
    """Only what is given is changed."""

    email_notifications: bool | UnsetType = UNSET
    sms_notifications: bool | UnsetType = UNSET
    call_reminder_minutes: Annotated[int, Meta(ge=0, le=1_440)] | UnsetType = UNSET
    voicemail_policy: VoicemailPolicy | UnsetType = UNSET
    memory_enabled: bool | UnsetType = UNSET
    memory: Annotated[str, Meta(max_length=4_000)] | UnsetType | None = UNSET
    pay_as_you_go: bool | UnsetType = UNSET


async def preferences(tx: Session, user_id: str) -> Preferences:
    """What holds for a person."""
    return await tx.one(SQL.preferences, Preferences, user_id=user_id)


async def change(tx: Session, user_id: str, wanted: PreferencesChange) -> Preferences:
    """Write what was given."""
    given: dict[str, Any] = {
        name: None if getattr(wanted, name) is UNSET else getattr(wanted, name) for name in wanted.__struct_fields__
    }
    await tx.run(SQL.change, user_id=user_id, set_memory=wanted.memory is not UNSET, **given)

    return await preferences(tx, user_id)
