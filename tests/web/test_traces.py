"""Spans from the API through the database to a vendor, under a provider as an SDK would set it up."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer, TracerProvider
from tests.web.house import House

from callmeback import traces

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Made(NonRecordingSpan):
    """A span that remembers what it was given."""

    def __init__(self, context: SpanContext, parent: SpanContext, name: str, kind: SpanKind, facts: Mapping[str, Any]):
        super().__init__(context)
        self.parent, self.name, self.kind, self.facts = parent, name, kind, dict(facts)

    def set_attribute(self, key: str, value: Any) -> None:
        self.facts[key] = value

    def update_name(self, name: str) -> None:
        self.name = name


class Recorder(TracerProvider, Tracer):
    """Keeps every span."""

    def __init__(self) -> None:
        self.made: list[Made] = []

    def get_tracer(self, *_: Any, **__: Any) -> Tracer:
        return self

    def start_span(self, name: str, context: Context | None = None, kind: SpanKind = SpanKind.INTERNAL,
                   attributes: Any = None, **_: Any) -> Span:  # fmt: skip
        parent = trace.get_current_span(context).get_span_context()
        number = len(self.made) + 1
        here = SpanContext(parent.trace_id or 7 * number, number, False, TraceFlags(TraceFlags.SAMPLED))
        self.made.append(Made(here, parent, name, kind, attributes or {}))

        return self.made[-1]

    @contextmanager
    def _as_current(self, *args: Any, **options: Any) -> Iterator[Span]:
        with trace.use_span(self.start_span(*args, **options), record_exception=False, set_status_on_exception=False):
            yield self.made[-1]

    def start_as_current_span(self, name: str, context: Any = None, kind: Any = SpanKind.INTERNAL,
                              attributes: Any = None, **_: Any) -> Any:  # fmt: skip
        return self._as_current(name, context, kind, attributes)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made)

    return made


async def test_without_an_sdk_nothing_is_made(house: House):
    answer = await house.client().get("/api/personas", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})

    assert not traces.is_on()
    assert answer.status_code == 200


async def test_a_request_is_one_trace_down_to_the_database_and_the_vendor(house: House, recorder: Recorder):
    ann = await house.person()
    recorder.made.clear()
    given = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = await ann.client.post("/api/phones", json={"number": "+12025550101"}, headers=given)
    mine = [span for span in recorder.made if f"{span.get_span_context().trace_id:032x}" == TRACE]
    by_name = {span.name: span for span in mine}
    request = by_name["POST /api/phones"]
    vendor = next(span for span in mine if span.name.endswith("send a text"))
    statements = [span for span in mine if span.facts.get("db.system.name") == "postgresql"]

    assert answer.status_code == 201
    assert request.kind is SpanKind.SERVER
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.facts["http.route"] == "/api/phones"
    assert request.facts["http.response.status_code"] == 201
    assert vendor.kind is SpanKind.CLIENT
    assert {span.kind for span in statements} == {SpanKind.CLIENT}
    assert {span.facts["db.query.summary"] for span in statements} == {span.name for span in statements}
    assert "2025550101" not in str([(span.name, span.facts) for span in recorder.made])
