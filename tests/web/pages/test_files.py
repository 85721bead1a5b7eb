"""What the browser loads: nothing from elsewhere, nothing inline, htmx as published, colours that can be read."""

import gzip
import hashlib
import re

import pytest
from tests.sources import PACKAGE
from tests.web.pages.browser import Browser

from callmeback.web.pages import assets

UI = PACKAGE / "ui"
TEMPLATES = sorted((UI / "templates").glob("*.html"))
OWN_FILES = sorted(path for path in (UI / "static").rglob("*") if path.is_file() and "vendor" not in path.parts)
NAMESPACE = "http://www.w3.org/2000/svg"

# Text on what lies under it, by token; edges and pictures need less.
TEXT = [
    ("ink", "paper"), ("ink", "card"), ("ink", "sunk"), ("ink", "note-wash"), ("ink", "bad-wash"), ("soft", "paper"),
    ("soft", "card"), ("soft", "sunk"), ("soft", "note-wash"), ("brand", "paper"), ("brand", "card"),
    ("on-call", "call"), ("on-call", "call-hover"), ("good", "paper"), ("good", "card"),
    ("bad", "card"), ("bad", "bad-wash"),
    ("phone-ink", "phone"), ("phone-ink", "phone-2"), ("phone-soft", "phone"), ("phone-soft", "phone-2"),
]  # fmt: skip
EDGES = [("edge", "paper"), ("edge", "card"), ("focus", "paper"), ("focus", "card"), ("brand", "cord-rest")]


def tokens() -> dict[str, dict[str, str]]:
    """The colours of the light and the dark page."""
    blocks = re.findall(r":root \{(.*?)\}", (UI / "static" / "app.css").read_text(), re.DOTALL)
    light, dark = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block)) for block in blocks)

    return {"light": light, "dark": light | dark}


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]

    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))

    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_can_be_read(mode: str):
    colours = tokens()[mode]
    too_faint = [
        f"{front} on {back}: {contrast(colours[front], colours[back]):.2f}"
        for pairs, least in ((TEXT, 4.5), (EDGES, 3.0))
        for front, back in pairs
        if contrast(colours[front], colours[back]) < least
    ]

    assert too_faint == []


@pytest.mark.parametrize("path", [*TEMPLATES, *OWN_FILES], ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path):
    found = re.findall(r"""(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}[^\s"')]*""", path.read_text())

    assert [address for address in found if address != NAMESPACE] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_need_no_exception_from_the_policy(path):
    text = path.read_text()

    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)|hx-on|\|\s*safe", text) == []


def test_htmx_is_the_one_that_was_published():
    folder = UI / "static" / "vendor" / "htmx"
    written = re.search(r"sha256 `([0-9a-f]{64})`", (folder / "README.md").read_text())

    assert written is not None
    assert hashlib.sha256((folder / "htmx.min.js").read_bytes()).hexdigest() == written[1]
    assert "Zero-Clause BSD" in (folder / "LICENSE.txt").read_text()


def test_every_face_of_the_house_is_there():
    for name in ("brad", "sarah", "alex"):
        assert f"avatars/{name}.svg" in assets.FILES


@pytest.mark.anyio
async def test_a_file_is_kept_for_ever_under_its_version_only(stranger: Browser):
    versioned = await stranger.get(assets.url("app.css"))
    bare = await stranger.get("/static/avatars/brad.svg")
    old = await stranger.get("/static/v/000000000000/app.css")

    assert versioned.content == (UI / "static" / "app.css").read_bytes()
    assert "immutable" in versioned.headers["cache-control"]
    assert "immutable" not in bare.headers["cache-control"]
    assert (old.status_code, "immutable" in old.headers["cache-control"]) == (200, False)
    assert versioned.headers["content-type"] == "text/css; charset=utf-8"
    assert bare.headers["content-type"] == "image/svg+xml"
    assert bare.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
async def test_files_are_sent_packed_to_who_can_unpack(stranger: Browser):
    url = f"{stranger.house.url}{assets.url('app.css')}"
    async with stranger.client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join([piece async for piece in answer.aiter_raw()])
    plain = await stranger.get(url, **{"Accept-Encoding": "identity"})

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    assert "content-encoding" not in plain.headers


NO_FILES = ["nothing.css", "../app.py", "%2e%2e/%2e%2e/settings.py", "v/", "v/x", "", "vendor/htmx", "/etc/passwd"]


@pytest.mark.anyio
async def test_what_is_no_file_of_the_page_is_not_there(stranger: Browser):
    for path in NO_FILES:
        answer = await stranger.client.get(f"/static/{path}")

        assert answer.status_code == 404
