"""Sealed streams: what was written comes back, and nothing else ever does."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback import errors
from callmeback.ops import backup_cipher as cipher
from callmeback.ops.backup_cipher import CHUNK_BYTES, MAGIC, SALT_BYTES, TAG_BYTES, Opener, Sealer

KEY = bytes(range(32))
HEADER = len(MAGIC) + SALT_BYTES
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


def sealed(text: bytes, label: str = "part") -> bytes:
    sink = io.BytesIO()
    sealer = Sealer(sink, KEY, label)
    for start in range(0, len(text), 300_000):
        sealer.write(text[start : start + 300_000])
    sealer.close()

    return sink.getvalue()


def opened(data: bytes, label: str = "part", key: bytes = KEY) -> bytes:
    return Opener(io.BytesIO(data), key, label, "the file").read()


THREE = bytes(range(256)) * (3 * CHUNK_BYTES // 256)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_was_sealed_comes_back(size: int) -> None:
    assert opened(sealed(THREE[:size])) == THREE[:size]


def test_nothing_of_the_text_shows() -> None:
    assert b"Brad likes fishing" not in sealed(b"Brad likes fishing" * 1000)


@given(st.data())
def test_every_flipped_bit_is_found(data: st.DataObject) -> None:
    text = bytearray(sealed(b"call me back"))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(errors.BackupDamaged, match="the file"):
        opened(bytes(text))


def chunks(data: bytes) -> list[bytes]:
    body = data[HEADER:]

    return [body[start : start + SEALED_CHUNK] for start in range(0, len(body), SEALED_CHUNK)]


@pytest.mark.parametrize(
    "order",
    [(0, 1), (1, 0, 2), (0, 2), (0, 1, 1, 2), (0, 1, 2, 2), (2,), (), (0,)],
    ids=["cut at a chunk", "swapped", "one left out", "repeated", "last repeated", "only the last", "empty", "first"],
)
def test_chunks_that_were_moved_or_cut_off_are_found(order: tuple[int, ...]) -> None:
    data = sealed(THREE)
    parts = chunks(data)
    assert len(parts) == 3

    with pytest.raises(errors.BackupDamaged):
        opened(data[:HEADER] + b"".join(parts[number] for number in order))


def test_a_file_cut_in_the_middle_of_a_chunk_is_found() -> None:
    with pytest.raises(errors.BackupDamaged):
        opened(sealed(THREE)[:-1000])


def test_what_follows_the_end_is_found() -> None:
    with pytest.raises(errors.BackupDamaged):
        opened(sealed(b"x") + b"more")


def test_one_file_cannot_stand_in_for_another() -> None:
    with pytest.raises(errors.BackupDamaged):
        opened(sealed(b"x", "backups/a/part"), "backups/b/part")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(errors.BackupDamaged):
        opened(sealed(b"x"), key=bytes(32))


def test_a_sealer_that_was_not_closed_left_nothing_that_opens() -> None:
    sink = io.BytesIO()
    Sealer(sink, KEY, "part").write(THREE)

    with pytest.raises(errors.BackupDamaged):
        opened(sink.getvalue())


def test_a_passphrase_opens_the_key_and_another_does_not() -> None:
    box = cipher.wrap(KEY, "correct horse battery")

    assert cipher.unwrap(box, "correct horse battery") == KEY
    assert cipher.unwrap(box, "correct horse batterY") is None
    assert KEY.hex() not in repr(box)


def test_the_key_file_is_private_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    cipher.write_key(tmp_path, KEY)

    assert (tmp_path / cipher.KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert cipher.read_key(tmp_path) == KEY
    (tmp_path / cipher.KEY_FILE).write_text("bm8gZ29vZA==")
    with pytest.raises(errors.ConfigurationError, match=r"backup\.key"):
        cipher.read_key(tmp_path)
