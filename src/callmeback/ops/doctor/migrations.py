"""The schema against the files of this program: what is missing, what contradicts, what didn't end."""

import asyncio
from collections.abc import Sequence
from typing import Final

from callmeback.ops.doctor import serverlog
from callmeback.ops.doctor.verdicts import Check, Finding, Patient, Skip
from callmeback.pg import migrate, schema_names, statements
from callmeback.pg.migrate import Status
from callmeback.pg.schema_names import Thing

SQL: Final = statements.load("callmeback.ops.doctor", "migrations.sql")

_OF_COLUMNS: Final = {"NOT NULL": "takes NULL", "default": "has no default"}
_SENTENCES: Final = {
    "pending": "was not applied",
    "running": "was begun and didn't end",
    "edited": "was edited after it was applied",
    "unknown": "was applied by another program than this one",
}


async def files(patient: Patient) -> Sequence[Finding]:
    """Migrations and functions that this program has and the database hasn't."""
    status = await _status(patient)

    return [
        Finding(file.file, _SENTENCES[file.state], True)
        for file in (*status.migrations, *status.repeatable)
        if file.state == "pending"
    ]


async def drift(patient: Patient) -> Sequence[Finding]:
    """Migrations that the database has otherwise than this program, or that this program doesn't have."""
    status = await _status(patient)

    return [
        # A newer database serves an older program: migrations only add.
        Finding(file.file, _SENTENCES[file.state], file.state == "edited")
        for file in status.migrations
        if file.state in ("edited", "unknown")
    ]


async def unfinished(patient: Patient) -> Sequence[Finding]:
    """Migrations outside a transaction that began and didn't end, with who runs them now."""
    status = await _status(patient)
    running = [file for file in status.migrations if file.state == "running"]
    if not running:
        return ()
    holder = await asyncio.to_thread(migrate.holder, patient.dsn)

    return [
        Finding(
            file.file,
            f"began at {file.applied_at:%Y-%m-%d %H:%M:%S} UTC, and "
            + (f"is being run by {holder}" if holder else "nobody runs it any more"),
            holder is None,
        )
        for file in running
    ]


async def failed(patient: Patient) -> Sequence[Finding]:
    """What the runner was told, as long as something is still to be applied."""
    status = await _status(patient)
    if status.is_current:
        return ()

    return await serverlog.failed_migrations(patient)


async def lost(patient: Patient) -> Sequence[Finding]:
    """What the migrations made and somebody removed or changed; parts of what is gone aren't named one by one."""
    status = await _status(patient)
    if not status.is_current:
        raise Skip("Not everything is applied as this program has it: see the checks before this one.")
    expected = await asyncio.to_thread(schema_names.expected)
    async with patient.db.transaction(read_only=True) as tx:
        present = frozenset(await tx.all(SQL.things, Thing))
    missing = expected - present
    gone = {thing.name for thing in missing if thing.kind in ("table", "function")}
    gone |= {f"{thing.part_of} {thing.name}" for thing in missing if thing.kind == "column"}

    return [
        _said(thing)
        for thing in sorted(missing, key=_weight)
        if thing.part_of not in gone and (thing.kind not in _OF_COLUMNS or f"{thing.part_of} {thing.name}" not in gone)
    ]


def _said(thing: Thing) -> Finding:
    if thing.kind == "text":
        return Finding(f"function {thing.part_of}", "isn't as the files have it", True)
    if thing.kind in _OF_COLUMNS:
        return Finding(f"column {thing.name}", f"of {thing.part_of} {_OF_COLUMNS[thing.kind]}", True)

    return Finding(
        f"{thing.kind} {thing.name}", "is missing" if thing.part_of is None else f"of {thing.part_of} is missing", True
    )


def _weight(thing: Thing) -> tuple[bool, bool, Thing]:
    """Tables first, then what stands by itself, for what belongs to a table often went with another one."""
    return thing.kind != "table", thing.part_of is not None, thing


async def _status(patient: Patient) -> Status:
    if patient.facts is None:
        raise Skip("The database doesn't answer.")

    return await asyncio.to_thread(migrate.status, patient.dsn)


CHECKS: Final = (
    Check("every migration is applied", "`callmeback migrate apply`; before a new program starts.", probe=files),
    Check(
        "the files are those that were applied",
        "Put the file's old text back and write the next number. Unknown: this program is older than the database.",
        probe=drift,
    ),
    Check(
        "no migration is unfinished",
        "`callmeback migrate apply` drops what it left and repeats it. While one runs: see `nobody waits for a lock`.",
        probe=unfinished,
    ),
    Check(
        "the schema is as the migrations made it",
        "A table: `callmeback restore --dump ID --table NAME`, rows in a table: `restore rows` (see the runbook). A "
        "function, view, trigger or policy: `callmeback psql -c 'DELETE FROM schema_repeatable'`, then `callmeback "
        "migrate apply`. A column, index or constraint: by its line in sql/schema.sql. Find out who did it.",
        probe=lost,
    ),
    Check(
        "no migration failed lately",
        "Nothing of it was kept. `callmeback migrate apply` names the file and the line; `migrate lint` tries it out.",
        probe=failed,
    ),
)
