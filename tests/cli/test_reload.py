"""`callmeback reload`: every service anew while people use them, and nobody is refused."""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.test_up import Installation, installation, is_alive, wait_until

from callmeback.cli import reload, up
from callmeback.pg import home, roles
from callmeback.settings import Settings

__all__ = ["installation"]

pytestmark = pytest.mark.slow

SERVICES = ("serve", "proxy", "worker")


class Visitors:
    """Threads that ask on a new connection each time, and keep what they were answered."""

    def __init__(self) -> None:
        self.answers: list[int | str] = []
        self._over = threading.Event()

    def ask(self, port: int, method: str, path: str, body: Callable[[], str | None]) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request(method, path, body(), {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                self.answers.append(answer.status)
            except (OSError, http.client.HTTPException) as exc:
                self.answers.append(f"{path}: {exc!r}")
            finally:
                connection.close()

    @contextmanager
    def come(self, installation: Installation) -> Iterator[None]:
        number = iter(range(10_000))

        def somebody() -> str:
            return json.dumps({"email": f"person{next(number)}@example.com", "password": "correct horse battery"})

        threads = [
            threading.Thread(target=self.ask, args=(installation.port, "GET", "/api/personas", lambda: None)),
            threading.Thread(target=self.ask, args=(installation.port, "POST", "/api/auth/login", somebody)),
            threading.Thread(target=self.ask, args=(installation.proxy_port, "GET", "/health", lambda: None)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()


def test_nobody_is_refused_while_everything_is_replaced(installation: Installation) -> None:
    installation.up()
    installation.wait_ready()
    wait_until(lambda: "is ready" in installation.log.read_text(), "it is up")
    before = installation.family()
    visitors = Visitors()

    with visitors.come(installation):
        time.sleep(0.5)
        answer = installation.run("reload")
        wait_until(lambda: not any(is_alive(before[name]) for name in SERVICES), "the old ones have finished")
        after = installation.family()
        asked = len(visitors.answers)
        wait_until(lambda: len(visitors.answers) > asked + 10, "the new ones answer")

    assert (answer.returncode, answer.stdout.strip()) == (0, "Reloaded.")
    assert set(visitors.answers) <= {200, 401, 429}, [found for found in visitors.answers if isinstance(found, str)]
    assert 200 in visitors.answers
    assert after["postgres"] == before["postgres"]
    assert all(after[name] != before[name] for name in SERVICES)


def test_migrations_that_fail_leave_everything_as_it_was(installation: Installation) -> None:
    process = installation.up()
    installation.wait_ready()
    wait_until(lambda: "is ready" in installation.log.read_text(), "it is up")
    before = installation.family()
    edit = "UPDATE schema_migrations SET checksum = repeat('0', 64) WHERE version = 1"
    assert installation.run("psql", "-c", edit).returncode == 0

    answer = installation.run("reload")

    assert answer.returncode == 1
    assert "Not replaced: migrations." in answer.stderr
    assert installation.family() == before
    assert installation.is_ready()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_without_an_up_it_says_so(installation: Installation) -> None:
    answer = installation.run("reload")

    assert answer.returncode == 1
    assert "No `callmeback up` is running" in answer.stderr


def test_a_wish_during_a_reload_waits_for_one_of_its_own(tmp_path: Path) -> None:
    held = home.lock(tmp_path)
    home.write_run(tmp_path, pid=os.getpid(), reloads=4, is_reloading=True)
    threads = []

    def go_on(*_: object) -> None:
        home.write_run(tmp_path, reloads=5, reload_failed=[])
        threads.append(threading.Timer(0.5, home.write_run, (tmp_path,), {"reloads": 6, "reload_failed": ["serve"]}))
        threads[0].start()

    before = signal.signal(up.RELOAD, go_on)
    try:
        answer = CliRunner().invoke(reload.command, env={"CALLMEBACK_HOME": str(tmp_path)})
    finally:
        signal.signal(up.RELOAD, before)
        threads[0].join()
        os.close(held)

    # What the first one said is not what became of the second.
    assert "Not replaced: serve." in str(answer.exception)


def test_the_note_of_a_killed_up_is_gone_before_anybody_believes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(roles, "ensure", nothing)
    home.write_run(tmp_path, pid=1, url="http://127.0.0.1:1")

    with up.database(Settings(home=tmp_path, database_url="postgresql://db/x", role_secret="r" * 32)):
        assert home.read_run(tmp_path) == {}
