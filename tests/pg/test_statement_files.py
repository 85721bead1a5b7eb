"""Statements: what a `.sql` file says is what is loaded, and a file that can be misread is refused."""

import pytest

from callmeback.pg import statements
from callmeback.pg.statements import StatementError, parse

GOOD = """-- A file.

-- name: call_of_user
-- One call as its owner
-- sees it.
-- returns: Call
SELECT c.id, '100 %%' AS share -- the % here is doubled: %%
FROM calls AS c
WHERE c.id = %(call_id)s AND c.user_id = %(user_id)s AND %(call_id)s <> ';';

-- name: forget
-- Remove it.
DELETE FROM calls
"""


def test_a_statement_knows_its_text_and_its_parameters():
    found = parse(GOOD.replace(" -- the % here is doubled: %%", ""), "x.sql")

    call = found.call_of_user
    assert (call.name, call.purpose, call.returns) == ("call_of_user", "One call as its owner sees it.", "Call")
    assert call.parameters == ("call_id", "user_id")
    assert call.native.decode() == (
        "SELECT c.id, '100 %' AS share\nFROM calls AS c\nWHERE c.id = $1 AND c.user_id = $2 AND $1 <> ';'"
    )
    assert found.forget.returns is None
    assert [statement.name for statement in found] == ["call_of_user", "forget"]


def test_keys_differ_with_the_text():
    one, other = parse("-- name: a\n-- p\nSELECT 1", "x").a, parse("-- name: a\n-- p\nSELECT 2", "x").a

    assert one.key != other.key
    assert len(parse(f"-- name: {'a' * 80}\n-- p\nSELECT 1", "x").__getattr__("a" * 80).key) <= 63


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "text before the first"),
        ("-- name: a\n-- p\nSELECT 1\n-- name: a\n-- p\nSELECT 2", "x.sql:4: a is there twice"),
        ("-- name: Not-a-name\n-- p\nSELECT 1", "is no name"),
        ("-- name: a b\n-- p\nSELECT 1", "is no name"),
        ("-- name:\n-- p\nSELECT 1", "is no name"),
        ("-- name: a\nSELECT 1", "a has no line of purpose"),
        ("-- name: a\n-- p\n", "exactly one statement, found 0"),
        ("-- name: a\n-- p\nSELECT 1; SELECT 2", "exactly one statement, found 2"),
        ("-- name: a\n-- p\nSELECT $1", "must name its parameters"),
        ("-- name: a\n-- p\nSELECT 5 % 2", "percent sign must be doubled"),
        ("-- name: a\n-- p\nSELECT %s", "percent sign must be doubled"),
        ("-- name: a\n-- p\nSELECT 'open", "never closed"),
        ("-- name: a\n-- p\n-- returns: not a name\nSELECT 1", "must name one Struct"),
        ("-- name: a\n-- p\n-- returns: A\n-- returns: B\nSELECT 1", "must name one Struct"),
    ],
)
def test_a_file_that_can_be_misread_is_refused(text: str, message: str):
    with pytest.raises(StatementError, match=message):
        parse(text, "x.sql")


def test_an_unknown_statement_says_where_it_was_looked_for():
    with pytest.raises(AttributeError, match=r"callmeback/pg/session\.sql has no statement named 'nothing'"):
        _ = statements.load("callmeback.pg", "session.sql").nothing
