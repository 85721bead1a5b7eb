"""One flow of payments in a process of its own, which kills itself at its n-th step.

A step is each side of a commit and of a request to the vendor; the last word on the output is how many were passed.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from callmeback.domain import calls
from callmeback.domain.calls import CallOrder
from callmeback.domain.payments import PackOrder
from callmeback.domain.plans import PlanOrder
from callmeback.payments import checkout, events, payg, upkeep
from callmeback.payments.checkout import Desk
from callmeback.pg.pool import Database, Session
from callmeback.providers import stripe_events
from callmeback.providers.stripe import Cashier, CashierConfig


class Steps:
    """Counts steps; at the one that was named this process is gone, as by kill -9."""

    def __init__(self, fatal: int) -> None:
        self.passed = 0
        self._fatal = fatal

    def step(self) -> None:
        self.passed += 1
        if self.passed == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def vendor(self, cashier: Cashier) -> Any:
        """The vendor with a step before each request and after its answer."""
        steps = self

        class Watched:
            config = cashier.config

            def __getattr__(self, name: str) -> Any:
                ask: Callable[..., Awaitable[Any]] = getattr(cashier, name)

                async def asked(*args: Any, **named: Any) -> Any:
                    steps.step()
                    answer = await ask(*args, **named)
                    steps.step()
                    return answer

                return asked

        return Watched()

    def database(self, db: Database) -> Any:
        """The database with a step before each commit and after it."""
        steps = self

        class Watched:
            @asynccontextmanager
            async def transaction(self, *args: Any, **named: Any) -> AsyncIterator[Session]:
                async with db.transaction(*args, **named) as tx:
                    yield tx
                    steps.step()
                steps.step()

        return Watched()


async def run(task: dict[str, Any]) -> int:
    """Run a flow to its end, or to its fatal step; how many steps were passed."""
    steps = Steps(task["fatal"])
    cashier = Cashier(CashierConfig(api_key=task["key"], webhook_secret="", base_url=task["vendor"]))
    async with Database.open(task["dsn"], name="crashing") as db:
        watched = steps.database(db)
        desk = Desk(steps.vendor(cashier), lambda: watched.transaction(task["user"]), task["user"], "http://127.0.0.1")
        await FLOWS[task["flow"]](desk, watched, task)
    await cashier.aclose()

    return steps.passed


def say(word: object) -> None:
    """To whoever started us."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def buy(desk: Desk, _db: Any, task: dict[str, Any]) -> None:
    page = await checkout.buy_pack(desk, PackOrder(sku="minutes_25", coupon="ONCE"))
    say(page.session_id)


async def subscribe(desk: Desk, _db: Any, task: dict[str, Any]) -> None:
    page = await checkout.choose_plan(desk, PlanOrder(tier="basic"))
    say(page.session_id)


async def upgrade(desk: Desk, _db: Any, task: dict[str, Any]) -> None:
    await checkout.choose_plan(desk, PlanOrder(tier="premium"))


async def cancel(desk: Desk, _db: Any, task: dict[str, Any]) -> None:
    await checkout.cancel_plan(desk)


async def call(desk: Desk, _db: Any, task: dict[str, Any]) -> None:
    async def start(tx: Session, authorization: str) -> Any:
        return await calls.place(
            tx, task["user"], CallOrder(persona_id="brad"), phone_number=task["phone"], timezone="UTC",
            card=task["card"], authorization_id=authorization,
        )  # fmt: skip

    await payg.pay_call(desk, "brad", None, start)


async def settle(desk: Desk, db: Any, _task: dict[str, Any]) -> None:
    await upkeep.settle(db, desk.cashier)


async def receive(_desk: Desk, db: Any, task: dict[str, Any]) -> None:
    await events.receive(db, stripe_events.event_of(task["event"]))


async def catch_up(desk: Desk, db: Any, _task: dict[str, Any]) -> None:
    await events.catch_up(db, desk.cashier, datetime.now(UTC))


FLOWS: dict[str, Callable[[Desk, Any, dict[str, Any]], Awaitable[None]]] = {
    flow.__name__: flow for flow in (buy, subscribe, upgrade, cancel, call, settle, receive, catch_up)
}

if __name__ == "__main__":
    say(asyncio.run(run(json.loads(sys.argv[1]))))
