"""One statement: `/query` and `/named/{id}`, as typed JSON, or as a stream of lines."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from psycopg.pq import DiagnosticField

from callmeback import errors
from callmeback.sqlproxy import problems, stream, types, values
from callmeback.sqlproxy.audit import Record, milliseconds, readable
from callmeback.sqlproxy.gate import Allowed
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.limits import PARAMETERS_MAX
from callmeback.sqlproxy.requests import NDJSON, Answer, NamedBody, QueryBody, Request
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.shapes import Cap, Objects
from callmeback.sqlproxy.steps import Sink, Step, tag

BodyT = TypeVar("BodyT")

NAMED_LENGTH: Final = len("/named/")
NO_QUERY: Final = 'The body is {"query": "…", "parameters": […]}.'
NOT_JSON: Final = "The body is not the JSON that this address expects."

_query_body: Final = msgspec.json.Decoder(QueryBody)
_named_body: Final = msgspec.json.Decoder(NamedBody)


class Ready(NamedTuple):
    """A statement that may run, with what takes its rows, and what makes the answer of both."""

    allowed: Allowed
    given: Sequence[bytes | None]
    sink: Any
    compose: Callable[[Request, Step, Any], Answer]


def ready(services: Services, request: Request, key: Key) -> Ready | None:
    """`POST /query` as far as it goes without waiting; None where `answer` has more to do. Raises ValidationFailed."""
    if wants_lines(request):
        return None
    body = decode(_query_body, request.body)
    text = body.query if body.query is not None else body.sql
    allowed = None if text is None else services.gate.known(key, text)
    if allowed is None:
        return None
    raws = body.parameters if body.parameters is not None else body.params

    return Ready(allowed, bind(raws, allowed), Objects(services.shapes, Cap()), compose)


def ready_named(services: Services, request: Request, key: Key) -> Ready | None:
    """The same of `POST /named/{id}`."""
    name = request.path[NAMED_LENGTH:]
    allowed = None if wants_lines(request) else services.gate.known_named(key, name)
    if allowed is None:
        return None
    request.record.named = name
    body = decode(_named_body, request.body) if request.body.strip() else NamedBody()
    raws = body.parameters if body.parameters is not None else body.params

    return Ready(allowed, bind(raws, allowed), Objects(services.shapes, Cap()), compose)


async def answer(services: Services, request: Request, key: Key) -> Answer:
    """`POST /query`."""
    body = decode(_query_body, request.body)
    text = body.query if body.query is not None else body.sql
    if text is None:
        raise errors.ValidationFailed(NO_QUERY)
    allowed = await services.gate.permit(services, key, text)
    raws = body.parameters if body.parameters is not None else body.params

    return await _answer(services, request, key, allowed, raws)


async def answer_named(services: Services, request: Request, key: Key) -> Answer:
    """`POST /named/{id}`; the body may be missing where there are no parameters."""
    name = request.path[NAMED_LENGTH:]
    allowed = services.gate.registered(services, key, name)
    request.record.named = name
    body = decode(_named_body, request.body) if request.body.strip() else NamedBody()
    raws = body.parameters if body.parameters is not None else body.params

    return await _answer(services, request, key, allowed, raws)


async def _answer(
    services: Services, request: Request, key: Key, allowed: Allowed, raws: Sequence[msgspec.Raw] | None
) -> Answer:
    given = bind(raws, allowed)
    note(services, request.record, allowed, given)
    if wants_lines(request):
        return await stream.answer(services, request, key, allowed, given)
    rows = Objects(services.shapes, Cap())
    step = await run(services, request, key, allowed, given, rows)

    return compose(request, step, rows)


def wants_lines(request: Request) -> bool:
    """Whether the rows are to be streamed."""
    accepted = request.headers.get(b"accept")

    return accepted is not None and NDJSON in accepted.lower()


def compose(request: Request, step: Step, rows: Objects) -> Answer:
    """The answer of a statement that ran."""
    command, count = tag(step.tag)
    request.record.rows = rows.rows

    return Answer(200, b'{"rows":[%b],"rowCount":%b,"command":"%b"}' % (rows.finish(), count, command))


async def run(
    services: Services,
    request: Request,
    key: Key,
    allowed: Allowed,
    given: Sequence[bytes | None],
    sink: Sink,
) -> Step:
    """Run one statement on a link of the key's role; raises StatementFailed, and what Pools and Link raise."""
    record, pools = request.record, services.pools
    asked_at = time.perf_counter()
    link = await pools.take(key.role)
    taken_at = time.perf_counter()
    record.queue_ms = milliseconds(taken_at - asked_at)
    expires_at = request.expires_at
    try:
        step = await link.run(allowed.text, given, sink, expires_at, allowed.types)
        if step.error is not None and is_stale(step):
            # A migration changed what a prepared statement gives; nothing was run.
            link.forget(step)
            step = await link.run(allowed.text, given, sink, expires_at, allowed.types)
        if isinstance(sink, Objects) and sink.waiting and step.error is None:
            await types.learn(link, services.shapes, sink.unknown(), expires_at)
        if not allowed.is_judged:
            link.taint()
    finally:
        record.database_ms = milliseconds(link.database_s)
        pools.give(link)
    if step.error is not None:
        raise problems.failure(step.error, allowed.verdict, is_masked=key.masked)

    return step


def is_stale(step: Step) -> bool:
    """Whether the statement failed only because what was prepared no longer fits."""
    if step.error is None or step.prepared is None:
        return False
    state = step.error.error_field(DiagnosticField.SQLSTATE)
    if state == b"26000":
        return True

    return state == b"0A000" and (step.error.error_field(DiagnosticField.SOURCE_FUNCTION) == b"RevalidateCachedQuery")


def decode(decoder: msgspec.json.Decoder[BodyT], body: bytes) -> BodyT:
    """A body; raises ValidationFailed, which never repeats what was sent."""
    try:
        return decoder.decode(body)
    except errors.UNREADABLE as exc:
        raise errors.ValidationFailed(NOT_JSON) from exc


def bind(raws: Sequence[msgspec.Raw] | None, allowed: Allowed) -> list[bytes | None]:
    """The parameters' texts; raises ValidationFailed."""
    if raws is not None and len(raws) > PARAMETERS_MAX:
        raise errors.ValidationFailed(f"A statement has at most {PARAMETERS_MAX} parameters.")
    if b"\0" in allowed.text:
        raise errors.ValidationFailed(values.NOT_TEXT, sqlstate="22021")
    given = values.parameters(raws)
    if allowed.types is not None and len(given) != len(allowed.types):
        raise errors.ValidationFailed(
            f"The statement has {len(allowed.types)} parameters, not {len(given)}.", sqlstate="08P01"
        )

    return given


def note(services: Services, record: Record, allowed: Allowed, given: Sequence[bytes | None]) -> None:
    """What the audit says of the statement."""
    record.verdict = "allowed" if allowed.is_judged else "unjudged"
    record.hash = allowed.hash
    record.statements += 1
    if services.audit.with_parameters:
        record.parameters = (record.parameters or []) + readable(list(given))
