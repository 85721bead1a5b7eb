"""The works: one statement each, as a request for a proxy and as a script for pgbench."""

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from bench.sqlproxy import load

PEOPLE = 1_000
REQUESTS = 500
NAME, TEXT = "Morning call", "You wake me gently and ask what the day will bring."


class Work(msgspec.Struct, frozen=True):
    """A statement, the parameters of its n-th use, and the expressions that stand for them in pgbench."""

    name: str
    statement: str
    parameters: Callable[[int], list[str]]
    pgbench: tuple[str, ...]
    fresh: bool = False

    def requests(self, key: str) -> Iterator[bytes]:
        """Requests for ever; made beforehand unless each has to be another."""
        if self.fresh:
            return (self.request(key, number) for number in itertools.count(time.time_ns()))
        return itertools.cycle([self.request(key, random.randrange(PEOPLE)) for _ in range(REQUESTS)])

    def request(self, key: str, number: int) -> bytes:
        body = {"query": self.statement, "parameters": self.parameters(number)}
        return load.post("/query", key, json.dumps(body).encode())

    def script(self) -> str:
        """The same statement with pgbench's variables in the place of the parameters."""
        statement = self.statement
        for number, variable in enumerate(self.pgbench, 1):
            statement = statement.replace(f"${number}", f":{variable}")
        lines = [f"\\set person random(1, {PEOPLE})", "\\set n :n + 1"]
        if self.fresh:
            lines.append("\\set id (:seed * 100 + :client_id) * 1000000 + :n")
        return "\n".join([*lines, statement.strip() + ";", ""])


def read(name: str) -> str:
    return Path(__file__).with_name(f"{name}.sql").read_text()


def person(number: int) -> list[str]:
    return [str(1 + number % PEOPLE)]


WORKS = (
    Work("point_read", read("point_read"), person, ("person",)),
    Work("join20", read("join20"), person, ("person",)),
    Work("rows1000", read("rows1000"), lambda _: [], ()),
    Work("insert", read("insert"), lambda n: [f"s{n}", *person(n), NAME, TEXT], ("id", "person", "name", "text"), True),
)
