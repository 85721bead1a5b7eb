"""How the server answers a statement: its plan after some runs, in one line."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import psycopg
from bench.access.history import LARGE
from psycopg import sql

from callmeback.pg.statements import Statement

# After five runs the server compares its plan for any values with those that it made for each.
RUNS_BEFORE_A_CHOICE: Final = 6
# They grow with the calls and are asked by an index only.
NEVER_READ_THROUGH: Final = {*LARGE, "user_persona_relationships", "scheduled_calls", "purchases", "payments"}

Plan = dict[str, Any]


class Way(msgspec.Struct, frozen=True):
    """The plan's reads in one line, and whether it reads a large table from end to end."""

    line: str
    scans: bool


def settled(connection: psycopg.Connection, statement: Statement, values: dict[str, Any]) -> Way:
    """What the server has settled on for a prepared statement."""
    given = ", ".join(sql.Literal(values[name]).as_string(connection) for name in statement.parameters)
    asked = f"EXECUTE asked({given})" if given else "EXECUTE asked"
    connection.execute(b"PREPARE asked AS " + statement.native)
    explained = [
        connection.execute(f"EXPLAIN (FORMAT JSON) {asked}".encode()).fetchall() for _ in range(RUNS_BEFORE_A_CHOICE)
    ]
    connection.execute("DEALLOCATE asked")
    plan: Plan = explained[-1][0][0][0]["Plan"]
    reads = list(dict.fromkeys(_reads(plan)))

    return Way("; ".join(reads), any(_is_through(node) for node in _nodes(plan)))


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _reads(plan: Plan) -> Iterator[str]:
    for node in _nodes(plan):
        if _is_through(node):
            yield f"SCAN of {node['Relation Name']}"
        elif "Index Name" in node:
            kind = {"Index Only Scan": " only", "Bitmap Index Scan": " bitmap"}.get(node["Node Type"], "")
            yield f"{node['Index Name']}{kind}"
        elif node["Node Type"] == "Seq Scan":
            yield f"all of {node['Relation Name']}"
        elif node["Node Type"] == "Function Scan":
            yield f"{node['Function Name']}()"


def _is_through(node: Plan) -> bool:
    return node["Node Type"] == "Seq Scan" and node["Relation Name"] in NEVER_READ_THROUGH
