"""Reading TwiML: the few verbs that the simulated carrier can carry out."""

from typing import Final
from xml.etree import ElementTree

import msgspec

BYTES_MAX: Final = 64_000
VERBS_MAX: Final = 50


class Stream(msgspec.Struct, frozen=True):
    """`<Connect><Stream>`: join the call to a media socket."""

    url: str
    name: str
    parameters: dict[str, str]
    status_callback: str | None
    action: str | None


class Say(msgspec.Struct, frozen=True):
    text: str


class Pause(msgspec.Struct, frozen=True):
    seconds: float


class Redirect(msgspec.Struct, frozen=True):
    url: str


class Reject(msgspec.Struct, frozen=True):
    busy: bool


class Hangup(msgspec.Struct, frozen=True):
    pass


Verb = Stream | Say | Pause | Redirect | Reject | Hangup


def parse(document: bytes | str) -> list[Verb]:
    """The verbs in order. Raises ValueError with the carrier's complaint for a document that it would refuse."""
    if len(document) > BYTES_MAX:
        raise ValueError("11750 response too large")
    text = document if isinstance(document, str) else document.decode("utf-8", "replace")
    # Entities could blow the document up; TwiML has none of its own.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("12100 document parse failure")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (our own server's document; bounded, and entities refused)
    except ElementTree.ParseError as exc:
        raise ValueError("12100 document parse failure") from exc
    if root.tag != "Response":
        raise ValueError("12100 document parse failure")
    return [verb for element in list(root)[:VERBS_MAX] if (verb := _verb(element)) is not None]


def _verb(element: ElementTree.Element) -> Verb | None:
    text = (element.text or "").strip()
    match element.tag:
        case "Connect":
            return _stream(element)
        case "Say":
            return Say(text)
        case "Pause":
            return Pause(float(element.get("length", "1")))
        case "Redirect":
            return Redirect(text)
        case "Reject":
            return Reject(element.get("reason") == "busy")
        case "Hangup":
            return Hangup()
        case _:
            return None


def _stream(connect: ElementTree.Element) -> Stream:
    stream = connect.find("Stream")
    url = stream.get("url") if stream is not None else None
    if stream is None or not url:
        raise ValueError("12200 schema validation warning: Connect needs a Stream with a url")
    parameters = {child.get("name", ""): child.get("value", "") for child in stream.findall("Parameter")}
    # The carrier drops a query string of a stream's URL.
    return Stream(
        url=url.partition("?")[0],
        name=stream.get("name", ""),
        parameters=parameters,
        status_callback=stream.get("statusCallback"),
        action=connect.get("action"),
    )
