"""A folder in S3, or in anything that speaks its interface: put, get, list, delete, signed with Signature Version 4.

Amazon's own client is 25 MB for these four requests. The rules are in the S3 API
reference, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".
"""

import hashlib
import hmac
import html
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from callmeback import errors

TIMEOUT_S: Final = httpx.Timeout(60.0, connect=10.0)
# Requests are minutes apart, and nothing has to be closed at the end.
LIMITS: Final = httpx.Limits(max_keepalive_connections=0)
ATTEMPTS_MAX: Final = 4
RETRY_PAUSE_S: Final = 0.5
READ_BYTES: Final = 1 << 20
# Above this a file goes in parts; a single request may not exceed 5 GB, and a failed one is repeated as a whole.
PART_BYTES: Final = 64 << 20
PAGES_MAX: Final = 10_000
ALGORITHM: Final = "AWS4-HMAC-SHA256"
EMPTY: Final = hashlib.sha256(b"").hexdigest()

_OBJECT: Final = re.compile(
    r"<Contents>.*?<Key>(?P<key>.*?)</Key>.*?<Size>(?P<size>\d+)</Size>.*?</Contents>", re.DOTALL
)
_NEXT: Final = re.compile(r"<NextContinuationToken>(.*?)</NextContinuationToken>", re.DOTALL)
_UPLOAD: Final = re.compile(r"<UploadId>(.*?)</UploadId>", re.DOTALL)
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bucket is and who we are there."""

    endpoint: str
    region: str
    bucket: str
    prefix: str
    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"Access(endpoint={self.endpoint!r}, bucket={self.bucket!r}, …)"


class Bucket:
    """The part of a bucket below a prefix. Every method raises BackupFailed that says what the other side answered."""

    def __init__(self, access: Access, transport: httpx.BaseTransport | None = None) -> None:
        self._access = access
        self._client = httpx.Client(timeout=TIMEOUT_S, limits=LIMITS, transport=transport)

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()

    def put(self, name: str, source: Path) -> None:
        """Store a file under a name; readers see all of it or nothing."""
        size = source.stat().st_size
        if size > PART_BYTES:
            self._put_in_parts(name, source, size)
            return
        with source.open("rb") as file:
            self._ask("PUT", name, body=file.read())

    def get(self, name: str, target: Path) -> None:
        """Fetch a file; `target` is there as a whole or not at all."""
        draft = target.with_name(f".{target.name}.draft")
        headers = self._signed("GET", name, {}, EMPTY)
        try:
            with self._client.stream("GET", self._url(name, {}), headers=headers) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise _refused(name, answer.status_code, answer.read())
                with draft.open("wb") as file:
                    for block in answer.iter_bytes(READ_BYTES):
                        file.write(block)
        except httpx.HTTPError as exc:
            draft.unlink(missing_ok=True)
            raise errors.BackupFailed(f"The second place broke off while {name} was fetched: {exc!r}.") from exc
        draft.rename(target)

    def names(self, below: str = "") -> dict[str, int]:
        """Names that begin with `below`, with their sizes."""
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": self._key(below)}
        for _ in range(PAGES_MAX):
            text = self._ask("GET", "", query=query).decode("utf-8", "replace")
            for match in _OBJECT.finditer(text):
                key = html.unescape(match["key"])
                found[key.removeprefix(self._key(""))] = int(match["size"])
            more = _NEXT.search(text)
            if more is None:
                return found
            query["continuation-token"] = html.unescape(more[1])

        raise errors.BackupFailed("The second place holds more files than ever come from here.")

    def delete(self, name: str) -> None:
        """Remove a name; one that isn't there is fine."""
        self._ask("DELETE", name)

    def _put_in_parts(self, name: str, source: Path, size: int) -> None:
        answer = self._ask("POST", name, query={"uploads": ""}).decode("utf-8", "replace")
        match = _UPLOAD.search(answer)
        if match is None:
            raise errors.BackupFailed(f"The second place doesn't take {name} in parts.")
        upload = {"uploadId": html.unescape(match[1])}
        try:
            tags = list(self._parts(name, source, size, upload))
            parts = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{html.escape(tag)}</ETag></Part>"
                for number, tag in enumerate(tags, 1)
            )
            body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
            done = self._ask("POST", name, query=upload, body=body)
        except BaseException:
            self._ask("DELETE", name, query=upload)
            raise
        # This one request answers 200 before it knows how it ends.
        if b"<Error>" in done:
            raise _refused(name, httpx.codes.OK, done)

    def _parts(self, name: str, source: Path, size: int, upload: Mapping[str, str]) -> Iterator[str]:
        with source.open("rb") as file:
            for number in range(1, -(-size // PART_BYTES) + 1):
                answer = self._request("PUT", name, {"partNumber": str(number), **upload}, file.read(PART_BYTES))
                yield answer.headers["ETag"]

    def _ask(self, method: str, name: str, *, query: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
        return self._request(method, name, query or {}, body).content

    def _request(self, method: str, name: str, query: Mapping[str, str], body: bytes) -> httpx.Response:
        """Ask, and again where that may help: every request of ours may be repeated."""
        digest = hashlib.sha256(body).hexdigest()
        problem: Exception | None = None
        for attempt in range(ATTEMPTS_MAX):
            time.sleep(RETRY_PAUSE_S * attempt)
            headers = self._signed(method, name, query, digest)
            try:
                answer = self._client.request(method, self._url(name, query), headers=headers, content=body)
            except httpx.HTTPError as exc:
                problem = errors.BackupFailed(f"The second place doesn't answer: {exc!r}.")
                continue
            if answer.is_success or (method == "DELETE" and answer.status_code == httpx.codes.NOT_FOUND):
                return answer
            problem = _refused(name, answer.status_code, answer.content)
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                break
        assert problem is not None, "there is at least one attempt"
        raise problem

    def _key(self, name: str) -> str:
        return f"{self._access.prefix}/{name}" if self._access.prefix else name

    def _path(self, name: str) -> str:
        key = self._key(name) if name else ""

        return f"/{quote(self._access.bucket)}" + (f"/{quote(key)}" if key else "")

    def _url(self, name: str, query: Mapping[str, str]) -> str:
        return f"{self._access.endpoint}{self._path(name)}" + (f"?{_query(query)}" if query else "")

    def _signed(self, method: str, name: str, query: Mapping[str, str], digest: str) -> dict[str, str]:
        headers = {"host": urlsplit(self._access.endpoint).netloc}

        return sign(
            self._access, method, self._path(name), query=query, headers=headers, digest=digest, at=datetime.now(UTC)
        )


def sign(
    access: Access,
    method: str,
    path: str,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    digest: str,
    at: datetime,
) -> dict[str, str]:
    """The headers of a request with their signature; `path` is quoted, `digest` is the body's SHA-256."""
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    signed = {name.lower(): value.strip() for name, value in headers.items()}
    signed |= {"x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = "\n".join((method, path, _query(query), lines, names, digest))
    scope = f"{stamp[:8]}/{access.region}/s3/aws4_request"
    text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{access.secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"Credential={access.key_id}/{scope}"

    return signed | {"authorization": f"{ALGORITHM} {credential},SignedHeaders={names},Signature={key.hex()}"}


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))


def _refused(name: str, status: int, body: bytes) -> errors.BackupFailed:
    match = _CODE.search(body[:4_096].decode("utf-8", "replace"))
    why = match[1] if match else "no reason given"
    advice = {
        403: " Are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the clock right?",
        404: " Does the bucket exist?",
    }.get(status, "")

    return errors.BackupFailed(f"The second place refused {name or 'to list'} with {status} ({why}).{advice}")
