"""Spans from the API through the database to the vendors, by OpenTelemetry's API alone.

Nothing is made until somebody installs an SDK and sets it up (`docs/howto/operate.md`): then spans have the names of
OpenTelemetry's semantic conventions. No span has a value of anybody's: routes and statements go by their templates and
names, errors by their class.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import propagate, trace
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, Span, SpanKind, StatusCode

NAME: Final = "callmeback"
# The same in every record of the log while a trace is on.
TRACE_KEY: Final = "trace_id"

Value = str | int | float | bool


def is_on() -> bool:
    """Whether an SDK is set up; without one a span would cost some microseconds and be thrown away."""
    return not isinstance(trace.get_tracer_provider(), ProxyTracerProvider | NoOpTracerProvider)


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, Value] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Span | None]:
    """A span around the block, None where no SDK is set up. `headers` of a request may name the trace it is part of."""
    if not is_on():
        yield None
        return
    context = propagate.extract(headers) if headers is not None else None
    with trace.get_tracer(NAME).start_as_current_span(
        name, context, kind, dict(attributes or {}), record_exception=False, set_status_on_exception=False
    ) as made:
        try:
            yield made
        except BaseException as exc:
            # The class alone: a message may quote what somebody said.
            made.set_attribute("error.type", type(exc).__qualname__)
            made.set_status(StatusCode.ERROR)
            raise


def trace_id() -> str | None:
    """The current trace in hex, for the log; None outside of one."""
    context = trace.get_current_span().get_span_context()

    return f"{context.trace_id:032x}" if context.is_valid else None
