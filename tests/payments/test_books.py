"""Books that close: sealed and published days, journals that accounting programs read, margins, and what is checked."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from beancount import loader
from beancount.core import data
from click.testing import CliRunner, Result
from tests.payments.test_calls_paid import finish, ready, set_aside, start
from tests.payments.till import NOON, USER, Till

from callmeback import cli
from callmeback.ops import books
from callmeback.pg.pool import Database

Run = Callable[..., Result]

# What is written into the past by hand, past the guards: a test can't wait for a day to be over.
UNGUARDED = "ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_append_only"
GUARDED = "ALTER TABLE credit_transactions ENABLE TRIGGER credit_transactions_append_only"
# From the till's payments, which are of yesterday, to its credits and calls, which are of today.
SO_FAR = ("--from", f"{NOON:%Y-%m-%d}")


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `callmeback …` on this database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CALLMEBACK_HOME", str(tmp_path))

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info

        return result

    return run


def said(result: Result) -> Any:
    assert result.exit_code == 0, result.output

    return json.loads(result.stdout)


def days_ago(till: Till, number: int) -> date:
    """Moves the whole ledger into another day. Of two days ago, a day is over at any hour."""
    till.books.execute(UNGUARDED)
    till.books.execute("UPDATE credit_transactions SET created_at = created_at - %s * interval '1 day'", (number,))
    till.books.execute(GUARDED)

    day: date = till.row("SELECT (created_at AT TIME ZONE 'UTC')::date AS day FROM credit_transactions")["day"]

    return day


def talk(till: Till, call: str = "call_1", seconds: int = 61) -> None:
    till.call(call)
    till.books.execute("SELECT advance_call(%s, %s, 'in_progress', %s)", (USER, call, f"CA_{call}"))
    till.books.execute(
        "SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, %s, %s, 5000, 300, 800)", (USER, call, seconds, seconds)
    )


def history(till: Till) -> None:
    """A month in small: a pack, a plan, talks, a refund, a dispute."""
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    pack = till.bought("minutes_50")
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))
    talk(till, "call_1", 61)
    talk(till, "call_2", 185)
    till.apply(till.refund(f"pi_{pack}", 1000, "re_1"))
    till.apply(till.dispute(f"pi_in_{plan}_{NOON:%m%d%H}", 999, "funds_withdrawn", "needs_response"))


def test_a_day_is_closed_published_and_checked(till: Till, run: Run, tmp_path: Path):
    till.bought()
    day = days_ago(till, 2)
    first, again = (said(run("books", "close", "--day", str(day), "--json")) for _ in range(2))
    file = tmp_path / "books" / "sealed-days.jsonl"
    lines = file.read_text().splitlines()
    sound = run("books", "check", "--own")

    assert first == again
    assert (first["day"], first["ledger_rows"], first["received_credits"]) == (str(day), 1, 25)
    assert [json.loads(line) for line in lines] == [first]
    assert file.stat().st_mode & 0o777 == 0o600
    assert sound.exit_code == 0, sound.output


def test_a_close_that_died_before_it_published_is_finished_by_the_next(till: Till, run: Run, tmp_path: Path):
    till.bought()
    close = ("books", "close", "--day", str(days_ago(till, 2)), "--json")
    first = said(run(*close))
    file = tmp_path / "books" / "sealed-days.jsonl"
    file.unlink()
    again = said(run(*close))

    assert first == again == json.loads(file.read_text())


@pytest.mark.parametrize("day", ["2026-11-24T", "yesterday", "2026-13-01"])
def test_a_day_that_is_none_is_wrong_usage(run: Run, day: str):
    assert run("books", "close", "--day", day).exit_code == 2


def test_a_day_that_may_still_change_is_not_closed(till: Till, run: Run):
    today = datetime.now(UTC).date()
    result = run("books", "close", "--day", str(today + timedelta(days=1)))
    by_itself = run("books", "close")

    assert result.exit_code == 1
    assert "isn't over yet" in result.output
    # Of itself it closes yesterday, or says in the first minutes of a day that it can't do so yet.
    assert str(today - timedelta(days=1)) in by_itself.output


def test_a_day_before_a_sealed_one_stays_open(till: Till, run: Run):
    day = datetime.now(UTC).date() - timedelta(days=2)
    assert run("books", "close", "--day", str(day)).exit_code == 0
    result = run("books", "close", "--day", str(day - timedelta(days=1)))

    assert result.exit_code == 1
    assert "a later day is" in result.output


def test_a_line_that_was_cut_while_it_was_written_is_written_anew(till: Till, run: Run, tmp_path: Path):
    till.bought()
    file = tmp_path / "books" / "sealed-days.jsonl"
    close = ("books", "close", "--day", str(days_ago(till, 2)), "--json")
    said(run(*close))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    cut = said(run("books", "check", "--own", "--json"))
    again = run(*close)

    assert again.exit_code == 0, again.output
    assert file.read_bytes() == whole
    assert "not in" in str(cut)


def test_whoever_rewrites_ledger_and_seal_together_is_found_by_what_was_published(till: Till, run: Run, tmp_path: Path):
    till.bought()
    day = days_ago(till, 2)
    run("books", "close", "--day", str(day))
    till.books.execute(UNGUARDED)
    till.books.execute("UPDATE credit_transactions SET cause = 'purchase:forged'")
    till.books.execute(GUARDED)
    changed = run("books", "check", "--own", "--json")
    till.books.execute("UPDATE sealed_days SET batch_hash = (hash_of_day(day, NULL)).batch_hash")
    hidden = run("books", "check", "--own", "--json")
    elsewhere = run("books", "check", "--own", "--out", str(tmp_path / "nowhere"))

    assert (changed.exit_code, hidden.exit_code, elsewhere.exit_code) == (1, 1, 0)
    assert red(changed) == {"sealed days are what they were": [f"{day}: its rows are not what was sealed"]}
    assert red(hidden) == {"sealed days are what they were": [f"{day}: sealed with another hash than was published"]}
    assert run("books", "close", "--day", str(day)).exit_code == 1


def red(result: Result) -> dict[str, list[str]]:
    items = json.loads(result.stdout)["items"]

    return {item["name"]: item["objects"] for item in items if item["verdict"] == "red"}


def test_m11_a_cost_that_is_not_its_quantities_at_their_rates_is_found(till: Till, run: Run):
    history(till)
    till.books.execute(
        "UPDATE call_cost_breakdowns SET deepgram_cost_cents = deepgram_cost_cents + 1, total_cost_cents ="
        " total_cost_cents + 1 WHERE call_id = 'call_1'"
    )

    assert "costs are quantities at the rates of their time" in red(run("books", "check", "--own", "--json"))


def test_beancount_reads_the_journal_and_agrees_with_the_balances(till: Till, run: Run, tmp_path: Path):
    history(till)
    file = tmp_path / "books.beancount"
    run("books", "export", *SO_FAR, "--format", "beancount", "--out", str(file))
    entries, problems, _ = loader.load_file(str(file))
    asserted = [entry for entry in entries if isinstance(entry, data.Balance)]
    totals = sums(entries)
    account = till.account()
    cost = till.row("SELECT sum(total_cost_cents) AS cents FROM call_cost_breakdowns")["cents"]

    assert problems == []
    assert len(asserted) == 3
    assert totals["Assets:Payments", "USD"] == Decimal("14.99")
    assert totals["Income:Packs", "USD"] == Decimal("-24.99")
    assert totals["Income:Refunds", "USD"] == Decimal("10.00")
    assert totals["Income:Disputes", "USD"] == Decimal("9.99")
    assert totals["Liabilities:Credits", "CREDIT"] == -(account[0] + account[1] - account[2])
    assert totals["Liabilities:Vendors", "USD"] == -cost / 100


def sums(entries: list[Any]) -> dict[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = {}
    for entry in entries:
        for leg in entry.postings if isinstance(entry, data.Transaction) else []:
            key = (leg.account, leg.units.currency)
            found[key] = found.get(key, Decimal(0)) + leg.units.number

    return found


def test_beancount_finds_a_journal_that_lacks_an_entry(till: Till, run: Run, tmp_path: Path):
    history(till)
    whole = run("books", "export", *SO_FAR, "--format", "beancount").stdout
    entries = whole.split("\n\n")
    lost = next(number for number, entry in enumerate(entries) if "refund re_1" in entry)
    _, problems, _ = loader.load_string("\n\n".join(entries[:lost] + entries[lost + 1 :]))

    assert any("Balance failed" in problem.message for problem in problems)


def test_hledger_reads_the_journal_and_agrees_with_the_balances(till: Till, run: Run, tmp_path: Path):
    program = shutil.which("hledger")
    if program is None:
        pytest.skip("capability: hledger")
    history(till)
    file = tmp_path / "books.journal"
    run("books", "export", *SO_FAR, "--out", str(file))
    checked = subprocess.run(
        [program, "-f", str(file), "check"], capture_output=True, text=True, timeout=60, check=False
    )
    forged = file.read_text().replace("Assets:Payments  14.99 USD", "Assets:Payments  14.98 USD")
    file.write_text(re.sub(r"  24\.99 USD", "  24.98 USD", forged).replace("-24.99", "-24.98"))
    refused = subprocess.run(
        [program, "-f", str(file), "check"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")
    assert refused.returncode != 0
    assert "assertion" in refused.stderr


def read(program: str, file: Path) -> subprocess.CompletedProcess[str]:
    # Comments, accounts and texts may have any letter.
    environ = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    return subprocess.run(
        [program, "-f", str(file), "check"], capture_output=True, text=True, timeout=60, check=False, env=environ
    )


def test_a_later_period_begins_with_what_stood_before(till: Till, run: Run):
    history(till)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    text = run("books", "export", "--from", str(tomorrow), "--to", str(tomorrow), "--format", "beancount").stdout
    _, problems, _ = loader.load_string(text)

    assert problems == []
    assert '"opening"' in text
    assert "Income:Packs  " not in text


def test_tables_are_csv(till: Till, run: Run):
    history(till)
    days = (*SO_FAR, "--format", "csv", "--what")
    money, credits_, costs = (
        run("books", "export", *days, what).stdout.splitlines() for what in ("money", "credits", "costs")
    )

    assert money[0].startswith("flowed_at,flow,kind,id,object_id,user_id")
    assert len(money) == 1 + 4
    assert len(credits_) == 1 + len(till.ledger())
    assert len(costs) == 2


def test_m14_revenue_cost_and_margin_by_day_tier_and_persona(till: Till, run: Run):
    history(till)
    period = (*SO_FAR, "--json")
    by = {name: said(run("books", "margin", *period, "--by", name))["items"] for name in ("day", "tier", "persona")}
    flows = said(run("books", "revenue", *period))["items"]
    cost = till.row("SELECT sum(total_cost_cents) AS cents FROM call_cost_breakdowns")["cents"]

    def total(rows: list[dict[str, Any]], figure: str) -> Decimal:
        return sum((Decimal(row[figure]) for row in rows), Decimal(0))

    assert [total(by[name], "cost_cents") for name in by] == [cost] * 3
    assert total(by["day"], "revenue_cents") == total(by["tier"], "revenue_cents") == 2499 - 1000
    assert total(by["day"], "margin_cents") == 1499 - cost
    assert [row["persona_id"] for row in by["persona"]] == ["brad"]
    assert total(flows, "received_cents") == 2499 + 999
    assert (total(flows, "refunded_cents"), total(flows, "disputed_cents")) == (1000, 999)
    assert "margin" in run("books", "margin").stdout


def test_m14_a_call_whose_money_went_back_is_no_revenue_of_its_persona(till: Till, run: Run):
    ready(till)
    set_aside(till)
    start(till)
    till.hang_up(seconds=130)
    finish(till, 180)
    till.apply(till.refund("pi_auth_1", 60))
    period = (*SO_FAR, "--json")
    found = [said(run("books", "margin", *period, "--by", name))["items"] for name in ("day", "tier", "persona")]
    [view] = till.books.execute("SELECT revenue_cents FROM persona_margin").fetchall()

    assert [sum(Decimal(row["revenue_cents"]) for row in rows) for rows in found] == [120] * 3
    assert view["revenue_cents"] == 120


def test_codes_are_made_listed_and_ended(till: Till, run: Run):
    made = run("coupons", "add", "spring-5", "--percent", "20", "--max", "2", "--expires", "30d")
    listed = said(run("coupons", "list", "--json"))["items"]
    purchase = till.begin("minutes_25", "SPRING-5")
    ended = said(run("coupons", "end", "Spring-5", "--json"))
    again = said(run("coupons", "end", "spring-5", "--json"))

    assert made.exit_code == 0
    assert [(one["code"], one["percent_off"], one["max_redemptions"]) for one in listed] == [("SPRING-5", 20, 2)]
    assert till.row("SELECT amount_cents FROM purchases WHERE id = %s", purchase)["amount_cents"] == 1200
    assert till.row("SELECT expires_at <= now() AS over FROM coupons")["over"] is True
    assert (ended["code"], ended["expires_at"] < listed[0]["expires_at"]) == ("SPRING-5", True)
    assert again == ended
    assert run("coupons", "add", "SPRING-5", "--percent", "20").exit_code == 1
    assert run("coupons", "add", "x", "--percent", "20").exit_code == 2
    assert run("coupons", "add", "WHAT").exit_code == 2
    assert run("coupons", "end", "NOBODY-S").exit_code == 1


def test_a_promotion_is_given_once(till: Till, run: Run):
    given = [
        said(run("users", "grant", "ann@example.org", "10", "--expires", "30d", "--cause", "spring", "--json"))[
            "granted"
        ]
        for _ in range(2)
    ]

    assert given == [True, False]
    assert till.account() == (10, 0, 0)
    assert run("users", "grant", "ann@example.org", "0", "--expires", "30d", "--cause", "x").exit_code == 2


@pytest.mark.anyio
async def test_the_worker_closes_and_publishes_the_day_that_ended(till: Till, worker: Database, tmp_path: Path):
    till.bought()
    day = days_ago(till, 1)
    closed = await books.close_yesterday(worker, tmp_path, "worker", asyncio.sleep)
    again = await books.close_yesterday(worker, tmp_path, "worker", asyncio.sleep)

    # In its first five minutes a day still leaves the one before open.
    is_early = datetime.now(UTC).time() < time(0, 6)
    assert (closed, again) == ((0, 0) if is_early and not closed else (1, 1))
    assert list(books.published(tmp_path)) == ([day] if closed else [])


@pytest.mark.anyio
async def test_days_that_nobody_closed_are_closed_before_the_next_one(till: Till, worker: Database, tmp_path: Path):
    """The worker stood still for two days, and had died before it published the last one that it sealed."""
    till.bought()
    day = days_ago(till, 1)
    before = day - timedelta(days=3)
    # A transaction of another test on this server may be open for a moment.
    while till.row("SELECT seal_day(%s, 'worker') AS said", before)["said"] != "sealed":
        await asyncio.sleep(0.01)
    closed = await books.close_yesterday(worker, tmp_path, "worker", asyncio.sleep)

    assert list(books.published(tmp_path)) == [before + timedelta(days=number) for number in range(closed)]
    # In its first five minutes a day still leaves the one before open.
    assert closed == (3 if datetime.now(UTC).time() < time(0, 6) and closed < 4 else 4)
