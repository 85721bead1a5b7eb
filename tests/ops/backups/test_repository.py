"""A repository at its beginning, when everybody wants it at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from callmeback.ops import backup_cipher
from callmeback.ops.backup_repository import Repository, open_repository


def test_it_is_made_once_with_one_key_whoever_comes_first(tmp_path: Path) -> None:
    """The duties of the first worker open it at once; with two keys what one of them sealed is unreadable."""
    for number in range(20):
        home, folder = tmp_path / f"home-{number}", tmp_path / f"backups-{number}"
        home.mkdir()

        def opened(_: int, home: Path = home, folder: Path = folder) -> Repository:
            return open_repository(folder, home, None, make=True)

        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(opened, range(4)))

        key = backup_cipher.read_key(home)
        assert key is not None
        assert {repository.facts.id for repository in found} == {
            open_repository(folder, home, None, make=False).facts.id
        }
        assert {repository.facts.fingerprint for repository in found} == {backup_cipher.fingerprint(key)}
