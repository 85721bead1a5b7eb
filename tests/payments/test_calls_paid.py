"""Calls paid one by one: what is set aside before, taken after, and let go; never more credits than were paid."""

import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.payments.till import CARD, NOON, PHONE, USER, Event, Till

BEGIN = "SELECT credits, amount_cents FROM begin_authorization(%s, %s, 'brad', %s)"


def ready(till: Till) -> None:
    """Ann pays by the call, and the vendor knows her card."""
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    till.books.execute("INSERT INTO user_preferences (user_id, pay_as_you_go) VALUES (%s, true)", (USER,))
    till.books.execute("SELECT note_customer(%s, 'cus_1')", (USER,))


def set_aside(till: Till, authorization: str = "auth_1", seconds: int | None = None) -> dict:
    worst = till.row(BEGIN, USER, authorization, seconds)
    till.row("SELECT note_authorization(%s, %s, %s, true)", USER, authorization, f"pi_{authorization}")

    return worst


def start(till: Till, authorization: str = "auth_1", call: str = "call_1") -> None:
    till.books.execute(
        "SELECT start_paid_call(%s, %s, %s, 'brad', %s, %s, %s)",
        (authorization, call, USER, PHONE, CARD, datetime.now(UTC).date()),
    )


def state(till: Till, authorization: str = "auth_1") -> dict:
    return till.row(
        "SELECT state, used_credits, capture_cents, captured_cents, retry_at IS NOT NULL AS due"
        " FROM payment_authorizations WHERE id = %s",
        authorization,
    )


def finish(till: Till, captured: int, authorization: str = "auth_1") -> str:
    return till.row("SELECT end_authorization(%s, %s, %s, now()) AS s", USER, authorization, captured)["s"]


def talk(till: Till, seconds: int) -> None:
    till.books.execute("SELECT advance_call(%s, 'call_1', 'in_progress', 'CA1')", (USER,))
    till.hang_up(seconds=seconds)


def test_what_was_talked_is_captured_and_the_rest_let_go_in_the_commit_that_settles(till: Till):
    ready(till)
    worst = set_aside(till)
    start(till)
    during = till.account()
    talk(till, 130)
    settled = state(till)
    due = till.row("SELECT id, state, capture_cents FROM claim_authorizations(5, '30 seconds')")
    nobody = till.books.execute("SELECT id FROM claim_authorizations(5, '30 seconds')").fetchone()
    answers = [finish(till, 180), finish(till, 180)]

    assert worst == {"credits": 10, "amount_cents": 600}
    assert during == (0, 10, 0)
    assert till.account() == (0, 0, 0)
    assert settled == {
        "state": "capturing", "used_credits": 3, "capture_cents": 180, "captured_cents": 0, "due": True,
    }  # fmt: skip
    assert due == {"id": "auth_1", "state": "capturing", "capture_cents": 180}
    assert nobody is None
    assert answers == ["captured", "captured"]
    assert till.row("SELECT payment_method, payment_status, credits_used, payment_intent_id FROM calls") == {
        "payment_method": "stripe", "payment_status": "paid", "credits_used": 3, "payment_intent_id": "pi_auth_1",
    }  # fmt: skip
    assert till.row("SELECT kind, amount_cents, credits FROM payments") == {
        "kind": "call", "amount_cents": 180, "credits": 3,
    }  # fmt: skip
    assert [amount for _, amount in till.ledger()] == [10, -3, -7]
    till.proved()


def test_a_call_that_nobody_answers_takes_nothing(till: Till):
    ready(till)
    set_aside(till)
    start(till)
    till.books.execute("SELECT finish_call(%s, 'call_1', 'no_answer', 'no_answer')", (USER,))
    released = state(till)

    assert released["state"] == "releasing"
    assert finish(till, 0) == "released"
    assert till.account() == (0, 0, 0)
    assert till.row("SELECT payment_status FROM calls")["payment_status"] == "not_charged"
    assert till.row("SELECT count(*) AS n FROM payments")["n"] == 0
    till.proved()


def test_money_that_can_not_be_taken_any_more_is_owed(till: Till):
    ready(till)
    set_aside(till)
    start(till)
    talk(till, 61)

    assert finish(till, 180) == "wrong_amount"
    assert finish(till, 0) == "failed"
    assert till.account() == (0, 0, 2)
    assert till.row("SELECT payment_status FROM calls")["payment_status"] == "failed"
    till.proved()


@pytest.mark.parametrize("is_erased", [False, True], ids=["who stays", "m17 who is erased meanwhile"])
def test_the_vendors_event_settles_too_and_waits_for_the_end_of_the_call(till: Till, is_erased: bool):
    ready(till)
    set_aside(till)
    start(till)
    facts = {
        "kind": "intent", "id": "pi_auth_1", "purpose": "call", "reference": "auth_1", "user_id": USER,
        "currency": "usd", "amount_cents": 600, "received_cents": 60, "status": "succeeded",
    }  # fmt: skip
    event = Event(id="evt_1", type="payment_intent.succeeded", at=NOON, facts=facts)
    early = till.apply(event)
    talk(till, 30)
    if is_erased:
        till.books.execute("SELECT erase_user(%s, 'person')", (USER,))
    till.books.execute("UPDATE payment_events SET retry_at = now()")
    till.row("SELECT retry_payment_events(5)")
    foreign = till.apply(Event(id="evt_2", type="payment_intent.succeeded", facts=facts | {"purpose": None}))

    assert early == ("unmatched", "call_goes_on")
    assert state(till)["state"] == "captured"
    assert finish(till, 60) == "captured"
    assert foreign == ("ignored", "not_of_a_call")
    assert till.row("SELECT count(*) AS n FROM payments")["n"] == 1
    till.proved()


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        ("UPDATE user_preferences SET pay_as_you_go = false", "CM001"),
        ("DELETE FROM user_preferences", "CM001"),
        ("SELECT set_tier('user_1', 'free')", "CM001"),
        ("SELECT move_credits('user_1', 1, 'promotion', 'test:1')", "CM001"),
        ("UPDATE users SET stripe_customer_id = NULL", "CM025"),
        ("UPDATE users SET blocked_at = now()", "CM010"),
        ("SELECT move_credits('user_1', -1, 'refund', 'test:1')", "CM011"),
        ("SELECT begin_authorization('user_1', 'auth_0', 'brad', NULL)", "CM004"),
    ],
)
def test_money_is_set_aside_only_for_a_call_that_may_begin(till: Till, prepare: str, code: str):
    ready(till)
    till.books.execute(prepare)  # type: ignore[arg-type]  # the statements are ours
    with pytest.raises(psycopg.Error) as refused:
        set_aside(till)

    assert refused.value.sqlstate == code
    assert till.books.execute("SELECT FROM payment_authorizations WHERE id = 'auth_1'").fetchone() is None


def test_a_refused_call_leaves_no_credits_behind(till: Till):
    ready(till)
    set_aside(till)
    till.books.execute("UPDATE user_credits SET max_calls_per_day = 0")
    with pytest.raises(psycopg.Error) as refused:
        start(till)
    till.row("SELECT release_authorization(%s, 'auth_1')", USER)
    with pytest.raises(psycopg.Error) as released:
        start(till)

    assert (refused.value.sqlstate, released.value.sqlstate) == ("CM003", "40001")
    assert till.account() == (0, 0, 0)
    assert till.ledger() == []
    assert state(till)["state"] == "releasing"
    till.proved()


def test_what_nobody_comes_back_for_is_let_go(till: Till):
    ready(till)
    till.row(BEGIN, USER, "auth_1", None)
    early = till.books.execute("SELECT id FROM claim_authorizations(5, '30 seconds')").fetchone()
    till.books.execute("UPDATE payment_authorizations SET retry_at = now()")
    late = till.row("SELECT id, state, payment_intent_id FROM claim_authorizations(5, '30 seconds')")

    assert early is None
    assert late == {"id": "auth_1", "state": "releasing", "payment_intent_id": None}
    assert finish(till, 0) == "released"


@pytest.mark.parametrize("told_by", ["the card", "the vendor"])
def test_m16_money_that_was_set_aside_after_it_was_given_up_is_let_go(till: Till, told_by: str):
    """The card's answer may take longer than the worker waits; then nobody's call comes of it."""
    ready(till)
    till.row(BEGIN, USER, "auth_1", None)
    till.books.execute("UPDATE payment_authorizations SET retry_at = now()")
    till.row("SELECT id FROM claim_authorizations(5, '30 seconds')")
    finish(till, 0)
    if told_by == "the card":
        noted = till.row("SELECT note_authorization(%s, 'auth_1', 'pi_auth_1', true) AS noted", USER)["noted"]
        assert noted is False
    else:
        facts = {
            "kind": "intent", "id": "pi_auth_1", "purpose": "call", "reference": "auth_1", "user_id": USER,
            "currency": "usd", "amount_cents": 600, "received_cents": 0, "status": "requires_capture",
        }  # fmt: skip
        told = Event(id="evt_1", type="payment_intent.amount_capturable_updated", facts=facts)
        assert till.apply(told) == ("applied", "let_go_after_all")
    due = till.row("SELECT id, state, payment_intent_id FROM claim_authorizations(5, '30 seconds')")

    assert due == {"id": "auth_1", "state": "releasing", "payment_intent_id": "pi_auth_1"}
    assert finish(till, 0) == "released"
    assert till.account() == (0, 0, 0)
    till.proved()


def test_m16_word_of_money_that_was_set_aside_disturbs_no_call_and_no_capture(till: Till):
    ready(till)
    set_aside(till)
    facts = {
        "kind": "intent", "id": "pi_auth_1", "purpose": "call", "reference": "auth_1", "user_id": USER,
        "currency": "usd", "amount_cents": 600, "received_cents": 0, "status": "requires_capture",
    }  # fmt: skip
    kind = "payment_intent.amount_capturable_updated"
    answers = [till.apply(Event(id="evt_1", type=kind, facts=facts))]
    start(till)
    answers.append(till.apply(Event(id="evt_2", type=kind, facts=facts)))
    talk(till, 61)
    finish(till, 120)
    answers.append(till.apply(Event(id="evt_3", type=kind, facts=facts)))

    assert answers == [("ignored", "nothing_to_settle")] * 3
    assert state(till)["state"] == "captured"
    till.proved()


def test_m05_a_dispute_while_the_call_goes_on_takes_what_is_left_and_owes_the_rest(till: Till):
    """The hold stands; what it releases pays the debt first."""
    purchase = till.bought()
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    till.call()
    till.books.execute("SELECT advance_call(%s, 'call_1', 'in_progress', 'CA1')", (USER,))
    held = till.account()
    till.apply(till.dispute(f"pi_{purchase}", 1499, "funds_withdrawn", "needs_response"))
    disputed = till.account()
    till.hang_up(seconds=61)

    assert held == (15, 10, 0)
    assert disputed == (0, 10, 10)
    assert till.account() == (0, 0, 2)
    till.proved()


def test_promotions_expire_earliest_first_and_never_take_what_was_bought(till: Till):
    later, soon = datetime.now(UTC) + timedelta(days=30), datetime.now(UTC) + timedelta(days=7)
    grant = "SELECT grant_credits(%s, %s, %s, %s, %s) AS given"
    till.row(grant, USER, "grant_late", 10, "spring", later)
    till.row(grant, USER, "grant_soon", 10, "hello", soon)
    again = till.row(grant, USER, "grant_again", 10, "hello", soon)["given"]
    till.bought()
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    till.call()
    talk(till, 240)
    till.books.execute("UPDATE credit_grants SET expires_at = now() WHERE id = 'grant_soon'")
    first = till.row("SELECT expire_grants(10) AS n")["n"]
    after_first = till.account()
    till.call("call_2")
    till.books.execute("UPDATE credit_grants SET expires_at = now() WHERE id = 'grant_late'")
    while_talking = till.row("SELECT expire_grants(10) AS n")["n"]
    till.books.execute("SELECT advance_call(%s, 'call_2', 'in_progress', 'CA2')", (USER,))
    till.hang_up("call_2", seconds=180)
    second = till.row("SELECT expire_grants(10) AS n")["n"]

    assert again is False
    assert (first, after_first) == (1, (35, 0, 0))
    assert while_talking == 0
    assert second == 1
    # 25 bought and nothing of them used: the talks took 4 of the one grant and 3 of the other.
    assert till.account() == (25, 0, 0)
    assert dict(till.ledger())["expiry:grant_soon"] == -6
    assert dict(till.ledger())["expiry:grant_late"] == -7
    till.proved()


def test_a_promotion_never_takes_more_than_there_is(till: Till):
    purchase = till.bought()
    till.row("SELECT grant_credits(%s, 'grant_1', 10, 'hello', now() + interval '1 day')", USER)
    till.apply(till.refund(f"pi_{purchase}", 1499))
    till.books.execute("SELECT move_credits(%s, -10, 'admin_adjustment', 'adjust:1')", (USER,))
    till.books.execute("UPDATE credit_grants SET expires_at = now()")
    till.row("SELECT expire_grants(10)")

    assert till.account() == (0, 0, 0)
    till.proved()


def test_a_day_is_sealed_once_nothing_can_be_written_into_it(till: Till, database_url: str):
    till.bought()
    till.books.execute("ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_append_only")
    till.books.execute("UPDATE credit_transactions SET created_at = created_at - interval '2 days'")
    till.books.execute("ALTER TABLE credit_transactions ENABLE TRIGGER credit_transactions_append_only")
    day = till.row("SELECT (created_at AT TIME ZONE 'UTC')::date AS day FROM credit_transactions")["day"]
    seal = "SELECT seal_day(%s, 'tester') AS said"
    with psycopg.connect(database_url) as other:
        other.execute("UPDATE users SET locale = 'de'")
        waits = [till.row(seal, day)["said"] for _ in range(2)]
    # Transactions of other databases of this server count too; they end soon.
    sealed = "waiting"
    deadline = time.monotonic() + 30
    while sealed == "waiting" and time.monotonic() < deadline:
        sealed = till.row(seal, day)["said"]
    today = till.row(seal, datetime.now(UTC).date() + timedelta(days=1))["said"]
    row = till.row("SELECT ledger_rows, received_credits, taken_credits FROM sealed_days")
    intact = till.row("SELECT is_intact FROM check_sealed_days()")["is_intact"]
    till.books.execute("ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_append_only")
    till.books.execute("UPDATE credit_transactions SET description = 'forged', cause = cause || 'x'")

    assert waits == ["waiting", "waiting"]
    assert (sealed, today) == ("sealed", "not_over")
    assert row == {"ledger_rows": 1, "received_credits": 25, "taken_credits": 0}
    assert intact is True
    assert till.row("SELECT is_intact FROM check_sealed_days()")["is_intact"] is False
