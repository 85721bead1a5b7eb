"""TwiML is built so that no value can break out of its attribute."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.providers import twilio

_printable = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=60)


@given(name=_printable, value=_printable)
def test_values_come_back_as_they_were(name: str, value: str) -> None:
    document = ElementTree.fromstring(
        twilio.stream_twiml("wss://call.example.com/media/call_1", name=name, parameters={"token": value})
    )
    stream = document.find("Connect/Stream")

    assert stream is not None
    assert [child.tag for child in document] == ["Connect", "Hangup"]
    assert [(child.tag, dict(child.attrib)) for child in stream] == [("Parameter", {"name": "token", "value": value})]
    assert stream.attrib == {"url": "wss://call.example.com/media/call_1", "name": name}


def test_injection_stays_text() -> None:
    evil = '"/><Dial>+19005550100</Dial><x a="'
    document = ElementTree.fromstring(twilio.stream_twiml("wss://h/m", name=evil, parameters={"t": evil}))

    assert document.findall(".//Dial") == []
    assert ElementTree.fromstring(twilio.say_twiml("</Say><Dial>1</Dial>")).findall(".//Dial") == []


def test_callback_and_action_are_attributes() -> None:
    text = twilio.stream_twiml(
        "wss://h/m", name="n", parameters={}, status_callback="https://h/s?a=1&b=2", action="https://h/after"
    )
    connect = ElementTree.fromstring(text).find("Connect")

    assert connect is not None
    assert connect.get("action") == "https://h/after"
    assert connect[0].get("statusCallback") == "https://h/s?a=1&b=2"


def test_a_parameter_too_long_for_the_carrier_is_refused() -> None:
    with pytest.raises(ValueError, match="500"):
        twilio.stream_twiml("wss://h/m", name="n", parameters={"token": "x" * 495})


def test_stream_url_follows_the_public_url() -> None:
    assert (
        twilio.stream_url("https://call.example.com/base/", "/media/call_1")
        == "wss://call.example.com/base/media/call_1"
    )
    assert twilio.stream_url("http://127.0.0.1:8000", "/media/call_1") == "ws://127.0.0.1:8000/media/call_1"
