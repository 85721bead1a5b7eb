"""Migration files as they lie in `callmeback/sql/`: read, checked and refused here, before any server is asked.

`migrations/NNN_name.sql` run once, in order, and are never edited afterwards. `functions/`, `views/` and `access/` are
the repeatable set: applied together, in that order and by file name, whenever one of them changed.

A migration may carry marks in its comments, and a file of the repeatable set the second of them:

    -- callmeback: no-transaction
    -- callmeback: statement_timeout 60s, because the index is built over ten million rows
    -- callmeback: lock_timeout 10s, because nightly reports hold the table for some seconds
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors
from callmeback.pg import lexer

SQL_DIRECTORY: Final = Path(__file__).resolve().parent.parent / "sql"
REPEATABLE_FOLDERS: Final = ("functions", "views", "access")

# PyPI's figures (warehouse, docs/dev/development/database-migrations): short enough not to stop the site.
LOCK_TIMEOUT: Final = "4s"
STATEMENT_TIMEOUT: Final = "5s"
REASON_LENGTH_MIN: Final = 10

_FILE_NAME: Final = re.compile(r"(?P<version>\d{3})_(?P<name>[a-z][a-z0-9_]*)\.sql\Z")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}\Z")
_MARK: Final = re.compile(r"--\s*callmeback:\s*(?P<mark>.*?)\s*\Z")
_LIMIT: Final = re.compile(
    r"(?P<setting>lock_timeout|statement_timeout)\s+(?P<value>[1-9]\d*(?:ms|s|min|h)),\s*because\s+(?P<reason>.+)\Z"
)
_NO_TRANSACTION: Final = "no-transaction"
_LIMITS: Final = frozenset({"LOCK_TIMEOUT", "STATEMENT_TIMEOUT"})
_CONTROL: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"})
_CONTROL_PAIRS: Final = frozenset({("START", "TRANSACTION"), ("PREPARE", "TRANSACTION"), ("SET", "TRANSACTION")})


class Migration(msgspec.Struct, frozen=True):
    """One numbered file. `checksum` is SHA-256 of its text with LF line ends, in hex."""

    version: int
    name: str
    file: str
    checksum: str
    pieces: tuple[lexer.Piece, ...]
    in_transaction: bool
    lock_timeout: str
    statement_timeout: str


class Repeatable(msgspec.Struct, frozen=True):
    """One file of the repeatable set; `file` holds its folder too."""

    file: str
    checksum: str
    pieces: tuple[lexer.Piece, ...]
    statement_timeout: str


class Files(msgspec.Struct, frozen=True):
    """Everything that makes a database, in the order in which it is applied."""

    migrations: tuple[Migration, ...]
    repeatable: tuple[Repeatable, ...]


def read(directory: Path = SQL_DIRECTORY) -> Files:
    """Read and check the files below `directory`; raises MigrationFailed with the name of the file that is refused."""
    migrations = tuple(_migration(path) for path in _sql_files(directory / "migrations"))
    for number, migration in enumerate(migrations, 1):
        if number > 1 and migrations[number - 2].version == migration.version:
            raise errors.MigrationFailed(
                f"{migrations[number - 2].file} and {migration.file} have the same number; renumber the newer one."
            )
        if migration.version != number:
            raise errors.MigrationFailed(
                f"{migration.file} should have the number {number:03}: there is a gap before it."
            )
    repeatable = tuple(
        _repeatable(path, folder) for folder in REPEATABLE_FOLDERS for path in _sql_files(directory / folder)
    )

    return Files(migrations, repeatable)


def new(name: str, directory: Path = SQL_DIRECTORY) -> Path:
    """Create the next migration, empty but for its first comment; returns where it lies."""
    if not _NAME.match(name):
        raise errors.MigrationFailed(f"{name!r} is no name for a migration: small letters, digits and underscores.")
    version = len(read(directory).migrations) + 1
    path = directory / "migrations" / f"{version:03}_{name}.sql"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
        file.write(f"-- {name.replace('_', ' ').capitalize()}: what it changes, and why.\n")

    return path


def _sql_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []

    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _migration(path: Path) -> Migration:
    match = _FILE_NAME.match(path.name)
    if match is None:
        raise errors.MigrationFailed(f"{path.name} must be named like 012_what_it_does.sql.")
    text, pieces = _read(path, path.name)
    marks = _marks(text, path.name)
    if _NO_TRANSACTION in marks:
        _check_alone(pieces, path.name)

    return Migration(
        version=int(match["version"]),
        name=match["name"],
        file=path.name,
        checksum=_checksum(text),
        pieces=pieces,
        in_transaction=_NO_TRANSACTION not in marks,
        lock_timeout=marks.get("lock_timeout", LOCK_TIMEOUT),
        statement_timeout=marks.get("statement_timeout", STATEMENT_TIMEOUT),
    )


def _repeatable(path: Path, folder: str) -> Repeatable:
    file = f"{folder}/{path.name}"
    if path.suffix != ".sql":
        raise errors.MigrationFailed(f"{file} is no .sql file.")
    text, pieces = _read(path, file)
    marks = _marks(text, file)
    if set(marks) - {"statement_timeout"}:
        raise errors.MigrationFailed(
            f"{file}: the repeatable set is one transaction that waits as long for each lock: only statement_timeout "
            "can be said for a file of it."
        )

    return Repeatable(file, _checksum(text), pieces, marks.get("statement_timeout", STATEMENT_TIMEOUT))


def _read(path: Path, file: str) -> tuple[str, tuple[lexer.Piece, ...]]:
    try:
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        pieces = tuple(lexer.pieces(text))
    except (UnicodeDecodeError, lexer.UnfinishedText) as exc:
        raise errors.MigrationFailed(f"{file}: {exc}") from exc
    for piece in pieces:
        _refuse_control(piece, file)

    return text, pieces


def _refuse_control(piece: lexer.Piece, file: str) -> None:
    """The runner owns the transaction and the limits (docs/differences.md, d11)."""
    if piece.words[:1] and (piece.words[0] in _CONTROL or piece.words[:2] in _CONTROL_PAIRS):
        raise errors.MigrationFailed(
            f"{file}:{piece.line}: {piece.words[0]} is refused. The runner opens and commits the transaction; "
            "for a statement that can't run in one, mark the file with `-- callmeback: no-transaction`."
        )
    if piece.words[:1] in (("SET",), ("RESET",)) and _LIMITS.intersection(piece.words[1:3]):
        raise errors.MigrationFailed(
            f"{file}:{piece.line}: say `-- callmeback: statement_timeout 60s, because …` instead of setting it."
        )


def _check_alone(pieces: tuple[lexer.Piece, ...], file: str) -> None:
    """Without a transaction a half-done file can only be repeated whole, so it holds one statement that can be."""
    if len(pieces) != 1:
        raise errors.MigrationFailed(
            f"{file} is marked no-transaction, so it must hold exactly one statement, not {len(pieces)}: "
            "only then a failure leaves nothing half-done. Give each its own file."
        )
    words = pieces[0].words
    if "CONCURRENTLY" in words and words[0] == "CREATE":
        if "EXISTS" in words:
            raise errors.MigrationFailed(
                f"{file}: leave IF NOT EXISTS out. It would take the broken index of a failed attempt for a good one."
            )
        if index_name(pieces[0]) is None:
            raise errors.MigrationFailed(f"{file}: give the index a name, so that a failed attempt can be cleaned up.")


def index_name(piece: lexer.Piece) -> str | None:
    """The name in CREATE [UNIQUE] INDEX [CONCURRENTLY] [IF NOT EXISTS] name ON …, None for anything else."""
    kept = [token for token in lexer.tokens(piece.text) if token.kind in ("word", "quoted")]
    words = [token.text.upper() for token in kept]
    if words[:2] == ["CREATE", "UNIQUE"]:
        words, kept = words[1:], kept[1:]
    if words[:2] != ["CREATE", "INDEX"] and words[:2] != ["UNIQUE", "INDEX"]:
        return None
    rest = kept[2:]
    if rest and rest[0].text.upper() == "CONCURRENTLY":
        rest = rest[1:]
    if [token.text.upper() for token in rest[:3]] == ["IF", "NOT", "EXISTS"]:
        rest = rest[3:]
    if not rest or rest[0].text.upper() == "ON":
        return None

    return rest[0].text[1:-1].replace('""', '"') if rest[0].kind == "quoted" else rest[0].text.lower()


def _marks(text: str, file: str) -> dict[str, str]:
    """The marks of a file: `no-transaction`, and limits with their values. A limit without a reason is refused."""
    found: dict[str, str] = {}
    for token in lexer.tokens(text):
        match = _MARK.match(token.text) if token.kind == "comment" else None
        if match is None:
            continue
        limit = _LIMIT.match(match["mark"])
        if match["mark"] == _NO_TRANSACTION:
            found[_NO_TRANSACTION] = ""
        elif limit is not None and len(limit["reason"]) >= REASON_LENGTH_MIN:
            found[limit["setting"]] = limit["value"]
        else:
            raise errors.MigrationFailed(
                f"{file}:{token.line}: {match['mark']!r} is no mark; it is `no-transaction`, or "
                "`statement_timeout 60s, because …` or `lock_timeout 10s, because …` with the reason."
            )

    return found


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
