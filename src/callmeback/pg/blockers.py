"""Who stands in the way of a session that waits for a lock, watched from a second connection.

It must be asked while the session waits: after lock_timeout nobody blocks it any more.
"""

import contextlib
import threading
from types import TracebackType
from typing import Final, Self

import psycopg

from callmeback.pg import statements

SQL: Final = statements.load("callmeback.pg", "migrate.sql")

LOOK_EVERY_S: Final = 0.3
CONNECT_TIMEOUT_S: Final = 5
JOIN_TIMEOUT_S: Final = 10.0


class Watch:
    """`with Watch(dsn, pid) as watch`: afterwards `watch.seen` holds the last blockers of server process `pid`.

    The first look is taken after LOOK_EVERY_S, so that a quick statement costs no second connection. A watch that
    can't connect sees nothing and disturbs nothing.
    """

    def __init__(self, dsn: str, pid: int) -> None:
        self.seen: list[str] = []
        self._dsn = dsn
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="migrate-blockers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(JOIN_TIMEOUT_S)

    def _look(self) -> None:
        if self._done.wait(LOOK_EVERY_S):
            return
        with contextlib.suppress(psycopg.Error):
            with psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, cursor_factory=psycopg.RawCursor
            ) as connection:
                # Ends with the statement that is watched, which has a timeout of its own.
                while True:
                    found = [str(row[0]) for row in connection.execute(SQL.blockers.native, [self._pid])]
                    self.seen = found or self.seen
                    if self._done.wait(LOOK_EVERY_S):
                        return
