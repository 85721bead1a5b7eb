"""The frames of the carrier's media stream, read and written."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.providers import media_stream as ms
from callmeback.providers.failures import VendorBroken

START = """{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"accountSid":"AC1","streamSid":"MZ1",
"callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},
"customParameters":{"token":"secret"}},"somethingNew":{"a":[1]}}"""


def test_start_says_who_speaks_and_how() -> None:
    start = ms.decode(START)

    assert isinstance(start, ms.Start)
    assert (start.start.stream_sid, start.start.call_sid) == ("MZ1", "CA1")
    assert start.start.custom_parameters == {"token": "secret"}
    form = start.start.media_format
    assert (form.encoding, form.sample_rate, form.channels) == ms.SOUND_FORMAT


def test_each_kind_is_read() -> None:
    media = (
        '{"event":"media","sequenceNumber":"4","streamSid":"MZ1","media":{"track":"inbound","chunk":"2",'
        '"timestamp":"40","payload":"//9+"}}'
    )

    assert ms.decode(media) == ms.Media(ms.MediaBody(b"\xff\xff\x7e", "inbound", "2", "40"))
    assert ms.decode('{"event":"mark","streamSid":"MZ1","mark":{"name":"7:3200"}}') == ms.Mark(ms.MarkBody("7:3200"))
    assert ms.decode('{"event":"dtmf","dtmf":{"track":"inbound_track","digit":"1"}}') == ms.Digit(
        ms.DigitBody("1", "inbound_track")
    )
    assert ms.decode('{"event":"connected","protocol":"Call","version":"1.0.0"}') == ms.Connected("Call", "1.0.0")
    assert ms.decode('{"event":"stop","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"CA1"}}') == ms.Stop(
        ms.StopBody("CA1", "AC1")
    )


def test_an_unknown_event_is_passed_over() -> None:
    assert ms.decode('{"event":"weather","weather":{"sun":true}}') is None


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "null",
        "nonsense",
        '{"event":7}',
        "{}",
        '{"event":"mark","mark":{}}',
        '{"event":"media"}',
        '{"event":"media","media":{"payload":"%%%"}}',
        '{"event":"start","start":{"streamSid":"MZ1"}}',
    ],
)
def test_a_message_that_cannot_be_read_is_a_broken_vendor(message: str) -> None:
    with pytest.raises(VendorBroken):
        ms.decode(message)


@given(st.binary(max_size=700))
def test_sound_goes_out_as_base64_in_the_stream(sound: bytes) -> None:
    sent = json.loads(ms.media("MZ1", sound))

    assert sent == {"event": "media", "streamSid": "MZ1", "media": {"payload": base64.b64encode(sound).decode()}}


def test_mark_and_clear_go_out() -> None:
    assert json.loads(ms.mark("MZ1", "7:3200")) == {"event": "mark", "streamSid": "MZ1", "mark": {"name": "7:3200"}}
    assert json.loads(ms.clear("MZ1")) == {"event": "clear", "streamSid": "MZ1"}
