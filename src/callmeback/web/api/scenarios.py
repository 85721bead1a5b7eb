"""Routes of scenarios and of preferences."""

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from callmeback.domain import preferences, scenarios
from callmeback.domain.preferences import Preferences, PreferencesChange
from callmeback.domain.scenarios import Scenario, ScenarioChange, ScenarioDraft
from callmeback.web.api.pages import Page
from callmeback.web.problems import documented
from callmeback.web.session import Caller

TAG = ["scenarios"]


@get("/api/scenarios", tags=TAG, responses=documented(401))
async def list_scenarios(caller: NamedDependency[Caller]) -> Page[Scenario]:
    """Your own scenarios, then the presets."""
    async with caller.transaction(read_only=True) as tx:
        return Page(await scenarios.scenarios(tx))


@post("/api/scenarios", tags=TAG, responses=documented(401, 403))
async def create_scenario(caller: NamedDependency[Caller], data: JSONBody[ScenarioDraft]) -> Scenario:
    """Make a scenario."""
    async with caller.transaction() as tx:
        return await scenarios.create(tx, caller.user_id, data)


@get("/api/scenarios/{scenario_id:str}", tags=TAG, responses=documented(401, 404))
async def show_scenario(caller: NamedDependency[Caller], scenario_id: FromPath[str]) -> Scenario:
    """One scenario."""
    async with caller.transaction(read_only=True) as tx:
        return await scenarios.scenario(tx, scenario_id)


@put("/api/scenarios/{scenario_id:str}", tags=TAG, responses=documented(401, 403, 404))
async def change_scenario(
    caller: NamedDependency[Caller], scenario_id: FromPath[str], data: JSONBody[ScenarioChange]
) -> Scenario:
    """Change a scenario of your own; only what is given is changed."""
    async with caller.transaction() as tx:
        return await scenarios.change(tx, caller.user_id, scenario_id, data)


@delete("/api/scenarios/{scenario_id:str}", status_code=204, tags=TAG, responses=documented(401, 403, 404))
async def remove_scenario(caller: NamedDependency[Caller], scenario_id: FromPath[str]) -> None:
    """Remove a scenario of your own; calls keep its text."""
    async with caller.transaction() as tx:
        await scenarios.remove(tx, caller.user_id, scenario_id)


@get("/api/preferences", tags=["account"], responses=documented(401))
async def show_preferences(caller: NamedDependency[Caller]) -> Preferences:
    """How you want to be reached."""
    async with caller.transaction(read_only=True) as tx:
        return await preferences.preferences(tx, caller.user_id)


@put("/api/preferences", tags=["account"], responses=documented(401, 403))
async def change_preferences(caller: NamedDependency[Caller], data: JSONBody[PreferencesChange]) -> Preferences:
    """Change how you want to be reached; only what is given is changed."""
    async with caller.transaction() as tx:
        return await preferences.change(tx, caller.user_id, data)


HANDLERS = (
    list_scenarios, create_scenario, show_scenario, change_scenario, remove_scenario, show_preferences,
    change_preferences,
)  # fmt: skip
