"""What one request may use, and how many of them one key may make.

Sizes are bytes of HTTP bodies. The deadline is the proxy's own: a stopped server ignores its statement_timeout.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from callmeback import errors
from callmeback.sqlproxy.keyring import Key

DEADLINE_S: Final = 10.0
BODY_BYTES_MAX: Final = 1 << 20
ANSWER_BYTES_MAX: Final = 10 << 20
ROWS_MAX: Final = 10_000
BATCH_QUERIES_MAX: Final = 1_000
PARAMETERS_MAX: Final = 65_535
"""PostgreSQL's wire counts them in 16 bits."""

# Keys whose use is remembered; beyond it those at rest are forgotten, which only makes their burst whole again.
KEYS_MAX: Final = 10_000
CONCURRENCY_RETRY_S: Final = 1


class _Use:
    """Of one key: tokens of its bucket as of `at`, and requests that run."""

    __slots__ = ("at", "running", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.running = 0


class Limits:
    """Rates and concurrency by key: a token bucket of N a second with a burst of N, and a count of what runs."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}

    def admit(self, key: Key) -> None:
        """Count a request, which must be ended by `leave`; raises RateLimited with the seconds to wait."""
        if key.rate is None and key.concurrency is None:
            return
        use = self._use(key)
        if key.concurrency is not None and use.running >= key.concurrency:
            raise errors.RateLimited("Too many requests of this key run at once.", retry_after=CONCURRENCY_RETRY_S)
        self._take(key, use)
        use.running += 1

    def leave(self, key: Key) -> None:
        """What `admit` counted has ended."""
        if key.rate is None and key.concurrency is None:
            return
        use = self._uses.get(key.id)
        if use is not None and use.running:
            use.running -= 1

    def count(self, key: Key) -> None:
        """Count a statement of a session that is already admitted; raises RateLimited."""
        if key.rate is not None:
            self._take(key, self._use(key))

    @contextmanager
    def admitted(self, key: Key) -> Iterator[None]:
        """`admit` and `leave` around a block: a WebSocket session counts as one request while it lives."""
        self.admit(key)
        try:
            yield
        finally:
            self.leave(key)

    def _use(self, key: Key) -> _Use:
        use = self._uses.get(key.id)
        if use is None:
            if len(self._uses) >= KEYS_MAX:
                self._uses = {name: known for name, known in self._uses.items() if known.running}
            use = self._uses[key.id] = _Use(float(key.rate or 0), time.monotonic())

        return use

    def _take(self, key: Key, use: _Use) -> None:
        if key.rate is None:
            return
        now = time.monotonic()
        use.tokens = min(float(key.rate), use.tokens + (now - use.at) * key.rate)
        use.at = now
        if use.tokens < 1.0:
            wait_s = (1.0 - use.tokens) / key.rate
            raise errors.RateLimited("This key makes too many requests.", retry_after=max(1, round(wait_s + 0.5)))
        use.tokens -= 1.0
