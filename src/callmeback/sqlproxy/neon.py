"""Neon's SQL over HTTP, to the letter: `POST /sql` as `@neondatabase/serverless` speaks it.

Rows are PostgreSQL's own text whatever the headers say: a JSON true where the driver expects "t" would become false.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import orjson
from psycopg.pq.abc import PGresult

from callmeback import errors
from callmeback.sqlproxy import batch, query, transactions
from callmeback.sqlproxy.gate import Allowed
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.requests import Answer, QueryBody, Request
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.shapes import Cap, Shapes
from callmeback.sqlproxy.steps import Prepared, Step, tag

NO_QUERY: Final = 'The body is {"query": "…", "params": […]} or {"queries": […]}.'
TRUE: Final = b"true"


class SqlBody(QueryBody):
    """One statement, or several."""

    queries: list[QueryBody] | None = None


_body: Final = msgspec.json.Decoder(SqlBody)


def ready(services: Services, request: Request, key: Key) -> query.Ready | None:
    """A single statement as far as it goes without waiting; None where `answer` has more to do."""
    body = query.decode(_body, request.body)
    text = body.query if body.query is not None else body.sql
    allowed = None if text is None or body.queries is not None else services.gate.known(key, text)
    if allowed is None:
        return None
    given = query.bind(body.params if body.params is not None else body.parameters, allowed)
    as_arrays = request.headers.get(b"neon-array-mode", b"").lower() == TRUE

    return query.Ready(allowed, given, Texts(services.shapes, Cap(), as_arrays=as_arrays), compose)


async def answer(services: Services, request: Request, key: Key) -> Answer:
    """`POST /sql`."""
    body = query.decode(_body, request.body)
    as_arrays = request.headers.get(b"neon-array-mode", b"").lower() == TRUE
    if body.queries is not None:
        return await _batch(services, request, key, body.queries, as_arrays=as_arrays)
    text = body.query if body.query is not None else body.sql
    if text is None:
        raise errors.ValidationFailed(NO_QUERY)
    allowed = await services.gate.permit(services, key, text)
    given = query.bind(body.params if body.params is not None else body.parameters, allowed)
    query.note(services, request.record, allowed, given)
    rows = Texts(services.shapes, Cap(), as_arrays=as_arrays)
    step = await query.run(services, request, key, allowed, given, rows)

    return compose(request, step, rows)


def compose(request: Request, step: Step, rows: "Texts") -> Answer:
    """The answer of a statement that ran."""
    request.record.rows = rows.rows

    return Answer(200, rows.finish(step))


async def _batch(
    services: Services, request: Request, key: Key, queries: Sequence[QueryBody], *, as_arrays: bool
) -> Answer:
    allowed, given = await batch.permit(services, request, key, queries)
    for attempt in range(batch.ATTEMPTS_MAX):
        cap = Cap()
        sinks = [Texts(services.shapes, cap, as_arrays=as_arrays) for _ in queries]
        mine = [Step(one.text, texts, sink, one.types) for one, texts, sink in zip(allowed, given, sinks, strict=True)]
        steps = [*transactions.opening(_options(request)), *mine, Step(transactions.SQL.commit.native)]
        failed = await _run(services, request, key, allowed, steps)
        if failed is None:
            request.record.rows = sum(sink.rows for sink in sinks)
            results = b",".join(sink.finish(step) for step, sink in zip(mine, sinks, strict=True))
            return Answer(200, b'{"results":[%b]}' % results)
        if not query.is_stale(failed) or attempt + 1 == batch.ATTEMPTS_MAX:
            raise batch.failure(failed, allowed, steps, is_masked=key.masked)

    raise AssertionError("the last attempt answers or raises")


async def _run(
    services: Services, request: Request, key: Key, allowed: Sequence[Allowed], steps: Sequence[Step]
) -> Step | None:
    """One round trip; the step that failed, after a rollback."""
    expires_at = request.expires_at
    async with batch.Lease(services, request, key) as link:
        await link.pipeline(steps, expires_at)
        failed = next((step for step in steps if step.error is not None), None)
        if failed is not None:
            if query.is_stale(failed):
                link.forget(failed)
            if not link.is_idle:
                await link.pipeline([Step(transactions.SQL.rollback.native)], expires_at)
        if not all(one.is_judged for one in allowed):
            link.taint()

    return failed


def _options(request: Request) -> transactions.Options:
    headers = request.headers
    isolation = headers.get(b"neon-batch-isolation-level")

    return transactions.Options(
        transactions.isolation_of(isolation.decode("latin-1") if isolation is not None else None),
        headers.get(b"neon-batch-read-only", b"").lower() == TRUE,
        headers.get(b"neon-batch-deferrable", b"").lower() == TRUE,
    )


class Texts:
    """Sink of a raw-text answer: rows as arrays, or as objects, of text or null."""

    needs_types: Final = False

    def __init__(self, shapes: Shapes, cap: Cap, *, as_arrays: bool) -> None:
        self._shapes = shapes
        self._cap = cap
        self._as_arrays = as_arrays
        self._parts: list[bytes] = []
        self._fields = b""
        self.rows = 0

    def add(self, result: PGresult, statement: Prepared | None) -> None:
        """Some rows."""
        if not self._fields:
            self._fields = _fields(result, statement)
        count = result.ntuples
        if not count:
            if statement is not None:
                self._shapes.of(result, statement)
            return
        self.rows += count
        self._cap.take_rows(count)
        shape = self._shapes.of(result, statement)
        rows = shape.texts(result)
        found = rows if self._as_arrays else [dict(zip(shape.names, row, strict=True)) for row in rows]
        part = orjson.dumps(found)[1:-1]
        self._cap.take_bytes(len(part))
        self._parts.append(part)

    def finish(self, step: Step) -> bytes:
        """The whole result."""
        command, count = tag(step.tag)
        rows = self._parts[0] if len(self._parts) == 1 else b",".join(self._parts)

        return b'{"fields":[%b],"rows":[%b],"command":"%b","rowCount":%b,"rowAsArray":%b}' % (
            self._fields,
            rows,
            command,
            count,
            b"true" if self._as_arrays else b"false",
        )


def _fields(result: PGresult, statement: Prepared | None) -> bytes:
    """What the driver's type parsers need to know of the columns."""
    if statement is not None and statement.fields is not None:
        return statement.fields
    found = orjson.dumps(
        [
            {
                "name": (result.fname(place) or b"").decode(),
                "dataTypeID": result.ftype(place),
                "tableID": result.ftable(place),
                "columnID": result.ftablecol(place),
                "dataTypeSize": result.fsize(place),
                "dataTypeModifier": result.fmod(place),
                "format": "text",
            }
            for place in range(result.nfields)
        ]
    )[1:-1]
    if statement is not None:
        statement.fields = found

    return found
