"""Routes of personas and of people's relationships with them."""

from typing import Annotated

from litestar import delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from callmeback import errors
from callmeback.domain import personas, relationships
from callmeback.domain.personas import Card, Persona, PersonaChange, PersonaDraft
from callmeback.domain.relationships import Relationship, RelationshipChange
from callmeback.web.api.pages import Page
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller

TAG = ["personas"]

Category = Annotated[str | None, QueryParameter(max_length=50, description="Only of this category.")]
Favorite = Annotated[bool | None, QueryParameter(description="Favourites only, or with false the others only.")]


@get("/api/personas", tags=TAG, responses=documented(), security=[{}])
async def list_personas(
    services: NamedDependency[Services], visitor: NamedDependency[Caller | None], category: Category = None
) -> Page[Card]:
    """The catalogue: cards of the house's personas, and of your own when logged in."""
    user_id = None if visitor is None else visitor.user_id
    async with services.api.transaction(user_id, read_only=True, single=True) as tx:
        return Page(await personas.catalogue(tx, category))


# A persona of your own is a card with more on it, so one shape describes both.
CARD_OR_MORE = {
    200: ResponseSpec(
        Card, description="A persona's card, or all of it where the persona is your own.", generate_examples=False
    )
}


@get("/api/personas/{persona_id:str}", tags=TAG, responses=CARD_OR_MORE | documented(404), security=[{}])
async def show_persona(
    services: NamedDependency[Services], visitor: NamedDependency[Caller | None], persona_id: FromPath[str]
) -> Card | Persona:
    """A persona's card, or all of it where the persona is your own."""
    user_id = None if visitor is None else visitor.user_id
    async with services.api.transaction(user_id, read_only=True) as tx:
        own = None if user_id is None else await personas.own(tx, user_id, persona_id)
        return own or await personas.card(tx, persona_id)


@post("/api/personas", tags=TAG, responses=documented(401, 403))
async def create_persona(caller: NamedDependency[Caller], data: JSONBody[PersonaDraft]) -> Persona:
    """Make a persona of your own; nobody else sees it."""
    async with caller.transaction() as tx:
        return await personas.create(tx, caller.user_id, data)


@patch("/api/personas/{persona_id:str}", tags=TAG, responses=documented(401, 403, 404))
async def change_persona(
    caller: NamedDependency[Caller], persona_id: FromPath[str], data: JSONBody[PersonaChange]
) -> Persona:
    """Change a persona of your own."""
    async with caller.transaction() as tx:
        return await personas.change(tx, caller.user_id, persona_id, data)


@delete("/api/personas/{persona_id:str}", status_code=204, tags=TAG, responses=documented(401, 403, 404))
async def retire_persona(caller: NamedDependency[Caller], persona_id: FromPath[str]) -> None:
    """Take a persona of your own out of the catalogue; calls with it stay."""
    async with caller.transaction() as tx:
        await personas.retire(tx, caller.user_id, persona_id)


@get("/api/relationships", tags=TAG, responses=documented(401))
async def list_relationships(caller: NamedDependency[Caller], favorite: Favorite = None) -> Page[Relationship]:
    """Your relationships with personas, favourites first, then the latest."""
    async with caller.transaction(read_only=True) as tx:
        return Page(await relationships.relationships(tx, caller.user_id, favorite=favorite))


@get("/api/relationships/{persona_id:str}", tags=TAG, responses=documented(401, 404))
async def show_relationship(caller: NamedDependency[Caller], persona_id: FromPath[str]) -> Relationship:
    """Your relationship with one persona."""
    async with caller.transaction(read_only=True) as tx:
        found = await relationships.relationship(tx, caller.user_id, persona_id)
    if found is None:
        raise errors.NotFound()

    return found


@put("/api/relationships/{persona_id:str}", tags=TAG, responses=documented(401, 403, 404))
async def change_relationship(
    caller: NamedDependency[Caller], persona_id: FromPath[str], data: JSONBody[RelationshipChange]
) -> Relationship:
    """Change your relationship with a persona: only what is given; null falls back to its own prompt or voice."""
    async with caller.transaction() as tx:
        return await relationships.change(tx, caller.user_id, persona_id, data)


HANDLERS = (
    list_personas, show_persona, create_persona, change_persona, retire_persona, list_relationships,
    show_relationship, change_relationship,
)  # fmt: skip
