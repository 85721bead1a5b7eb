"""What is on this machine goes by no proxy."""

import pytest

from callmeback.providers.nearby import on_this_machine
from callmeback.providers.twilio import Carrier, CarrierConfig


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:8000/simulator", True),
        ("ws://[::1]:8000/x", True),
        ("http://localhost:11434/v1", True),
        ("https://api.example.com", False),
        ("wss://10.0.0.1/x", False),
        ("https://127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_nearness(url: str, near: bool) -> None:
    assert on_this_machine(url) is near


@pytest.mark.parametrize(("url", "near"), [("http://127.0.0.1:9", True), ("https://api.example.com", False)])
def test_a_proxy_of_the_environment_is_for_what_is_far(monkeypatch: pytest.MonkeyPatch, url: str, near: bool) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    carrier = Carrier(CarrierConfig(account_sid="AC1", auth_token="t", number="+12025550199", base_url=url))

    assert (not any(carrier._client._mounts.values())) is near
