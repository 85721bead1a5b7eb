"""`migrate lint`: what is wrong with the files before anybody applies them.

Three looks: squawk at the text of the migrations; the files applied to a shadow database, the repeatable set twice;
and the catalogue of what came out. Nothing here changes the real database.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import psycopg
from psycopg.rows import class_row

from callmeback import errors
from callmeback.pg import flaws, migrate, migration_files, shadow, statements
from callmeback.pg.flaws import Flaw
from callmeback.pg.migration_files import SQL_DIRECTORY, Files

SQL: Final = statements.load("callmeback.pg", "lint.sql")
# What the doctor looks for too, by the rule's name here.
SHARED: Final = {
    "set-null-on-not-null": flaws.SQL.set_null_on_not_null,
    "foreign-key-without-index": flaws.SQL.keys_without_index,
    "redundant-index": flaws.SQL.redundant_indexes,
    "invalid-index": flaws.SQL.invalid_indexes,
    "constraint-not-validated": flaws.SQL.constraints_not_checked,
    "table-without-primary-key": flaws.SQL.tables_without_key,
}
FLAWS_MAX: Final = 1_000

SQUAWK_TIMEOUT_S: Final = 60
SQUAWK_SETTINGS: Final = ".squawk.toml"
CONNECT_TIMEOUT_S: Final = 10
_CHECK: Final = "check_"


class Finding(msgspec.Struct, frozen=True):
    """One thing to mend. A `skipped` one is a look that could not be taken, with the reason."""

    rule: str
    place: str
    message: str
    severity: Literal["error", "skipped"] = "error"


class Found(msgspec.Struct, frozen=True):
    """A row of one of the checks that only the files are held against."""

    place: str
    message: str


class SquawkReport(msgspec.Struct, frozen=True):
    """One entry of squawk's JSON report; lines count from 0."""

    file: str
    line: int
    level: str
    message: str
    rule_name: str
    help: str | None = None


def lint(dsn: str | None, *, directory: Path = SQL_DIRECTORY) -> list[Finding]:
    """Everything wrong with the files below `directory`, nothing when they are good.

    `dsn` is a server, and a user of it, where a shadow database may be made; with None only the text is looked at.
    Raises DatabaseUnavailable and ConfigurationError for a server that can't serve.
    """
    try:
        files = migration_files.read(directory)
    except errors.MigrationFailed as exc:
        return [Finding("file", "migrations", exc.detail)]
    findings = [*_squawk(directory / "migrations"), *_names_used_twice(files)]
    if dsn is None:
        return [*findings, Finding("shadow-database", "server", "there is no server to try the files on", "skipped")]

    return findings + _try_out(dsn, directory)


def catalogue(dsn: str) -> list[Finding]:
    """What is wrong with the schema of an existing database, by its catalogue alone."""
    with psycopg.connect(
        dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, cursor_factory=psycopg.RawCursor
    ) as connection:
        return [*_shared(connection), *_own(connection)]


def _shared(connection: psycopg.Connection[Any]) -> list[Finding]:
    findings = []
    for rule, statement in SHARED.items():
        with connection.cursor(row_factory=class_row(Flaw)) as cursor:
            cursor.execute(statement.native, [FLAWS_MAX])
            findings += [Finding(rule, flaw.object, flaw.detail) for flaw in cursor]

    return findings


def _own(connection: psycopg.Connection[Any]) -> list[Finding]:
    findings = []
    for statement in SQL:
        if not statement.name.startswith(_CHECK):
            continue
        rule = statement.name.removeprefix(_CHECK).replace("_", "-")
        with connection.cursor(row_factory=class_row(Found)) as cursor:
            cursor.execute(statement.native)
            findings += [Finding(rule, found.place, found.message) for found in cursor]

    return findings


def _try_out(dsn: str, directory: Path) -> list[Finding]:
    with shadow.database(dsn) as empty:
        try:
            migrate.apply(empty, directory=directory)
        except errors.MigrationFailed as exc:
            return [Finding("shadow-database", "migrations", exc.detail)]
        findings = catalogue(empty)
        with psycopg.connect(empty, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.execute(SQL.forget_repeatable.native)
        try:
            migrate.apply(empty, directory=directory)
        except errors.MigrationFailed as exc:
            findings.append(Finding("not-repeatable", "functions, views and access", exc.detail))

        return findings


def _names_used_twice(files: Files) -> list[Finding]:
    """Index names that two statements create: with IF NOT EXISTS the second one silently makes none."""
    seen: dict[str, str] = {}
    findings: list[Finding] = []
    for migration in files.migrations:
        for piece in migration.pieces:
            place = f"{migration.file}:{piece.line}"
            if piece.words[:2] == ("DROP", "INDEX"):
                seen = {name: made for name, made in seen.items() if name.upper() not in piece.words}
            name = migration_files.index_name(piece)
            if name is None:
                continue
            if name in seen:
                findings.append(Finding("duplicate-index-name", place, f"{name} was made in {seen[name]} already"))
            seen[name] = place

    return findings


def _squawk(folder: Path) -> list[Finding]:
    program = shutil.which(
        "squawk", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if program is None:
        return [Finding("squawk", "migrations", "squawk is not installed", "skipped")]
    paths = sorted(str(path) for path in folder.glob("*.sql"))
    if not paths:
        return []
    settings = next(
        (parent / SQUAWK_SETTINGS for parent in folder.parents if (parent / SQUAWK_SETTINGS).exists()), None
    )
    command = [program, "--reporter", "json", "--assume-in-transaction"]
    command += ["--config", str(settings)] if settings else []
    answer = subprocess.run([*command, *paths], capture_output=True, timeout=SQUAWK_TIMEOUT_S, check=False)
    try:
        reports = msgspec.json.decode(answer.stdout or b"[]", type=list[SquawkReport])
    except msgspec.MsgspecError as exc:
        raise errors.MigrationFailed(f"squawk answered something unexpected: {answer.stderr.decode().strip()}") from exc

    return [
        Finding(f"squawk-{report.rule_name}", f"{Path(report.file).name}:{report.line + 1}", _said(report))
        for report in reports
    ]


def _said(report: SquawkReport) -> str:
    return f"{report.message} {report.help}" if report.help else report.message
