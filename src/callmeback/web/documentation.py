"""The OpenAPI document at /docs/openapi.json, and a plain page of our own at /docs that needs no foreign host.

The page also describes every error's `code`, at the place where a problem's `type` leads.
"""

import html
import re
from typing import Any, Final

import msgspec
from litestar import Request, Router
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from callmeback.web import problems

METHODS: Final = ("get", "post", "put", "patch", "delete")

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}

STYLE_TEXT: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark;"
    "overflow-wrap:anywhere}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow:auto;padding:.5rem;border:1px solid #8886}"
    "summary{cursor:pointer;padding:.25rem 0}h2{margin-top:2rem}b.m{display:inline-block;min-width:4.5rem}"
)


# What the framework calls a page of a list: by the module of what it holds, which is no business of a client's.
_PAGE_OF: Final = re.compile(rb'Page_(?:[a-z_]+\.)*([A-Za-z]+)_(?=")')


def _named(openapi_schema: dict[str, Any]) -> bytes:
    """The document as JSON, with names of shapes that stay when our modules move."""
    return _PAGE_OF.sub(rb"\1Page", msgspec.json.encode(openapi_schema))


class Document(JsonRenderPlugin):
    """The document itself."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The document, as JSON."""
        return _named(openapi_schema)


class PlainPage(OpenAPIRenderPlugin):
    """Every operation by subject, with its parameters, body and answers, as HTML without scripts."""

    def __init__(self) -> None:
        super().__init__(path="/", favicon="")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page."""
        openapi_schema = msgspec.json.decode(_named(openapi_schema))
        info = openapi_schema["info"]
        by_tag: dict[str, list[str]] = {}
        for path, operations in sorted(openapi_schema["paths"].items()):
            for method in METHODS:
                if method in operations:
                    operation = operations[method]
                    tag = (operation.get("tags") or ["other"])[0]
                    by_tag.setdefault(tag, []).append(_operation(method, path, operation))
        sections = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(items)}" for tag, items in sorted(by_tag.items()))
        schemas = openapi_schema.get("components", {}).get("schemas", {})
        shapes = "".join(_shape(name, schema) for name, schema in sorted(schemas.items()))

        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(info['title'])}</title>"
            f"<meta name=viewport content='width=device-width'><style>{STYLE_TEXT}</style>"
            f"<h1>{html.escape(info['title'])}</h1><p>{html.escape(info.get('description', ''))}</p>"
            f"<p>The document itself: <a href='/docs/openapi.json'>openapi.json</a></p>"
            f"{sections}<h2>Errors</h2><dl>{_errors()}</dl><h2>Shapes</h2>{shapes}"
        ).encode()


def _errors() -> str:
    return "".join(
        f"<dt id='{html.escape(error.code)}'><code>{html.escape(error.code)}</code> {error.status}"
        f"<dd>{html.escape(error.detail)}"
        for error in problems.catalogue()
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<li><code>{html.escape(item['name'])}</code> in {html.escape(item['in'])}"
        f"{' (needed)' if item.get('required') else ''}: {html.escape(item.get('description', ''))}</li>"
        for item in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {})
    rows += [f"<li>body: {_link(content.get('schema', {}))}</li>" for content in body.values()]
    for status, response in sorted(operation.get("responses", {}).items()):
        shapes = [_link(content.get("schema", {})) for content in response.get("content", {}).values()]
        rows.append(f"<li><b>{status}</b> {html.escape(response.get('description', ''))} {' '.join(shapes)}</li>")
    words = html.escape(operation.get("description") or operation.get("summary") or "")

    return (
        f"<details><summary><b class=m>{method.upper()}</b> <code>{html.escape(path)}</code></summary>"
        f"<p>{words}</p><ul>{''.join(rows)}</ul></details>"
    )


def _link(schema: dict[str, Any]) -> str:
    reference = str(schema.get("$ref", ""))
    name = reference.rpartition("/")[2]

    return f"<a href='#{html.escape(name)}'>{html.escape(name)}</a>" if name else ""


def _shape(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = "".join(
        f"<li><code>{html.escape(field)}</code>{' (needed)' if field in required else ''} "
        f"{html.escape(_kind(kind))}</li>"
        for field, kind in schema.get("properties", {}).items()
    )
    words = html.escape(schema.get("description", ""))

    name = html.escape(name)

    return f"<details id='{name}'><summary>{name}</summary><p>{words}</p><ul>{rows}</ul></details>"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "oneOf" in schema:
        return " or ".join(_kind(part) for part in schema["oneOf"])
    kind = schema.get("type", "anything")

    return " or ".join(kind) if isinstance(kind, list) else str(kind)


CONFIG: Final = OpenAPIConfig(
    title="Call Me Back",
    version="1",
    description=(
        "A persona calls you. Times are RFC 3339, money is a decimal string in cents, lists are items and next, "
        "errors are problem+json with a stable code."
    ),
    path="/docs",
    openapi_router=Router("/docs", route_handlers=[], include_in_schema=False, response_headers=HEADERS),
    render_plugins=[PlainPage(), Document(path="/openapi.json")],
    components=Components(
        security_schemes={"session": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
    ),
    security=[{"session": []}],
    use_handler_docstrings=True,
)
