"""Sessions: who takes the connections, who waits for whom, who stands still."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from callmeback.ops.doctor.verdicts import Check, Finding, Patient, Skip
from callmeback.pg import reach, statements

SQL: Final = statements.load("callmeback.ops.doctor", "connections.sql")

# The specification's fix ends sessions that were idle for longer (section 14, too many connections).
IDLE_AFTER: Final = timedelta(minutes=10)
# Nothing of ours thinks for longer between two statements of a transaction.
TRANSACTION_IDLE_AFTER: Final = timedelta(seconds=5)
TRANSACTION_IDLE_RED: Final = timedelta(minutes=1)
LONG_AFTER: Final = timedelta(minutes=1)
LONG_RED: Final = timedelta(minutes=15)
SNAPSHOT_OLD_AFTER: Final = timedelta(minutes=30)
PREPARED_OLD_AFTER: Final = timedelta(minutes=5)
SLOT_AGE_MAX: Final = 10_000_000
WAIT_AFTER: Final = timedelta(seconds=2)
WAIT_RED: Final = timedelta(seconds=30)
DEADLOCKS_A_DAY: Final = 1
SPILT_BYTES_A_DAY: Final = 5 << 30
SLOW_MS: Final = 1_000
SLOW_CALLS_MIN: Final = 3

PROC: Final = Path("/proc")

_WORDS: Final = {
    "refused": "Nothing listens there: start `callmeback up` (or PostgreSQL), and see its log.",
    "silent": "It takes connections and doesn't answer. A stopped process? `ps -o pid,stat,cmd -C postgres`: state T.",
    "full": "Every connection is taken: `callmeback doctor connections --fix` ends the idle ones.",
    "password": "The password is another: is CALLMEBACK_ROLE_SECRET, or DATABASE_URL, of another installation?",
    "database": "The server is there, the database isn't. If there was one, `callmeback restore --in-place` (on a "
    "server of your own `--dump`) brings it back; otherwise make it, and then `callmeback migrate apply`.",
    "starting": "It starts or recovers; look again in a moment.",
}


async def answers(patient: Patient) -> Sequence[Finding]:
    """Whether a new connection gets in and is answered, as every service needs it."""
    problem = patient.closed
    if problem is None:
        return ()

    return [Finding(reach.address(patient.dsn), f"{problem.said} {_WORDS.get(problem.kind, '')}".strip(), True)]


async def stopped(patient: Patient) -> Sequence[Finding]:
    """Processes of the server that were stopped (SIGSTOP): no timeout of the server ends them."""
    async with patient.db.transaction(read_only=True) as tx:
        pids: list[int] = await tx.value(SQL.server_processes) or []
    seen = {pid: state for pid in pids if (state := _state(pid)) is not None}
    if pids and not seen:
        raise Skip("The server runs on another machine.")

    return [
        Finding(f"pid {pid}", f"is stopped (state T); it goes on by `kill -CONT {pid}`", True)
        for pid, state in seen.items()
        if state in "Tt"
    ]


def _state(pid: int) -> str | None:
    """The letter that Linux has for a process of PostgreSQL; None where there is no such process here."""
    try:
        name, _, rest = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")
    except OSError:
        return None

    return rest.split()[0] if "postgres" in name else None


async def counted(patient: Patient) -> Sequence[Finding]:
    """No finding; a Skip where statements aren't counted."""
    async with patient.db.transaction(read_only=True) as tx:
        if not await tx.value(SQL.has_statement_statistics):
            raise Skip("pg_stat_statements isn't installed in this database.")

    return ()


CHECKS: Final = (
    Check("the database answers", "Until it does, every request fails.", probe=answers, is_beside=True),
    Check(
        "connections are left",
        "`--fix` ends the idle ones. Sum the pools of all processes (CALLMEBACK_POOL_MAX) against max_connections.",
        SQL.connections_used,
    ),
    Check(
        "no session idles for long",
        "`--fix` ends them. Somebody's tool holds them: give it a pool with a limit.",
        SQL.idle_sessions,
        parameters={"idle_after": IDLE_AFTER},
        needs=("statistics",),
    ),
    Check(
        "no transaction idles",
        "`--fix` ends them. The program named forgot COMMIT, or waits for somebody inside a transaction.",
        SQL.idle_transactions,
        parameters={"idle_after": TRANSACTION_IDLE_AFTER, "red_after": TRANSACTION_IDLE_RED},
        needs=("statistics",),
    ),
    Check(
        "no statement runs for long",
        "See what it does (`callmeback inspect connections`); `SELECT pg_cancel_backend(PID)` stops it.",
        SQL.long_queries,
        parameters={"long_after": LONG_AFTER, "red_after": LONG_RED},
        needs=("statistics",),
    ),
    Check(
        "no snapshot is old",
        "As long as it lives nothing that was deleted or updated since is cleaned up: end the session, or the slot.",
        SQL.old_snapshots,
        parameters={"old_after": SNAPSHOT_OLD_AFTER, "prepared_after": PREPARED_OLD_AFTER, "slot_age": SLOT_AGE_MAX},
        needs=("statistics",),
    ),
    Check(
        "nobody waits for a lock",
        "The holder is named: let it finish, or end it by `SELECT pg_terminate_backend(PID)`.",
        SQL.lock_waits,
        parameters={"wait_after": WAIT_AFTER, "red_after": WAIT_RED},
        needs=("statistics",),
    ),
    Check(
        "no process is stopped",
        "Let it go on, or end it by `kill -CONT` and `SELECT pg_terminate_backend(PID)`; it holds what it locked.",
        probe=stopped,
    ),
    Check(
        "few deadlocks and spills",
        "Deadlocks: the server's log names the statements. Temporary files: `callmeback inspect statements` names who.",
        SQL.deadlocks_and_spills,
        parameters={"deadlocks_a_day": DEADLOCKS_A_DAY, "spilt_bytes_a_day": SPILT_BYTES_A_DAY},
    ),
    Check(
        "no statement is slow",
        "See its plan by EXPLAIN (ANALYZE, BUFFERS); `callmeback doctor schema storage` finds a missing index, old "
        "statistics and bloat.",
        SQL.slow_statements,
        probe=counted,
        parameters={"least_calls": SLOW_CALLS_MIN, "slow_ms": SLOW_MS},
        needs=("statistics",),
    ),
)
