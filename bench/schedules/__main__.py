"""The claim `schedules`: claims with completion a second beside two peers, lateness, and a rule's cost.

Five interleaved rounds of four claimers on each of four queues: ours with 10,000 and with 1,000,000 calls to come, the
peers with 1,000,000. Then workers and diallers ring a hundred calls a second at a simulated carrier, and twenty at one
that takes one a second. The very last line is one object of JSON.
"""

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from bench.schedules import queues, ringing

from callmeback.domain import recurrence
from callmeback.pg import home, roles, server

ROUNDS = 5
SECONDS = 2.0
WARM_UP_SECONDS = 0.5
FEW = 10_000
MANY = 1_000_000
# More than any of them claims in one turn.
BACKLOG = {"ours": 80_000, "few": 80_000, "pgqueuer": 80_000, "procrastinate": 2_000}
RULES = ("FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=YEARLY")
RULE_CALLS = 2_000

Rates = dict[str, list[float]]


def main() -> None:
    place = Path(tempfile.mkdtemp(prefix="callmeback-schedules-"))
    place.chmod(0o711)
    os.environ.pop("DATABASE_URL", None)
    missing = queues.PEERS.install()
    try:
        with server.start(place) as running:
            secret = home.generated_secrets(place)["role_secret"]
            asyncio.run(roles.ensure(running.superuser_dsn, secret))
            rates = measure(prepare(running.superuser_dsn, missing is None))
            ring = queues.create(running.superuser_dsn, "ringing")
            figures = asyncio.run(ringing.measure(ring, secret))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if missing is not None:
        figures["peers_missing"] = missing
    figures["next_occurrence_us"] = next_occurrence_us()
    report(rates, figures)


def prepare(superuser_dsn: str, with_peers: bool) -> dict[str, queues.Queue]:
    made = {"ours": queues.ours(superuser_dsn, "ours", MANY), "few": queues.ours(superuser_dsn, "few", FEW)}
    for name in ("procrastinate", "pgqueuer") if with_peers else ():
        made[name] = queues.peer(superuser_dsn, name, MANY)
    for name, queue in made.items():
        queue.fill(BACKLOG[name] // 10, "-5 minutes")
        queue.settle()
        queue.rate(WARM_UP_SECONDS)
        say(f"{name} is loaded")

    return made


def measure(made: dict[str, queues.Queue]) -> Rates:
    rates: Rates = {name: [] for name in made}
    for number in range(ROUNDS):
        for name, queue in made.items():
            queue.fill(BACKLOG[name], "-5 minutes")
            rates[name].append(queue.rate(SECONDS))
        latest = ", ".join(f"{name} {found[-1]:.0f}/s" for name, found in rates.items())
        say(f"round {number + 1}: {latest}")

    return rates


def next_occurrence_us() -> dict[str, float]:
    """Microseconds for the next time of a rule that began ten years ago, the median of some thousand."""
    zone, begin = ZoneInfo("Europe/Berlin"), datetime(2016, 11, 1, 7)
    found = {}
    for rule in RULES:
        after, spent = datetime(2026, 11, 25, tzinfo=UTC), []
        for _ in range(RULE_CALLS):
            begun = time.perf_counter()
            recurrence.next_after(rule, begin, zone, after)
            spent.append(time.perf_counter() - begun)
            after += timedelta(hours=1)
        found[rule] = round(statistics.median(spent) * 1_000_000, 1)

    return found


def report(rates: Rates, figures: dict[str, object]) -> None:
    """Ratios are medians of the rounds' own, since the machine's speed drifts from one round to the next."""
    for name, found in rates.items():
        figures[f"{name}_claims_per_second"] = round(statistics.median(found), 1)
    figures["growth"] = round(
        statistics.median(few / many for few, many in zip(rates["few"], rates["ours"], strict=True)), 3
    )
    ratios = {
        f"{name}.claims": round(
            statistics.median(mine / theirs for mine, theirs in zip(rates["ours"], rates[name], strict=True)), 3
        )
        for name in rates
        if name not in ("ours", "few")
    }
    print(json.dumps({"claim": "schedules", "ratios": ratios, "figures": figures}))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
