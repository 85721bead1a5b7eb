"""The files behind /static: read once into memory, served under a version so that a browser may keep them."""

import gzip
import hashlib
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.params import FromPath

from callmeback import errors

# The framework adds the charset to a text.
TYPES: Final = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "md": "text/markdown",
}
VERSION_LETTERS: Final = 12
# A versioned address never changes what it answers; a bare one, such as a persona's picture, may after an update.
FOR_EVER: Final = "public, max-age=31536000, immutable"
FOR_A_WHILE: Final = "public, max-age=3600"


class File(msgspec.Struct, frozen=True):
    """A file as it is sent."""

    media_type: str
    plain: bytes
    packed: bytes


def _read() -> dict[str, File]:
    found: dict[str, File] = {}
    waiting: list[tuple[str, Traversable]] = [("", resources.files("callmeback") / "ui" / "static")]
    while waiting:
        path, folder = waiting.pop()
        for entry in folder.iterdir():
            name = f"{path}{entry.name}"
            if entry.is_dir():
                waiting.append((f"{name}/", entry))
            elif (media_type := TYPES.get(name.rpartition(".")[2])) is not None:
                plain = entry.read_bytes()
                found[name] = File(media_type, plain, gzip.compress(plain, mtime=0))

    return found


FILES: Final = _read()
VERSION: Final = hashlib.sha256(
    b"".join(name.encode() + b"\0" + FILES[name].plain for name in sorted(FILES))
).hexdigest()[:VERSION_LETTERS]


def url(name: str) -> str:
    """The address of a file; raises KeyError for one that isn't there, so that no page links to nothing."""
    if name not in FILES:
        raise KeyError(name)

    return f"/static/v/{VERSION}/{name}"


@get("/static/{path:path}", include_in_schema=False)
async def static_file(request: Request[Any, Any, State], path: FromPath[str]) -> Response[bytes]:
    """A file, with or without its version in front."""
    name = path.lstrip("/")
    versioned = name.startswith(f"v/{VERSION}/")
    if name.startswith("v/"):
        # An old version's address answers with the new file: an open page must not lose its picture in an update.
        name = name.split("/", 2)[2] if name.count("/") >= 2 else name
    file = FILES.get(name)
    if file is None:
        raise errors.NotFound("There is no such file.")
    packs = "gzip" in request.headers.get("accept-encoding", "")
    headers = {
        "Cache-Control": FOR_EVER if versioned else FOR_A_WHILE,
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
        # A picture opened by itself is a document: it may run nothing either.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    }
    if packs:
        headers["Content-Encoding"] = "gzip"

    return Response(file.packed if packs else file.plain, media_type=file.media_type, headers=headers)


@get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response[bytes]:
    """What browsers ask for unasked."""
    file = FILES["favicon.svg"]

    return Response(file.plain, media_type=file.media_type, headers={"Cache-Control": FOR_A_WHILE})


HANDLERS: Final = (static_file, favicon)
