"""The server itself: how it is set, who may do what to it, whether its version and its clock are of today."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from callmeback.ops.doctor.verdicts import Check, Facts, Finding, Patient
from callmeback.pg import binaries, statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.ops.doctor", "server.sql")

# PostgreSQL's versioning policy: the last release of each major version.
LAST_RELEASES: Final[Mapping[int, date]] = {
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
END_NEARS_BEFORE: Final = timedelta(days=90)
SKEW_S: Final = 2.0
SKEW_RED_S: Final = 30.0


async def facts_of(tx: Session) -> Facts:
    """What the checks must know before they ask."""
    return await tx.one(SQL.facts, Facts)


async def age_of(tx: Session) -> timedelta | None:
    """How long ago the installation began; None before its first migration."""
    age: timedelta | None = await tx.value(SQL.age)

    return age


async def clock(patient: Patient, now: Callable[[], float] = time.time) -> Sequence[Finding]:
    """How far the server's clock is from ours: tokens, holds and schedules compare the two."""
    async with patient.db.transaction(read_only=True, single=True) as tx:
        before = now()
        theirs: datetime = await tx.value(SQL.clock)
        after = now()
    # The answer was made at some moment between the two.
    skew = max(before - theirs.timestamp(), theirs.timestamp() - after, 0.0)
    if skew < SKEW_S:
        return ()
    direction = "behind" if theirs.timestamp() < before else "ahead of"

    return [Finding("clock", f"the server is {skew:.0f} s {direction} this machine", skew >= SKEW_RED_S)]


async def version(patient: Patient) -> Sequence[Finding]:
    """Whether the server's major version is one that we support and that still gets security fixes."""
    assert patient.facts is not None, "probes of this area need the database"
    major, today = patient.facts.major, datetime.now(UTC).date()
    last = LAST_RELEASES.get(major)
    if last is not None and last < today:
        return [Finding(f"PostgreSQL {major}", f"has had no fixes since {last}", True)]
    if not binaries.OLDEST_MAJOR <= major <= binaries.NEWEST_MAJOR:
        supported = f"{binaries.OLDEST_MAJOR} to {binaries.NEWEST_MAJOR}"
        return [Finding(f"PostgreSQL {major}", f"is none that this program was tested with ({supported})", False)]
    if last is not None and last < today + END_NEARS_BEFORE:
        return [Finding(f"PostgreSQL {major}", f"gets its last fixes on {last}", False)]

    return ()


CHECKS: Final = (
    Check(
        "settings are safe",
        "Take it out of postgresql.conf (or ALTER SYSTEM RESET it) and reload; fsync and pages need a restart.",
        SQL.unsafe_settings,
    ),
    Check(
        "nobody listens in",
        "listen_addresses = '127.0.0.1', or a certificate and ssl = on with hostssl in pg_hba.conf.",
        SQL.listening,
    ),
    Check(
        "nobody comes in without a password",
        "scram-sha-256 in pg_hba.conf, then SELECT pg_reload_conf().",
        SQL.trusted,
        needs=("superuser",),
    ),
    Check(
        "roles are as weak as can be",
        "Take it away: ALTER ROLE … NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS; REVOKE what it is a member of.",
        SQL.strong_roles,
    ),
    Check("no setting waits for a restart", "Restart the server when it suits.", SQL.pending_restart),
    Check(
        "extensions fit the server",
        "`--fix` updates them.",
        SQL.old_extensions,
    ),
    Check(
        "collations are as they were",
        "Until they are built anew rows can be missed: REINDEX DATABASE CONCURRENTLY, then REFRESH COLLATION VERSION.",
        SQL.other_collations,
    ),
    Check(
        "the version is supported",
        "Move to a newer major version: docs/howto/operate.md.",
        probe=version,
    ),
    Check(
        "the clocks agree",
        "Run an NTP client on both machines. Tokens, holds and schedules depend on it.",
        probe=clock,
    ),
)
