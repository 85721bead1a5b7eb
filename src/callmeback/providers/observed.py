"""Every question to a vendor, counted, timed and traced: how long until the answer, and in which way it failed.

One count for the process, as the vendors' clients are: the entrances show it among their own figures.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.trace import SpanKind
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from callmeback import traces
from callmeback.errors import VendorFailed

BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Asked(Collector):
    """What was asked of vendors. `doing` is a word of ours ("place a call"), so there are few."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], list[int]] = {}
        self._sums: Counter[tuple[str, str]] = Counter()
        self._failures: Counter[tuple[str, str, str]] = Counter()

    def note(self, vendor: str, doing: str, seconds: float, failure: str | None) -> None:
        """One question; `failure` is the class of the error."""
        key = (vendor, doing)
        buckets = self._seconds.setdefault(key, [0] * (len(BUCKETS) + 1))
        buckets[bisect_left(BUCKETS, seconds)] += 1
        self._sums[key] += seconds  # type: ignore[assignment]  # a Counter adds floats as well
        if failure is not None:
            self._failures[vendor, doing, failure] += 1

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known when they are asked for."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Everything, now."""
        seconds = HistogramMetricFamily(
            "callmeback_vendor_seconds", "From the question to the vendor's answer.", labels=("vendor", "doing")
        )
        for (vendor, doing), buckets in list(self._seconds.items()):
            total, found = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
                total += count
                found.append((bound, total))
            seconds.add_metric((vendor, doing), found, sum_value=self._sums[vendor, doing])
        yield seconds
        failures = CounterMetricFamily(
            "callmeback_vendor_failures", "Questions that failed.", labels=("vendor", "doing", "failure")
        )
        for labels, count in list(self._failures.items()):
            failures.add_metric(labels, count)
        yield failures


ASKED: Final = Asked()


@contextmanager
def asking(vendor: str, doing: str) -> Iterator[None]:
    """Count, time and trace the block, which asks `vendor` for something."""
    begun = time.perf_counter()
    failure: str | None = None
    try:
        with traces.span(f"{vendor} {doing}", SpanKind.CLIENT, {"peer.service": vendor}):
            yield
    except VendorFailed as exc:
        failure = type(exc).__name__
        raise
    finally:
        ASKED.note(vendor, doing, time.perf_counter() - begun, failure)
