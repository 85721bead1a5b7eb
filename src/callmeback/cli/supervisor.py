"""Keeping services alive: each is a process of ours that is started again when it ends, at a bounded pace."""

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.ops import notify
from callmeback.pg import lifeline

PAUSE_MIN_S: Final = 0.25
PAUSE_MAX_S: Final = 10.0
# A process that lived this long did start, so its next end is a new story.
STABLE_S: Final = 30.0
# This many ends in a row before the first "ready" mean that it will never start.
FAILURES_MAX: Final = 5
KILL_WAIT_S: Final = 5.0
# From the start of a successor until it says READY=1.
READY_WITHIN_S: Final = 30.0

log = logs.get_logger(__name__)


class Service(msgspec.Struct, frozen=True):
    """A program to keep alive; it gets `stop_within_s` between SIGTERM and SIGKILL.

    Its processes share the open files in `fds`. One that a successor has replaced gets the signal `retire` and may
    finish what it has begun for as long as `retire_within_s`.
    """

    name: str
    command: tuple[str, ...]
    stop_within_s: float
    fds: tuple[int, ...] = ()
    retire: signal.Signals = signal.SIGTERM
    retire_within_s: float = 60.0


class Supervisor:
    """Some services, started together and stopped in their order."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._stops = {service.name: asyncio.Event() for service in services}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wishes: dict[str, asyncio.Future[bool]] = {}
        self._wished = {service.name: asyncio.Event() for service in services}
        self._retired: dict[str, set[asyncio.Task[None]]] = {service.name: set() for service in services}
        self._is_hurried = asyncio.Event()
        self.are_ready = False

    def start(self) -> None:
        """Begin to keep every service."""
        for service in self._services:
            self._tasks[service.name] = asyncio.create_task(self._keep(service), name=service.name)

    async def failed(self) -> None:
        """Wait until a service is given up, and raise its ServerFailed; forever when none is."""
        done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def roll(self) -> list[str]:
        """Replace every process by a new one, without a moment in which nobody serves; the names of those that failed.

        A successor that doesn't say READY=1 in time is ended, and the process that serves stays.
        """
        failed = []
        for service in self._services:
            wish = self._wishes[service.name] = asyncio.get_running_loop().create_future()
            self._wished[service.name].set()
            if not await wish:
                failed.append(service.name)

        return failed

    def hurry(self) -> None:
        """Kill what hasn't stopped yet."""
        self._is_hurried.set()

    async def stop(self) -> None:
        """Stop each service in turn, the first one first."""
        for service in self._services:
            self._stops[service.name].set()
            task = self._tasks.get(service.name)
            if task is not None:
                with contextlib.suppress(errors.ServerFailed):
                    await task
            await asyncio.gather(*self._retired[service.name])

    async def _keep(self, service: Service) -> None:
        stop = self._stops[service.name]
        pause, failures = PAUSE_MIN_S, 0
        while not stop.is_set():
            begun = time.monotonic()
            code = await self._run(service, stop)
            if stop.is_set():
                return
            if time.monotonic() - begun >= STABLE_S:
                pause, failures = PAUSE_MIN_S, 0
            failures += 1
            if failures >= FAILURES_MAX and not self.are_ready:
                raise errors.ServerFailed(f"{service.name} does not start (exit code {code}).")
            log.warning("a service ended and is started again", service=service.name, exit_code=code, pause_s=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(pause * 2, PAUSE_MAX_S)

    async def _run(self, service: Service, stop: asyncio.Event) -> int:
        """Run it, in one process after another where that is wished, until it ends or is to stop; the exit code."""
        process = await self._start(service)
        while (code := await self._watch(service, process, stop, self._wished[service.name])) is None:
            self._wished[service.name].clear()
            process = await self._replace(service, process, stop)

        return code

    async def _start(self, service: Service, notify_address: str | None = None) -> Process:
        environ = {name: value for name, value in os.environ.items() if name != notify.VARIABLE}
        if notify_address is not None:
            environ[notify.VARIABLE] = notify_address

        return await asyncio.create_subprocess_exec(
            *service.command,
            env=environ,
            pass_fds=service.fds,
            # Ctrl-C in the terminal reaches us alone, and the order of stopping is ours.
            start_new_session=True,
            # Without us there is no database, so there is nothing to end in order.
            preexec_fn=lifeline.tie(signal.SIGKILL),
        )

    async def _watch(
        self,
        service: Service,
        process: Process,
        stop: asyncio.Event,
        wished: asyncio.Event,
        within_s: float | None = None,
    ) -> int | None:
        """The exit code once it has ended, for which `stop` and the end of the time end it; None when `wished`."""
        waits = [asyncio.create_task(wait) for wait in (process.wait(), stop.wait(), wished.wait())]
        ended, stopping, wishing = waits
        try:
            await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if wishing.done() and not ended.done() and not stopping.done():
                return None
            if not ended.done():
                await self._end(service, process, ended)
            return int(await ended)
        finally:
            for wait in waits:
                wait.cancel()

    async def _replace(self, service: Service, process: Process, stop: asyncio.Event) -> Process:
        """The process that goes on: a successor that is ready, or else the same as before."""
        with notify.Ear() as ear:
            successor = await self._start(service, ear.address)
            ready = asyncio.create_task(ear.is_ready())
            others = [asyncio.create_task(wait) for wait in (successor.wait(), stop.wait())]
            await asyncio.wait((ready, *others), timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
            is_ready = ready.done()
            for wait in (ready, *others):
                wait.cancel()
        leaving, staying = (process, successor) if is_ready else (successor, process)
        if not is_ready:
            if not stop.is_set():
                log.error("a successor did not start, the service stays as it was", service=service.name)
        else:
            with contextlib.suppress(ProcessLookupError):
                leaving.send_signal(service.retire)
        within_s = service.retire_within_s if is_ready else 0
        task = asyncio.create_task(self._outlive(service, leaving, stop, within_s))
        self._retired[service.name].add(task)
        task.add_done_callback(self._retired[service.name].discard)
        wish = self._wishes[service.name]
        # Whoever asked for the replacement may be gone: a stop in the middle cancels the wish.
        if not wish.done():
            wish.set_result(is_ready)

        return staying

    async def _outlive(self, service: Service, process: Process, stop: asyncio.Event, within_s: float) -> None:
        await self._watch(service, process, stop, asyncio.Event(), within_s)

    async def _end(self, service: Service, process: Process, ended: "asyncio.Task[int]") -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        hurried = asyncio.create_task(self._is_hurried.wait())
        await asyncio.wait({ended, hurried}, timeout=service.stop_within_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            why = "a second signal came" if self._is_hurried.is_set() else "it did not stop in time"
            log.warning("a service is killed", service=service.name, why=why)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait({ended}, timeout=KILL_WAIT_S)
