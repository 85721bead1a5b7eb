"""How the simulator answers besides the vendors' own wires: problems, refused sockets, phone numbers in paths."""

import ipaddress
import re
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from litestar import Response, WebSocket
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from callmeback.simulator.state import Simulator

Sim: TypeAlias = NamedDependency[Simulator]
"""How a handler asks for the vendors' memory."""

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")


def number_of(text: str) -> str | None:
    """The number of a path or query in E.164, whose plus may have been read as a blank; None if it is none."""
    number = "+" + text.strip().removeprefix("+")
    return number if _E164.fullmatch(number) else None


def problem(status: int, code: str, detail: str) -> Response[dict[str, Any]]:
    """A problem as RFC 9457 has it, with our stable `code`."""
    body = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, "detail": detail}
    return Response(body, status_code=status, media_type="application/problem+json")


async def refuse(
    socket: WebSocket[Any, Any, Any], status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> None:
    """Answer a WebSocket's handshake with an HTTP status instead."""
    await socket.receive()
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await socket.send({"type": "websocket.http.response.start", "status": status, "headers": pairs})
    await socket.send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def loopback_only(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """A guard: the simulator hears clients on this machine only, and none that came through a proxy on it.

    Nor a page of another site whose name was made to point here: a browser would let it read texts and mails. An
    address without a name can't be made to point anywhere.
    """
    client = connection.client
    local = client is not None and (address := _address(client.host)) is not None and address.is_loopback
    if not local or "x-forwarded-for" in connection.headers or "forwarded" in connection.headers:
        raise PermissionDeniedException("The simulator is for this machine only.")
    try:
        host = urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""
    except ValueError:
        host = "unreadable"
    # Whoever names no host is no browser.
    if host and host != "localhost" and not host.endswith(".localhost") and _address(host) is None:
        raise PermissionDeniedException("The simulator is asked as localhost, or by its address.")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
