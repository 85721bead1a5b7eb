"""Personas: a person's relationship with each, and those that a person invents."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from callmeback import errors, ids
from callmeback.domain import personas, relationships
from callmeback.domain.personas import Card, Persona
from callmeback.domain.relationships import Relationship
from callmeback.pg.pool import Session
from callmeback.web import problems
from callmeback.web.pages import frame, surroundings, voices
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

PERSONA_SENTENCES: Final = {
    "name": "A name has 1 to 100 characters.",
    "description": "A description has at most 1,000 characters.",
    "core_system_prompt": "Say who they are, in at most 8,000 characters.",
    "default_voice_id": "This is no voice that can be chosen.",
    "default_voice_settings": "Pace and temper are set with the two sliders.",
    "category": "A kind has at most 50 characters.",
}
RELATIONSHIP_SENTENCES: Final = {
    "relationship_type": "In 1 to 100 characters: friend, mentor, big sister…",
    "custom_system_prompt": "At most 4,000 characters, please.",
    "voice_id": "This is no voice that can be chosen.",
    "voice_settings": "Pace and temper are set with the two sliders.",
}
# Where the domain's fields stand in the forms.
BESIDE: Final = {
    "default_voice_id": "voice_id", "default_voice_settings": "speed", "voice_settings": "speed",
}  # fmt: skip
KINSHIP: Final = ("friend", "mentor", "coach", "sibling", "partner", "colleague", "teacher", "grandparent")


class Shown(msgspec.Struct, frozen=True):
    """A persona on a card of the first page."""

    id: str
    name: str
    description: str | None
    avatar_url: str | None
    is_favorite: bool
    is_own: bool


def shown(card: Card, relationship: Relationship | None) -> Shown:
    """A card with the person's heart on it."""
    return Shown(
        id=card.id,
        name=card.name,
        description=card.description,
        avatar_url=card.avatar_url,
        is_favorite=relationship is not None and relationship.is_favorite,
        is_own=is_own(card.id),
    )


def is_own(persona_id: str) -> bool:
    """Whether a persona that the person can see is of their own making: the house's have short names as ids."""
    return ids.is_valid(persona_id, "per")


@get("/personas/new")
async def show_new(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """The form for a new persona."""
    return await _persona_form(request, caller, services, Form(), None)


@post("/personas")
async def create_persona(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Make one."""
    form = Form(await read_form(request))
    draft = form.shape(personas.PersonaDraft, _persona_given(form), PERSONA_SENTENCES)
    form.move(BESIDE)
    if draft is None:
        return await _persona_form(request, caller, services, form, None, status=400)
    try:
        async with caller.transaction() as tx:
            made = await personas.create(tx, caller.user_id, draft)
    except errors.ValidationFailed as exc:
        form.refuse(exc, PERSONA_SENTENCES)
        return await _persona_form(request, caller, services, form, None, status=problems.status_of(exc))

    return frame.go(f"/?done=made#heart-{made.id}")


@get("/personas/{persona_id:str}")
async def show_persona(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], persona_id: FromPath[str]
) -> Response[Any]:
    """The person's relationship with a persona."""
    return await _persona(request, caller, services, persona_id, None)


@post("/personas/{persona_id:str}")
async def change_relationship(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], persona_id: FromPath[str]
) -> Response[Any]:
    """Write it. With "as it is" chosen the persona's own voice and its settings are inherited again."""
    form = Form(await read_form(request))
    given = _relationship_given(form)
    change = form.shape(relationships.RelationshipChange, given, RELATIONSHIP_SENTENCES)
    form.move(BESIDE)
    if change is None:
        return await _persona(request, caller, services, persona_id, form, status=400)
    try:
        async with caller.transaction() as tx:
            await personas.card(tx, persona_id)
            await relationships.change(tx, caller.user_id, persona_id, change)
    except errors.ValidationFailed as exc:
        form.refuse(exc, RELATIONSHIP_SENTENCES)
        return await _persona(request, caller, services, persona_id, form, status=problems.status_of(exc))

    return frame.go("/?done=kept")


@post("/personas/{persona_id:str}/favourite")
async def favourite(request: Asked, caller: NamedDependency[Caller], persona_id: FromPath[str]) -> Response[Any]:
    """Give a heart, or take it back."""
    wanted = relationships.RelationshipChange(is_favorite=(await read_form(request)).get("on") == "yes")
    async with caller.transaction() as tx:
        await relationships.change(tx, caller.user_id, persona_id, wanted)

    return frame.go("/")


@get("/personas/{persona_id:str}/edit")
async def show_edit(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], persona_id: FromPath[str]
) -> Response[Any]:
    """The form for a persona of this person."""
    async with caller.transaction(read_only=True) as tx:
        persona = await _own(tx, caller, persona_id)

    return await _persona_form(request, caller, services, Form(_persona_values(persona)), persona)


@post("/personas/{persona_id:str}/edit")
async def change_persona(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], persona_id: FromPath[str]
) -> Response[Any]:
    """Change a persona of this person."""
    form = Form(await read_form(request))
    async with caller.transaction(read_only=True) as tx:
        persona = await _own(tx, caller, persona_id)
    change = form.shape(personas.PersonaChange, _persona_given(form), PERSONA_SENTENCES)
    form.move(BESIDE)
    if change is None:
        return await _persona_form(request, caller, services, form, persona, status=400)
    try:
        async with caller.transaction() as tx:
            await personas.change(tx, caller.user_id, persona_id, change)
    except errors.ValidationFailed as exc:
        form.refuse(exc, PERSONA_SENTENCES)
        return await _persona_form(request, caller, services, form, persona, status=problems.status_of(exc))

    return frame.go("/?done=kept")


@post("/personas/{persona_id:str}/retire")
async def retire_persona(caller: NamedDependency[Caller], persona_id: FromPath[str]) -> Response[Any]:
    """Retire a persona of this person; past calls stay."""
    async with caller.transaction() as tx:
        await personas.retire(tx, caller.user_id, persona_id)

    return frame.go("/?done=retired")


async def _own(tx: Session, caller: Caller, persona_id: str) -> Persona:
    persona = await personas.own(tx, caller.user_id, persona_id)
    if persona is None:
        raise errors.NotFound()

    return persona


def _persona_given(form: Form) -> dict[str, object]:
    values = form.values
    return {
        "name": values.get("name", "").strip(),
        "description": values.get("description", "").strip() or None,
        "core_system_prompt": values.get("core_system_prompt", "").strip(),
        "default_voice_id": values.get("voice_id") or voices.VOICES[0].id,
        "default_voice_settings": _voice_settings(values),
    }


def _relationship_given(form: Form) -> dict[str, object]:
    values = form.values
    voice_id = values.get("voice_id") or None
    return {
        "relationship_type": values.get("relationship_type", "").strip(),
        "custom_system_prompt": values.get("custom_system_prompt", "").strip() or None,
        "voice_id": voice_id,
        "voice_settings": _voice_settings(values) if values.get("own_voice") == "yes" else None,
    }


def _voice_settings(values: dict[str, str]) -> dict[str, object]:
    return {"speed": values.get("speed", "1.0"), "stability": values.get("stability", "0.5")}


def _persona_values(persona: Persona) -> dict[str, str]:
    settings = persona.default_voice_settings
    return {
        "name": persona.name,
        "description": persona.description or "",
        "core_system_prompt": persona.core_system_prompt,
        "voice_id": persona.default_voice_id or "",
        "speed": str(settings.get("speed", "1.0")),
        "stability": str(settings.get("stability", "0.5")),
    }


def _relationship_values(found: Relationship | None) -> dict[str, str]:
    if found is None:
        return {"relationship_type": "friend"}
    settings = found.effective_voice.voice_settings
    return {
        "relationship_type": found.relationship_type,
        "custom_system_prompt": found.custom_system_prompt or "",
        "voice_id": found.voice_id or "",
        "own_voice": "yes" if found.voice_settings is not None else "",
        "speed": str(settings.get("speed", "1.0")),
        "stability": str(settings.get("stability", "0.5")),
    }


async def _persona(
    request: Asked, caller: Caller, services: Services, persona_id: str, form: Form | None, *, status: int = 200
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        card = await personas.card(tx, persona_id)
        found = await relationships.relationship(tx, caller.user_id, persona_id)

    return frame.page(
        request,
        services,
        "persona.html",
        status=status,
        caller=caller,
        surroundings=around,
        persona=shown(card, found),
        relationship=found,
        form=form or Form(_relationship_values(found)),
        voices=voices.VOICES,
        can_hear=voices.can_hear(services),
        kinship=KINSHIP,
    )


async def _persona_form(
    request: Asked, caller: Caller, services: Services, form: Form, persona: Persona | None, *, status: int = 200
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
    form.values.setdefault("voice_id", voices.VOICES[0].id)

    return frame.page(
        request,
        services,
        "persona_form.html",
        status=status,
        caller=caller,
        surroundings=around,
        persona=persona,
        form=form,
        voices=voices.VOICES,
        can_hear=voices.can_hear(services),
    )


HANDLERS: Final = (
    show_new, create_persona, show_persona, change_relationship, favourite, show_edit, change_persona, retire_persona,
)  # fmt: skip
