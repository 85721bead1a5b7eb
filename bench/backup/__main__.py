"""The claim `backup`: a database of 1 GB backed up, changed by one percent, restored, and one deleted row brought back.

The peer is `cp` of the same files, which neither packs nor seals nor checks nor flushes anything, and which finds them
in the page cache. Five interleaved rounds, medians, one line of JSON at the end.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psycopg

from callmeback.ops import backup_site, backup_take, restore, restore_rows
from callmeback.ops.backup_site import Site
from callmeback.pg import server
from callmeback.settings import Settings

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
# 1 GB of rows that pack about as well as calls and transcripts do.
ROWS = 1_250_000
CHANGED_PERCENT = 1


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="callmeback-bench-backup-"))
    home.chmod(0o711)
    figures: dict[str, list[float]] = defaultdict(list)
    try:
        with server.start(home) as running:
            fill(running.superuser_dsn)
            for number in range(ROUNDS):
                site = backup_site.open_site(Settings(home=home), make=True)
                measure(site, running, home, number, figures)
                print(f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.2f}" for k, v in figures.items()), flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    medians = {name: round(statistics.median(values), 3) for name, values in figures.items()}
    ratios = {
        "cp.backup": round(medians["cp_seconds"] / medians["full_seconds"], 3),
        "cp.restore": round(medians["cp_seconds"] / medians["restore_seconds"], 3),
    }
    print(json.dumps({"claim": "backup", "ratios": ratios, "figures": medians}))


def fill(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE talks (id integer PRIMARY KEY, at timestamptz NOT NULL, said text NOT NULL)")
        connection.execute(
            "INSERT INTO talks SELECT n, now(), (SELECT string_agg(md5((random() * 4000000)::integer::text), ' ')"
            " FROM generate_series(1, 22 + n %% 2)) FROM generate_series(1, %s) AS n",
            (ROWS,),
        )
        connection.execute("VACUUM ANALYZE talks")
        connection.execute("CHECKPOINT")


def measure(site: Site, running: server.Server, home: Path, number: int, figures: dict[str, list[float]]) -> None:
    dsn = running.superuser_dsn
    begun = time.monotonic()
    whole = backup_take.take(site, "full")
    figures["full_seconds"].append(time.monotonic() - begun)
    figures["full_mb"].append(whole.stored_bytes / 1e6)
    figures["database_mb"].append(whole.database_bytes / 1e6)
    target = home / "restored"
    begun = time.monotonic()
    restore.into(site, None, target)
    figures["restore_seconds"].append(time.monotonic() - begun)
    figures["restore_mb_per_second"].append(whole.database_bytes / 1e6 / figures["restore_seconds"][-1])
    # A restore leaves little in the page cache: `cp` needn't wait for the disk either.
    subprocess.run(
        ["cat", *(path for path in target.rglob("*") if path.is_file())], stdout=subprocess.DEVNULL, check=True
    )
    begun = time.monotonic()
    subprocess.run(["cp", "-a", target, home / "copied"], check=True)
    figures["cp_seconds"].append(time.monotonic() - begun)
    shutil.rmtree(target)
    shutil.rmtree(home / "copied")
    change(dsn, number)
    begun = time.monotonic()
    part = backup_take.take(site, "incremental")
    assert part.parent == whole.id
    figures["incremental_seconds"].append(time.monotonic() - begun)
    figures["incremental_percent_of_full"].append(100 * part.stored_bytes / whole.stored_bytes)
    figures["row_seconds"].append(bring_one_row_back(site, dsn, number))
    shutil.rmtree(home / "backups")


def change(dsn: str, number: int) -> None:
    """One percent of the rows, beside one another as those of the last hours are."""
    first = ROWS * (number + 1) // (ROUNDS + 1)
    last = first + ROWS * CHANGED_PERCENT // 100
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE talks SET at = clock_timestamp() WHERE id BETWEEN %s AND %s", (first, last))


def bring_one_row_back(site: Site, dsn: str, number: int) -> float:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        connection.execute("DELETE FROM talks WHERE id = %s", (number + 1,))
    begun = time.monotonic()
    moved = restore_rows.rows(site, "talks", f"id = {number + 1}", row[0])
    assert (moved.found, moved.restored) == (1, 1)

    return time.monotonic() - begun


if __name__ == "__main__":
    main()
