"""A server that speaks S3 on its own wire, as far as backups ask. It checks signatures, pages lists, fails to order."""

import hashlib
import html
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from callmeback.ops.backup_s3 import Access, sign

PAGE = 3
BUCKET = "safe"
KEY_ID, SECRET = "AKIDEXAMPLE", "a secret of nobody"


class Shelf(ThreadingHTTPServer):
    """The objects, and what is to go wrong: `failures` requests are answered 500, `cut` breaks an answer off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.failures = 0
        self.cut = False
        self.full = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def access(self, *, secret: str = SECRET, bucket: str = BUCKET, prefix: str = "our house/b") -> Access:
        return Access(
            endpoint=self.endpoint, region="eu-north-1", bucket=bucket, prefix=prefix, key_id=KEY_ID, secret=secret
        )


class Handler(BaseHTTPRequestHandler):
    server: Shelf
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_PUT(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if self.server.failures:
            self.server.failures -= 1
            self._answer(500, "<Error><Code>InternalError</Code></Error>")
        elif not self._is_signed(parts.path, query, body):
            self._answer(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>")
        elif not (parts.path + "/").startswith(f"/{BUCKET}/"):
            self._answer(404, "<Error><Code>NoSuchBucket</Code></Error>")
        else:
            self._do(unquote(parts.path.removeprefix(f"/{BUCKET}").removeprefix("/")), query, body)

    def _is_signed(self, path: str, query: dict[str, str], body: bytes) -> bool:
        sent = self.headers.get("Authorization", "")
        digest = hashlib.sha256(body).hexdigest()
        stamp = self.headers.get("x-amz-date", "20000101T000000Z")
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        headers = {"host": self.headers["Host"]}
        expected = sign(self.server.access(), self.command, path, query=query, headers=headers, digest=digest, at=at)

        return sent == expected["authorization"] and self.headers.get("x-amz-content-sha256") == digest

    def _do(self, key: str, query: dict[str, str], body: bytes) -> None:
        objects = self.server.objects
        if self.command in ("PUT", "POST") and self.server.full:
            self._answer(507, "<Error><Code>XMinioStorageFull</Code></Error>")
        elif self.command == "POST" and "uploads" in query:
            self.server.uploads["u/1+2="] = {}
            self._answer(200, f"<UploadId>{html.escape('u/1+2=')}</UploadId>")
        elif self.command == "PUT" and "uploadId" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = body
            self._answer(200, "", ETag=f'"part{query["partNumber"]}"')
        elif self.command == "POST":
            parts = self.server.uploads.pop(query["uploadId"])
            assert body.count(b"<Part>") == len(parts)
            objects[key] = b"".join(parts[number] for number in sorted(parts))
            self._answer(200, "<CompleteMultipartUploadResult/>")
        elif self.command == "PUT":
            objects[key] = body
            self._answer(200, "", ETag='"whole"')
        elif self.command == "DELETE":
            objects.pop(key, None)
            self.server.uploads.pop(query.get("uploadId", ""), None)
            self._answer(204, "")
        elif "list-type" in query:
            self._list(query)
        elif key in objects:
            self._answer(200, objects[key])
        else:
            self._answer(404, "<Error><Code>NoSuchKey</Code></Error>")

    def _list(self, query: dict[str, str]) -> None:
        keys = sorted(key for key in self.server.objects if key.startswith(query["prefix"]))
        start = int(query.get("continuation-token", "0"))
        items = "".join(
            f"<Contents><Key>{html.escape(key)}</Key><ETag>x</ETag><Size>{len(self.server.objects[key])}</Size></Contents>"
            for key in keys[start : start + PAGE]
        )
        more = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if start + PAGE < len(keys) else ""
        self._answer(200, f"<ListBucketResult>{items}{more}</ListBucketResult>")

    def _answer(self, status: int, body: str | bytes, **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.server.cut and isinstance(body, bytes):
            data = data[: len(data) // 2]
            self.close_connection = True
        self.wfile.write(data)


@contextmanager
def running() -> Iterator[Shelf]:
    server = Shelf()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
