"""The client of S3: signatures against Amazon's own examples, requests against a server that checks them."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.ops.backups import bucket
from tests.ops.backups.bucket import Shelf

from callmeback import errors
from callmeback.ops import backup_s3
from callmeback.ops.backup_s3 import EMPTY, Access, Bucket, sign

# The account and the requests of the API reference, "Signature Calculations for the Authorization Header".
EXAMPLE = Access(
    endpoint="https://examplebucket.s3.amazonaws.com",
    region="us-east-1",
    bucket="examplebucket",
    prefix="",
    key_id="AKIAIOSFODNN7EXAMPLE",
    secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
)
HOST = {"host": "examplebucket.s3.amazonaws.com"}
AT = datetime(2013, 5, 24, tzinfo=UTC)
WELCOME = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "digest", "signature"),
    [
        (
            "GET", "/test.txt", {}, {"Range": "bytes=0-9"}, EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT", "/test%24file.text", {},
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}, WELCOME,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET", "/", {"lifecycle": ""}, {}, EMPTY,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET", "/", {"prefix": "J", "max-keys": "2"}, {}, EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["read", "write", "lifecycle", "list"],
)  # fmt: skip
def test_a_request_is_signed_as_amazon_says(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], digest: str, signature: str
) -> None:
    signed = sign(EXAMPLE, method, path, query=query, headers=HOST | headers, digest=digest, at=AT)

    assert signed["authorization"].endswith(f"Signature={signature}")


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with bucket.running() as server:
        yield server


@pytest.fixture
def client(shelf: Shelf) -> Iterator[Bucket]:
    made = Bucket(shelf.access())
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 40)

    return path


def test_a_file_goes_there_and_back(client: Bucket, shelf: Shelf, source: Path, tmp_path: Path) -> None:
    client.put("wal/1/00 0+1.gz.sealed", source)
    client.get("wal/1/00 0+1.gz.sealed", tmp_path / "back")

    assert list(shelf.objects) == ["our house/b/wal/1/00 0+1.gz.sealed"]
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_large_file_goes_in_parts(
    client: Bucket, shelf: Shelf, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_s3, "PART_BYTES", 3_000)
    client.put("large", source)

    assert shelf.objects["our house/b/large"] == source.read_bytes()
    assert shelf.uploads == {}


def test_all_names_are_listed_page_by_page(client: Bucket, source: Path) -> None:
    names = [f"wal/{number}" for number in range(2 * bucket.PAGE + 1)]
    for name in [*names, "other"]:
        client.put(name, source)

    assert client.names("wal/") == dict.fromkeys(names, source.stat().st_size)
    client.delete("wal/0")
    client.delete("wal/0")
    assert "wal/0" not in client.names()


def test_a_passing_failure_is_tried_again(
    client: Bucket, shelf: Shelf, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_s3, "RETRY_PAUSE_S", 0.001)
    shelf.failures = 2
    client.put("x", source)

    assert len(shelf.objects) == 1


def test_a_lasting_failure_is_told(client: Bucket, shelf: Shelf, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_s3, "RETRY_PAUSE_S", 0.001)
    shelf.failures = 99

    with pytest.raises(errors.BackupFailed, match="500"):
        client.put("x", source)


@pytest.mark.parametrize(
    ("change", "words"), [({"secret": "another"}, "AWS_SECRET_ACCESS_KEY"), ({"bucket": "none"}, "bucket exist")]
)
def test_a_refusal_says_what_to_look_at(shelf: Shelf, source: Path, change: dict[str, str], words: str) -> None:
    client = Bucket(shelf.access(**change))

    with pytest.raises(errors.BackupFailed, match=words):
        client.put("x", source)
    client.close()


def test_an_answer_that_breaks_off_leaves_no_file(client: Bucket, shelf: Shelf, source: Path, tmp_path: Path) -> None:
    client.put("x", source)
    shelf.cut = True

    with pytest.raises(errors.BackupFailed):
        client.get("x", tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
