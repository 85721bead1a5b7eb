"""The sockets of `up`: a port that was asked for is insisted on; the proxy's usual one gives way where it is taken."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from callmeback import errors
from callmeback.cli import listening
from callmeback.settings import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    with listening.bind("127.0.0.1", 0) as taker:
        yield listening.port_of(taker)


def test_the_usual_port_gives_way(taken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(listening, "PROXY_PORT", taken)

    with listening.proxy(Settings(home=tmp_path, proxy_port=taken)) as listener:
        assert listening.port_of(listener) not in (0, taken)
        socket.create_connection(("127.0.0.1", listening.port_of(listener))).close()


@pytest.mark.parametrize("what", ["web", "proxy"])
def test_a_port_that_was_asked_for_is_insisted_on(
    what: str, taken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listening, "PORT_WAIT_S", 0.1)
    settings = Settings(home=tmp_path, port=taken, proxy_port=taken)

    with pytest.raises(
        errors.ConfigurationError, match="CALLMEBACK_PORT" if what == "web" else "CALLMEBACK_PROXY_PORT"
    ):
        getattr(listening, what)(settings)


def test_a_host_that_nobody_knows_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(host: str, port: int) -> socket.socket:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(listening, "PORT_WAIT_S", 0)
    monkeypatch.setattr(listening, "bind", bind)

    with pytest.raises(
        errors.ConfigurationError, match=r"nowhere:8000 can't be listened on \(Name or service not known"
    ):
        listening.listen("nowhere", 8000, "CALLMEBACK_PORT")


def test_a_free_port_is_taken_as_it_is(tmp_path: Path) -> None:
    with listening.bind("127.0.0.1", 0) as probe:
        free = listening.port_of(probe)

    with listening.proxy(Settings(home=tmp_path, proxy_port=free)) as listener:
        assert listening.port_of(listener) == free


def test_an_address_of_the_sixth_version_is_one_too() -> None:
    with listening.bind("::1", 0) as listener:
        socket.create_connection(("::1", listening.port_of(listener))).close()
