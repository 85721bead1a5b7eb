"""Each request's id, in its answer and in every line of the log that it causes, and the span around it."""

import re
import secrets
from typing import Final

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.trace import SpanKind, StatusCode

from callmeback import traces

HEADER: Final = "X-Request-Id"
KEY: Final = "request_id"
ID_BYTES: Final = 10
_GIVEN: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


class Identity:
    """Gives ids. One that comes with a request is kept where a proxy of the operator's stands in front."""

    def __init__(self, *, believes: bool) -> None:
        self._believes = believes

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application, each of whose requests has an id; WebSockets get one for the log alone."""

        async def identified(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] not in (ScopeType.HTTP, ScopeType.WEBSOCKET):
                await app(scope, receive, send)
                return
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            name = self._id_of(headers)
            if traces.is_on():
                await _traced(app, scope, receive, _naming(send, name), headers, name)
                return
            with structlog.contextvars.bound_contextvars(**{KEY: name}):
                await app(scope, receive, _naming(send, name))

        return identified

    def _id_of(self, headers: dict[str, str]) -> str:
        given = headers.get(HEADER.lower(), "")
        if self._believes and _GIVEN.fullmatch(given):
            return given

        return secrets.token_hex(ID_BYTES)


def _naming(send: Send, name: str) -> Send:
    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (HEADER.lower().encode(), name.encode())]
        await send(message)

    return named


async def _traced(app: ASGIApp, scope: Scope, receive: Receive, send: Send, headers: dict[str, str], name: str) -> None:
    """The request as a span of the trace that it came with, or of a new one; the route is known at its end."""
    method = str(scope.get("method", "WS"))
    with traces.span(method, SpanKind.SERVER, {"http.request.method": method}, headers) as span:
        assert span is not None, "asked before"

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(StatusCode.ERROR)
            await send(message)

        with structlog.contextvars.bound_contextvars(**{KEY: name, traces.TRACE_KEY: traces.trace_id()}):
            try:
                await app(scope, receive, noted)
            finally:
                # The template, never the path: a path can hold a phone number.
                route = scope.get("path_template")
                if route:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", str(route))
