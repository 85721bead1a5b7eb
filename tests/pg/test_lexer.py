"""The lexer: every character is kept, and only a real semicolon ends a statement."""

import pglast
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.pg import lexer, migration_files

TRICKY = """
-- a comment; with a semicolon
CREATE TABLE a (b text DEFAULT 'it''s; fine'); /* a block; /* nested; */ still; */
SELECT E'a\\'; b', U&'d\\0061t;', $$ body; $$, $tag$ $$ ; $tag$, "quoted;""name", 1.5e10, $1;
CREATE OR REPLACE FUNCTION f(x integer) RETURNS integer LANGUAGE sql
BEGIN ATOMIC
    SELECT CASE WHEN x > 1 THEN 1 ELSE 2 END;
    SELECT 2;
END;
SELECT a$b$c FROM t
"""


def test_statements_end_where_postgresql_ends_them():
    texts = [piece.text for piece in lexer.pieces(TRICKY)]

    assert texts == [_without_comments(text) for text in pglast.split(TRICKY, with_parser=True)]
    assert len(texts) == 4


def test_our_own_files_are_cut_as_postgresql_cuts_them():
    folder = migration_files.SQL_DIRECTORY
    paths = [path for name in ("migrations", "functions", "views", "access") for path in (folder / name).glob("*.sql")]

    assert paths
    for path in paths:
        sql = path.read_text("utf-8")
        ours = [piece.text for piece in lexer.pieces(sql)]
        theirs = [_without_comments(text) for text in pglast.split(sql, with_parser=True)]
        assert ours == theirs, path.name


def _without_comments(text: str) -> str:
    """pglast keeps the comments that stand before a statement."""
    found = lexer.tokens(text)
    first = next(token for token in found if token.kind not in ("space", "comment", "block"))

    return text[first.start :].strip()


@given(st.text(alphabet="ab;'\"$-/*\\ \nEe_1(), BEGIN", max_size=60))
def test_no_character_is_lost(sql: str):
    try:
        found = lexer.tokens(sql)
    except lexer.UnfinishedText:
        return

    assert "".join(token.text for token in found) == sql
    assert [token.start for token in found] == _starts(found)
    assert all(token.line == sql.count("\n", 0, token.start) + 1 for token in found)


def _starts(found: list[lexer.Token]) -> list[int]:
    return [sum(len(before.text) for before in found[:index]) for index in range(len(found))]


@pytest.mark.parametrize("sql", ["'", "\n'it''s", "$$ never", "$a$ x $$", "/* a /* b */", '"name'])
def test_what_never_ends_is_refused(sql: str):
    with pytest.raises(lexer.UnfinishedText, match="never closed"):
        lexer.pieces(sql)


def test_a_piece_knows_its_line_and_its_words():
    first, second = lexer.pieces("-- c\n\nselect 1;\n/* b */ create unique\nindex i on t (a)")

    assert (first.line, first.words) == (3, ("SELECT",))
    assert (second.line, second.words) == (4, ("CREATE", "UNIQUE", "INDEX", "I", "ON", "T", "A"))
