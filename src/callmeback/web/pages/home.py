"""The first page: for strangers what this is, for everybody else who could call them now."""

import random
from collections.abc import Sequence
from typing import Any, Final

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import ids
from callmeback.domain import calls, personas, relationships, scenarios
from callmeback.domain.credits import Account
from callmeback.domain.personas import Card
from callmeback.domain.phones import Phone
from callmeback.domain.relationships import Relationship
from callmeback.web.pages import frame, surroundings, words
from callmeback.web.pages.forms import Form
from callmeback.web.pages.personas import Shown, shown
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

MESSAGES: Final = {
    "phone": "That number is yours. Whom do you want to hear first?",
    "made": "Here they are. Ask for a call and see.",
    "kept": "Saved. It holds from the next call on.",
    "retired": "They won't be offered any more. Past calls stay.",
}
# The test numbers +1 202 555 0100 to 0199; the house itself calls from the last one.
TEST_NUMBERS: Final = tuple(f"+1202555{last:04}" for last in range(100, 199))


@get("/")
async def show_home(
    request: Asked,
    services: NamedDependency[Services],
    visitor: NamedDependency[Caller | None],
    done: FromQuery[str] = "",
    number: FromQuery[str] = "",
) -> Response[Any]:
    """The front page, or the person's personas.

    `number=another` shows the form for a number while a code is awaited.
    """
    if visitor is None:
        async with services.api.transaction(read_only=True) as tx:
            cards = await personas.catalogue(tx)
        return frame.page(request, services, "landing.html", place="landing", personas=cards)

    return await show(request, visitor, services, Form(), message=MESSAGES.get(done), wants_another=bool(number))


async def show(
    request: Asked,
    caller: Caller,
    services: Services,
    form: Form,
    *,
    status: int = 200,
    message: str | None = None,
    way: tuple[str, str] | None = None,
    wants_another: bool = False,
) -> Response[Any]:
    """One's personas, with whatever a form brought here; `way` leads out of a refusal."""
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        cards = await personas.catalogue(tx)
        hearts = await relationships.relationships(tx, caller.user_id)
        situations = await scenarios.scenarios(tx)
        open_call = await calls.open_call(tx, caller.user_id)
    numbers: list[Phone] = around["numbers"]

    return frame.page(
        request,
        services,
        "home.html",
        status=status,
        caller=caller,
        place="home",
        surroundings=around,
        form=with_suggestion(form, services, numbers),
        message=message,
        way=way,
        personas=_in_order(cards, hearts),
        scenarios=situations,
        open_call=open_call,
        pending=None if wants_another or form.wrong.get("number") else pending_number(numbers),
        limits=_limits(around["account"]),
        back="/",
        key=ids.new("tok"),
    )


def pending_number(numbers: Sequence[Phone]) -> str | None:
    """The number whose code is awaited: the one that was added last, if it isn't proved."""
    waiting = [phone for phone in numbers if not phone.verified]

    return max(waiting, key=lambda phone: phone.created_at).number if waiting else None


def with_suggestion(form: Form, services: Services, numbers: Sequence[Phone]) -> Form:
    """The form with a test number in it that the person hasn't got, where phones are simulated."""
    if services.settings.simulated("carrier"):
        taken = {phone.number for phone in numbers}
        free = [number for number in TEST_NUMBERS if number not in taken]
        form.values.setdefault("number", words.phone(random.choice(free)))

    return form


def _in_order(cards: Sequence[Card], hearts: Sequence[Relationship]) -> list[Shown]:
    """Favourites first, else as the catalogue has them; those that the person put away are left out."""
    made = {relationship.persona_id: relationship for relationship in hearts}
    kept = [card for card in cards if card.id not in made or not made[card.id].is_archived]
    found = [shown(card, made.get(card.id)) for card in kept]

    return sorted(found, key=lambda persona: not persona.is_favorite)


def _limits(account: Account) -> str:
    """What a call may be today, in half a sentence."""
    parts = [f"up to {words.duration(account.max_call_duration_seconds)} a call"]
    if account.max_calls_per_day is not None:
        left = max(0, account.max_calls_per_day - account.calls_today)
        parts.append(f"{words.plural(left, 'call')} left today")
    if account.charges_credits:
        parts.append(words.plural(account.available_credits, "credit"))

    return ", ".join(parts)


HANDLERS: Final = (show_home,)
