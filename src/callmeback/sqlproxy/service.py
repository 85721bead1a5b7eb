"""Which endpoint answers a request, who may ask, and what is written about it at the end."""

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from prometheus_client import generate_latest

from callmeback import errors, logs
from callmeback.pg.errors import overloaded
from callmeback.sqlproxy import batch, errand, gate, neon, problems, query, readiness
from callmeback.sqlproxy.audit import milliseconds
from callmeback.sqlproxy.errand import Errand, OnAnswer
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.requests import METRICS, PROBLEM, Answer, Request
from callmeback.sqlproxy.services import Services

Endpoint = Callable[[Services, Request, Key], Awaitable[Answer]]
Readying = Callable[[Services, Request, Key], query.Ready | None]

POSTS: Final[dict[str, Endpoint]] = {"/query": query.answer, "/batch": batch.answer, "/sql": neon.answer}
# What can go the straight way, too.
STRAIGHT: Final[dict[str, Readying]] = {"/query": query.ready, "/sql": neon.ready}
GETS: Final = ("/health", "/ready", "/metrics")
NAMED: Final = "/named/"
UNKNOWN: Final = "unknown"

PREFLIGHT: Final = (
    b"access-control-allow-methods: POST, OPTIONS\r\n"
    b"access-control-allow-headers: authorization, content-type, accept, idempotency-key, traceparent, "
    b"neon-connection-string, neon-raw-text-output, neon-array-mode, neon-pool-opt-in, neon-batch-isolation-level, "
    b"neon-batch-read-only, neon-batch-deferrable\r\n"
    b"access-control-max-age: 86400\r\n"
)
REQUEST_ID_BYTES: Final = 6

_log = logs.get_logger(__name__)


class Service:
    """Answers complete requests; `finish` is called once an answer was sent, or its reader had gone."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # Unique without a system call for each: this process, then a count.
        self._prefix = secrets.token_hex(REQUEST_ID_BYTES)
        self._count = 0
        # Requests that have a link, or are on their way to one or to their refusal.
        self._under_way = 0
        # What a crowd is told, made once: to say no has to cost less than anything else.
        overload = overloaded()
        self._overload_state = problems.sqlstate_of(overload)
        self._sheds = [self._refusal(Request(b"POST", path, {}, ""), overload) for path in ("/query", "/sql")]

    @property
    def deadline_s(self) -> float:
        """How long a request may take from its last byte on."""
        return self._services.deadline_s

    def begin(self, request: Request, on_answer: OnAnswer) -> Errand | Answer | None:
        """What can be done about a request right now: a statement's errand, to be started; a refusal where too many are
        under way; or None, and then `answer` does all of it.
        """
        self._count += 1
        request.record.request = f"{self._prefix}{self._count:08x}"
        if request.method != b"POST" or request.error is not None:
            return None
        services, path = self._services, request.path
        ready = STRAIGHT.get(path)
        if ready is None and path not in POSTS:
            if not path.startswith(NAMED):
                return None
            ready, request.record.endpoint = query.ready_named, NAMED
        if b"traceparent" in request.headers:
            request.record.trace = gate.trace_of(request.headers)
        if services.is_draining or not services.has_keys:
            return None
        key = gate.known_key(services, request)
        if key is None:
            return None
        request.key = key
        self._under_way += 1
        # Before anything is done for it: of a thousand that come at once most are still to be counted by the pools.
        if self._under_way > services.pools.crowd_max and not services.pools.has_idle(key.role):
            services.pools.count_shed()
            request.record.sqlstate = self._overload_state
            return self._sheds[path == "/sql"]

        return None if ready is None else self._straight(request, key, ready, on_answer)

    def _straight(self, request: Request, key: Key, ready: Readying, on_answer: OnAnswer) -> Errand | None:
        services = self._services
        try:
            found = ready(services, request, key)
            return None if found is None else errand.begin(services, request, key, found, on_answer)
        except Exception:
            # It is found again on the long way, and answered there.
            return None

    async def answer(self, request: Request) -> Answer:
        """The answer to anything that `begin` has seen; raises nothing but CancelledError."""
        record = request.record
        try:
            if request.error is not None:
                record.endpoint = _endpoint_of(request.path)
                raise request.error
            if request.method == b"POST":
                return await self._post(request)
            return self._other(request)
        except Exception as exc:
            return self.failure(request, exc)

    def finish(self, request: Request, status: int, size: int) -> None:
        """Count it and write its line. What is asked again and again by a supervisor is counted only."""
        record = request.record
        if request.key is not None:
            self._under_way -= 1
        seconds = time.perf_counter() - request.began
        endpoint = record.endpoint
        self._services.figures.note(endpoint, status, seconds)
        if endpoint in GETS and status < 500:
            return
        record.status = status
        record.bytes = size
        record.total_ms = milliseconds(seconds)
        self._services.audit.write(record)

    async def _post(self, request: Request) -> Answer:
        services, path = self._services, request.path
        endpoint = POSTS.get(path)
        if endpoint is None:
            if not path.startswith(NAMED):
                raise self._no_such(request)
            endpoint, request.record.endpoint = query.answer_named, NAMED
        if services.is_draining:
            raise errors.Draining()
        key = request.key or await gate.key_of(services, request)
        services.limits.admit(key)
        is_held = True
        try:
            answer = await endpoint(services, request, key)
            if answer.stream is not None:
                answer.stream.on_close = partial(services.limits.leave, key)
                is_held = False
            return answer
        finally:
            if is_held:
                services.limits.leave(key)

    def _other(self, request: Request) -> Answer:
        path, method = request.path, request.method
        if method == b"OPTIONS":
            request.record.endpoint = _endpoint_of(path)
            return Answer(204, b"", headers=PREFLIGHT)
        if method not in (b"GET", b"HEAD") or path not in GETS:
            raise self._no_such(request)
        if path == "/metrics":
            return Answer(200, generate_latest(self._services.figures.registry), METRICS)
        if path == "/health":
            return Answer(200, readiness.HEALTHY)
        status, body = readiness.report(self._services)

        return Answer(status, body)

    def _no_such(self, request: Request) -> errors.CallMeBackError:
        endpoint = request.record.endpoint = _endpoint_of(request.path)

        return errors.MethodNotAllowed() if endpoint != UNKNOWN else errors.NotFound("There is no such address here.")

    def failure(self, request: Request, exc: Exception) -> Answer:
        """What is answered instead."""
        if isinstance(exc, errors.CallMeBackError):
            return self._refusal(request, exc)
        _log.error("request_crashed", endpoint=request.record.endpoint, request=request.record.request, exc_info=exc)

        return self._refusal(request, errors.CallMeBackError())

    def _refusal(self, request: Request, error: errors.CallMeBackError) -> Answer:
        record = request.record
        record.sqlstate = problems.sqlstate_of(error)
        if isinstance(error, errors.StatementRefused):
            record.verdict, record.rule = "refused", str(error.extra.get("rule"))
        is_neon = record.endpoint == "/sql"
        status, body = problems.neon(error) if is_neon else problems.problem(error)
        headers = b""
        if status in (429, 503):
            headers = b"retry-after: %d\r\n" % problems.retry_after(error)
        elif status == 401:
            headers = b"www-authenticate: Bearer\r\n"
        elif status == 405:
            headers = b"allow: %b, OPTIONS\r\n" % (b"GET, HEAD" if request.path in GETS else b"POST")
        if status >= 500 and not isinstance(error, errors.Overloaded | errors.Draining):
            self._services.figures.failures += 1

        return Answer(status, body, content_type=b"application/json" if is_neon else PROBLEM, headers=headers)


def _endpoint_of(path: str) -> str:
    """What logs and figures call an address: never an unknown path itself, since there is no end of them."""
    if path.startswith(NAMED):
        return NAMED

    return path if path in POSTS or path in GETS else UNKNOWN
