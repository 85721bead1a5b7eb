"""Where a request comes from, for keys that are bound to addresses."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from callmeback.sqlproxy import gate
from callmeback.sqlproxy.services import Services

PUBLIC = "https://db.example.com"


def peer(public_url: str | None, address: str, **headers: str) -> str:
    services = cast(Services, SimpleNamespace(settings=SimpleNamespace(public_url=public_url)))
    found: dict[bytes, bytes] = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}

    return gate.peer_of(services, found, address)


def test_without_a_proxy_the_peer_is_who_it_is() -> None:
    for public_url in (None, PUBLIC):
        assert peer(public_url, "127.0.0.1") == "127.0.0.1"
        assert peer(public_url, "198.51.100.7") == "198.51.100.7"


def test_a_stranger_can_say_nothing_about_itself() -> None:
    signs: Any = {"x_forwarded_for": "127.0.0.1", "forwarded": "for=127.0.0.1", "x_real_ip": "127.0.0.1"}

    assert peer(PUBLIC, "198.51.100.7", **signs) == "198.51.100.7"


def test_the_last_word_is_that_of_our_own_proxy() -> None:
    assert peer(PUBLIC, "127.0.0.1", x_forwarded_for="10.0.0.1, 198.51.100.7") == "198.51.100.7"
    assert peer(None, "127.0.0.1", x_forwarded_for="198.51.100.7") == gate.FORWARDED


@pytest.mark.parametrize("last", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_s02_nothing_that_was_forwarded_comes_from_this_machine(last: str) -> None:
    """Behind two proxies of this machine everybody would, and keys of mode admin would work for all."""
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert peer(PUBLIC, address, x_forwarded_for=f"198.51.100.7, {last}") == gate.FORWARDED


@pytest.mark.parametrize("sign", ["forwarded", "via", "x_real_ip"])
def test_s02_a_proxy_that_says_it_otherwise_is_none_that_is_believed(sign: str) -> None:
    for public_url in (None, PUBLIC):
        assert peer(public_url, "127.0.0.1", **{sign: "127.0.0.1"}) == gate.FORWARDED
