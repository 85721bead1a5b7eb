"""The history written into a database by COPY, two tables at a time, and indexed afterwards, as a restore does."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import Final

import psycopg
from bench.access.history import LARGE, SMALL, Scale

PROCESSES: Final = 2
ROWS_A_CHUNK: Final = 5_000
CALLS_A_STEP: Final = 250_000
# Up to here a history is proved against every foreign key; the larger ones are made by the same lines.
PROVED_CALLS_MAX: Final = 1_000_000

# Of the tables with a row a call, in both directions.
FOREIGN_KEYS: Final = b"""
SELECT
    format('ALTER TABLE %%s DROP CONSTRAINT %%I', c.conrelid::regclass, c.conname),
    format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s NOT VALID', c.conrelid::regclass, c.conname,
        pg_get_constraintdef(c.oid)),
    format('ALTER TABLE %%s VALIDATE CONSTRAINT %%I', c.conrelid::regclass, c.conname)
FROM pg_constraint AS c
WHERE c.contype = 'f'
    AND (c.conrelid = ANY (%(tables)s::regclass[]) OR c.confrelid = ANY (%(tables)s::regclass[]))
"""
INDEXES: Final = b"""
SELECT
    format('ALTER TABLE %%s DROP CONSTRAINT %%I', c.conrelid::regclass, c.conname),
    format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid))
FROM pg_constraint AS c
WHERE c.contype IN ('p', 'u') AND c.conrelid = %(table)s::regclass
UNION ALL
SELECT format('DROP INDEX %%s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
FROM pg_index AS i
WHERE i.indrelid = %(table)s::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u'))
"""
# No trigger and no foreign key is asked for a row: the history is made to agree with itself.
SETTINGS: Final = "-c timezone=UTC -c session_replication_role=replica -c maintenance_work_mem=768MB"


def load(dsn: str, scale: Scale) -> None:
    """Write the history as the superuser `dsn`, into a database that is migrated and empty."""
    begun = time.monotonic()
    with psycopg.connect(dsn, autocommit=True, options=SETTINGS) as connection:
        keys = connection.execute(FOREIGN_KEYS, {"tables": list(LARGE)}).fetchall()
        for drop, _, _ in keys:
            connection.execute(drop)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as processes:
        running = [processes.submit(load_large, dsn, scale, table) for table in LARGE]
        running.append(processes.submit(load_small, dsn, scale))
        for task in wait(running).done:
            task.result()
    with psycopg.connect(dsn, autocommit=True, options=SETTINGS) as connection:
        for _, add, prove in keys:
            connection.execute(add)
            if scale.calls <= PROVED_CALLS_MAX:
                connection.execute(prove)
        # What a night's vacuum does: statistics, and which pages everybody may see.
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    say(f"{scale.calls:,} calls are loaded after {time.monotonic() - begun:.0f} s")


def load_large(dsn: str, scale: Scale, table: str) -> None:
    """One table with a row a call: rows first, in pages that are already frozen, indexes afterwards."""
    columns, rows = LARGE[table]
    begun = time.monotonic()
    with psycopg.connect(dsn, autocommit=True, options=SETTINGS) as connection:
        indexes = connection.execute(INDEXES, {"table": table}).fetchall()
        for drop, _ in indexes:
            connection.execute(drop)
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {table}".encode())
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FREEZE)".encode()) as copy:
                for first in range(0, scale.calls, CALLS_A_STEP):
                    last = min(first + CALLS_A_STEP, scale.calls)
                    lines = rows(scale, first, last)
                    while chunk := "".join(islice(lines, ROWS_A_CHUNK)):
                        copy.write(chunk)
                    progress(table, last, scale.calls, begun)
        for _, make in indexes:
            connection.execute(make)
        say(f"  {table}: {len(indexes)} indexes, {time.monotonic() - begun:.0f} s in all")


def load_small(dsn: str, scale: Scale) -> None:
    """The tables with a row a person or less."""
    with psycopg.connect(dsn, autocommit=True, options=SETTINGS) as connection:
        for number, (table, (columns, rows)) in enumerate(SMALL.items(), 1):
            with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
                lines = rows(scale)
                while chunk := "".join(islice(lines, ROWS_A_CHUNK)):
                    copy.write(chunk)
            say(f"  {table}: table {number} of the {len(SMALL)} smaller ones")


def progress(table: str, done: int, calls: int, begun: float) -> None:
    seconds = time.monotonic() - begun
    say(f"  {table}: {done:,} of {calls:,} calls ({100 * done // calls} %), {done / seconds:,.0f} a second")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
