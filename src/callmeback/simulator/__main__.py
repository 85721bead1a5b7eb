"""`python -m callmeback.simulator --port N`: the simulated vendors alone, for benchmarks."""

import argparse
import asyncio
import contextlib
import os

from callmeback.simulator.alone import run
from callmeback.simulator.app import create
from callmeback.simulator.payments.account import PaymentsConfig
from callmeback.simulator.state import SimulatorConfig


def main() -> None:
    """Serve until interrupted. The vendors' accounts come from the usual settings, so that both sides agree on them."""
    parser = argparse.ArgumentParser(prog="python -m callmeback.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--calls-per-second", type=float, default=None, help="of the carrier's queue; none by default")
    parser.add_argument("--ring-seconds", type=float, default=1.0)
    parser.add_argument("--webhook-url", default=None, help="where events of payments are sent; nowhere by default")
    parser.add_argument("--seed", type=int, default=None, help="makes the ids of payments the same in every run")
    options = parser.parse_args()
    usual = SimulatorConfig()
    payments = PaymentsConfig(
        api_key=os.environ.get("STRIPE_API_KEY") or usual.payments.api_key,
        webhook_secret=os.environ.get("STRIPE_WEBHOOK_SECRET") or usual.payments.webhook_secret,
        webhook_url=options.webhook_url,
        seed=options.seed,
    )
    config = SimulatorConfig(
        account_sid=os.environ.get("TWILIO_ACCOUNT_SID") or usual.account_sid,
        auth_token=os.environ.get("TWILIO_AUTH_TOKEN") or usual.auth_token,
        number=os.environ.get("TWILIO_PHONE_NUMBER") or usual.number,
        calls_per_second=options.calls_per_second,
        ring_seconds=options.ring_seconds,
        payments=payments,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(create(config), options.port))


if __name__ == "__main__":
    main()
