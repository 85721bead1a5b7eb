"""One account through any sequence of steps: the database and `account_model.py` never disagree, and every proof holds
after each sequence.
"""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row
from tests.money import proofs
from tests.money.account_model import TIERS, Account, Call, Refused, Usage
from tests.money.hammer import CARD

Connection = psycopg.Connection[dict[str, Any]]

USER, PHONE = "user_1", "+12025550123"
EVER = settings(deadline=None, suppress_health_check=list(HealthCheck))

usages = st.builds(
    Usage,
    seconds=st.one_of(st.integers(0, 400), st.sampled_from((0, 59, 60, 61, 120, 3600))),
    tokens_in=st.integers(0, 100_000),
    tokens_out=st.integers(0, 10_000),
    characters=st.integers(0, 20_000),
)
seqs = st.integers(1, 8)
cents = st.sampled_from([Decimal(value) for value in ("0", "3.07", "3.08", "20", "37.5", "1000", "10000")])
bodies = st.sampled_from((b"one", b"one", b"two"))


class AccountMachine(RuleBasedStateMachine):
    """Each rule does the same to both; each refusal must be the model's."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.books = connection
        self.model = Account()
        self.numbers = 0

    def one(self, query: str, *parameters: object) -> dict[str, Any]:
        row = self.books.execute(query, parameters).fetchone()
        assert row is not None

        return row

    def calls(self) -> list[Call]:
        """The newest first, the open one among them."""
        return list(reversed(self.model.calls.values()))[:3]

    @initialize(tier=st.sampled_from(("basic", "premium", *TIERS)), credits=st.integers(1, 40))
    def open_account(self, tier: str, credits: int) -> None:
        self.change_tier(tier)
        self.move(credits, "purchase:first")

    @rule(
        zone=st.sampled_from((-1, 0, 0, 0, 1)),
        requested=st.one_of(st.none(), st.sampled_from((9, 10, 59, 60, 61, 250, 5000))),
        key=st.one_of(st.none(), st.sampled_from(("a", "b", "c"))),
        body=bodies,
    )
    def start(self, zone: int, requested: int | None, key: str | None, body: bytes) -> None:
        self.numbers += 1
        call_id = f"call_{self.numbers}"
        day = self.one("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS day")["day"] + timedelta(zone)

        def ask() -> dict[str, Any]:
            return self.one(
                "SELECT * FROM start_call(%s, %s, 'brad', %s, %s, %s, %s, NULL, NULL, %s, %s)",
                call_id, USER, PHONE, CARD, day, requested, key, body if key else None,
            )  # fmt: skip

        try:
            call, replayed = self.model.start(call_id, day, requested, key, body)
        except Refused as refusal:
            assert self.refusal(ask) == str(refusal)
            return

        assert ask() == {
            "call_id": call.call_id,
            "replayed": replayed,
            "granted_seconds": call.granted_seconds,
            "hold_credits": call.hold,
            "hold_cents": call.hold_cents,
        }

    def refusal(self, ask: Callable[[], object]) -> str | None:
        """The SQLSTATE with which the database refuses; None when it does not."""
        try:
            with self.books.transaction():
                ask()
        except psycopg.Error as exc:
            return exc.sqlstate

        return None

    @precondition(lambda self: self.model.calls)
    @rule(data=st.data(), seq=seqs, usage=usages)
    def meter(self, data: st.DataObject, seq: int, usage: Usage) -> None:
        call = data.draw(st.sampled_from(self.calls()))
        self.model.meter(call, seq, usage)
        answer = self.one(
            "SELECT * FROM meter_calls(%s, %s, %s, %s, %s::numeric[], %s, %s, %s, '{0}', '{0}', '{0}')",
            [USER], [call.call_id], [seq], [usage.seconds], [usage.seconds], [usage.tokens_in], [usage.tokens_out],
            [usage.characters],
        )  # fmt: skip
        limit_cents, limit_seconds = self.model.limits_now(call)

        assert answer == {
            "call_id": call.call_id,
            "is_open": call.charged is None,
            "total_cost_cents": call.usage.cost,
            "limit_cents": limit_cents,
            "limit_seconds": limit_seconds,
        }

    @precondition(lambda self: self.model.calls)
    @rule(data=st.data(), event=st.sampled_from(("turn", "interval")))
    def note_event(self, data: st.DataObject, event: str) -> None:
        call = data.draw(st.sampled_from(self.calls()))
        self.one("SELECT record_cost_events(%s, %s, %s)", [USER], [call.call_id], event)

    @precondition(lambda self: self.model.open_id)
    @rule()
    def answer(self) -> None:
        call = self.model.calls[self.model.open_id or ""]
        call.is_answered = True
        self.one("SELECT advance_call(%s, %s, 'connected', 'CA1')", USER, call.call_id)

    @precondition(lambda self: self.model.calls)
    @rule(
        data=st.data(),
        status=st.sampled_from(("completed", "completed", "failed", "no_answer")),
        seq=seqs,
        usage=st.one_of(st.none(), usages, usages),
        is_charged=st.sampled_from((True, True, False)),
    )
    def finish(self, data: st.DataObject, status: str, seq: int, usage: Usage | None, is_charged: bool) -> None:
        call = data.draw(st.sampled_from(self.calls()))
        settled = self.model.finish(call, status, seq, usage, is_charged)
        used = usage or Usage()
        answer = self.one(
            "SELECT * FROM finish_call(%s, %s, %s, 'hung_up', %s, %s, %s, %s, %s, %s, p_is_charged => %s)",
            USER, call.call_id, status, None if usage is None else seq, None if usage is None else used.seconds,
            used.seconds, used.tokens_in, used.tokens_out, used.characters, is_charged,
        )  # fmt: skip

        assert (answer["settled"], answer["credits_used"]) == (settled, call.charged)
        assert answer["cost_cents"] == call.usage.cost

    @rule(
        amount=st.one_of(st.integers(-60, -1), st.integers(1, 60)),
        cause=st.integers(0, 30).map("refund:{}".format),
    )
    def move(self, amount: int, cause: str) -> None:
        moved = self.model.move(amount, cause)
        answer = self.one("SELECT moved FROM move_credits(%s, %s, 'admin_adjustment', %s)", USER, amount, cause)

        assert answer["moved"] == moved

    @precondition(lambda self: self.model.open_id and self.model.held)
    @rule(beyond=st.integers(1, 5))
    def refund_more_than_is_left(self, beyond: int) -> None:
        """During a call, so that what it releases pays the debt."""
        self.numbers += 1
        self.move(-self.model.available - beyond, f"refund:beyond:{self.numbers}")

    @rule(tier=st.sampled_from(sorted(TIERS)))
    def change_tier(self, tier: str) -> None:
        self.model.tier = tier
        self.books.execute("SELECT set_tier(%s, %s)", (USER, tier))

    @rule(calls=st.one_of(st.none(), st.integers(0, 4)), seconds=st.one_of(st.none(), st.integers(60, 900)))
    def change_limits(self, calls: int | None, seconds: int | None) -> None:
        self.model.own_calls_a_day, self.model.own_seconds = calls, seconds
        self.books.execute(
            "UPDATE user_credits SET max_calls_per_day = %s, max_call_duration_seconds = %s", (calls, seconds)
        )

    @rule(call=cents, month=cents, cutoff=st.booleans())
    def change_budget(self, call: Decimal, month: Decimal, cutoff: bool) -> None:
        self.model.call_budget, self.model.month_budget, self.model.cutoff = call, month, cutoff
        self.books.execute(
            "INSERT INTO user_budget_settings AS b"
            " (user_id, max_cost_per_call_cents, max_monthly_spend_cents, enable_auto_cutoff) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (user_id) DO UPDATE SET max_cost_per_call_cents = excluded.max_cost_per_call_cents,"
            " max_monthly_spend_cents = excluded.max_monthly_spend_cents,"
            " enable_auto_cutoff = excluded.enable_auto_cutoff",
            (USER, call, month, cutoff),
        )

    @rule()
    def years_pass(self) -> None:
        """Everything that happened becomes older, an open call too; in four years no two days fall together."""
        self.model.day, self.model.month = _older(self.model.day), _older(self.model.month)
        for call in self.model.calls.values():
            call.day, call.month = _older(call.day), _older(call.month)
        for table, day, month in (("user_credits", "calls_day", "spend_month"), ("calls", "local_day", "local_month")):
            self.books.execute(
                f"UPDATE {table} SET {day} = {day} - interval '4 years', {month} = {month} - interval '4 years'"
            )
        self.books.execute("UPDATE call_cost_breakdowns SET local_month = local_month - interval '4 years'")

    @invariant()
    def accounts_agree(self) -> None:
        row = self.one("SELECT * FROM user_credits")
        model = self.model

        assert (row["available_credits"], row["held_credits"], row["debt_credits"]) == (
            model.available, model.held, model.debt,
        )  # fmt: skip
        assert (row["calls_day"], row["calls_in_day"]) == (model.day, model.calls_in_day)
        assert (row["spend_month"], row["spent_in_month_cents"]) == (model.month, model.spent)
        assert row["ledger_seq"] == len(model.ledger)
        assert model.available + model.held - model.debt == sum(model.ledger)

    def teardown(self) -> None:
        try:
            self.books.execute("SET CONSTRAINTS ALL IMMEDIATE")
            assert proofs.broken(self.books, proofs.ALWAYS) == {}
        finally:
            self.books.rollback()


def _older(day: date) -> date:
    return day.replace(year=day.year - 4)


def run(database_url: str, how: settings) -> None:
    """Sequences over one account; each is rolled back at its end."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        connection.execute("SELECT register_user(%s, 'ann@example.org', 'x', 'Ann', 'UTC', %s)", (USER, PHONE))
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        connection.commit()
        run_state_machine_as_test(lambda: AccountMachine(connection), settings=how)


def test_account_does_what_the_model_does(database_url: str) -> None:
    run(database_url, settings(EVER, max_examples=100, stateful_step_count=30, derandomize=True))


# A function, what is taken out of it, and what stands there instead.
SABOTAGES = {
    "what is released pays no debt": ("finish_call", "- least(a.debt_credits, v_release)", "- 0"),
    "an old state replaces a newer one": ("meter_calls", "p_seqs[m.i] > m.meter_seq", "true"),
    "the budget of the month is forgotten": ("start_call", "IF v_month_left <", "IF 0 * v_month_left >"),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_model_finds_what_is_sabotaged(database_url: str, name: str) -> None:
    function, old, new = SABOTAGES[name]
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_get_functiondef(%s::regproc)", (function,)).fetchone()
        assert row is not None and old in row[0]
        connection.execute(row[0].replace(old, new))

    with pytest.raises((AssertionError, psycopg.Error, ExceptionGroup)):
        run(database_url, settings(EVER, max_examples=300, derandomize=True, phases=[Phase.generate], database=None))


@pytest.mark.proof
def test_account_does_what_the_model_does_for_long(database_url: str) -> None:
    run(database_url, settings(EVER, max_examples=600, stateful_step_count=60))
