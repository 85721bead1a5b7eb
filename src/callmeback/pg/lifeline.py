"""A child process that ends when its parent does, however the parent ends. Linux does it; elsewhere nothing happens."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1

# Looked up once, before any fork: between fork and exec nothing may be loaded.
_prctl: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def tie(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` by which the kernel sends `number` to the child when the thread that starts it has ended.

    It runs after `subprocess` has changed the user, which would clear it. See prctl(2), PR_SET_PDEATHSIG.
    """
    if _prctl is None:
        return None
    parent, prctl = os.getpid(), _prctl

    def end_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)

    return end_with_parent
