"""The straight way of one statement: no coroutine and no task, one call back when its answer is there.

It is for what waits for nothing but the database: the key is known, the text was judged before, a connection is free
that has the statement prepared, and its columns are known. All else takes the long way, through coroutines that may
wait; so does what turns out to be wrong on this one before anything was sent, and is found and answered there.
"""

from collections.abc import Callable

from callmeback import errors
from callmeback.sqlproxy import problems, query
from callmeback.sqlproxy.audit import milliseconds
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.link import Link
from callmeback.sqlproxy.query import Ready
from callmeback.sqlproxy.requests import Answer, Request
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.steps import Step

OnAnswer = Callable[[Request, Answer | Exception | None], None]


class Errand:
    """One statement under way. `on_answer` hears of its answer or its error, or None: it has to go the long way."""

    __slots__ = ("_compose", "_key", "_link", "_on_answer", "_services", "_step", "_verdict", "request")

    def __init__(
        self, services: Services, request: Request, key: Key, ready: Ready, link: Link, on_answer: OnAnswer
    ) -> None:
        allowed = ready.allowed
        self._services = services
        self.request = request
        self._key = key
        self._link = link
        self._compose = ready.compose
        self._verdict = allowed.verdict
        self._step = Step(allowed.text, ready.given, ready.sink, allowed.types)
        self._on_answer = on_answer

    def start(self) -> None:
        """Send it; `on_answer` may be called at once."""
        try:
            self._link.begin(self._step, self.request.expires_at, self._done)
        except errors.CallMeBackError as exc:
            self._done(exc)

    def cancel(self) -> None:
        """The client left: nobody is told, and the connection, being busy, is closed."""
        self._link.drop()
        self._let_go()

    def _done(self, error: Exception | None) -> None:
        request, step = self.request, self._step
        try:
            if error is not None:
                found: Answer | Exception | None = error
            elif step.error is None:
                found = self._compose(request, step, step.sink)
            elif query.is_stale(step):
                # A migration changed what the prepared statement gives; nothing was run.
                self._link.forget(step)
                request.record.statements, request.record.parameters = 0, None
                found = None
            else:
                found = problems.failure(step.error, self._verdict, is_masked=self._key.masked)
        except Exception as exc:
            found = exc
        self._let_go()
        self._on_answer(request, found)

    def _let_go(self) -> None:
        services = self._services
        self.request.record.database_ms = milliseconds(self._link.database_s)
        services.pools.give(self._link)
        services.limits.leave(self._key)


def begin(services: Services, request: Request, key: Key, ready: Ready, on_answer: OnAnswer) -> Errand | None:
    """The errand, to be started; None where it would have to wait. Raises RateLimited."""
    allowed = ready.allowed
    statement: object = allowed.text if allowed.types is None else (allowed.text, allowed.types)
    link = services.pools.take_ready(key.role, statement, needs_types=ready.sink.needs_types)
    if link is None:
        return None
    try:
        services.limits.admit(key)
    except errors.RateLimited:
        services.pools.give(link)
        raise
    query.note(services, request.record, allowed, ready.given)

    return Errand(services, request, key, ready, link, on_answer)
