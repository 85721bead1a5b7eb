"""Figures of a worker as Prometheus reads them, and the small door that they are read at; docs/reference/metrics.md."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callmeback import errors, logs
from callmeback.domain import calls, figures
from callmeback.domain.figures import Figure
from callmeback.ops.backup_record import last_runs
from callmeback.pg.pool import Database
from callmeback.providers.observed import ASKED
from callmeback.settings import Settings

LOOK_EVERY_S: Final = 15.0
PROVE_EVERY_S: Final = 600.0
# A proof reads the whole ledger, and stands back for longer the longer it takes.
PROOF_SHARE: Final = 20.0
PROOF_SECONDS_MAX: Final = 25.0
HEAD_BYTES_MAX: Final = 16_384
HEAD_WITHIN_S: Final = 5.0
PORT_LOOK_S: Final = 1.0
# Labels that are shown at 0 too: a figure that comes and goes is no figure to watch.
STATUSES: Final = get_args(calls.Status)
OPEN_STATUSES: Final = tuple(status for status in STATUSES if status not in calls.TERMINAL)
EVENT_STATES: Final = ("unmatched", "refused")
MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_log = logs.get_logger(__name__)


class Figures(Collector):
    """What this worker did, and what it saw of the house when it looked last."""

    def __init__(self, db: Database, home: Path) -> None:
        self._db = db
        self._home = home
        self._runs: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._done_at: dict[str, float] = {}
        self._house: Sequence[Figure] = ()
        self._unproved: int | None = None
        self._proved_at: float | None = None
        self._proof_due = 0.0
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.registry.register(ASKED)

    def note(self, duty: str, seconds: float, *, failed: bool) -> None:
        """One run of a duty."""
        self._runs[duty] += 1
        self._seconds[duty] += seconds  # type: ignore[assignment]  # a Counter adds floats as well
        if failed:
            self._failures[duty] += 1
        else:
            self._done_at[duty] = time.time()

    async def look(self) -> None:
        """Read the figures of the house, and now and then the proof of its ledger."""
        async with self._db.transaction(read_only=True) as tx:
            self._house = await figures.house(tx)
        if time.monotonic() < self._proof_due:
            return
        begun = time.monotonic()
        self._proof_due = begun + PROVE_EVERY_S
        async with self._db.transaction(read_only=True, deadline_s=PROOF_SECONDS_MAX) as tx:
            self._unproved = await figures.unproved_accounts(tx)
        self._proved_at = time.time()
        self._proof_due = max(self._proof_due, begun + PROOF_SHARE * (time.monotonic() - begun))

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known when they are asked for."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Everything, now."""
        yield from self._duties()
        yield from self._money()
        yield from self._calls()
        yield from self._backups()
        stats = self._db.stats()
        pool = GaugeMetricFamily("callmeback_worker_connections", "Connections to the database.", labels=("state",))
        pool.add_metric(("idle",), stats.idle)
        pool.add_metric(("busy",), stats.size - stats.idle)
        pool.add_metric(("limit",), stats.max_size)
        yield pool

    def _duties(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("callmeback_duty_runs", "Runs of a duty of the worker.", labels=("duty",))
        failures = CounterMetricFamily("callmeback_duty_failures", "Runs that failed.", labels=("duty",))
        seconds = CounterMetricFamily("callmeback_duty_seconds", "Time that its runs took.", labels=("duty",))
        done = GaugeMetricFamily("callmeback_duty_done_timestamp", "When it was done last.", labels=("duty",))
        for duty, count in self._runs.items():
            runs.add_metric((duty,), count)
            failures.add_metric((duty,), self._failures[duty])
            seconds.add_metric((duty,), self._seconds[duty])
        for duty, moment in self._done_at.items():
            done.add_metric((duty,), moment)
        yield from (runs, failures, seconds, done)

    def _money(self) -> Iterator[Metric]:
        moved = GaugeMetricFamily(
            "callmeback_credits_moved_last_hour", "Credits in the ledger of the last hour.", labels=("type",)
        )
        received = GaugeMetricFamily(
            "callmeback_money_received_last_day_cents", "Payments of the last day.", labels=("currency",)
        )
        cost = GaugeMetricFamily("callmeback_vendor_cost_last_hour_cents", "What vendors cost in the last hour.")
        waiting = GaugeMetricFamily(
            "callmeback_payment_events_waiting", "Events of the payment provider that wait.", labels=("state",)
        )
        self._fill(moved, "credits_moved_last_hour")
        self._fill(received, "money_received_last_day_cents")
        self._fill(cost, "vendor_cost_last_hour_cents")
        self._fill(waiting, "payment_events_waiting", EVENT_STATES)
        unproved = GaugeMetricFamily("callmeback_ledger_unproved_accounts", "Accounts that don't add up.")
        if self._unproved is not None:
            unproved.add_metric((), self._unproved)
        age = GaugeMetricFamily("callmeback_ledger_proof_age_seconds", "Since the ledger was proved last.")
        if self._proved_at is not None:
            age.add_metric((), time.time() - self._proved_at)
        yield from (moved, received, cost, waiting, unproved, age)

    def _calls(self) -> Iterator[Metric]:
        open_ = GaugeMetricFamily("callmeback_calls_open", "Calls that go on, by state.", labels=("status",))
        ended = GaugeMetricFamily("callmeback_calls_last_hour", "Calls of the last hour, by state.", labels=("status",))
        late = GaugeMetricFamily("callmeback_schedule_lateness_seconds", "How late the latest planned call is.")
        dial = GaugeMetricFamily("callmeback_dial_lateness_seconds", "How long a call waits to be dialled.")
        self._fill(open_, "calls_open", OPEN_STATUSES)
        self._fill(ended, "calls_last_hour", STATUSES)
        self._fill(late, "schedule_lateness_seconds")
        self._fill(dial, "dial_lateness_seconds")
        yield from (open_, ended, late, dial)

    def _backups(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "callmeback_backup_age_seconds", "Since the last one of a kind was done.", labels=("kind",)
        )
        failed = GaugeMetricFamily(
            "callmeback_backup_failed", "1 where the last one of a kind failed.", labels=("kind",)
        )
        for kind, last in last_runs(self._home).items():
            if last.done is not None:
                age.add_metric((kind,), time.time() - last.done.finished_at.timestamp())
            failed.add_metric((kind,), float(last.tried.state == "failed"))
        yield from (age, failed)

    def _fill(self, family: GaugeMetricFamily, name: str, labels: Sequence[str] = ()) -> None:
        found = {figure.label: figure.value for figure in self._house if figure.name == name}
        # Before the first look nothing is known, and nothing is no 0.
        known = dict.fromkeys(labels, 0.0) if self._house else {}
        for label, value in {**known, **found}.items():
            family.add_metric((label,) if label else (), value)


@contextlib.asynccontextmanager
async def open_to(settings: Settings, shown: Figures) -> AsyncIterator[int]:
    """Answer `GET /metrics` on CALLMEBACK_WORKER_PORT for as long as the block runs; gives the port at the beginning.

    Where another program has the port, any free one is taken, and the log says which: several homes on one machine are
    usual, and nobody's calls should wait for a figure. As soon as it is free it is taken after all: in a reload the
    worker before this one still has it.
    """
    servers: list[asyncio.Server] = []
    try:
        servers.append(await _opened(settings, shown, settings.worker_port))
    except OSError:
        servers.append(await _opened(settings, shown, 0))
    port = int(servers[0].sockets[0].getsockname()[1])
    moving = asyncio.create_task(_move(settings, shown, servers), name="figures' port")
    try:
        yield port
    finally:
        moving.cancel()
        for server in servers:
            server.close()


async def _opened(settings: Settings, shown: Figures, port: int) -> asyncio.Server:
    return await asyncio.start_server(lambda reader, writer: _answer(shown, reader, writer), settings.host, port)


async def _move(settings: Settings, shown: Figures, servers: list[asyncio.Server]) -> None:
    """Where it is another port than that of the settings, move there once it is free, at most PORT_LOOK_S later."""
    port = servers[0].sockets[0].getsockname()[1]
    if port == settings.worker_port:
        return
    _log.info("figures_elsewhere", port=port)
    while len(servers) == 1:
        await asyncio.sleep(PORT_LOOK_S)
        with contextlib.suppress(OSError):
            servers.append(await _opened(settings, shown, settings.worker_port))
    servers[0].close()
    _log.info("figures_here", port=settings.worker_port)


async def _answer(shown: Figures, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one answer, and the end: it is asked every few seconds by one program."""
    try:
        async with asyncio.timeout(HEAD_WITHIN_S):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path = head.split(b" ", 2)[:2]
            if path.partition(b"?")[0] == b"/metrics" and method == b"GET":
                status, body = b"200 OK", generate_latest(shown.registry)
            else:
                status, body = b"404 Not Found", b""
            writer.write(
                b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, MEDIA_TYPE.encode(), len(body), body)
            )
            await writer.drain()
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as exc:
        _log.debug("figures_not_read", error=type(exc).__name__)
    except errors.CallMeBackError as exc:
        _log.warning("figures_not_made", error=exc.code)
    finally:
        writer.close()
