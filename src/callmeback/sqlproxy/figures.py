"""Figures of a proxy process as Prometheus reads them; see docs/reference/metrics.md.

Plain numbers until somebody asks: a labelled counter of the client library costs microseconds, and a request is short.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from callmeback.sqlproxy.services import Services

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Figures(Collector):
    """What was counted, and what is looked up at the moment of asking."""

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._requests: dict[tuple[str, int], int] = {}
        # By endpoint: how many took up to each bound, and at last the sum of all.
        self._seconds: dict[str, list[float]] = {}
        self.refused: Counter[str] = Counter()
        self.failures = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def note(self, endpoint: str, status: int, seconds: float) -> None:
        """One answered request, or one statement of a session (endpoint /v2)."""
        kind = (endpoint, status)
        self._requests[kind] = self._requests.get(kind, 0) + 1
        buckets = self._seconds.get(endpoint)
        if buckets is None:
            buckets = self._seconds[endpoint] = [0] * (len(BUCKETS) + 1) + [0.0]
        buckets[bisect_left(BUCKETS, seconds)] += 1
        buckets[-1] += seconds

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known when they are asked for."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Everything, now."""
        requests = CounterMetricFamily("callmeback_proxy_requests", "Answered requests.", labels=("endpoint", "status"))
        for (endpoint, status), count in self._requests.items():
            requests.add_metric((endpoint, str(status)), count)
        yield requests
        yield self._durations()
        refused = CounterMetricFamily("callmeback_proxy_refused", "Statements refused, by rule.", labels=("rule",))
        for rule, count in self.refused.items():
            refused.add_metric((rule,), count)
        yield refused
        yield from self._pools()

    def _durations(self) -> Metric:
        seconds = HistogramMetricFamily(
            "callmeback_proxy_request_seconds", "From a whole request to its answer.", labels=("endpoint",)
        )
        for endpoint, buckets in self._seconds.items():
            total, found = 0.0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), buckets[:-1], strict=True):
                total += count
                found.append((bound, total))
            seconds.add_metric((endpoint,), found, sum_value=buckets[-1])

        return seconds

    def _pools(self) -> Iterator[Metric]:
        stats = self._services.pools.stats()
        connections = GaugeMetricFamily(
            "callmeback_proxy_connections", "Connections of the keys' roles.", labels=("state",)
        )
        for state in ("busy", "idle", "sessions", "limit"):
            connections.add_metric((state,), getattr(stats, state))
        yield connections
        waiting = GaugeMetricFamily("callmeback_proxy_waiting", "Requests that wait for a connection.")
        waiting.add_metric((), stats.waiting)
        yield waiting
        shed = CounterMetricFamily("callmeback_proxy_shed", "Requests refused because the queue was full or slow.")
        shed.add_metric((), stats.shed)
        yield shed
