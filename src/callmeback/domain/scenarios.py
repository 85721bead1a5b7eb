"""Situations for a call. A call keeps a copy of the text: changing a scenario never changes a call."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from callmeback import errors, ids
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "scenarios.sql")

OWN_MAX: Final = 200
LISTED_MAX: Final = 300

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
Icon = Annotated[str, Meta(max_length=16)]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A situation; presets are everybody's and can't be changed."""

    id: str
    name: str
    scenario_text: str
    icon: str | None
    is_preset: bool
    use_count: int
    last_used_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ScenarioDraft(msgspec.Struct, frozen=True):
    """A scenario to be made."""

    name: Name
    scenario_text: Text
    icon: Icon | None = None


class ScenarioChange(msgspec.Struct, frozen=True):
    """Only what is given is changed."""

    name: Name | UnsetType = UNSET
    scenario_text: Text | UnsetType = UNSET
    icon: Icon | UnsetType | None = UNSET


async def scenarios(tx: Session) -> list[Scenario]:
    """All that the transaction's person may use."""
    return await tx.all(SQL.scenarios, Scenario, most=LISTED_MAX)


async def scenario(tx: Session, scenario_id: str) -> Scenario:
    """One scenario; raises NotFound."""
    return await tx.one(SQL.scenario, Scenario, scenario_id=scenario_id)


async def create(tx: Session, user_id: str, draft: ScenarioDraft) -> Scenario:
    """Make a scenario; raises ValidationFailed where there are too many."""
    if await tx.value(SQL.count_own, user_id=user_id) >= OWN_MAX:
        raise errors.ValidationFailed(f"A person has at most {OWN_MAX} scenarios.")
    scenario_id = ids.new("scn")
    await tx.run(
        SQL.create,
        id=scenario_id,
        user_id=user_id,
        name=_filled("name", draft.name),
        scenario_text=_filled("scenario_text", draft.scenario_text),
        icon=draft.icon or None,
    )

    return await scenario(tx, scenario_id)


async def change(tx: Session, user_id: str, scenario_id: str, wanted: ScenarioChange) -> Scenario:
    """Change a scenario of this person; raises NotFound, also for a preset."""
    changed = await tx.run(
        SQL.change,
        user_id=user_id,
        scenario_id=scenario_id,
        name=None if wanted.name is UNSET else _filled("name", wanted.name),
        scenario_text=None if wanted.scenario_text is UNSET else _filled("scenario_text", wanted.scenario_text),
        icon=None if wanted.icon is UNSET else wanted.icon or None,
        set_icon=wanted.icon is not UNSET,
    )
    if not changed:
        raise errors.NotFound()

    return await scenario(tx, scenario_id)


async def remove(tx: Session, user_id: str, scenario_id: str) -> None:
    """Remove a scenario of this person; raises NotFound, also for a preset."""
    if not await tx.run(SQL.remove, user_id=user_id, scenario_id=scenario_id):
        raise errors.NotFound()


async def note_use(tx: Session, user_id: str, scenario_id: str) -> None:
    """Count a use of a scenario of this person; presets aren't counted."""
    await tx.run(SQL.note_use, user_id=user_id, scenario_id=scenario_id)


def _filled(field: str, text: str) -> str:
    if not text.strip():
        raise errors.ValidationFailed("This can't be empty.", field=field)

    return text.strip()
