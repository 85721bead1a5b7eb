"""Calls and what comes with them: schedules, holds, webhooks, vendors. Whether something stands still."""

from datetime import timedelta
from typing import Final

from callmeback.ops.doctor.verdicts import Check, Finding
from callmeback.pg import statements

SQL: Final = statements.load("callmeback.ops.doctor", "calls.sql")

# Workers look every second; a restart of one takes seconds.
LATE_AFTER: Final = timedelta(minutes=2)
# The carrier repeats a webhook that failed within seconds.
WEBHOOKS_WITHIN: Final = timedelta(hours=1)
FAILURES_MIN: Final = 3
FAILURES_SHARE: Final = 0.2

CHECKS: Final = (
    Check(
        "planned calls are on time",
        "Is the worker running? `callmeback logs --service worker`.",
        SQL.overdue_schedules,
        shape=Finding,
        parameters={"late_after": LATE_AFTER},
    ),
    Check(
        "calls are dialled",
        "Is `serve` running, which dials? The carrier's pace is in dial_buckets.",
        SQL.undialled_calls,
        shape=Finding,
        parameters={"late_after": LATE_AFTER},
    ),
    Check(
        "calls end in time",
        "The carrier has the same limit: is the worker running, which asks it? Hang up at the carrier if it goes on.",
        SQL.endless_calls,
        shape=Finding,
        parameters={"late_after": LATE_AFTER},
    ),
    Check(
        "the carrier's webhooks arrive",
        "CALLMEBACK_PUBLIC_URL must be the address that the carrier reaches, and what signatures are made over: a "
        "forged or misdirected one is answered 403.",
        SQL.silent_carrier,
        shape=Finding,
        parameters={"within": WEBHOOKS_WITHIN, "late_after": LATE_AFTER},
    ),
    Check(
        "calls don't fail for the house's sake",
        "vendor_failed and dial_failed: the log of `serve` has the vendor and its code. lost: `serve` was killed.",
        SQL.failing_vendors,
        shape=Finding,
        parameters={"least": FAILURES_MIN, "share": FAILURES_SHARE},
    ),
)
