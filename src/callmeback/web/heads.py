"""HEAD wherever there is GET (RFC 9110, 9.3.2): the same answer without its content.

The framework has a handler for each method; asking for GET and leaving out the content serves all of them.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send


def wrap(app: ASGIApp) -> ASGIApp:
    """The application, answering HEAD too. Where there is no GET the answer stays 405."""

    async def headed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return

        async def without_content(message: Message) -> None:
            if message["type"] != "http.response.start":
                return
            # The server writes by this method; after the answer's head nobody routes by it.
            scope["method"] = "HEAD"
            await send(message)
            # At once: what is streamed would go on for as long as the client stays. Now `receive` says that it left.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        scope["method"] = "GET"
        await app(scope, receive, without_content)

    return headed
