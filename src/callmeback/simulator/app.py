"""The simulated vendors as Litestar routes: mounted by the web entrance at /simulator, or as an application of their
own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.di import Provide

from callmeback.simulator import brain, carrier, control, listener, voice
from callmeback.simulator.answers import loopback_only
from callmeback.simulator.page_phone import page_phone
from callmeback.simulator.payments import api as payments_api
from callmeback.simulator.payments import control as payments_control
from callmeback.simulator.payments import pages as payments_pages
from callmeback.simulator.state import Simulator, SimulatorConfig

PATH = "/simulator"


def routes(sim: Simulator) -> Router:
    """All routes under /simulator, for clients on this machine only; whoever mounts them ends with `sim.aclose()`."""
    payments = [*payments_api.HANDLERS, *payments_pages.HANDLERS, *payments_control.HANDLERS]
    return Router(
        path=PATH,
        route_handlers=[
            *carrier.HANDLERS,
            *brain.HANDLERS,
            *voice.HANDLERS,
            *listener.HANDLERS,
            *control.HANDLERS,
            *(payments if sim.config.plays_payments else []),
            page_phone,
        ],
        dependencies={"sim": Provide(lambda: sim, sync_to_thread=False)},
        guards=[loopback_only],
        include_in_schema=False,
        # A vendor's client knows no cookie of ours, so it can't be made to send one.
        opt={"exclude_from_csrf": True},
    )


def create(config: SimulatorConfig | None = None, *, sim: Simulator | None = None) -> Litestar:
    """An application of its own, with everything under /simulator."""
    simulator = sim or Simulator(config)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await simulator.aclose()

    return Litestar(route_handlers=[routes(simulator)], lifespan=[lifespan], openapi_config=None, logging_config=None)
