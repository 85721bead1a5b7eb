"""Passwords: bcrypt in a few threads of its own, so that a burst of logins doesn't block the loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import bcrypt

from callmeback import errors

ROUNDS: Final = 12
"""Specification, section 3: about a quarter of a second each."""

THREADS: Final = 2
WAITING_MAX: Final = 64
RETRY_AFTER_S: Final = 2
LENGTH_MIN: Final = 8
BYTES_MAX: Final = 72
"""bcrypt reads no more; a longer password is refused rather than cut."""

NOBODY: Final = "kNJu42n.lxJ6/jiiJEUMd.wEXcH/ZFchrXb2wZV2.sWqVSwf.hNUK"
"""Salt and digest that the password for an unknown e-mail is compared with, so that it takes as long as a known one:
what is computed depends on the rounds before them. Written out, for making one takes a quarter of a second at start."""


ResultT = TypeVar("ResultT")


def check(password: str) -> str:
    """The password, if it may be one; raises ValidationFailed that says what is wrong."""
    if len(password) < LENGTH_MIN:
        raise errors.ValidationFailed(f"A password has at least {LENGTH_MIN} characters.", field="password")
    try:
        size = len(password.encode())
    except UnicodeEncodeError as exc:
        raise errors.ValidationFailed("The password contains half a character.", field="password") from exc
    if size > BYTES_MAX:
        raise errors.ValidationFailed(f"A password has at most {BYTES_MAX} bytes in UTF-8.", field="password")
    if "\0" in password:
        raise errors.ValidationFailed("A password can't contain the NUL character.", field="password")

    return password


class Hasher:
    """Hashes and compares; one for the process. Raises Overloaded when too many wait already."""

    def __init__(self, rounds: int = ROUNDS) -> None:
        self._rounds = rounds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bcrypt")
        self._waiting = 0
        self._nobody = f"$2b${rounds:02}${NOBODY}"

    async def hash(self, password: str) -> str:
        """The hash to keep of a password that passed `check`."""
        clear = password.encode()

        kept = await self._run(lambda: bcrypt.hashpw(clear, bcrypt.gensalt(self._rounds)))

        return kept.decode()

    async def matches(self, password: str, kept: str | None) -> bool:
        """Whether this is the password; `kept` is None for an unknown account, which takes the same time."""
        clear = password.encode("utf-8", "surrogatepass")[:BYTES_MAX]
        is_known = bool(kept)
        against = (kept or self._nobody).encode()

        def compare() -> bool:
            try:
                return bcrypt.checkpw(clear, against)
            except ValueError:
                # The kept hash is none: an erased account's is empty, an adopted one's may be of another kind.
                return False

        return await self._run(compare) and is_known and len(password.encode("utf-8", "replace")) <= BYTES_MAX

    def is_weak(self, kept: str) -> bool:
        """Whether a hash was made with fewer rounds than today's."""
        parts = kept.split("$")

        return len(parts) != 4 or not parts[2].isdigit() or int(parts[2]) < self._rounds

    def close(self) -> None:
        """End the threads; what they compute is thrown away."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        if self._waiting >= WAITING_MAX:
            raise errors.Overloaded(retry_after=RETRY_AFTER_S)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
