"""The simulator in a process of its own, and the loopback server that tests run it on."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from litestar import Litestar

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 10
BACKLOG: Final = 512
KEEP_ALIVE_S: Final = 75
"""Longer than clients keep a connection, who else would send on one that is just being closed."""


class _QuietServer(uvicorn.Server):
    """Leaves the process's signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Litestar, port: int = 0) -> AsyncIterator[int]:
    """Serve on the loopback interface while the block runs; gives the port (0 chooses a free one).

    Raises OSError when the port is taken, RuntimeError when the application doesn't start.
    """
    listener = socket.create_server((HOST, port), backlog=BACKLOG)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        # The one whose close frames can be empty, as the listener's are.
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=16 * 1024 * 1024,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    server = _QuietServer(config)
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not server.started:
                if task.done():
                    raise RuntimeError("the simulator did not start")
                await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


async def run(app: Litestar, port: int) -> None:
    """Serve until the process is told to stop."""
    async with serving(app, port) as bound:
        print(f"simulator on http://{HOST}:{bound}/simulator", flush=True)  # noqa: T201 (whoever started it waits for this line)
        await asyncio.Event().wait()
