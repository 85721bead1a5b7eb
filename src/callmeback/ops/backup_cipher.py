"""Encryption at rest: a key for each repository, and streams sealed in chunks that can't be cut, swapped or reordered.

A sealed stream is a header, then chunks of AES-256-GCM. The key of each stream is derived from the repository's by a
random salt and the stream's own name, so a file can't stand in for another. The nonce is the chunk's number and whether
it is the last one (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015), so a chunk that is
missing, moved or repeated doesn't open.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from callmeback import errors
from callmeback.pg import home as homes

MAGIC: Final = b"CMBSEAL1"
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
NONCE_NUMBER_BYTES: Final = 11
KEY_FILE: Final = "backup.key"
# RFC 7914, for a secret at rest: 64 MB and some tenths of a second.
SCRYPT_N: Final = 1 << 16
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
SCRYPT_MEMORY_MAX: Final = 1 << 28


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """A repository's key, sealed by a passphrase; all of it may be known."""

    salt: str
    n: int
    r: int
    p: int
    nonce: str
    box: str


def read_key(home: Path) -> bytes | None:
    """The key of this home; None when it has none. Raises ConfigurationError for a file that is no key."""
    path = home / KEY_FILE
    try:
        key = base64.b64decode(path.read_text("ascii").strip(), validate=True)
    except FileNotFoundError:
        return None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise errors.ConfigurationError(f"{path} is no key of a backup: put the kept copy of it back.")

    return key


def write_key(home: Path, key: bytes) -> None:
    """Keep a key in the home, mode 0600."""
    homes.write_private(home / KEY_FILE, base64.b64encode(key).decode() + "\n")


def new_key() -> bytes:
    """A key for a new repository."""
    return secrets.token_bytes(KEY_BYTES)


def fingerprint(key: bytes) -> str:
    """What tells whether a key is a repository's, and nothing else about it."""
    return hmac.new(key, b"callmeback backup: which key", hashlib.sha256).hexdigest()[:32]


def wrap(key: bytes, passphrase: str) -> Wrapped:
    """Seal a key by a passphrase, so that another machine can read the repository with it."""
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(12)
    secret = _stretch(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    box = AESGCM(secret).encrypt(nonce, key, MAGIC)

    return Wrapped(salt=salt.hex(), n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, nonce=nonce.hex(), box=box.hex())


def unwrap(wrapped: Wrapped, passphrase: str) -> bytes | None:
    """The key in it; None when the passphrase is another."""
    # The figures come from a file that anybody may have written.
    if wrapped.n > SCRYPT_N or wrapped.r > SCRYPT_R or wrapped.p > SCRYPT_P:
        raise errors.BackupDamaged("The repository asks for more work to open its key than any of ours does.")
    secret = _stretch(passphrase, bytes.fromhex(wrapped.salt), wrapped.n, wrapped.r, wrapped.p)
    try:
        return AESGCM(secret).decrypt(bytes.fromhex(wrapped.nonce), bytes.fromhex(wrapped.box), MAGIC)
    except InvalidTag:
        return None


def signature(key: bytes, text: bytes, label: str) -> str:
    """A signature of a text that is no secret itself, such as a manifest."""
    return hmac.new(_derive(key, b"", f"signature {label}"), text, hashlib.sha256).hexdigest()


class Sealer:
    """Writes a sealed stream to a binary file. What isn't closed doesn't open."""

    def __init__(self, sink: BinaryIO, key: bytes, label: str) -> None:
        salt = secrets.token_bytes(SALT_BYTES)
        self._sink = sink
        self._cipher = AESGCM(_derive(key, salt, label))
        self._pending = bytearray()
        self._number = 0
        self.digest = hashlib.sha256()
        self.sealed_bytes = 0
        self._put(MAGIC + salt)

    def write(self, data: bytes) -> int:
        """Add some bytes."""
        self._pending += data
        # The last chunk is marked, so one is held back until it is known not to be.
        while len(self._pending) > CHUNK_BYTES:
            self._chunk(bytes(self._pending[:CHUNK_BYTES]), is_last=False)
            del self._pending[:CHUNK_BYTES]

        return len(data)

    def close(self) -> None:
        """Write the last chunk; the file stays open."""
        self._chunk(bytes(self._pending), is_last=True)
        self._pending.clear()

    def _chunk(self, text: bytes, *, is_last: bool) -> None:
        self._put(self._cipher.encrypt(_nonce(self._number, is_last), text, None))
        self._number += 1

    def _put(self, data: bytes) -> None:
        self._sink.write(data)
        self.digest.update(data)
        self.sealed_bytes += len(data)


class Opener:
    """Reads a sealed stream; nothing that wasn't written is ever given out."""

    def __init__(self, source: BinaryIO, key: bytes, label: str, name: str) -> None:
        """`name` is what errors call the file. Raises BackupDamaged, here and when it is read."""
        header = source.read(len(MAGIC) + SALT_BYTES)
        if len(header) != len(MAGIC) + SALT_BYTES or not header.startswith(MAGIC):
            raise errors.BackupDamaged(f"{name} is damaged: it doesn't begin as it should.")
        self._source = source
        self._name = name
        self._cipher = AESGCM(_derive(key, header[len(MAGIC) :], label))
        self._number = 0
        self._next = source.read(CHUNK_BYTES + TAG_BYTES)
        self._opened = memoryview(b"")
        self._is_over = False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all; nothing at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        if not self._opened and not self._is_over:
            self._open_chunk()
        data = bytes(self._opened[:size])
        self._opened = self._opened[size:]

        return data

    def _open_chunk(self) -> None:
        sealed, self._next = self._next, self._source.read(CHUNK_BYTES + TAG_BYTES)
        self._is_over = not self._next
        try:
            text = self._cipher.decrypt(_nonce(self._number, self._is_over), sealed, None)
        except (InvalidTag, ValueError) as exc:
            raise errors.BackupDamaged(
                f"{self._name} is damaged in chunk {self._number}: bytes were changed, moved or cut off."
            ) from exc
        self._number += 1
        self._opened = memoryview(text)


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(NONCE_NUMBER_BYTES) + bytes([is_last])


def _derive(key: bytes, salt: bytes, label: str) -> bytes:
    """HKDF of RFC 5869 with SHA-256, one block."""
    inner = hmac.new(salt or bytes(hashlib.sha256().digest_size), key, hashlib.sha256).digest()

    return hmac.new(inner, f"callmeback {label}".encode() + b"\x01", hashlib.sha256).digest()


def _stretch(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_MEMORY_MAX, dklen=KEY_BYTES)


def open_private(path: str, flags: int) -> int:
    """An `opener` of `open`: a new file is for its owner alone."""
    return os.open(path, flags, 0o600)


def fsync_folder(folder: Path) -> None:
    """Make names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
