"""Signatures, held against vectors and against the carrier's own library."""

import hashlib
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from callmeback.providers.twilio import signature, valid_signature

TOKEN = "test_token"
HOST = "call.example.com"
STATUS = [("CallSid", "CA1"), ("CallStatus", "completed"), ("SequenceNumber", "3")]
STATUS_URL = f"https://{HOST}/webhooks/twilio/status?call=call_1"
STATUS_URL_443 = f"https://{HOST}:443/webhooks/twilio/status?call=call_1"
STATUS_URL_8443 = f"https://{HOST}:8443/webhooks/twilio/status?call=call_1"
MEDIA_URL = f"wss://{HOST}/media/call_1"
JSON_BODY = b'{"a":1}'
JSON_URL = f"https://{HOST}/j?bodySHA256=015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"

VECTORS = [
    (STATUS_URL, STATUS, "UH8q6TBIbuer7iJs4XPydcBr0Hs="),
    (STATUS_URL_443, STATUS, "uSH4+dpoTqj1zbMbBpt3F2bZDAc="),
    (STATUS_URL_8443, STATUS, "djzMcRSsiq5R0VXPAGfT6MLFCI0="),
    (MEDIA_URL, [], "ktixD5IgnDXTfwrER2n6FhbkWdw="),
    (f"wss://{HOST}:443/media/call_1", [], "gpnt+3kgMwSUKN9SOTkKdGVrjBU="),
    (f"wss://{HOST}/", [], "4zBZY/Bm7W/tIEi1jgjDGdOQWJQ="),
    (JSON_URL, [], "FYcXFSa5nWpA0PS6+91pdUNeY0Y="),
    (f"https://{HOST}/x", [("A", "2"), ("A", "1"), ("A", "1"), ("B", "")], "FYJvJa7midnYEsOnCCMJ5T1LBa0="),
    (f"https://{HOST}/x", [("Body", "Grüße +1")], "3eOH1xqiJc1lvPfQYLhNXegO5QA="),
]


@pytest.mark.parametrize(("url", "params", "expected"), VECTORS)
def test_signature_is_the_carriers(url: str, params: list[tuple[str, str]], expected: str) -> None:
    assert signature(TOKEN, url, params) == expected


def test_signature_of_the_carriers_own_page() -> None:
    params = {
        "CallSid": "CA1234567890ABCDE",
        "Digits": "1234",
        "To": "+18005551212",
        "Caller": "+14158675309",
        "From": "+14158675309",
    }

    made = signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", params.items())

    assert made == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_shared_key_uses_the_longer_hash() -> None:
    given_header = "gpQDKDKlyhcwwgFtKSIaAeqhJlwtjhG6lKucSYugaOg="

    assert signature(TOKEN, STATUS_URL, STATUS, algorithm="HMAC_SHA256") == given_header
    assert valid_signature(TOKEN, STATUS_URL, STATUS, given_header, algorithm="hmac_sha256")
    assert not valid_signature(TOKEN, STATUS_URL, STATUS, given_header)
    assert not valid_signature(TOKEN, STATUS_URL, STATUS, given_header, algorithm="HMAC_MD5")


def test_default_port_passes_either_way_and_another_only_if_named() -> None:
    assert valid_signature(TOKEN, STATUS_URL, STATUS, "uSH4+dpoTqj1zbMbBpt3F2bZDAc=")
    assert valid_signature(TOKEN, STATUS_URL_443, STATUS, "UH8q6TBIbuer7iJs4XPydcBr0Hs=")
    assert valid_signature(TOKEN, MEDIA_URL, [], "gpnt+3kgMwSUKN9SOTkKdGVrjBU=")
    assert valid_signature(TOKEN, STATUS_URL_8443, STATUS, "djzMcRSsiq5R0VXPAGfT6MLFCI0=")
    assert not valid_signature(TOKEN, STATUS_URL, STATUS, "djzMcRSsiq5R0VXPAGfT6MLFCI0=")


def test_json_body_must_match_the_hash_in_the_url() -> None:
    header = "FYcXFSa5nWpA0PS6+91pdUNeY0Y="

    assert valid_signature(TOKEN, JSON_URL, [], header, body=JSON_BODY)
    assert not valid_signature(TOKEN, JSON_URL, [], header, body=b'{"a":2}')
    assert not valid_signature(TOKEN, f"https://{HOST}/j", [], signature(TOKEN, f"https://{HOST}/j"), body=JSON_BODY)


@pytest.mark.parametrize("header", [None, "", "x", "ü", "UH8q6TBIbuer7iJs4XPydcBr0Hs", "UH8q6TBIbuer7iJs4XPydcBr0Ht="])
def test_missing_or_forged_header_is_no_signature(header: str | None) -> None:
    assert not valid_signature(TOKEN, STATUS_URL, STATUS, header)


def test_another_token_parameter_or_url_is_no_signature() -> None:
    header = signature(TOKEN, STATUS_URL, STATUS)

    assert valid_signature(TOKEN, STATUS_URL, STATUS, header)
    assert not valid_signature("other", STATUS_URL, STATUS, header)
    assert not valid_signature(TOKEN, STATUS_URL, [*STATUS, ("X", "1")], header)
    assert not valid_signature(TOKEN, STATUS_URL + "x", STATUS, header)


class _Form(dict[str, list[str]]):
    """What the library reads repeated keys from."""

    def getall(self, name: str) -> list[str]:
        return self[name]


_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
_hosts = st.sampled_from(["call.example.com", "localhost", "127.0.0.1", "a.b"])
_forms = st.dictionaries(_names, st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=3))


@given(
    token=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    scheme=st.sampled_from(["https", "http"]),
    host=_hosts,
    port=st.sampled_from(["", ":443", ":80", ":8443"]),
    query=st.dictionaries(_names, _names, max_size=2),
    form=_forms,
    signed_port=st.sampled_from(["", ":443", ":80", ":8443"]),
)
def test_we_and_the_library_agree(
    token: str, scheme: str, host: str, port: str, query: dict[str, str], form: dict[str, list[str]], signed_port: str
) -> None:
    tail = "/webhooks" + (f"?{urlencode(query)}" if query else "")
    url, signed_url = f"{scheme}://{host}{port}{tail}", f"{scheme}://{host}{signed_port}{tail}"
    pairs = [(name, value) for name, values in form.items() for value in values]
    library = RequestValidator(token)

    made = library.compute_signature(signed_url, _Form(form))

    assert signature(token, signed_url, pairs) == made
    assert valid_signature(token, url, pairs, made) == library.validate(url, _Form(form), made)


@given(body=st.text(st.characters(codec="utf-8"), max_size=60), token=st.text(st.characters(codec="utf-8"), min_size=1))
def test_we_and_the_library_agree_on_json(body: str, token: str) -> None:
    url = f"https://{HOST}/j?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    header = RequestValidator(token).compute_signature(url, {})

    assert RequestValidator(token).validate(url, body, header)
    assert valid_signature(token, url, [], header, body=body.encode())
