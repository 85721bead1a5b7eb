"""Keeping services alive: each is a process of ours that is started again when it ends, at a bounded pace."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.pg import lifeline

PAUSE_MIN_S: Final = 0.25
PAUSE_MAX_S: Final = 10.0
# A process that lived this long did start, so its next end is a new story.
STABLE_S: Final = 30.0
# This many ends in a row before the first "ready" mean that it will never start.
FAILURES_MAX: Final = 5
KILL_WAIT_S: Final = 5.0

log = logs.get_logger(__name__)


class Service(msgspec.Struct, frozen=True):
    """A program to keep alive; it gets `stop_within_s` between SIGTERM and SIGKILL."""

    name: str
    command: tuple[str, ...]
    stop_within_s: float


class Supervisor:
    """Some services, started together and stopped in their order."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._stops = {service.name: asyncio.Event() for service in services}
        self._tasks: dict[str, asyncio.Task[None]] = {}
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
        """Run it once, until it ends or is to stop; the exit code."""
        process = await asyncio.create_subprocess_exec(
            *service.command,
            # Ctrl-C in the terminal reaches us alone, and the order of stopping is ours.
            start_new_session=True,
            # Without us there is no database, so there is nothing to end in order.
            preexec_fn=lifeline.tie(signal.SIGKILL),
        )
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._end(service, process, ended)
            return await ended
        finally:
            stopping.cancel()

    async def _end(self, service: Service, process: asyncio.subprocess.Process, ended: "asyncio.Task[int]") -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        hurried = asyncio.create_task(self._is_hurried.wait())
        await asyncio.wait({ended, hurried}, timeout=service.stop_within_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            log.warning("a service did not stop in time and is killed", service=service.name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait({ended}, timeout=KILL_WAIT_S)
