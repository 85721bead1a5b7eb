"""The web application: routes, dependencies, error handlers, lifespan. `create_app` builds it from settings alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from litestar import Litestar
from litestar.di import Provide

from callmeback.domain.passwords import Hasher
from callmeback.settings import Settings
from callmeback.web import documentation, heads, pages, problems, routes, session
from callmeback.web.bodies import StrictRequest
from callmeback.web.identity import Identity
from callmeback.web.metrics import Metrics
from callmeback.web.services import Services

BODY_BYTES_MAX: Final = 256 * 1024


def create_app(settings: Settings, *, hasher: Hasher | None = None) -> Litestar:
    """The ASGI application; pools are opened at its start and closed at its end.

    `settings` must hold `database_url`, `jwt_secret` and `role_secret`. Raises ConfigurationError for settings that
    must not run together.
    """
    settings.check()
    services = Services(settings, hasher or Hasher())
    metrics = Metrics(services)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await services.open()
        try:
            yield
        finally:
            await services.close()

    app = Litestar(
        route_handlers=routes.handlers(services),
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False, use_cache=True),
            "metrics": Provide(lambda: metrics, sync_to_thread=False, use_cache=True),
            session.CALLER: Provide(session.current_user),
            "visitor": Provide(session.optional_user),
        },
        exception_handlers=problems.HANDLERS | pages.EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        openapi_config=documentation.CONFIG,
        request_class=StrictRequest,
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
    )
    app.state.services = services
    # Outside of everything, so that refusals of the router are counted too.
    counted = metrics.wrap(heads.wrap(app.asgi_handler))
    app.asgi_handler = Identity(believes=settings.public_url is not None).wrap(counted)

    return app
