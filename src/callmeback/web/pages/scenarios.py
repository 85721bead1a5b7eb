"""Scenarios: the house's, and those that a person wrote."""

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from callmeback import errors, ids
from callmeback.domain import scenarios
from callmeback.web import problems
from callmeback.web.pages import frame, surroundings
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

SENTENCES: Final = {
    "name": "A name has 1 to 100 characters.",
    "scenario_text": "The situation has 1 to 2,000 characters.",
    "icon": "One emoji is enough.",
}


@get("/scenarios")
async def show_scenarios(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """All that one may use, and the form for another."""
    return await _scenarios(request, caller, services, Form())


@post("/scenarios")
async def create_scenario(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Keep a new situation."""
    form = Form(await read_form(request))
    draft = form.shape(scenarios.ScenarioDraft, _given(form), SENTENCES)
    if draft is None:
        return await _scenarios(request, caller, services, form, status=400)
    try:
        async with caller.transaction() as tx:
            await scenarios.create(tx, caller.user_id, draft)
    except errors.ValidationFailed as exc:
        form.refuse(exc, SENTENCES)
        return await _scenarios(request, caller, services, form, status=problems.status_of(exc))

    return frame.go("/scenarios")


@get("/scenarios/{scenario_id:str}")
async def show_scenario(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], scenario_id: FromPath[str]
) -> Response[Any]:
    """One's own, to be changed."""
    return await _scenario(request, caller, services, _own(scenario_id), None)


@post("/scenarios/{scenario_id:str}")
async def change_scenario(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], scenario_id: FromPath[str]
) -> Response[Any]:
    """Write the change."""
    form = Form(await read_form(request))
    change = form.shape(scenarios.ScenarioChange, _given(form), SENTENCES)
    if change is None:
        return await _scenario(request, caller, services, _own(scenario_id), form, status=400)
    try:
        async with caller.transaction() as tx:
            await scenarios.change(tx, caller.user_id, _own(scenario_id), change)
    except errors.ValidationFailed as exc:
        form.refuse(exc, SENTENCES)
        return await _scenario(request, caller, services, scenario_id, form, status=problems.status_of(exc))

    return frame.go("/scenarios")


@post("/scenarios/{scenario_id:str}/remove")
async def remove_scenario(caller: NamedDependency[Caller], scenario_id: FromPath[str]) -> Response[Any]:
    """Remove a person's own scenario; calls that used it keep its words."""
    async with caller.transaction() as tx:
        await scenarios.remove(tx, caller.user_id, _own(scenario_id))

    return frame.go("/scenarios")


def _own(scenario_id: str) -> str:
    """The id, if it can be a person's own; raises NotFound."""
    if not ids.is_valid(scenario_id, "scn"):
        raise errors.NotFound()

    return scenario_id


def _given(form: Form) -> dict[str, object]:
    return {
        "name": form.values.get("name", "").strip(),
        "scenario_text": form.values.get("scenario_text", "").strip(),
        "icon": form.values.get("icon", "").strip() or None,
    }


async def _scenarios(
    request: Asked, caller: Caller, services: Services, form: Form, *, status: int = 200
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        found = await scenarios.scenarios(tx)

    return frame.page(
        request,
        services,
        "scenarios.html",
        status=status,
        caller=caller,
        place="scenarios",
        surroundings=around,
        form=form,
        own=[scenario for scenario in found if not scenario.is_preset],
        presets=[scenario for scenario in found if scenario.is_preset],
    )


async def _scenario(
    request: Asked, caller: Caller, services: Services, scenario_id: str, form: Form | None, *, status: int = 200
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        scenario = await scenarios.scenario(tx, scenario_id)
    if scenario.is_preset:
        raise errors.NotFound()
    kept = {"name": scenario.name, "scenario_text": scenario.scenario_text, "icon": scenario.icon or ""}

    return frame.page(
        request,
        services,
        "scenario.html",
        status=status,
        caller=caller,
        place="scenarios",
        surroundings=around,
        form=form or Form(kept),
        scenario=scenario,
    )


HANDLERS: Final = (show_scenarios, create_scenario, show_scenario, change_scenario, remove_scenario)
