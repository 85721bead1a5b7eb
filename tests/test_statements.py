"""Every named statement against the real schema: it is PREPAREd, and what it gives fits the Struct that it names."""

import ast
import importlib
import re
import types
import typing
import uuid
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg.pq.abc import PGresult
from tests.sources import PACKAGE, calls, dotted, modules, name_of, none, short, text_of, tree_of

from callmeback.pg import statements
from callmeback.pg.statements import Statement

# Columns that may be NULL in their table and never are in this result, each with the reason.
NEVER_NULL: dict[tuple[str, str], str] = {
    ("Dialled", "carrier_sid"): "only calls that the carrier knows are asked for",
    ("Subscription", "current_period_start"): "only plans that began are shown, and a paid period began them",
    ("Subscription", "current_period_end"): "as current_period_start",
    ("Subscription", "stripe_subscription_id"): "the event that began it named it",
}

# What a loader makes of a type of PostgreSQL (pg_type.oid), and what a Struct may therefore call it.
_WHOLE, _TEXT = {int}, {str}
_JSON = {dict, list, str, int, float, bool, type(None), msgspec.Struct}
PYTHON_TYPES: dict[int, set[type]] = {
    16: {bool},
    17: {bytes},
    18: _TEXT, 19: _TEXT, 25: _TEXT, 1042: _TEXT, 1043: _TEXT, 869: _TEXT, 650: _TEXT,
    20: _WHOLE, 21: _WHOLE, 23: _WHOLE, 26: _WHOLE,
    114: _JSON, 3802: _JSON,
    700: {float}, 701: {float},
    1082: {date}, 1083: {time}, 1114: {datetime}, 1184: {datetime}, 1186: {timedelta},
    1700: {Decimal},
    2278: {type(None), str},
    2950: {uuid.UUID},
}  # fmt: skip
ARRAYS = {1000, 1001, 1005, 1007, 1009, 1015, 1016, 1021, 1022, 1028, 1115, 1182, 1185, 1231, 2951, 199, 3807}
UNKNOWN = {0, 705}


class File(msgspec.Struct, frozen=True):
    """A `.sql` file beside the code, and who loads it: modules, with the name that each gives to it."""

    package: str
    filename: str
    loaders: tuple[tuple[Path, str], ...]

    @property
    def path(self) -> Path:
        return PACKAGE.parent.joinpath(*self.package.split("."), self.filename)

    @property
    def statements(self) -> list[Statement]:
        return list(statements.load(self.package, self.filename))


@cache
def statement_files() -> tuple[File, ...]:
    found: dict[tuple[str, str], list[tuple[Path, str]]] = {}
    for path in modules():
        for node in tree_of(path).body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, ast.Call) and dotted(value.func).endswith("statements.load"):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                package, filename = (ast.literal_eval(argument) for argument in value.args)
                found.setdefault((package, filename), []).append((path, dotted(target)))

    return tuple(File(package, filename, tuple(loaders)) for (package, filename), loaders in sorted(found.items()))


def of_each_file(test: typing.Callable) -> typing.Callable:
    return pytest.mark.parametrize("file", statement_files(), ids=lambda file: short(file.path))(test)


@pytest.fixture(scope="module")
def connection(shared_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        yield connection


def prepared(connection: psycopg.Connection, statement: Statement) -> PGresult:
    """The description of a statement; raises psycopg.Error when the server refuses it."""
    for answer in (
        connection.pgconn.prepare(b"", statement.native),
        connection.pgconn.describe_prepared(b""),
    ):
        if answer.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(answer)

    return answer


@of_each_file
def test_statements_are_understood_by_the_server(file: File, connection: psycopg.Connection):
    problems = []
    for statement in file.statements:
        try:
            result = prepared(connection, statement)
        except psycopg.Error as exc:
            problems.append(f"{statement.name}: {exc.diag.message_primary}")
            continue
        unknown = [name for n, name in enumerate(statement.parameters) if result.param_type(n) in UNKNOWN]
        problems += [f"{statement.name}: the type of {name} can't be told" for name in unknown]

    none(problems)


@of_each_file
def test_results_fit_their_struct(file: File, connection: psycopg.Connection):
    problems = []
    for statement in file.statements:
        if statement.returns is not None:
            found = misfits(connection, prepared(connection, statement), struct_of(file, statement))
            problems += [f"{statement.name}: {problem}" for problem in found]

    none(problems)


def struct_of(file: File, statement: Statement) -> object:
    homes = (importlib.import_module(name_of(module)) for module, _ in file.loaders)

    return next((getattr(home, statement.returns) for home in homes if hasattr(home, statement.returns)), None)


def misfits(connection: psycopg.Connection, result: PGresult, shape: object) -> Iterator[str]:
    """Everything in which the columns of a result differ from the fields of `shape`."""
    if not (isinstance(shape, type) and issubclass(shape, msgspec.Struct)):
        yield "names no Struct of a module that loads it"
        return
    fields = {field.name: field for field in msgspec.structs.fields(shape)}
    columns = [(result.fname(n) or b"").decode() for n in range(result.nfields)]
    yield from (f"{name} is there twice" for name in sorted(set(columns)) if columns.count(name) > 1)
    yield from (f"{shape.__name__} has no field {name}" for name in columns if name not in fields)
    yield from (f"no column for {shape.__name__}.{name}" for name in fields if name not in columns)
    for n, name in enumerate(columns):
        if name not in fields:
            continue
        place, kind = f"{shape.__name__}.{name}", fields[name].type
        if not may_hold(kind, result.ftype(n)):
            yield f"{place} is {kind}, the column {type_name(connection, result.ftype(n))}"
        if not may_be_none(kind) and (shape.__name__, name) not in NEVER_NULL and is_nullable(connection, result, n):
            yield f"{place} is never None, the column may be NULL"


def parts_of(kind: object) -> set[object]:
    """The members of a union; the types of a Literal's values; otherwise the origin of a type."""
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return {type(value) for value in typing.get_args(kind)}
    if origin in (typing.Union, types.UnionType):
        return set().union(*(parts_of(part) for part in typing.get_args(kind)))
    if origin is typing.Annotated:
        return parts_of(typing.get_args(kind)[0])
    if isinstance(kind, typing.TypeAliasType) if hasattr(typing, "TypeAliasType") else False:
        return parts_of(kind.__value__)

    return {origin or kind}


def may_be_none(kind: object) -> bool:
    return typing.Any in parts_of(kind) or type(None) in parts_of(kind)


def may_hold(kind: object, oid: int) -> bool:
    """Whether every type of a field is one that a column of type `oid` is read as."""
    parts = parts_of(kind) - {type(None)}
    if typing.Any in parts:
        return True
    if oid in ARRAYS:
        return parts <= {list, tuple, frozenset, set}
    allowed = PYTHON_TYPES.get(oid, set())

    return all(isinstance(part, type) and any(issubclass(part, parent) for parent in allowed) for part in parts)


def type_name(connection: psycopg.Connection, oid: int) -> str:
    row = connection.execute("SELECT format_type(%s::oid, NULL)", [oid]).fetchone()
    assert row is not None

    return row[0]


def is_nullable(connection: psycopg.Connection, result: PGresult, n: int) -> bool:
    """Whether a column comes straight from a table's column that may be NULL. An expression can't be told."""
    row = connection.execute(
        "SELECT NOT (a.attnotnull OR t.typnotnull) FROM pg_attribute AS a "
        "INNER JOIN pg_class AS c ON a.attrelid = c.oid INNER JOIN pg_type AS t ON a.atttypid = t.oid "
        "WHERE c.oid = %s AND a.attnum = %s AND c.relkind IN ('r', 'p')",
        [result.ftable(n), result.ftablecol(n)],
    ).fetchone()

    return row is not None and row[0]


@of_each_file
def test_several_columns_are_read_into_a_struct(file: File, database_url: str):
    """Without a Struct a statement gives one value, or is run for its effect or for a report of dicts."""
    problems = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in file.statements:
            columns = prepared(connection, statement).nfields
            if statement.returns is None and columns > 1 and not is_read_freely(file, statement):
                problems.append(f"{statement.name} gives {columns} columns and names no Struct")

    none(problems)


def is_read_freely(file: File, statement: Statement) -> bool:
    variables = "|".join(variable for _, variable in file.loaders)
    reads = re.compile(rf"\.(?:run|run_many|dicts)\(\s*(?:\w+\.)?(?:{variables})\.{statement.name}\b")

    return is_iterated(file) or any(reads.search(text_of(path)) for path in modules())


@of_each_file
def test_statements_have_a_purpose_and_a_name_of_their_own(file: File):
    names = re.findall(r"^-- name: (\S+)$", text_of(file.path), re.MULTILINE)

    assert names == [statement.name for statement in file.statements]
    none(f"{statement.name} has no purpose" for statement in file.statements if len(statement.purpose) < 10)


@of_each_file
def test_no_statement_is_unused(file: File):
    used = references(file)

    none(statement.name for statement in file.statements if statement.name not in used and not is_iterated(file))


@cache
def references(file: File) -> frozenset[str]:
    """Names of a file's statements that some module asks for: `SQL.name` at home, `module.SQL.name` elsewhere."""
    at_home = set(file.loaders)
    abroad = {f"{module.stem}.{variable}" for module, variable in file.loaders}

    return frozenset(
        node.attr
        for path in modules()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and ((path, dotted(node.value)) in at_home or dotted(node.value) in abroad)
    )


@cache
def is_iterated(file: File) -> bool:
    """Whether a module that loads a file walks over its statements as a whole, or hands them on."""
    return any(
        isinstance(node, ast.Name) and node.id == variable
        for module, variable in file.loaders
        for node in handed_on(tree_of(module))
    )


def handed_on(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension):
            yield node.iter
    for call, _ in calls(tree):
        yield from call.args


class Guess(msgspec.Struct):
    """A Struct that fits nothing well."""

    id: str
    name: str
    created_at: str
    missing: int


def test_a_misfit_is_named(connection: psycopg.Connection):
    text = "-- name: guess\n-- A result to compare.\nSELECT u.id, u.name, u.created_at, 1 AS extra FROM users AS u"
    [statement] = statements.parse(text, "guess.sql")
    found = list(misfits(connection, prepared(connection, statement), Guess))

    assert found == [
        "Guess has no field extra",
        "no column for Guess.missing",
        "Guess.name is never None, the column may be NULL",
        "Guess.created_at is <class 'str'>, the column timestamp with time zone",
    ]
