"""The doctor: a table of checks, each a question that finds what is wrong, and what to do about it.

A check changes nothing. Whatever it finds it names.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, Literal

import msgspec

from callmeback import errors
from callmeback.pg import statements
from callmeback.pg.pool import Database, Session
from callmeback.pg.statements import Statement

SQL: Final = statements.load("callmeback.ops", "doctor.sql")
PAYMENTS: Final = statements.load("callmeback.ops", "doctor_payments.sql")

# Objects that a verdict names; there may be more of them.
OBJECTS_MAX: Final = 20
# The proofs read whole tables; a check that takes longer says so instead of loading the server for ever.
CHECK_SECONDS_MAX: Final = 300.0
# The reaper ends silent calls within half a minute, and waits 15 minutes when the carrier is silent too.
STALE_AFTER: Final = timedelta(minutes=16)
# As long as drop_old_partitions() keeps cost events.
EVENTS_KEPT: Final = timedelta(days=90)

# What comes in waits for its object for seconds, a capture for a minute; past this somebody must look.
MONEY_WAITS: Final = timedelta(hours=1)
EVENTS_LOOKED_AT: Final = timedelta(days=31)
# The worker asks the provider about a plan two hours after its period, and again.
PLAN_SILENT: Final = timedelta(days=2)

Outcome = Literal["green", "red", "skipped"]


class Symptom(msgspec.Struct, frozen=True):
    """One thing that is wrong: an account, a call or a row by its id, and its figures."""

    object: str
    detail: str


class Check(msgspec.Struct, frozen=True):
    """A question, and the advice that goes with its answer. `question` gives no row where all is well."""

    name: str
    question: Statement
    advice: str
    parameters: Mapping[str, object] = {}


class Verdict(msgspec.Struct, frozen=True):
    """What a check found. `what_to_do` is empty when it is green; for a skipped one it says why."""

    area: str
    name: str
    verdict: Outcome
    objects: Sequence[Symptom]
    what_to_do: str


_STOP: Final = "Stop the services and keep a copy (`callmeback psql`, pg_dump) before anything else is written. "

AREAS: Final[Mapping[str, Sequence[Check]]] = {
    "money": (
        Check(
            "ledger equals balance",
            SQL.ledger_differs,
            _STOP
            + "Compare the account with its rows of credit_transactions; correct it by `callmeback users adjust`.",
        ),
        Check(
            "ledger without gaps",
            SQL.ledger_has_gaps,
            _STOP + "A row was removed past the triggers: restore the account's ledger from a backup.",
        ),
        Check(
            "ledger without breaks",
            SQL.ledger_is_broken,
            _STOP + "A row was changed past the triggers: restore it from a backup.",
        ),
        Check(
            "deducted at most once",
            SQL.deducted_twice,
            "Give the credits of the second row back: `callmeback users adjust`.",
        ),
        Check(
            "charged as held and written",
            SQL.charge_differs,
            "Compare the call with its row of credit_transactions; give back what is too much.",
        ),
        Check(
            "holds belong to open calls",
            SQL.hold_without_call,
            "Put the account's held_credits, the call's hold_open and open_calls in agreement by hand.",
        ),
        Check(
            "open calls are alive",
            SQL.stale_hold,
            "Is the worker running? It settles such calls: see its log, and whether the carrier answers.",
            {"stale_after": STALE_AFTER},
        ),
        Check(
            "breakdowns equal events",
            SQL.breakdown_differs,
            "Trust the breakdown: it is what was charged. The events of these calls are incomplete.",
            {"kept": EVENTS_KEPT},
        ),
        Check(
            "every month has a partition",
            SQL.event_without_month,
            "Is the worker running? It makes partitions daily. Move these rows out of call_cost_events_default first.",
        ),
        Check(
            "nothing is negative",
            SQL.negative,
            _STOP + "A constraint was switched off: see who did, and switch it on again.",
        ),
        Check(
            "months equal their calls",
            SQL.month_differs,
            "Set the account's spent_in_month_cents to the sum of its calls; its budget counts by it.",
        ),
        Check(
            "calls end with a settlement",
            SQL.unsettled,
            "Settle an ended call by `SELECT finish_call(…)`; only that function may end a call.",
        ),
    ),
    "payments": (
        Check(
            "no event was refused",
            PAYMENTS.event_refused,
            "Compare the event at the provider with our row; give credits or money back by hand where it was right.",
            {"looked_at": EVENTS_LOOKED_AT},
        ),
        Check(
            "events find their objects",
            PAYMENTS.event_unmatched,
            "Is it another installation's, on the same account? Else see at the provider what it speaks of.",
            {"waits": MONEY_WAITS, "looked_at": EVENTS_LOOKED_AT},
        ),
        Check(
            "what was set aside is settled",
            PAYMENTS.authorization_unsettled,
            "Is the worker running, and does the provider answer? It captures and lets go by itself.",
            {"waits": MONEY_WAITS},
        ),
        Check(
            "sealed days are intact",
            PAYMENTS.day_broken,
            _STOP + "A closed ledger was changed past the triggers: compare with a backup and the published hashes.",
        ),
        Check(
            "plans are heard of",
            PAYMENTS.plan_silent,
            "Is the worker running, and does the webhook arrive? See the plan at the provider.",
            {"silent": PLAN_SILENT},
        ),
        Check(
            "people are told of their budget",
            PAYMENTS.warning_untold,
            "Is the worker running, and do the mail server and the carrier answer? See its log.",
            {"waits": MONEY_WAITS},
        ),
    ),
}


async def examine(db: Database, areas: Sequence[str]) -> list[Verdict]:
    """Run the checks of these areas, in their order.

    A check without the privilege, or that takes longer than CHECK_SECONDS_MAX, is skipped and says so; any other
    error is raised.
    """
    return [await _examine(db, area, check) for area in areas for check in AREAS[area]]


async def _examine(db: Database, area: str, check: Check) -> Verdict:
    try:
        async with db.transaction(read_only=True, deadline_s=CHECK_SECONDS_MAX) as tx:
            found = await tx.all(check.question, Symptom, most=OBJECTS_MAX, **check.parameters)
    except errors.Forbidden:
        return Verdict(area, check.name, "skipped", (), "This role may not read what the check needs.")
    except errors.DeadlineExceeded:
        return Verdict(area, check.name, "skipped", (), f"It took longer than {CHECK_SECONDS_MAX:.0f} s.")

    return Verdict(area, check.name, "red" if found else "green", found, check.advice if found else "")


async def unproved_accounts(tx: Session) -> int:
    """Accounts whose ledger or hold doesn't add up: 0, or something is badly wrong. Reads the whole ledger."""
    number = await tx.value(SQL.unproved_accounts)
    assert isinstance(number, int), "count(*) is a number"

    return number
