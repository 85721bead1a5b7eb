"""The proxy's usual port is many programs' usual one: where it is taken, and only then, another will do."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from callmeback import errors
from callmeback.cli import up
from callmeback.settings import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        yield int(taker.getsockname()[1])


def test_the_usual_port_gives_way(taken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(up, "PROXY_PORT", taken)
    settings = Settings(home=tmp_path, proxy_port=taken)
    port = up.proxy_port(settings)

    assert port != taken
    assert up.can_listen("127.0.0.1", port) is None
    assert up.services(settings, port)[1].command[-3:] == ("proxy", "--port", str(port))


def test_a_port_that_was_asked_for_is_insisted_on(taken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(up, "PORT_WAIT_S", 0.1)

    with pytest.raises(errors.ConfigurationError, match="CALLMEBACK_PROXY_PORT"):
        up.proxy_port(Settings(home=tmp_path, proxy_port=taken))


def test_a_free_port_is_taken_as_it_is(taken: int, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    settings = Settings(home=tmp_path, proxy_port=free)

    assert up.proxy_port(settings) == free
    assert up.services(settings, free)[1].command[-1] == "proxy"
