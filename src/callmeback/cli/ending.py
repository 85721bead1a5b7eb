"""How long work that somebody stops comes to its end: by an exception, so that nothing unpacked or unsealed is left."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOPPED_BY: Final = (signal.SIGTERM, signal.SIGHUP)
# What a shell says of a program that a signal ended.
SIGNALED: Final = 128


@contextmanager
def cleanly() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit in the block, once; further ones don't disturb what is cleaned up then."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in STOPPED_BY:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(SIGNALED + number)

    before = {number: signal.signal(number, stop) for number in STOPPED_BY}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
