"""Several statements in one transaction: `/batch`, and the transactions of Neon's driver."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg.pq import DiagnosticField

from callmeback import errors
from callmeback.pg import parameters as encoding
from callmeback.pg import statements
from callmeback.sqlproxy import problems, query, transactions, types
from callmeback.sqlproxy.audit import milliseconds
from callmeback.sqlproxy.gate import Allowed
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.limits import BATCH_QUERIES_MAX
from callmeback.sqlproxy.link import Link
from callmeback.sqlproxy.requests import Answer, BatchBody, QueryBody, Request
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.shapes import Cap, Objects
from callmeback.sqlproxy.steps import Sink, Step, tag
from callmeback.sqlproxy.transactions import Options, isolation_of, opening

SQL: Final = statements.load("callmeback.sqlproxy", "batch.sql")

IDEMPOTENCY_LENGTH_MAX: Final = 200
# A batch that was prepared for tables as they were is run once more.
ATTEMPTS_MAX: Final = 2
# To judge a thousand new statements takes seconds; others get their turn in between.
TURN_S: Final = 0.01
NOT_GRANTED: Final = b"42501"

_body: Final = msgspec.json.Decoder(BatchBody)


async def answer(services: Services, request: Request, key: Key) -> Answer:
    """`POST /batch`."""
    body = query.decode(_body, request.body)
    options = Options(isolation_of(body.isolation), bool(body.readOnly), bool(body.deferrable))
    allowed, given = await permit(services, request, key, body.queries)
    # What changes nothing may be asked again without harm.
    idempotency = None if options.is_read_only else _idempotency(request)
    for attempt in range(ATTEMPTS_MAX):
        work = _Work(services, request, key, allowed, given, options)
        try:
            found = None if idempotency is None else await work.once(idempotency)
            if found is None:
                found = await work.plain()
        except errors.StatementFailed:
            if work.is_stale and attempt + 1 < ATTEMPTS_MAX:
                continue
            raise
        return Answer(200, found)

    raise AssertionError("the last attempt answers or raises")


async def permit(
    services: Services, request: Request, key: Key, queries: Sequence[QueryBody]
) -> tuple[list[Allowed], list[list[bytes | None]]]:
    """All statements with their parameters, before any of them runs; the refusal of one names it by its place."""
    if len(queries) > BATCH_QUERIES_MAX:
        raise errors.ValidationFailed(f"A batch has at most {BATCH_QUERIES_MAX} statements.")
    allowed, given = [], []
    loop = asyncio.get_running_loop()
    turn_ends_at = loop.time() + TURN_S
    for place, each in enumerate(queries):
        if loop.time() > turn_ends_at:
            await asyncio.sleep(0)
            turn_ends_at = loop.time() + TURN_S
        text = each.query if each.query is not None else each.sql
        try:
            if text is None:
                raise errors.ValidationFailed(query.NO_QUERY)
            one = services.gate.known(key, text) or await services.gate.permit(services, key, text)
            texts = query.bind(each.parameters if each.parameters is not None else each.params, one)
        except (errors.StatementRefused, errors.ValidationFailed) as exc:
            exc.extra["query"] = place
            raise
        query.note(services, request.record, one, texts)
        allowed.append(one)
        given.append(texts)

    return allowed, given


class _Work:
    """One attempt at a batch."""

    def __init__(
        self,
        services: Services,
        request: Request,
        key: Key,
        allowed: Sequence[Allowed],
        given: Sequence[Sequence[bytes | None]],
        options: Options,
    ) -> None:
        self._services = services
        self._request = request
        self._key = key
        self._allowed = allowed
        self._given = given
        self._options = options
        self._expires_at = request.expires_at
        self.is_stale = False

    async def plain(self) -> bytes:
        """Everything in one round trip."""
        cap = Cap()
        sinks = [Objects(self._services.shapes, cap) for _ in self._allowed]
        steps = [*opening(self._options), *self._steps(sinks), Step(transactions.SQL.commit.native)]
        async with Lease(self._services, self._request, self._key) as link:
            self._taint(link)
            await link.pipeline(steps, self._expires_at)
            await self._check(link, steps)
            await self._learn(link, sinks)

        return self._body(steps, sinks)

    async def once(self, idempotency: str) -> bytes | None:
        """The answer is kept in the batch's own transaction; a batch that was answered gives that answer again.

        None when this role keeps no answers, because it can change nothing that a repetition would change twice.
        """
        named = [encoding.encode(self._key.id), encoding.encode(idempotency)]
        claim = Step(SQL.claim.native, [*named, encoding.encode(_hash(self._request))], _First())
        cap = Cap()
        sinks = [Objects(self._services.shapes, cap) for _ in self._allowed]
        async with Lease(self._services, self._request, self._key) as link:
            self._taint(link)
            opened = [*opening(self._options), claim]
            await link.pipeline(opened, self._expires_at)
            if claim.error is not None and claim.error.error_field(DiagnosticField.SQLSTATE) == NOT_GRANTED:
                await link.pipeline([Step(transactions.SQL.rollback.native)], self._expires_at)
                return None
            await self._check(link, opened)
            first: _First = claim.sink  # type: ignore[assignment]  # the sink given above
            if first.answer is not None:
                await link.pipeline([Step(transactions.SQL.rollback.native)], self._expires_at)
                return first.answer
            steps = self._steps(sinks)
            if steps:
                await link.pipeline(steps, self._expires_at)
                await self._check(link, steps)
                await self._learn(link, sinks)
            body = self._body(steps, sinks)
            closing = [Step(SQL.keep.native, [*named, encoding.encode(body)]), Step(transactions.SQL.commit.native)]
            await link.pipeline(closing, self._expires_at)
            await self._check(link, closing)

        return body

    def _steps(self, sinks: Sequence[Sink]) -> list[Step]:
        return [
            Step(one.text, texts, sink, one.types)
            for one, texts, sink in zip(self._allowed, self._given, sinks, strict=True)
        ]

    def _taint(self, link: Link) -> None:
        """However it ends: a rollback doesn't undo everything that an administrator may say."""
        if not all(one.is_judged for one in self._allowed):
            link.taint()

    async def _learn(self, link: Link, sinks: Sequence[Objects]) -> None:
        unknown = sorted({oid for sink in sinks if sink.waiting for oid in sink.unknown()})
        if unknown:
            await types.learn(link, self._services.shapes, unknown, self._expires_at)

    async def _check(self, link: Link, steps: Sequence[Step]) -> None:
        """Roll back and raise StatementFailed when a step failed."""
        failed = next((step for step in steps if step.error is not None), None)
        if failed is None:
            return
        self.is_stale = query.is_stale(failed)
        if self.is_stale:
            link.forget(failed)
        if not link.is_idle:
            await link.pipeline([Step(transactions.SQL.rollback.native)], self._expires_at)
        assert failed.error is not None
        raise failure(failed, self._allowed, steps, is_masked=self._key.masked)

    def _body(self, steps: Sequence[Step], sinks: Sequence[Objects]) -> bytes:
        results = []
        mine = [step for step in steps if isinstance(step.sink, Objects)]
        for step, sink in zip(mine, sinks, strict=True):
            command, count = tag(step.tag)
            self._request.record.rows += sink.rows
            results.append(b'{"rows":[%b],"rowCount":%b,"command":"%b"}' % (sink.finish(), count, command))

        return b'{"results":[%b]}' % b",".join(results)


class Lease:
    """A link for a block, with the times that it took in the request's record."""

    def __init__(self, services: Services, request: Request, key: Key) -> None:
        self._pools = services.pools
        self._record = request.record
        self._role = key.role

    async def __aenter__(self) -> Link:
        asked_at = time.perf_counter()
        self._link = await self._pools.take(self._role)
        self._record.queue_ms = milliseconds(time.perf_counter() - asked_at)

        return self._link

    async def __aexit__(self, *_: object) -> None:
        self._record.database_ms = milliseconds(self._link.database_s)
        self._pools.give(self._link)


class _First:
    """Sink of `claim`: the answer that was kept, if there is one."""

    def __init__(self) -> None:
        self.answer: bytes | None = None

    def add(self, result: Any, statement: object) -> None:
        if result.ntuples and (found := result.get_value(0, 0)) is not None:
            self.answer = bytes.fromhex(found[2:].decode())


def failure(
    failed: Step, allowed: Sequence[Allowed], steps: Sequence[Step], *, is_masked: bool
) -> errors.StatementFailed:
    """The error of a step; that of a client's statement names it by its place in the batch."""
    assert failed.error is not None
    mine = [step for step in steps if step.sink is not None and not isinstance(step.sink, _First)]
    place = next((place for place, step in enumerate(mine) if step is failed), None)
    verdict = allowed[place].verdict if place is not None else None
    error = problems.failure(failed.error, verdict, is_masked=is_masked)
    if place is not None:
        error.extra["query"] = place

    return error


def _idempotency(request: Request) -> str | None:
    raw = request.headers.get(b"idempotency-key")
    if raw is None:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    if not 0 < len(text) <= IDEMPOTENCY_LENGTH_MAX:
        raise errors.ValidationFailed(f"An Idempotency-Key has 1 to {IDEMPOTENCY_LENGTH_MAX} characters.")

    return text


def _hash(request: Request) -> bytes:
    return hashlib.sha256(request.body).digest()
