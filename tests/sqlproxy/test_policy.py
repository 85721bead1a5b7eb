"""The policy's verdicts: what clients send passes with the right class, the rest is refused by the right rule."""

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema import specification
from tests.sources import ROOT, text_of
from tests.sqlproxy import statements

from callmeback.sqlproxy import expansion, functions, grammar, policy
from callmeback.sqlproxy.walk import REFUSED_NODES

SPECIFIED = {name: value for name, value in vars(specification).items() if name.isupper() and isinstance(value, str)}
# Questions to the server as an operator asks them; `callmeback psql` and `callmeback doctor` answer them.
OPERATORS = {
    "CONNECTIONS": "relation",
    "ACTIVE_CONNECTIONS": "relation",
    "MAX_CONNECTIONS": "settings",
    "IDLE_CONNECTIONS": "relation",
    "END_IDLE_CONNECTIONS": "signals",
    "MISSING_INDEXES": "relation",
}


def verdict(text: str | bytes, calls: str = "") -> policy.Verdict:
    return policy.judge(text, session=False, calls=frozenset(calls.split()))


@pytest.mark.parametrize("text", [*statements.CLIENTS_READ, *statements.CATALOGUE_READS, *statements.READS])
def test_what_reads_is_allowed_and_sent_as_it_is(text: str):
    found = verdict(text)

    assert (found.rule, found.message, found.kind) == (None, None, "read")
    assert found.text == text or text.startswith("explain")


@pytest.mark.parametrize("text", statements.CLIENTS_WRITE)
def test_what_writes_is_allowed_as_writing(text: str):
    found = verdict(text)

    assert (found.rule, found.message, found.kind) == (None, None, "write")


@pytest.mark.parametrize("name", sorted(SPECIFIED))
def test_the_specification_s_queries_are_judged(name: str):
    found = verdict(SPECIFIED[name])

    if name in OPERATORS:
        assert found.rule == OPERATORS[name]
    else:
        writes = SPECIFIED[name].split()[0] in ("INSERT", "UPDATE", "DELETE")
        assert (found.rule, found.kind) == (None, "write" if writes else "read")


@pytest.mark.parametrize("text", statements.TRANSACTIONS)
def test_transactions_are_a_session_s(text: str):
    found = policy.judge(text, session=True)

    assert (found.rule, found.kind, found.text) == (None, "transaction", text)
    assert verdict(text).rule in ("transaction", "set")


@pytest.mark.parametrize(
    ("rule", "text"), [(rule, text) for rule, texts in statements.REFUSED.items() for text in texts]
)
def test_what_is_refused_names_its_rule(rule: str, text: str):
    found = verdict(text)

    assert found.rule == rule
    assert found.message
    assert found.text == text
    assert found.sqlstate == ("42601" if rule == "syntax" else "42501")


@pytest.mark.parametrize(
    "text",
    [
        text
        for rule, texts in statements.REFUSED.items()
        for text in texts
        if policy.judge(text, session=True).kind not in ("transaction", "deallocate")
    ],
)
def test_a_session_is_refused_the_same(text: str):
    found = policy.judge(text, session=True)

    assert found.rule == verdict(text).rule


def test_a_session_may_only_end_what_it_began_and_drop_what_it_prepared():
    allowed = {
        text for texts in statements.REFUSED.values() for text in texts if policy.judge(text, session=True).rule is None
    }

    transactions = {"begin", "commit", "rollback", "savepoint a", "set transaction read write"}

    assert allowed == transactions | {"deallocate a", "deallocate all"}
    assert policy.judge("set transaction snapshot 'x'", session=True).rule == "set"


@pytest.mark.parametrize(
    ("text", "drops"),
    [("DEALLOCATE A", "a"), ('deallocate prepare "A b"', "A b"), ("deallocate all", ""), ('deallocate "all"', "all")],
)
def test_a_deallocate_names_what_it_drops(text: str, drops: str):
    assert policy.judge(text, session=True).drops == drops


@pytest.mark.parametrize("text", ["", " ", ";", " ; ; ", "-- a comment", "/* a comment */", "\n\t;"])
def test_the_empty_statement_is_allowed(text: str):
    found = verdict(text)

    assert (found.rule, found.kind, found.text) == (None, "empty", text)


def test_tables_and_functions_are_named():
    found = verdict(
        "with mine as (select lower(name) from users) select count(*) from mine join public.calls using (id)"
        ' where id in (select id from mine, Personas, "Personas")'
    )

    assert sorted(found.tables) == ["Personas", "personas", "public.calls", "users"]
    assert sorted(found.functions) == ["count", "lower"]


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("with a as (select * from a) select * from a", {"a"}),
        ("with recursive a as (select * from a) select * from a", set()),
        ("with a as (select 1), b as (select * from a) select * from b", set()),
        ("with b as (select * from a), a as (select 1) select * from b, a", {"a"}),
        ("with a as (select 1) select * from public.a", {"public.a"}),
        ("with a as (select 1) insert into a select * from a", {"a"}),
        ("select * from (with a as (select 1) select * from a) x, a", {"a"}),
        ("with a as (with b as (select 1) select * from b) select * from a, b", {"b"}),
        ("with a as (select 1) select (select max(x) from a) from b where exists (select from a)", {"b"}),
        ("with a as (select 1) select * from c union select * from a", {"c"}),
    ],
)
def test_a_query_of_with_is_no_table_where_postgresql_sees_it(text: str, tables: set[str]):
    assert set(verdict(text).tables) == tables


def test_unknown_tables_are_left_to_postgresql():
    found = verdict("select * from no_such_table")

    assert (found.rule, found.tables) == (None, ("no_such_table",))


def test_the_application_s_functions_are_those_that_were_granted():
    assert verdict("select start_call($1)").rule == "function"
    assert verdict("select * from public.start_call($1)", "start_call").rule is None
    assert verdict("select other.start_call($1)", "start_call").rule is None
    assert verdict("select pg_catalog.start_call($1)", "start_call").rule == "function"
    assert verdict("select pg_sleep(1)", "pg_sleep").rule == "sleep"
    assert verdict("select public.dblink('x', 'y')", "dblink").rule == "dynamic_sql"


@pytest.mark.parametrize(
    "text",
    [
        "select start_call(1)",
        "select lower(start_call(1))",
        "explain select start_call(1)",
        "select (1).start_call",
        "select u.start_call from users u",
        "with a as materialized (select start_call(1)) select 1",
    ],
)
def test_calling_a_function_of_the_application_counts_as_writing(text: str):
    found = verdict(text, "start_call")

    assert (found.rule, found.kind, "start_call" in found.functions) == (None, "write", True)


def test_explaining_a_granted_function_s_run_is_refused():
    assert verdict("explain analyze select start_call(1)", "start_call").rule == "explain"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("select pg_sleep(1)", 8),
        ("select 'é€😀', pg_sleep(1)", 15),
        ("select * from pg_authid", 15),
        ("select 1; select 2", 11),
        ("selec 1", 1),
        ("select 'é' from where", 17),
        ("select (", 9),
        ("set role x", 1),
    ],
)
def test_positions_count_characters_from_one(text: str, position: int):
    assert verdict(text).position == position


def test_lists_of_schemas_and_tables_narrow_a_verdict():
    found = verdict("select * from users, masked.calls, information_schema.tables")

    assert policy.within(found) is found
    assert policy.within(found, schemas={"public", "masked", "information_schema"}, tables={"users"}) is found
    assert policy.within(found, schemas={"public", "masked"}).rule == "schema"
    assert policy.within(found, tables={"calls"}).rule == "table"
    assert policy.within(verdict("select 1"), schemas=(), tables=()).rule is None


def test_lists_are_not_passed_by_a_name_of_with():
    found = verdict("with allowed as (select * from users) select * from allowed")

    assert policy.within(found, tables={"allowed"}).rule == "table"


# What is no text


@pytest.mark.parametrize("text", ["select '\0'", "\0", "select 1\0; drop table users", "select '\ud800'", "\udfff"])
def test_what_postgresql_cannot_hold_is_refused(text: str):
    found = verdict(text)

    assert (found.rule, found.sqlstate) == ("encoding", "22021")
    found.text.encode()


@pytest.mark.parametrize("raw", [b"\xff", b"select '\xc3'", b"select '\xed\xa0\x80'", b"\xc0\x80", b"select 1\x00"])
def test_bytes_that_are_no_text_are_refused(raw: bytes):
    found = verdict(raw)

    assert (found.rule, found.sqlstate) == ("encoding", "22021")


def test_bytes_are_judged_as_their_text():
    assert verdict("update ü set a = 1".encode()) == verdict("update ü set a = 1")


# The cache


def test_verdicts_are_kept_by_text_session_and_calls():
    judged: list[tuple[str, bool, frozenset[str]]] = []

    def judge(text: str, *, session: bool, calls: frozenset[str]) -> policy.Verdict:
        judged.append((text, session, calls))
        return policy.judge(text, session=session, calls=calls)

    verdicts = policy.Verdicts()
    start = frozenset({"start_call"})
    for _ in range(3):
        assert verdicts.get("begin", True, judged=judge).rule is None
        assert verdicts.get("begin", False, judged=judge).rule == "transaction"
        assert verdicts.get("select start_call(1)", False, judged=judge).rule == "function"
        assert verdicts.get("select start_call(1)", False, start, judged=judge).rule is None
        assert verdicts.get(b"begin", True, judged=judge).kind == "transaction"

    assert judged == [
        ("begin", True, frozenset()),
        ("begin", False, frozenset()),
        ("select start_call(1)", False, frozenset()),
        ("select start_call(1)", False, start),
    ]


def test_a_flood_of_new_texts_drives_out_no_proven_one():
    verdicts = policy.Verdicts(entries_max=100)
    known = verdicts.get("select 1", False)
    assert verdicts.get("select 1", False) is known
    for number in range(1_000):
        verdicts.get(f"select {number} + 1", False)

    assert verdicts.get("select 1", False) is known
    assert len(verdicts) <= 100


def test_verdicts_are_bounded_in_bytes():
    verdicts = policy.Verdicts(entries_max=1_000, bytes_max=100_000)
    for number in range(100):
        for _ in range(2):
            verdicts.get(f"select '{'x' * 1_000}{number}'", False)

    assert len(verdicts) * (1_000 * 4 + policy.VERDICT_BYTES) <= 100_000
    assert len(verdicts) > 5


@given(st.lists(st.sampled_from([f"select {number}" for number in range(8)]), max_size=60))
def test_the_cache_never_mixes_texts_up(texts: list[str]):
    verdicts = policy.Verdicts(entries_max=4)
    for text in texts:
        assert verdicts.get(text, False).text == text
        assert len(verdicts) <= 4


# The document


def rules_in_the_code() -> set[str]:
    """Every word that a refusal can bear, read from the tables and from the calls that raise one."""
    rules = {functions.UNLISTED, *functions.REFUSED, *policy.SQLSTATES}
    rules |= {rule for rule, _ in grammar.REFUSED_STATEMENTS.values()} | {rule for rule, _ in REFUSED_NODES.values()}
    rules |= {grammar.refusal_of("CreateStmt")[0], grammar.refusal_of("SomethingStmt")[0]}
    for path in sorted((ROOT / "src/callmeback/sqlproxy").glob("*.py")):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
                rules |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}

    return rules


def test_every_rule_is_documented():
    page = text_of(ROOT / "docs/reference/sql-policy.md")
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE))

    assert documented == rules_in_the_code()


def test_bounds_are_documented():
    page = text_of(ROOT / "docs/reference/sql-policy.md")

    for bound in (expansion.TEXT_BYTES_MAX, expansion.SCANNED_BYTES_MAX):
        assert f"{bound // 1024} KiB" in page
