"""Whatever is sent, the policy answers with a verdict: it never raises, crashes or stalls the process."""

import random
import subprocess
import sys
import textwrap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pglast import parser
from tests.sqlproxy import statements

from callmeback.sqlproxy import expansion, grammar, policy

TEXTS = [
    *statements.CLIENTS_READ,
    *statements.CLIENTS_WRITE,
    *statements.CATALOGUE_READS,
    *statements.READS,
    *statements.TRANSACTIONS,
    *(text for texts in statements.REFUSED.values() for text in texts),
]
WORDS = sorted({word for text in TEXTS for word in text.split()})
KINDS = {"empty", "read", "write", "transaction"}


def is_whole(found: policy.Verdict) -> bool:
    """A verdict that callers can use as it is: it goes out as JSON and to the server as UTF-8."""
    found.text.encode()
    (found.message or "").encode()
    refused = found.rule is not None
    complete = refused == (found.sqlstate is not None) == (found.message is not None)
    in_text = found.position is None or 1 <= found.position <= len(found.text) + 1

    return complete and in_text and found.kind in KINDS


def judged(text: str | bytes) -> policy.Verdict:
    found = policy.judge(text, session=True, calls=frozenset({"f"}))
    assert is_whole(found)
    assert policy.judge(text, session=True, calls=frozenset({"f"})) == found

    return found


@given(st.binary(max_size=200))
def test_any_bytes_get_a_verdict(raw: bytes):
    judged(raw)


@given(st.text(max_size=200))
@example("\ud800")
@example("select '\udfff'")
@example("é" * 70 + ".x")
@example('select "' + "é" * 70 + '"')
@example('select 1 as "' + "x" + "€" * 70 + '"')
@example('with "' + "😀" * 40 + '" as (select 1) select 2')
def test_any_text_gets_a_verdict(text: str):
    judged(text)


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_any_words_get_a_verdict(text: str):
    judged(text)


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
def test_any_change_of_a_statement_gets_a_verdict(text: str, chance: random.Random):
    raw = bytearray(text.encode())
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(raw) + 1)
        choice = chance.randrange(4)
        if choice == 0:
            raw[place:place] = bytes([chance.randrange(256)])
        elif choice == 1:
            del raw[place : place + chance.randint(1, 5)]
        elif choice == 2:
            raw[place:place] = chance.choice(TEXTS).encode()[: chance.randint(1, 30)]
        else:
            raw[place : place + 1] = chance.choice(b"'\"();,.$/*-\\\0 \n").to_bytes(1, "big")
    judged(bytes(raw))


@pytest.mark.parametrize("code", range(1, 128))
def test_every_character_passes_through_strings_names_and_comments(code: int):
    character = chr(code)
    doubled = character * 2 if character in "'\"" else character
    texts = (
        f"select '{doubled}' from t",
        f"update t set a = 1 where b = '{doubled}'",
        f'update "t{doubled}" set a = 1',
        f"select 1 /* {character} */",
    )
    for text in texts:
        found = judged(text)
        assert found.rule is None, (text, found.message)


# Depth and size. Each shape ran through the parser alone first: some exhaust it, some multiply.

SHAPES = {
    "plus": lambda n: "select " + "+".join(["1"] * n),
    "signs": lambda n: "select " + "- " * n + "1",
    "parentheses": lambda n: "select " + "(" * n + "1" + ")" * n,
    "not": lambda n: "select " + "not " * n + "true",
    "and": lambda n: "select " + "true and " * n + "true",
    "or in parentheses": lambda n: "select " + "(true or " * n + "true" + ")" * n,
    "union": lambda n: " union all ".join(["select 1"] * n),
    "subqueries": lambda n: "select " + "(select " * n + "1" + ")" * n,
    "in from": lambda n: "select * from " + "(select * from " * n + "a" + ") x" * n,
    "with": lambda n: "with a as (" * n + "select 1" + ") select 1" * n,
    "casts": lambda n: "select 1" + "::int" * n,
    "subscripts": lambda n: "select x" + "[1]" * n,
    "fields": lambda n: "select a" + ".a" * n,
    "cases": lambda n: "select " + "case when true then " * n + "1" + " end" * n,
    "calls": lambda n: "select " + "lower(" * n + "'a'" + ")" * n,
    "arrays": lambda n: "select array" + "[" * n + "1" + "]" * n,
    "rows": lambda n: "select " + "row(" * n + "1" + ")" * n,
    "joins": lambda n: "select from a" + " cross join a" * n,
    "joins to the right": lambda n: "select from " + "a join " * n + "a" + " on true" * n,
    "nulls": lambda n: "select x" + " isnull" * n,
    "collations": lambda n: "select x" + ' collate "C"' * n,
    "json": lambda n: "select " + "json_object('a': " * n + "1" + ")" * n,
    "numbers": lambda n: "select " + ",".join(["1"] * n),
    "parameters": lambda n: "insert into t values (" + ",".join(f"${i + 1}" for i in range(n)) + ")",
    "rows of values": lambda n: "insert into t values " + ",".join(["(1, 'a')"] * n),
    "list": lambda n: "select 1 in (" + ",".join(["1"] * n) + ")",
    "statements": lambda n: "select 1;" * n,
    "semicolons": lambda n: ";" * n,
    "nested comments": lambda n: "/*" * n + "*/" * n + "select 1",
    "comments": lambda n: "/**/" * n + "select 1",
    "dashes": lambda n: "--\n" * n + "select 1",
    "operators": lambda n: "select " + "+" * n + "1",
    "mixed operators": lambda n: "select " + "+-" * n + "1",
    "explain": lambda n: "explain " * n + "select 1",
    "prepare": lambda n: "prepare a as " * n + "select 1",
    "assignments": lambda n: "update t set (" + ",".join(["a"] * n) + ") = (select " + ",".join(["1"] * n) + ")",
    "nested assignments": lambda n: (
        "with x as (update t set (a, a, a, a, a, a, a, a) = (" * n + "select 1" + ") returning 1) select 1" * n
    ),
    "assignments with comments": lambda n: (
        "with x as (update t set (a,a,a,a)/**/ -- x\n = row (" * n + "1" + ") returning 1) select 1" * n
    ),
    "later assignments": lambda n: (
        "with x as (update t set b = 1, (a,a,a,a) = (" * n + "select 1" + ") returning 1) select 1" * n
    ),
    "upserts": lambda n: (
        "with x as (insert into t values (1) on conflict (a) do update set (a,a,a,a) = (" * n
        + "select 1"
        + ") returning 1) select 1" * n
    ),
    "merges": lambda n: (
        "with x as (merge into t using u on true when matched then update set (a,a,a,a) = (" * n
        + "select 1"
        + ") returning 1) select 1" * n
    ),
    "strings": lambda n: "select " + "'a'\n" * n,
    "escapes": lambda n: "select e'" + "\\x41" * n + "'",
    "dollars": lambda n: "select $a$" + "$b" * n,
    "quotes": lambda n: 'select "' + '""' * n + '"',
    "name": lambda n: "select " + "a" * n,
    "digits": lambda n: "select " + "1" * n,
    "spaces": lambda n: " " * n,
}
SIZES = (1, 10, 100, 1_000, 20_000, 200_000)


PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_depth_and_size_end_in_a_verdict(part: int):
    """Each shape in a process of its own, with its memory bounded: a crash of the parser would take the tests along."""
    program = textwrap.dedent(f"""
        import os, resource
        from tests.sqlproxy.test_policy_fuzz import PARTS, SHAPES, SIZES
        from callmeback.sqlproxy import policy

        for name, shape in list(SHAPES.items())[{part}::PARTS]:
            if not os.fork():
                resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES_MAX}, {MEMORY_BYTES_MAX}))
                resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS_MAX}, {CPU_SECONDS_MAX}))
                for size in SIZES:
                    policy.judge(shape(size), session=True)
                os._exit(0)
            print(name, os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.splitlines() == [f"{name} 0" for name in list(SHAPES)[part::PARTS]], done.stderr[-500:]


# A gigabyte of addresses holds the interpreter and what the bounds permit, not what they keep out. The processor's time
# is for all the sizes together; unbounded, a single one of them took a minute.
MEMORY_BYTES_MAX = 1024**3
CPU_SECONDS_MAX = 20


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("select '" + "x" * expansion.TEXT_BYTES_MAX + "'", "too_large"),
        ("select '" + "é" * (expansion.TEXT_BYTES_MAX // 2) + "'", "too_large"),
        (SHAPES["numbers"](120_000), "too_large"),
        (SHAPES["comments"](10_000), "too_large"),
        (SHAPES["mixed operators"](2_000), "too_large"),
        (SHAPES["nested assignments"](6), "too_large"),
        (SHAPES["assignments with comments"](9), "too_large"),
        (SHAPES["later assignments"](9), "too_large"),
        (SHAPES["upserts"](9), "too_large"),
        (SHAPES["merges"](9), "too_large"),
        (SHAPES["plus"](2_000), "too_deep"),
        (SHAPES["plus"](100_000), "too_deep"),
        (SHAPES["subqueries"](500), "too_deep"),
    ],
)
def test_what_is_too_much_is_refused(text: str, rule: str):
    found = judged(text)

    assert (found.rule, found.sqlstate) == (rule, {"too_large": "54000", "too_deep": "54001"}[rule])


@pytest.mark.parametrize(
    "text",
    [
        "select '" + "x" * 200_000 + "'",
        SHAPES["plus"](400),
        SHAPES["and"](5_000),
        SHAPES["union"](400),
        SHAPES["subqueries"](60),
        SHAPES["joins"](200),
        SHAPES["parameters"](10_000),
        SHAPES["rows of values"](3_000),
        SHAPES["assignments"](40),
        SHAPES["nested assignments"](2),
        "select 1 -- " + "=" * 500 + "\n" + "-- " + "-" * 500,
        "/" + "*" * 300 + " a banner " + "*" * 300 + "/ select 1",
        "update t set a = 1, b = lower(c) where lower(d) = 'x' and (a, b) = (1, 2) and f(a, (b)) = c",
        "insert into t (a, b) values (1, 2) on conflict (a) do update set (a, b) = (excluded.a, excluded.b)",
    ],
)
def test_what_clients_may_send_fits(text: str):
    assert judged(text).rule is None


def test_the_repetition_is_counted_as_the_parser_repeats():
    """The bound on assignments is about the size of the tree, so the count must not fall short of it."""
    for columns in (1, 2, 5, 9):
        for depth in (1, 2, 3):
            begin = f"with x as (update t set ({','.join(['a'] * columns)}) = ("
            text = begin * depth + "select 1" + ") returning 1) select 1" * depth
            tree = len(parser.parse_sql_json(text))

            assert expansion._repeated(text.encode()) >= min(len(text) * columns**depth, expansion.TEXT_BYTES_MAX)
            assert tree <= 120 * len(text) * columns**depth


def test_every_kind_of_query_was_fuzzed():
    trees = "".join(_tree(text) for text in TEXTS)
    # Some stand in the tree without their name, as the field of another.
    unnamed = {sort for fields in grammar.KINDS.values() for sort in fields.values()}

    assert {kind for kind in grammar.KINDS.keys() - unnamed if f'"{kind}"' not in trees} == set()


def _tree(text: str) -> str:
    try:
        return str(parser.parse_sql_json(text))
    except parser.ParseError:
        return ""
