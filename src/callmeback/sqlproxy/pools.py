"""Connections by role, within one budget: a small pool a scope, and the least recently used one gives way.

A request takes a link and gives it back. When none is free it waits its turn, boundedly: in a full queue, or where the
queue moves too slowly for its turn to come in time, it is refused at once. WebSocket sessions have connections of their
own and only their place in the budget here.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import psycopg

from callmeback import errors, logs
from callmeback.pg.errors import overloaded
from callmeback.sqlproxy.deadlines import Deadlines
from callmeback.sqlproxy.link import Link

# A queue longer than this waits longer than anybody does: shed at once instead.
WAITING_PER_CONNECTION: Final = 4
# A login takes milliseconds of this process, in which nobody hears anything, and gives the cores one more statement to
# run. A crowd (more wait than there are connections) isn't to wait for ten of them: there they come one by one, with a
# pause in which those are told who can't be let in.
LOGINS_MAX: Final = 2
LOGIN_PAUSE_S: Final = 0.02
MAX_LIFETIME_S: Final = 3_600.0
SWEEP_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 3.0
# Of the budget, what sessions may hold: they stay for long, and requests must get through.
SESSIONS_SHARE: Final = 0.5
# How fast the average time of a lease follows what happens.
AVERAGE_WEIGHT: Final = 0.1

_log = logs.get_logger(__name__)


class Stats(msgspec.Struct, frozen=True):
    """Connections that requests use, that are idle, that sessions hold; who waits; the budget; refusals so far."""

    busy: int
    idle: int
    sessions: int
    waiting: int
    limit: int
    shed: int


class _Waiter:
    """Somebody without a connection; `expires_at` is when waiting ends."""

    __slots__ = ("expires_at", "future", "is_session", "pools", "role")

    def __init__(self, pools: "Pools", role: str, expires_at: float, *, is_session: bool) -> None:
        self.pools = pools
        self.role = role
        self.expires_at = expires_at
        self.is_session = is_session
        self.future: asyncio.Future[Link | None] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        if not self.future.done():
            self.future.set_exception(overloaded())


class Pools:
    """All links of this process. `dsn_for` says how a role logs in; `limit` bounds the connections of all together."""

    def __init__(
        self, dsn_for: Callable[[str], str], deadlines: Deadlines, *, limit: int, wait_s: float, idle_s: float
    ) -> None:
        self._dsn_for = dsn_for
        self._deadlines = deadlines
        self._limit = limit
        self._wait_s = wait_s
        self._idle_s = idle_s
        self._waiting_max = WAITING_PER_CONNECTION * limit
        self._sessions_max = max(1, int(limit * SESSIONS_SHARE))
        self._idle: dict[str, list[Link]] = {}
        self._waiters: deque[_Waiter] = deque()
        self._places = 0
        self._held: dict[str, int] = {}
        self._sessions = 0
        self._logins = 0
        self._logged_in_at = 0.0
        self._login_timer: asyncio.TimerHandle | None = None
        self._shed = 0
        self._lease_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    @asynccontextmanager
    async def lease(self, role: str) -> AsyncIterator[Link]:
        """A link for a block; see `take`."""
        link = await self.take(role)
        try:
            yield link
        finally:
            self.give(link)

    def take_ready(self, role: str, statement: object, *, needs_types: bool) -> Link | None:
        """An idle link that is ready for the statement of this key; None where `take` has more to do for one."""
        links = self._idle.get(role)
        if links:
            link = links[-1]
            if link.is_idle and link.is_ready_for(statement, needs_types=needs_types):
                links.pop()
                link.lend()
                return link

        return None

    @property
    def crowd_max(self) -> int:
        """How many can have a link or wait for one."""
        return self._limit + self._waiting_max

    def has_idle(self, role: str) -> bool:
        """Whether a request of this role need not wait."""
        return bool(self._idle.get(role))

    def count_shed(self) -> None:
        """Count a refusal that the pools had no part in."""
        self._shed += 1

    async def take(self, role: str) -> Link:
        """A link that is idle and alive, to be given back by `give`.

        Raises Overloaded when the queue is full or too slow, DatabaseUnavailable when nobody can log in.
        """
        links = self._idle.get(role)
        while links:
            link = links.pop()
            if link.is_idle:
                link.lend()
                return link
            self._retire(link)
        found = await self._wait(role, is_session=False)
        assert found is not None
        found.lend()

        return found

    def give(self, link: Link) -> None:
        """The request is over. A link that isn't idle is closed: nothing of one request is left for the next."""
        now = link.now()
        self._lease_s += ((now - link.used_at) - self._lease_s) * AVERAGE_WEIGHT
        link.used_at = now
        if self._is_closed or not link.is_idle or now - link.opened_at > MAX_LIFETIME_S:
            self._retire(link)
        elif self._waiters:
            self._pass_on(link)
        else:
            self._keep(link)

    @asynccontextmanager
    async def slot(self, role: str) -> AsyncIterator[None]:
        """A place in the budget for a connection that the caller opens and closes itself within the block.

        Raises Overloaded as `take` does, and when sessions hold their share already.
        """
        if self._sessions >= self._sessions_max:
            self._shed += 1
            raise overloaded()
        self._sessions += 1
        try:
            await self._wait(role, is_session=True)
            try:
                yield
            finally:
                self._free(role)
        finally:
            self._sessions -= 1

    def dsn_for(self, role: str) -> str:
        """How the role logs in."""
        return self._dsn_for(role)

    @property
    def is_saturated(self) -> bool:
        """Whether the next request would be refused."""
        return len(self._waiters) >= self._room

    @property
    def _room(self) -> int:
        """How many may wait: those whose connection is still to be opened do, too."""
        return self._waiting_max + self._limit - self._places

    def stats(self) -> Stats:
        """What is there right now."""
        idle = sum(len(links) for links in self._idle.values())

        return Stats(
            busy=self._places - idle - self._sessions,
            idle=idle,
            sessions=self._sessions,
            waiting=len(self._waiters),
            limit=self._limit,
            shed=self._shed,
        )

    def forget(self, role: str) -> None:
        """Close the idle links of a role: its grants were changed or taken away."""
        for link in self._idle.pop(role, []):
            self._retire(link)

    async def close(self) -> None:
        """Close every link; those in use when they are given back, within CLOSE_TIMEOUT_S."""
        self._is_closed = True
        for timer in (self._sweeper, self._login_timer):
            if timer is not None:
                timer.cancel()
        for waiter in self._waiters:
            waiter.expire()
        for role in list(self._idle):
            self.forget(role)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)

    async def _wait(self, role: str, *, is_session: bool) -> Link | None:
        """Queue up; a Link, or for a session a place."""
        if self._is_closed:
            raise errors.DatabaseUnavailable()
        queued = len(self._waiters)
        too_slow = queued * self._lease_s / self._limit > self._wait_s
        if queued >= self._room or too_slow:
            self._shed += 1
            raise overloaded()
        loop = asyncio.get_running_loop()
        waiter = _Waiter(self, role, loop.time() + self._wait_s, is_session=is_session)
        self._waiters.append(waiter)
        self._deadlines.watch(waiter)
        self._serve()
        try:
            return await waiter.future
        except errors.Overloaded:
            self._shed += 1
            raise
        except asyncio.CancelledError:
            # It was served and gone in the same moment: what it got goes to the next.
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self._take_back(waiter)
            raise
        finally:
            self._deadlines.forget(waiter)
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def _take_back(self, waiter: _Waiter) -> None:
        link = waiter.future.result()
        if link is None:
            self._free(waiter.role)
        else:
            link.used_at = link.now()
            self.give(link)

    def _serve(self) -> None:
        """Give places to those who wait, the first one first, as far as the budget goes."""
        while (waiter := self._first()) is not None:
            if not (waiter.is_session or self._may_log_in()):
                return
            if self._places >= self._limit and not self._make_room():
                return
            self._waiters.remove(waiter)
            self._hold(waiter.role)
            if waiter.is_session:
                waiter.future.set_result(None)
            else:
                self._logins += 1
                self._start(self._open_for(waiter))

    def _may_log_in(self) -> bool:
        """Whether one more login may begin now; if only a pause is missing, `_serve` is called after it."""
        if len(self._waiters) <= self._limit:
            return self._logins < LOGINS_MAX
        if self._logins or self._login_timer is not None:
            return False
        loop = asyncio.get_running_loop()
        begins_at = self._logged_in_at + LOGIN_PAUSE_S
        if begins_at > loop.time():
            self._login_timer = loop.call_at(begins_at, self._pause_over)
            return False

        return True

    def _pause_over(self) -> None:
        self._login_timer = None
        self._logged_in_at = 0.0
        self._serve()

    def _first(self) -> _Waiter | None:
        """Whose turn it is: the first of a role that has less than its share, else the first of all."""
        share = self._share()
        found = None
        for waiter in self._waiters:
            if not waiter.future.done():
                if self._held.get(waiter.role, 0) < share:
                    return waiter
                found = found or waiter

        return found

    def _share(self) -> int:
        """Connections that each role may have when all want more."""
        wanting = self._held.keys() | {waiter.role for waiter in self._waiters}

        return max(1, self._limit // max(1, len(wanting)))

    def _make_room(self) -> bool:
        """Close the link that was idle the longest."""
        oldest = min((links[0] for links in self._idle.values() if links), key=_used_at, default=None)
        if oldest is None:
            return False
        self._idle[oldest.role].remove(oldest)
        self._retire(oldest, serve=False)

        return self._places < self._limit

    async def _open_for(self, waiter: _Waiter) -> None:
        """Log in for somebody who waits; the place is held already."""
        try:
            await self._log_in(waiter)
        finally:
            self._logins -= 1
            self._logged_in_at = asyncio.get_running_loop().time()
            if self._waiters:
                self._serve()

    async def _log_in(self, waiter: _Waiter) -> None:
        role = waiter.role
        try:
            link = await Link.open(self._dsn_for(role), role, self._deadlines)
        except (psycopg.Error, OSError) as exc:
            _log.warning("login_failed", role=role, error=type(exc).__name__, sqlstate=getattr(exc, "sqlstate", None))
            if not waiter.future.done():
                waiter.future.set_exception(errors.DatabaseUnavailable())
            self._free(role)
            return
        except BaseException:
            self._free(role)
            raise
        if waiter.future.done():
            self.give(link)
        else:
            waiter.future.set_result(link)

    def _pass_on(self, link: Link) -> None:
        """The link goes to its role's first waiter, unless another role has less than its share and waits."""
        others = [each for each in self._waiters if not each.future.done() and each.role != link.role]
        share = self._share()
        if any(self._held.get(each.role, 0) < share for each in others) and self._held.get(link.role, 0) > share:
            self._retire(link)
            return
        for waiter in self._waiters:
            if waiter.role == link.role and not waiter.is_session and not waiter.future.done():
                self._waiters.remove(waiter)
                waiter.future.set_result(link)
                return
        if others or self._first() is not None:
            self._retire(link)
        else:
            self._keep(link)

    def _keep(self, link: Link) -> None:
        self._idle.setdefault(link.role, []).append(link)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long, and what died meanwhile."""
        now = asyncio.get_running_loop().time()
        for role, links in list(self._idle.items()):
            for link in [link for link in links if not link.is_idle or now - link.used_at > self._idle_s]:
                links.remove(link)
                self._retire(link)
            if not links:
                del self._idle[role]
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep) if self._idle else None

    def _retire(self, link: Link, *, serve: bool = True) -> None:
        """Close a link. An idle one frees its place now, another one when its server has let go of it."""
        if link.is_idle or link.is_lost:
            link.cut()
            self._free(link.role, serve=serve)
        else:
            self._start(self._end(link))

    async def _end(self, link: Link) -> None:
        try:
            await link.close()
        finally:
            self._free(link.role)

    def _hold(self, role: str) -> None:
        self._places += 1
        self._held[role] = self._held.get(role, 0) + 1

    def _free(self, role: str, *, serve: bool = True) -> None:
        self._places -= 1
        self._held[role] -= 1
        if not self._held[role]:
            del self._held[role]
        if serve and self._waiters:
            self._serve()

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _used_at(link: Link) -> float:
    return link.used_at
