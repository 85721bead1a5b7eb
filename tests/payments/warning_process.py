"""One round of budget warnings in a process of its own, which kills itself at its n-th step.

A step is each side of a commit and of a request to the mail server and the carrier.
"""

import asyncio
import json
import sys
from typing import Any

from tests.payments.crashing import Steps, say

from callmeback.payments import warnings
from callmeback.pg.pool import Database
from callmeback.providers.mail import MailConfig, Mailer
from callmeback.providers.twilio import Carrier, CarrierConfig


async def run(task: dict[str, Any]) -> int:
    """Warn whoever is to be warned; how many steps were passed."""
    steps = Steps(task["fatal"])
    carrier = Carrier(CarrierConfig(**task["carrier"]))
    mailer = Mailer(MailConfig(url=task["mails"], sender="noreply@example.org"))
    async with Database.open(task["dsn"], name="crashing") as db:
        await warnings.warn(steps.database(db), steps.vendor(mailer), steps.vendor(carrier), "http://127.0.0.1")
    await carrier.aclose()

    return steps.passed


if __name__ == "__main__":
    say(asyncio.run(run(json.loads(sys.argv[1]))))
