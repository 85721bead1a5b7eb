"""What is kept of PostgreSQL's complaints: nothing that a row holds."""

import pytest

from callmeback.pg.complaints import without_values


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            'pg_restore: error: COPY failed for table "users": ERROR:  invalid input syntax for type integer: '
            '"ann@example.org"\nCONTEXT:  COPY users, line 1, column id: "ann@example.org"\n',
            'pg_restore: error: COPY failed for table "users": ERROR:  invalid input syntax for type integer: …',
        ),
        (
            'pg_restore: error: could not execute query: ERROR:  insert on table "calls" violates foreign key '
            'constraint "calls_user_fkey"\nDETAIL:  Key (phone)=(+12025550100) is not present in table "phones".\n'
            "Command was: ALTER TABLE ONLY public.calls ADD CONSTRAINT ERROR: x;\n",
            'pg_restore: error: could not execute query: ERROR:  insert on table "calls" violates foreign key '
            'constraint "calls_user_fkey"',
        ),
        ('psql:<stdin>:3: ERROR:  value "Ann\nSmith" is bad', "psql:<stdin>:3: ERROR:  value …"),
        ('ERROR:  relation "Ann Smith, +12025550100" is no name', "ERROR:  relation … is no name"),
        ("pg_restore: error: it isn't an archive", "pg_restore: error: it isn…"),
        ("Killed", "Killed"),
        ("", "it said nothing"),
    ],
)
def test_s16_rows_that_postgresql_quotes_are_left_out(said: str, kept: str):
    assert without_values(said) == kept
