"""Types that PostgreSQL doesn't come with, looked up the first time that a result has one."""

from collections.abc import Sequence
from typing import Final

from psycopg.pq.abc import PGresult

from callmeback.pg import parameters, statements
from callmeback.sqlproxy.link import Link
from callmeback.sqlproxy.shapes import Shapes

SQL: Final = statements.load("callmeback.sqlproxy", "types.sql")


async def learn(link: Link, shapes: Shapes, oids: Sequence[int], expires_at: float) -> None:
    """Ask the catalogue for these types."""
    await link.run(SQL.types.native, [parameters.encode(list(oids))], _Catalogue(shapes), expires_at)
    for oid in oids:
        # What isn't in the catalogue any more is text.
        if shapes.arrays.is_unknown(oid):
            shapes.arrays.learn(oid, 0, ",", "")


class _Catalogue:
    """Sink of the answer."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def add(self, result: PGresult, statement: object) -> None:
        for row in range(result.ntuples):
            oid, element, delimiter, category = ((result.get_value(row, place) or b"").decode() for place in range(4))
            self._shapes.arrays.learn(int(oid), int(element), delimiter, category)
