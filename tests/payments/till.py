"""What the tests of payments do again and again: buy, subscribe, call, and hand an event to the database."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg
from tests.money import proofs

USER: Final = "user_1"
PHONE: Final = "+12025550123"
CARD: Final = "voice-outbound|flux-general-en|gpt-oss-120b|eleven_flash_v2_5|qwen-3-235b-a22b-instruct-2507|espeak-ng"
# Of yesterday, so that what happens then is past and a plan that begins then is in force.
NOON: Final = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
MONTH: Final = timedelta(days=30)
PRICES: Final = {"basic": 999, "premium": 2999, "unlimited": 9999}

Books = psycopg.Connection[dict[str, Any]]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the provider's module hands it on."""

    id: str
    type: str
    facts: dict[str, Any]
    at: datetime = NOON


class Till(msgspec.Struct, frozen=True):
    """The database's side of payments for one person."""

    books: Books
    numbers: Iterator[int]

    def row(self, sql: str, *params: object) -> dict[str, Any]:
        found = self.books.execute(sql, params).fetchone()
        assert found is not None, sql

        return found

    def account(self) -> tuple[int, int, int]:
        """Available, held and owed credits."""
        row = self.row(
            "SELECT available_credits, held_credits, debt_credits FROM user_credits WHERE user_id = %s", USER
        )

        return row["available_credits"], row["held_credits"], row["debt_credits"]

    def ledger(self) -> list[tuple[str, int]]:
        """Cause and amount of every row."""
        rows = self.books.execute(
            "SELECT cause, amount FROM credit_transactions WHERE user_id = %s ORDER BY seq", (USER,)
        )

        return [(row["cause"], row["amount"]) for row in rows]

    def apply(self, event: Event) -> tuple[str, str]:
        """Hand an event over; its state and effect."""
        row = self.row(
            "SELECT state, effect FROM apply_payment_event(%s, %s, %s, %s, %s)",
            event.id, event.type, event.at, json.dumps(event.facts), json.dumps({"id": event.id}),
        )  # fmt: skip

        return row["state"], row["effect"]

    def begin(self, sku: str = "minutes_25", coupon: str | None = None) -> str:
        """What somebody wants to buy, before the provider is asked."""
        purchase = f"pur_{next(self.numbers)}"
        self.books.execute("SELECT begin_purchase(%s, %s, %s, %s)", (USER, purchase, sku, coupon))

        return purchase

    def paid(self, purchase: str, /, **changes: Any) -> Event:
        """The event that a checkout of it was paid."""
        number = next(self.numbers)
        amount = self.row("SELECT amount_cents FROM purchases WHERE id = %s", purchase)["amount_cents"]
        facts = {
            "kind": "session", "id": f"cs_{purchase}", "mode": "payment", "user_id": USER, "reference": purchase,
            "status": "complete", "payment_status": "paid", "amount_cents": int(amount), "currency": "usd",
            "payment_intent": f"pi_{purchase}", "customer": "cus_1",
        }  # fmt: skip

        return Event(id=f"evt_{number}", type="checkout.session.completed", facts=facts | changes)

    def bought(self, sku: str = "minutes_25") -> str:
        """A pack that is paid."""
        purchase = self.begin(sku)
        assert self.apply(self.paid(purchase)) == ("applied", "purchase_completed")

        return purchase

    def refund(self, intent: str, cents: int, refund: str | None = None, /, **changes: Any) -> Event:
        """The event that money was given back."""
        number = next(self.numbers)
        facts = {
            "kind": "refund", "id": refund or f"re_{number}", "payment_intent": intent, "amount_cents": cents,
            "currency": "usd", "status": "succeeded",
        }  # fmt: skip

        return Event(id=f"evt_{number}", type="refund.created", facts=facts | changes)

    def dispute(self, intent: str, cents: int, what: str, status: str, dispute: str = "dp_1") -> Event:
        """An event of a dispute: created, funds_withdrawn, funds_reinstated, closed."""
        facts = {
            "kind": "dispute", "id": dispute, "payment_intent": intent, "amount_cents": cents, "currency": "usd",
            "status": status, "reason": "fraudulent",
        }  # fmt: skip

        return Event(id=f"evt_{next(self.numbers)}", type=f"charge.dispute.{what}", facts=facts)

    def subscribe(self, tier: str = "basic") -> str:
        """Which plan somebody wants, before the provider is asked."""
        subscription = f"plan_{next(self.numbers)}"
        self.books.execute("SELECT begin_subscription(%s, %s, %s)", (USER, subscription, tier))

        return subscription

    def invoice(self, subscription: str, tier: str, start: datetime = NOON, /, **changes: Any) -> Event:
        """The event that a period of a plan was paid."""
        number = next(self.numbers)
        facts = {
            "kind": "invoice", "id": f"in_{subscription}_{start:%m%d%H}", "subscription": f"sub_{subscription}",
            "reference": subscription, "user_id": USER, "tier": tier, "status": "paid", "reason": "subscription_cycle",
            "amount_cents": PRICES[tier], "currency": "usd", "period_start": int(start.timestamp()),
            "period_end": int((start + MONTH).timestamp()), "payment_intent": f"pi_in_{subscription}_{start:%m%d%H}",
            "customer": "cus_1",
        }  # fmt: skip

        return Event(id=f"evt_{number}", type="invoice.paid", at=start, facts=facts | changes)

    def plan(self, subscription: str, what: str, at: datetime, /, **changes: Any) -> Event:
        """An event of the subscription itself: created, updated, deleted."""
        facts = {
            "kind": "subscription", "id": f"sub_{subscription}", "subscription": f"sub_{subscription}",
            "reference": subscription, "user_id": USER, "status": "active", "cancel_at_period_end": False,
        }  # fmt: skip

        return Event(id=f"evt_{next(self.numbers)}", type=f"customer.subscription.{what}", at=at, facts=facts | changes)

    def tier(self) -> tuple[str, str | None]:
        row = self.row("SELECT subscription_tier, subscription_status FROM user_credits WHERE user_id = %s", USER)

        return row["subscription_tier"], row["subscription_status"]

    def call(self, call: str = "call_1") -> None:
        """Begin a call."""
        self.books.execute(
            "SELECT start_call(%s, %s, 'brad', %s, %s, %s)", (call, USER, PHONE, CARD, datetime.now(UTC).date())
        )

    def hang_up(self, call: str = "call_1", seconds: int = 60) -> None:
        """Settle a call."""
        self.books.execute("SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, %s)", (USER, call, seconds))

    def proved(self) -> None:
        """The books are in order."""
        assert proofs.broken(self.books, proofs.ALWAYS) == {}
