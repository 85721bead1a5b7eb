"""Writing past the views that bear the tables' names: the target gets its schema, and nothing else changes."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import parser
from psycopg import sql

from callmeback.sqlproxy import grammar, policy
from callmeback.sqlproxy.qualification import QUALIFIER, original_position, qualify, shift_of

CASES = {
    "insert into users (id) values (1)": "insert into public.users (id) values (1)",
    "INSERT INTO\n\tusers AS u DEFAULT VALUES": "INSERT INTO\n\tpublic.users AS u DEFAULT VALUES",
    'insert into "Users" values (1)': 'insert into public."Users" values (1)',
    'insert into "a.b""c" values (1)': 'insert into public."a.b""c" values (1)',
    'insert into U&"\\0075sers" values (1)': 'insert into public.U&"\\0075sers" values (1)',
    "insert into/* users */users values (1)": "insert into/* users */public.users values (1)",
    "insert into -- users\nusers values (1)": "insert into -- users\npublic.users values (1)",
    "insert into größe values ('é😀')": "insert into public.größe values ('é😀')",
    "/* é😀 */ update größe set a = 'ü'": "/* é😀 */ update public.größe set a = 'ü'",
    "update users set name = users.name || 'x' where users.id = 1": (
        "update public.users set name = users.name || 'x' where users.id = 1"
    ),
    "update only users u set a = 1": "update only public.users u set a = 1",
    "update only (users) as u set a = 1": "update only (public.users) as u set a = 1",
    "update users * set a = 1": "update public.users * set a = 1",
    "update users set a = calls.a from calls, users b": "update public.users set a = calls.a from calls, users b",
    "delete from users using users as u where true": "delete from public.users using users as u where true",
    "delete from only users where users.a = (select max(a) from users)": (
        "delete from only public.users where users.a = (select max(a) from users)"
    ),
    "insert into users select * from users on conflict (id) do update set a = users.a + excluded.a": (
        "insert into public.users select * from users on conflict (id) do update set a = users.a + excluded.a"
    ),
    "merge into users using calls on true when matched then update set a = 1": (
        "merge into public.users using calls on true when matched then update set a = 1"
    ),
    "merge into only users u using (select * from users) s on u.id = s.id when not matched then insert values (1)": (
        "merge into only public.users u using (select * from users) s on u.id = s.id when not matched then insert"
        " values (1)"
    ),
    "with a as (insert into users values (1) returning *), b as (delete from calls) update users set x = 1 from a": (
        "with a as (insert into public.users values (1) returning *), b as (delete from public.calls)"
        " update public.users set x = 1 from a"
    ),
    "with a as (with b as (update users set x = 1 returning *) select * from b) select * from a, users": (
        "with a as (with b as (update public.users set x = 1 returning *) select * from b) select * from a, users"
    ),
    "with users as (select 1) delete from users": "with users as (select 1) delete from public.users",
    "explain delete from users": "explain delete from public.users",
    "insert into public.users values (1)": "insert into public.users values (1)",
    "update masked.users set a = 1": "update masked.users set a = 1",
    "select * from users for update of users": "select * from users for update of users",
    "update users set (a, b) = (select 1, 2 from users)": "update public.users set (a, b) = (select 1, 2 from users)",
}


@pytest.mark.parametrize("text", CASES)
def test_the_target_of_a_change_is_the_table(text: str):
    found = policy.judge(text, session=False)

    assert (found.rule, found.text) == (None, CASES[text])
    assert len(found.shift) == found.text.count("public.") - text.count("public.")


def tree_of(text: str) -> Any:
    """The tree of a text without the places, and without the schema public where a change has its target."""
    tree = orjson.loads(parser.parse_sql_json(text))["stmts"]

    return [_plain("", statement["stmt"]) for statement in tree]


def _plain(kind: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(kind, item) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = {"location", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end", "name_location"}
    plain = {}
    for name, inner in value.items():
        if name in left_out:
            continue
        if kind in grammar.CHANGES and name == "relation" and inner.get("schemaname") == "public":
            plain[name] = _plain(name, {field: word for field, word in inner.items() if field != "schemaname"})
        else:
            plain[name] = _plain(name, inner)

    return plain


@pytest.mark.parametrize("text", CASES)
def test_nothing_else_of_the_statement_changes(text: str):
    found = policy.judge(text, session=False)

    assert tree_of(found.text) == tree_of(text)


NAMES = st.one_of(
    st.sampled_from(["users", "größe", "名前", '"Q"', '"a""b"', '"update x"', '"😀"', "set_", "public", "_x$1"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=5).map(
        lambda name: '"' + name.replace('"', '""') + '"'
    ),
)
SPACES = st.sampled_from([" ", "\n", " /* é */ ", " -- 😀\n", "\t", "/* /* update t set */ */"])


@st.composite
def changes(draw: st.DrawFn, depth: int = 2) -> str:
    """A change with names and comments of every sort, other changes inside it in a WITH."""
    name, space = draw(NAMES), draw(SPACES)
    begin = ""
    if depth and draw(st.booleans()):
        begin = f'with q{depth} as ({draw(changes(depth - 1))} returning *), "é" as (select * from {name}) '
    shape = draw(st.sampled_from([
        "insert{s}into{s}{n}{s}select * from {n}{s}where 'ü' = 'ü'",
        "update{s}{n}{s}as x{s}set a = (select max(b) from {n})",
        "update{s}only{s}({n}{s})set (a, b) = (select 1, 2 from {n})",
        "delete{s}from{s}{n}{s}using {n} as y where exists (select from {n})",
        "merge{s}into{s}{n}{s}as t using {n} as s on true when matched then delete",
    ]))  # fmt: skip

    return f"{begin}{shape.format(s=space, n=name)}"


@given(changes())
def test_any_change_keeps_its_tree(text: str):
    found = policy.judge(text, session=False)

    assert found.rule is None, found.message
    assert found.kind == "write"
    assert tree_of(found.text) == tree_of(text)
    assert _without(found.text, found.shift) == text


def _without(sent: str, shift: tuple[int, ...]) -> str:
    """Take out what was inserted, from the last place to the first."""
    for number, offset in reversed(list(enumerate(shift))):
        begin = offset + number * len(QUALIFIER)
        assert sent[begin:].startswith(QUALIFIER.decode())
        sent = sent[:begin] + sent[begin + len(QUALIFIER) :]

    return sent


@given(changes())
def test_positions_lead_back_to_the_caller_s_text(text: str):
    found = policy.judge(text, session=False)
    inserted = [offset + number * len(QUALIFIER) for number, offset in enumerate(found.shift)]

    for position in range(1, len(found.text) + 2):
        back = original_position(position, found.shift)
        inside = next((begin for begin in inserted if begin < position <= begin + len(QUALIFIER)), None)
        if inside is not None:
            assert back - 1 == found.shift[inserted.index(inside)]
        elif position <= len(found.text):
            assert text[back - 1] == found.text[position - 1]
        else:
            assert back == len(text) + 1


def test_positions_by_hand():
    text = "update é set a = 1; "
    shift = shift_of(text.encode(), {7})

    assert qualify(text.encode(), {7}).decode() == "update public.é set a = 1; "
    assert shift == (7,)
    assert [original_position(position, shift) for position in (1, 7, 8, 14, 15, 16)] == [1, 7, 8, 8, 8, 9]
    assert original_position(5, ()) == 5


# On the server


@pytest.fixture
def masked(empty_database_url: str) -> Iterator[psycopg.Connection]:
    """A table, and a view of the same name that comes first in the search path, as a key without `pii` sees them."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA masked")
        connection.execute("CREATE TABLE public.größe (id int PRIMARY KEY, email text, n int DEFAULT 0)")
        connection.execute("INSERT INTO public.größe VALUES (1, 'a@example.com'), (2, 'b@example.com')")
        connection.execute("CREATE VIEW masked.größe AS SELECT id, '***'::text AS email, n FROM public.größe")
        connection.execute("SET search_path = masked, public")
        yield connection


def run(connection: psycopg.Connection, text: str) -> list[tuple[Any, ...]]:
    found = policy.judge(text, session=False)
    assert found.rule is None, found.message
    cursor = connection.execute(sql.SQL(found.text))

    return cursor.fetchall() if cursor.description else []


def test_changes_reach_the_table_and_reads_the_view(masked: psycopg.Connection):
    assert run(masked, "select email from größe where id = 1") == [("***",)]
    assert run(masked, "update größe set email = 'c@example.com' where größe.id = 1 returning größe.email") == [
        ("c@example.com",)
    ]
    run(
        masked,
        "insert into größe (id, email) values (1, 'd@example.com') on conflict (id) do update"
        " set email = größe.email || excluded.email",
    )
    run(masked, "insert into größe (id, email) select id + 10, email from größe where id = 2")
    run(masked, "merge into größe as g using größe as v on g.id = v.id when matched and v.id = 2 then update set n = 5")
    run(masked, "with gone as (delete from only größe where id = 12 returning id) update größe set n = 7 where id = 2")

    rows = masked.execute("SELECT id, email, n FROM public.größe ORDER BY id").fetchall()
    assert rows == [(1, "c@example.comd@example.com", 0), (2, "b@example.com", 7)]


@pytest.mark.parametrize(
    "text",
    [
        "update größe set nothing = 1",
        "insert into größe (id, nothing) values (1, 2)",
        "with a as (delete from größe where nope returning 1) update größe set id = 'é' || missing from a",
        "delete from größe where größe.missing = 1",
        "with a as (update größe set n = 1 returning id) select 'é', a.missing from a",
    ],
)
def test_positions_of_the_server_s_errors_lead_back(masked: psycopg.Connection, text: str):
    found = policy.judge(text, session=False)
    with pytest.raises(psycopg.Error) as refused:
        masked.execute(sql.SQL(found.text))
    position = original_position(int(refused.value.diag.statement_position or 0), found.shift)

    name = re.match(r'column "?(?:\w+\.)?(\w+)', refused.value.diag.message_primary or "")
    assert name is not None
    # PostgreSQL points at the whole reference: `a.missing` or `missing`.
    assert re.match(rf"(?:\w+\.)?{name.group(1)}\b", text[position - 1 :])
