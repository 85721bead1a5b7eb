"""The home folder: secrets made once, the lock, and files that nobody else can read."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from callmeback import errors
from callmeback.pg import home
from callmeback.settings import Settings

SECRET = "a" * 40


def settings(path: Path, **environ: str) -> Settings:
    return Settings.from_env({"CALLMEBACK_HOME": str(path), **environ})


def test_secrets_are_generated_once_and_are_private(tmp_path: Path) -> None:
    first = home.complete(settings(tmp_path / "home"))
    second = home.complete(settings(tmp_path / "home"))

    assert (first.jwt_secret, first.role_secret) == (second.jwt_secret, second.role_secret)
    assert first.jwt_secret != first.role_secret
    assert len(first.jwt_secret or "") >= 32
    assert stat.S_IMODE((tmp_path / "home" / home.SECRETS).stat().st_mode) == 0o600


def test_secrets_of_many_first_starts_at_once_are_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: json.dumps(home.generated_secrets(tmp_path)), range(64)))

    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [home.SECRETS]


def test_a_given_secret_is_used_and_nothing_is_written(tmp_path: Path) -> None:
    one = home.complete(settings(tmp_path, CALLMEBACK_JWT_SECRET=SECRET))
    two = home.complete(settings(tmp_path, CALLMEBACK_JWT_SECRET="b" * 40))

    assert one.jwt_secret == SECRET
    assert one.role_secret
    assert one.role_secret not in (SECRET, two.role_secret)
    assert list(tmp_path.iterdir()) == []


def test_a_given_role_secret_wins(tmp_path: Path) -> None:
    assert home.complete(settings(tmp_path, CALLMEBACK_ROLE_SECRET=SECRET)).role_secret == SECRET


def test_the_lock_is_exclusive_and_ends_with_its_descriptor(tmp_path: Path) -> None:
    held = home.lock(tmp_path)
    home.write_run(tmp_path, url="http://127.0.0.1:1")

    assert home.is_locked(tmp_path)
    with pytest.raises(errors.AlreadyRunning, match=r"http://127\.0\.0\.1:1"):
        home.lock(tmp_path)
    os.close(held)
    assert not home.is_locked(tmp_path)


def test_looking_at_the_lock_never_keeps_anybody_out(tmp_path: Path) -> None:
    os.close(home.lock(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(home.is_locked, tmp_path) for _ in range(2_000)]
        for _ in range(100):
            os.close(home.lock(tmp_path))

    assert all(look.done() for look in looks)


def test_run_notes_add_up_and_are_forgotten(tmp_path: Path) -> None:
    home.write_run(tmp_path, a=1)
    home.write_run(tmp_path, b=2)

    assert home.read_run(tmp_path) == {"a": 1, "b": 2}
    assert stat.S_IMODE((tmp_path / home.RUN).stat().st_mode) == 0o600
    home.forget_run(tmp_path)
    home.forget_run(tmp_path)
    assert home.read_run(tmp_path) == {}


def test_a_torn_note_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / home.RUN).write_text('{"a": ')

    assert home.read_run(tmp_path) == {}


def test_the_mode_of_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    home.prepare(tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")

    with pytest.raises(errors.ConfigurationError, match="CALLMEBACK_HOME"):
        home.prepare(tmp_path / "home")


def test_two_names_of_one_folder_are_one_home(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert home.prepare(tmp_path / "link") == home.prepare(tmp_path / "real")
