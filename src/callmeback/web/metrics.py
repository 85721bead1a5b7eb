"""Figures of a web process as Prometheus reads them: requests, pools, calls. See docs/reference/metrics.md."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callmeback.providers.observed import ASKED
from callmeback.web.services import Services

# The framework adds the charset to a text.
MEDIA_TYPE: Final = "text/plain; version=0.0.4"
REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN_ROUTE: Final = "unknown"

if TYPE_CHECKING:
    from callmeback.pg.pool import PoolStats


class Metrics:
    """The figures of one application; each has a registry of its own."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "callmeback_requests_total", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "callmeback_request_seconds",
            "From the request's head to the answer's head.",
            ("route",),
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_State(services))
        self.registry.register(ASKED)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application with its requests counted; WebSockets pass unseen."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            begun = time.perf_counter()

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    # The template, never the path: a path can hold a phone number, and there is no end of them.
                    route = str(scope.get("path_template") or UNKNOWN_ROUTE)
                    self._requests.labels(scope["method"], route, str(message["status"])).inc()
                    self._seconds.labels(route).observe(time.perf_counter() - begun)
                await send(message)

            await app(scope, receive, noted)

        return counted


class _State(Collector):
    """What is looked up at the moment of asking."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        services = self._services
        connections = GaugeMetricFamily(
            "callmeback_pool_connections", "Connections to the database.", labels=("pool", "state")
        )
        waiting = GaugeMetricFamily("callmeback_pool_waiting", "Tasks that wait for a connection.", labels=("pool",))
        pools: dict[str, PoolStats] = {
            "api": services.api.stats(),
            "voice": services.voice.stats(),
            "readonly": services.readonly.stats(),
        }
        if services.reports is not services.readonly:
            pools["reports"] = services.reports.stats()
        for name, stats in pools.items():
            connections.add_metric((name, "idle"), stats.idle)
            connections.add_metric((name, "busy"), stats.size - stats.idle)
            connections.add_metric((name, "limit"), stats.max_size)
            waiting.add_metric((name,), stats.waiting)
        yield connections
        yield waiting
        host = services.host
        live = GaugeMetricFamily("callmeback_calls_live", "Calls that this process holds.")
        live.add_metric((), len(host.admission.live))
        yield live
        room = GaugeMetricFamily("callmeback_calls_room", "Calls that this process would take on top.")
        room.add_metric((), host.room())
        yield room
        failing = GaugeMetricFamily("callmeback_metering_failures", "Metering batches that failed in a row.")
        failing.add_metric((), host.metering_failures)
        yield failing
        streams = GaugeMetricFamily("callmeback_event_streams", "Streams of events that are open.")
        streams.add_metric((), services.watchers.total())
        yield streams


@get("/metrics", tags=["service"], security=[{}], media_type=MEDIA_TYPE)
async def show_metrics(metrics: NamedDependency[Metrics]) -> Response[bytes]:
    """Figures for Prometheus."""
    return Response(generate_latest(metrics.registry), media_type=MEDIA_TYPE)


HANDLERS = (show_metrics,)
