"""Money that comes in: events of the provider, what is set aside on cards, plans, sealed days, warnings."""

from datetime import timedelta
from typing import Final

from callmeback.ops.doctor.money import PROOF_SECONDS_MAX, STOP
from callmeback.ops.doctor.verdicts import Check, Finding, Symptom
from callmeback.pg import statements

SQL: Final = statements.load("callmeback.ops.doctor", "payments.sql")

# What comes in waits for its object for seconds, a capture for a minute; past this somebody must look.
MONEY_WAITS: Final = timedelta(hours=1)
EVENTS_LOOKED_AT: Final = timedelta(days=31)
# Of who could not be told, until the next month's warning has had its turn.
UNTOLD_LOOKED_AT: Final = timedelta(days=31)
# The worker asks the provider about a plan two hours after its period, and again.
PLAN_SILENT: Final = timedelta(days=2)

CHECKS: Final = (
    Check(
        "no event was refused",
        "Compare the event at the provider with our row; give credits or money back by hand where it was right.",
        SQL.event_refused,
        shape=Symptom,
        parameters={"looked_at": EVENTS_LOOKED_AT},
    ),
    Check(
        "events find their objects",
        "Is it another installation's, on the same account? Else see at the provider what it speaks of.",
        SQL.event_unmatched,
        shape=Symptom,
        parameters={"waits": MONEY_WAITS, "looked_at": EVENTS_LOOKED_AT},
    ),
    Check(
        "what was set aside is settled",
        "Is the worker running, and does the provider answer? It captures and lets go by itself.",
        SQL.authorization_unsettled,
        shape=Symptom,
        parameters={"waits": MONEY_WAITS},
    ),
    Check(
        "sealed days are intact",
        STOP + "A closed ledger was changed past the triggers: compare with a backup and the published hashes.",
        SQL.day_broken,
        shape=Symptom,
        seconds_max=PROOF_SECONDS_MAX,
    ),
    Check(
        "plans are heard of",
        "Is the worker running, and does the webhook arrive? See the plan at the provider.",
        SQL.plan_silent,
        shape=Symptom,
        parameters={"silent": PLAN_SILENT},
    ),
    Check(
        "people are told of their budget",
        "Is the worker running, and do the mail server and the carrier answer? See its log. A warning: the person's "
        "own mail server puts it off. The address (`callmeback users show`) may be wrong, or its mailbox full.",
        SQL.warning_untold,
        shape=Finding,
        parameters={"waits": MONEY_WAITS, "looked_at": UNTOLD_LOOKED_AT},
    ),
)
