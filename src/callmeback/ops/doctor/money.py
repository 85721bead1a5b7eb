"""The books: proofs that read whole tables. One that isn't green means that a rule of the database was gone around."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from callmeback.ops.doctor.verdicts import Check, Symptom
from callmeback.pg import statements
from callmeback.pg.statements import Statement

SQL: Final = statements.load("callmeback.ops.doctor", "money.sql")

# The proofs read whole tables; one that takes longer says so instead of loading the server for ever.
PROOF_SECONDS_MAX: Final = 300.0
# The reaper ends silent calls within half a minute, and waits 15 minutes when the carrier is silent too.
STALE_AFTER: Final = timedelta(minutes=16)
# As long as drop_old_partitions() keeps cost events.
EVENTS_KEPT: Final = timedelta(days=90)


def _proof(name: str, question: Statement, advice: str, parameters: Mapping[str, object] | None = None) -> Check:
    return Check(name, advice, question, shape=Symptom, parameters=parameters or {}, seconds_max=PROOF_SECONDS_MAX)


STOP: Final = "Stop the services and keep a copy (`callmeback psql`, pg_dump) before anything else is written. "

CHECKS: Final = (
    _proof(
        "ledger equals balance",
        SQL.ledger_differs,
        STOP + "Compare the account with its rows of credit_transactions; correct it by `callmeback users adjust`.",
    ),
    _proof(
        "ledger without gaps",
        SQL.ledger_has_gaps,
        STOP + "A row was removed past the triggers: restore the account's ledger from a backup.",
    ),
    _proof(
        "ledger without breaks",
        SQL.ledger_is_broken,
        STOP + "A row was changed past the triggers: restore it from a backup.",
    ),
    _proof(
        "deducted at most once",
        SQL.deducted_twice,
        "Give the credits of the second row back: `callmeback users adjust`.",
    ),
    _proof(
        "charged as held and written",
        SQL.charge_differs,
        "Compare the call with its row of credit_transactions; give back what is too much.",
    ),
    _proof(
        "holds belong to open calls",
        SQL.hold_without_call,
        "Put the account's held_credits, the call's hold_open and open_calls in agreement by hand.",
    ),
    _proof(
        "open calls are alive",
        SQL.stale_hold,
        "Is the worker running? It settles such calls: see its log, and whether the carrier answers.",
        {"stale_after": STALE_AFTER},
    ),
    _proof(
        "breakdowns equal events",
        SQL.breakdown_differs,
        "Trust the breakdown: it is what was charged. The events of these calls are incomplete.",
        {"kept": EVENTS_KEPT},
    ),
    _proof(
        "every month has a partition",
        SQL.event_without_month,
        "Is the worker running? It makes partitions daily. Move these rows out of call_cost_events_default first.",
    ),
    _proof(
        "nothing is negative",
        SQL.negative,
        STOP + "A constraint was switched off: see who did, and switch it on again.",
    ),
    _proof(
        "months equal their calls",
        SQL.month_differs,
        "Set the account's spent_in_month_cents to the sum of its calls; its budget counts by it.",
    ),
    _proof(
        "calls end with a settlement",
        SQL.unsettled,
        "Settle an ended call by `SELECT finish_call(…)`; only that function may end a call.",
    ),
)
