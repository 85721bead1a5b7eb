"""Which database a command works on, however many servers its address names."""

from pathlib import Path

import pytest

from callmeback.cli import installation
from callmeback.pg import reach, server
from callmeback.settings import Settings

SEVERAL = "postgresql://u:p@127.0.0.1:5001,127.0.0.1:5002/d?target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        (SEVERAL, [("127.0.0.1", "5001"), ("127.0.0.1", "5002")]),
        ("postgresql://a,b:5433/d", [("a", "5432"), ("b", "5433")]),
        ("host=a,b port=6432 dbname=d", [("a", "6432"), ("b", "6432")]),
        ("dbname=d", [("localhost", "5432")]),
    ],
)
def test_each_host_has_its_port(dsn: str, hosts: list[tuple[str, str]]) -> None:
    assert reach.hosts(dsn) == hosts


def test_an_address_is_told_without_its_login() -> None:
    assert reach.address(SEVERAL) == "127.0.0.1:5001,127.0.0.1:5002/d"


def test_roles_are_made_by_the_user_of_the_cluster_beside_a_running_server(tmp_path: Path) -> None:
    place = tmp_path / "home"
    settings = Settings(home=place, database_url=SEVERAL, role_secret="r" * 40, jwt_secret="j" * 40)

    assert installation.workshop(settings).dsn == SEVERAL
    assert server.near_dsn(place, SEVERAL) is None
