"""The claim `month`: ten thousand people's month, then `books check` green and the vendor's totals ours to the cent.

The vendor is the simulator in this process, on its wire; the web process that takes its webhooks is `callmeback serve`,
over a server of its own that needn't survive a power cut. There is no peer: the claim is that the books close.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
from bench.api.__main__ import PATIENCE_S, POLL_S, free_port
from bench.month.story import Month, Result, Stage
from bench.start.__main__ import ROOT
from psycopg.rows import dict_row

from callmeback.pg import home, migrate, roles, server
from callmeback.pg.pool import Database
from callmeback.providers.stripe import Cashier, CashierConfig
from callmeback.providers.twilio import Carrier, CarrierConfig
from callmeback.simulator import PaymentsConfig, Simulator, SimulatorConfig, create
from callmeback.simulator.alone import serving

PEOPLE = 10_000
ACCOUNT, TOKEN, NUMBER = "AC5157a7ed0000000000000000000000ff", "t" * 32, "+12025550199"
# What the operator's page tells to subscribe to, as far as this vendor sends it.
EVENTS = (
    "checkout.session.completed", "checkout.session.expired", "invoice.paid", "invoice.payment_failed",
    "invoice_payment.paid", "customer.subscription.created", "customer.subscription.updated",
    "customer.subscription.deleted", "payment_intent.succeeded", "payment_intent.canceled", "refund.created",
    "refund.updated", "refund.failed", "charge.dispute.created", "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated", "charge.dispute.closed",
)  # fmt: skip
CARD = "voice-outbound|flux-general-en|gpt-oss-120b|eleven_flash_v2_5|qwen-3-235b-a22b-instruct-2507|espeak-ng"


def main() -> None:
    people = int(sys.argv[1]) if len(sys.argv) > 1 else PEOPLE
    place = Path(tempfile.mkdtemp(prefix="callmeback-month-"))
    place.chmod(0o711)
    os.environ.pop("DATABASE_URL", None)
    try:
        # What is proved is that the books close, not how fast a disk is.
        with server.start(place, durable=False, archive=False) as running:
            secret = home.generated_secrets(place)["role_secret"]
            asyncio.run(roles.ensure(running.superuser_dsn, secret))
            migrate.apply(running.owner_dsn)
            result = asyncio.run(live(running.owner_dsn, place, secret, people))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for finding in result.findings:
        print(f"{finding.verdict}: {finding.name}: {finding.summary} {list(finding.objects)}")
    report = {
        "claim": "month",
        "ratios": {},
        "figures": {
            **result.counts, "seconds": round(result.seconds, 1), "times_as_fast": round(result.times_as_fast),
            "books_green": int(result.is_green),
        },
    }  # fmt: skip
    print(json.dumps(report))
    if not result.is_green:
        raise SystemExit(1)


async def live(dsn: str, place: Path, role_secret: str, people: int) -> Result:
    """Start the vendor and the house, and let the month pass."""
    web_port, sim_port = free_port(), free_port()
    secret = "whsec_" + "m" * 32
    payments = PaymentsConfig(
        webhook_url=f"http://127.0.0.1:{web_port}/webhooks/stripe", webhook_secret=secret, webhook_events=EVENTS
    )
    simulator = Simulator(SimulatorConfig(account_sid=ACCOUNT, auth_token=TOKEN, number=NUMBER, payments=payments))
    base = f"http://127.0.0.1:{sim_port}/simulator"
    cashier = Cashier(CashierConfig(api_key=payments.api_key, webhook_secret=secret, base_url=f"{base}/payments"))
    carrier = Carrier(CarrierConfig(account_sid=ACCOUNT, auth_token=TOKEN, number=NUMBER, base_url=f"{base}/carrier"))
    environ = {
        "CALLMEBACK_HOME": str(place / "home"), "DATABASE_URL": dsn, "CALLMEBACK_PORT": str(web_port),
        "CALLMEBACK_ROLE_SECRET": role_secret, "STRIPE_API_KEY": payments.api_key, "STRIPE_WEBHOOK_SECRET": secret,
        "STRIPE_BASE_URL": f"{base}/payments",
    }  # fmt: skip
    async with serving(create(sim=simulator), sim_port):
        with house(environ, web_port):
            async with opened(dsn, role_secret) as (owner, api, worker):
                with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as hand:
                    stage = Stage(
                        owner=owner, api=api, worker=worker, hand=hand, cashier=cashier, carrier=carrier,
                        simulator=base, card=CARD, folder=place / "books",
                    )  # fmt: skip
                    return await Month(stage, people, lambda line: print(line, file=sys.stderr, flush=True)).run()


@contextlib.asynccontextmanager
async def opened(dsn: str, role_secret: str) -> AsyncIterator[tuple[Database, Database, Database]]:
    """The owner, and the roles of the web process and of the worker."""

    def pool(role: str) -> Database:
        address = dsn if role == roles.OWNER else roles.dsn_for(role, role_secret, dsn)
        return Database.open(address, name="month", max_size=8, wait_s=60.0, deadline_s=120.0)

    async with pool(roles.OWNER) as owner, pool(roles.API) as api, pool(roles.WORKER) as worker:
        yield owner, api, worker


@contextlib.contextmanager
def house(settings: dict[str, Any], port: int) -> Iterator[None]:
    """A running `callmeback serve`."""
    environ = {**os.environ, **settings, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen([sys.executable, "-m", "callmeback", "serve"], env=environ, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        # Without a worker and a proxy it is never ready as a whole; what matters here is that it listens.
        while not is_up(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("`callmeback serve` did not start")
            time.sleep(POLL_S)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def is_up(port: int) -> bool:
    """Whether the web process answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


if __name__ == "__main__":
    main()
