"""What a result looks like, and its rows as JSON: made once for a statement's columns, then used for every answer.

psycopg's C loaders make the values of a whole chunk at once; msgspec writes them. A Struct of the columns' names costs
a quarter of a dict, but making its class costs more than most answers, so only columns that come again get one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson
from psycopg.adapt import Transformer
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from callmeback import errors
from callmeback.sqlproxy import columns, values
from callmeback.sqlproxy.columns import FixAll
from callmeback.sqlproxy.limits import ANSWER_BYTES_MAX, ROWS_MAX
from callmeback.sqlproxy.steps import Prepared
from callmeback.sqlproxy.values import Arrays

SHAPES_MAX: Final = 1_000
# The second time that columns are seen their names become a Struct.
USES_BEFORE_STRUCT: Final = 2
COLUMNS_MAX_STRUCT: Final = 200

_encoder: Final = msgspec.json.Encoder()


class Shape:
    """The columns of a result: names and types."""

    def __init__(self, names: tuple[str, ...], oids: tuple[int, ...], arrays: Arrays) -> None:
        self.names = names
        self.oids = oids
        self._arrays = arrays
        self._uses = 0
        # Whether no type has to be looked up.
        self.is_known = False
        self._struct: Any = None
        self._fixes: list[tuple[int, FixAll]] | None = None
        self._typed = _transformer([values.LOADERS.get(oid, values.TEXT) for oid in oids])
        self._plain = _transformer([values.TEXT] * len(oids))

    def unknown(self) -> list[int]:
        """Types that must be looked up before rows can become JSON."""
        if self.is_known:
            return []
        found = [oid for oid in self.oids if self._arrays.is_unknown(oid)]
        self.is_known = not found

        return found

    def texts(self, result: PGresult) -> list[tuple[str | None, ...]]:
        """Rows as PostgreSQL's own text."""
        return _load(self._plain, result)

    def objects(self, result: PGresult) -> list[Any]:
        """Rows as objects by column name, typed as JSON has it; of columns with the same name the last one stays."""
        rows = _load(self._typed, result)
        if self._fixes is None:
            self._fixes = self._make_fixes()
        struct = self._struct
        if struct is None:
            self._uses += 1
            if self._uses == USES_BEFORE_STRUCT and len(self.names) <= COLUMNS_MAX_STRUCT:
                self._struct = _struct_of(self.names)
            return self._dicts(rows)
        if not self._fixes:
            return [struct(*row) for row in rows]
        cells: list[Any] = list(zip(*rows, strict=True))
        for place, fix in self._fixes:
            cells[place] = fix(cells[place])

        return list(map(struct, *cells))

    def _dicts(self, rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
        names = self.names
        if not self._fixes:
            return [dict(zip(names, row, strict=True)) for row in rows]
        found = []
        for row in rows:
            cells = list(row)
            for place, fix in self._fixes:
                [cells[place]] = fix([cells[place]])
            found.append(dict(zip(names, cells, strict=True)))

        return found

    def _make_fixes(self) -> list[tuple[int, FixAll]]:
        found: list[tuple[int, FixAll]] = []
        for place, oid in enumerate(self.oids):
            fix = columns.fix_of(oid, self._arrays)
            if fix is not None:
                found.append((place, fix))

        return found


class Shapes:
    """The shapes of this process by their columns, the latest SHAPES_MAX."""

    def __init__(self) -> None:
        self.arrays = Arrays()
        self._known: OrderedDict[tuple[tuple[str, ...], tuple[int, ...]], Shape] = OrderedDict()

    def of(self, result: PGresult, prepared: Prepared | None) -> Shape:
        """The shape of a result, which a prepared statement remembers: PostgreSQL lets its columns never change."""
        if prepared is not None and prepared.shape is not None:
            found: Shape = prepared.shape
            return found
        count = result.nfields
        names = tuple([(result.fname(place) or b"").decode() for place in range(count)])
        oids = tuple([result.ftype(place) for place in range(count)])
        shape = self._known.get((names, oids))
        if shape is None:
            shape = self._known[names, oids] = Shape(names, oids, self.arrays)
            shape.unknown()
            if len(self._known) > SHAPES_MAX:
                self._known.popitem(last=False)
        if prepared is not None:
            prepared.shape = shape

        return shape


class Objects:
    """Sink of a typed answer: rows become JSON as they come, within the caps."""

    needs_types: Final = True

    def __init__(self, shapes: Shapes, cap: "Cap") -> None:
        self._shapes = shapes
        self._cap = cap
        self.parts: list[bytes] = []
        self.rows = 0
        self.waiting: list[tuple[Shape, PGresult]] = []

    def add(self, result: PGresult, statement: Prepared | None) -> None:
        """Some rows; those with a type that nobody knows yet wait until it was looked up."""
        count = result.ntuples
        if not count:
            if statement is not None:
                # The next time it may have rows, and then their columns should be known.
                self._shapes.of(result, statement)
            return
        self.rows += count
        self._cap.take_rows(count)
        shape = statement.shape if statement is not None else None
        if shape is None:
            shape = self._shapes.of(result, statement)
        if self.waiting or (not shape.is_known and shape.unknown()):
            self.waiting.append((shape, result))
        else:
            self._encode(shape, result)

    def unknown(self) -> list[int]:
        """Types that must be looked up before `finish`."""
        return sorted({oid for shape, _ in self.waiting for oid in shape.unknown()})

    def finish(self) -> bytes:
        """The rows as the inside of a JSON list."""
        waiting, self.waiting = self.waiting, []
        for shape, result in waiting:
            self._encode(shape, result)

        return self.parts[0] if len(self.parts) == 1 else b",".join(self.parts)

    def _encode(self, shape: Shape, result: PGresult) -> None:
        part = _encoder.encode(shape.objects(result))[1:-1]
        self._cap.take_bytes(len(part))
        self.parts.append(part)


class Cap:
    """What one answer may hold, over all its statements."""

    __slots__ = ("_bytes", "_rows", "bytes_max", "rows_max")

    def __init__(self, rows_max: int = ROWS_MAX, bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self.rows_max = rows_max
        self.bytes_max = bytes_max
        self._rows = 0
        self._bytes = 0

    def take_rows(self, count: int) -> None:
        """Raises AnswerTooLarge beyond the cap."""
        self._rows += count
        if self._rows > self.rows_max:
            raise errors.AnswerTooLarge(f"The answer has more than {self.rows_max} rows; ask for fewer, or for NDJSON.")

    def take_bytes(self, count: int) -> None:
        """Raises AnswerTooLarge beyond the cap."""
        self._bytes += count
        if self._bytes > self.bytes_max:
            raise errors.AnswerTooLarge(
                f"The answer has more than {self.bytes_max} bytes; ask for less, or for NDJSON."
            )


def encode(value: object) -> bytes:
    """Anything of ours as JSON."""
    return orjson.dumps(value)


def lines(found: list[Any]) -> bytes:
    """Objects as lines of NDJSON."""
    return _encoder.encode_lines(found)


def _transformer(oids: Sequence[int]) -> Any:
    transformer = Transformer()
    transformer.set_loader_types(oids, Format.TEXT)

    return transformer


def _load(transformer: Any, result: PGresult) -> list[Any]:
    transformer.set_pgresult(result, set_loaders=False)
    rows: list[Any] = transformer.load_rows(0, result.ntuples, tuple)
    # Else the rows would live until the next answer of the same shape.
    transformer.set_pgresult(None, set_loaders=False)

    return rows


def _struct_of(names: tuple[str, ...]) -> Any:
    """A class whose fields are written under the columns' names; None where msgspec can't (names twice, odd ones)."""
    if len(set(names)) != len(names):
        return None
    fields: list[Any] = [(f"f{place}", Any) for place in range(len(names))]
    try:
        return msgspec.defstruct(
            "Row", fields, rename={f"f{place}": name for place, name in enumerate(names)}, gc=False
        )
    except ValueError:
        return None
