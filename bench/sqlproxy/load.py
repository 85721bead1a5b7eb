"""A load generator that is cheaper than what it loads: one epoll loop, requests made beforehand, answers only counted.

asyncio's streams cost more for a request than our proxy does, and would measure themselves on two cores. What a
process used is read from /proc.
"""

import contextlib
import os
import select
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

CONNECTIONS = 16
CHUNK_BYTES = 1 << 18
ANSWER_SECONDS_MAX = 60.0
HERTZ = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Round(msgspec.Struct, frozen=True):
    """One round of one work against one process."""

    per_second: float
    p99_ms: float
    cpu_us: float


class Answer(msgspec.Struct, frozen=True):
    """What came back for one request, and when, counted from the moment it was sent."""

    status: bytes
    seconds: float


def post(path: str, bearer: str, body: bytes, *headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: bench",
        f"Authorization: Bearer {bearer}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def drive(port: int, pid: int, requests: Iterator[bytes], seconds: float) -> Round:
    """Ask over all connections for so long; each waits for its answer before it asks again."""
    taken: list[float] = []
    waiting: dict[int, tuple[socket.socket, float]] = {}
    with contextlib.ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        cpu, begun = cpu_seconds(pid), time.perf_counter()
        for _ in range(CONNECTIONS):
            link = stack.enter_context(connect(port))
            poll.register(link, select.EPOLLIN)
            waiting[link.fileno()] = (link, time.perf_counter())
            link.send(next(requests))
        while waiting:
            for fd, _ in ready(poll):
                link, sent = waiting[fd]
                whole_answer(link)
                now = time.perf_counter()
                taken.append(now - sent)
                if now - begun > seconds:
                    poll.unregister(fd)
                    del waiting[fd]
                else:
                    waiting[fd] = (link, now)
                    link.send(next(requests))
        took = time.perf_counter() - begun
        used = cpu_seconds(pid) - cpu

    return Round(len(taken) / took, 1_000 * statistics.quantiles(taken, n=100)[98], 1_000_000 * used / len(taken))


def rush(port: int, request: bytes, clients: int) -> list[Answer]:
    """Everybody asks once, in the same moment, over connections that are open already."""
    answers: list[Answer] = []
    with contextlib.ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        links = [stack.enter_context(connect(port)) for _ in range(clients)]
        waiting: dict[int, tuple[socket.socket, float]] = {}
        for link in links:
            poll.register(link, select.EPOLLIN)
            waiting[link.fileno()] = (link, time.perf_counter())
            link.send(request)
        while waiting:
            for fd, _ in ready(poll):
                link, sent = waiting.pop(fd)
                seconds = time.perf_counter() - sent
                poll.unregister(fd)
                answers.append(Answer(status_of(link.recv(CHUNK_BYTES)), seconds))

    return answers


def timed(port: int, request: bytes, times: int) -> list[tuple[float, float]]:
    """One request after another on one connection: milliseconds at the client, and in the database (Server-Timing)."""
    found = []
    with connect(port) as link:
        for _ in range(times):
            at = time.perf_counter()
            link.send(request)
            answer = whole_answer(link)
            taken = 1_000 * (time.perf_counter() - at)
            found.append((taken, float(answer.partition(b"db;dur=")[2].split(b"\r", 1)[0].split(b",", 1)[0])))

    return found


def connect(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def ready(poll: select.epoll) -> list[tuple[int, int]]:
    events = poll.poll(ANSWER_SECONDS_MAX)
    if not events:
        raise SystemExit(f"no answer within {ANSWER_SECONDS_MAX:g} s")
    return events


def whole_answer(link: socket.socket) -> bytes:
    """An answer with status 200 and a length; anything else ends the bench."""
    data = link.recv(CHUNK_BYTES)
    head = data.find(b"\r\n\r\n")
    while head < 0:
        data += more(link)
        head = data.find(b"\r\n\r\n")
    if data[9:12] != b"200":
        raise SystemExit(data.decode(errors="replace"))
    # Node writes Content-Length, uvicorn what the application says.
    at = data.find(b"ontent-", 0, head)
    while data[at + 7 : at + 14].lower() != b"length:":
        at = data.find(b"ontent-", at + 7, head)
        if at < 0:
            raise SystemExit(f"an answer without a length: {data[:head]!r}")
    whole = head + 4 + int(data[at + 14 : data.index(b"\r", at)])
    if len(data) < whole:
        parts, size = [data], len(data)
        while size < whole:
            parts.append(more(link))
            size += len(parts[-1])
        data = b"".join(parts)

    return data


def more(link: socket.socket) -> bytes:
    data = link.recv(CHUNK_BYTES)
    if not data:
        raise SystemExit("the connection was closed before its answer")
    return data


def status_of(data: bytes) -> bytes:
    return data[9:12] or b"cut"


def counted(answers: Iterable[Answer]) -> dict[str, int]:
    return {status.decode(): count for status, count in Counter(answer.status for answer in answers).items()}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


def memory_bytes(pid: int) -> int:
    """What of a process is in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
