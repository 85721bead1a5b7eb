"""Rates: followed, never changed; and a past period at the rates of another time, against decimal arithmetic."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payments.till import CARD, PHONE, USER, Till

from callmeback import cli, money

MODELS = dict(zip(("carrier", "listener", "brain", "voice", "fallback", "local"), CARD.split("|"), strict=True))


@pytest.fixture
def rates(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CALLMEBACK_HOME", str(tmp_path))

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(cli.app, ["rates", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info

        return result

    return run


def items(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["items"]

    return found


def talked(till: Till, call: str = "call_1", seconds: int = 60) -> None:
    till.books.execute("SELECT set_tier(%s, 'unlimited')", (USER,))
    till.call(call)
    till.books.execute(
        "SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, %s, %s, 1000, 100, 500)", (USER, call, seconds, seconds)
    )


def test_m11_a_rate_is_followed_from_a_time_on(till: Till, rates: Any):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    said = rates(
        "set", "twilio", "voice-outbound", "second", "1.5", "--per", "60", "--from", f"{tomorrow:%Y-%m-%dT%H:%M:%S}",
        "--source", "a contract",
    )  # fmt: skip
    listed = [rate for rate in items(rates("list", "--json")) if rate["vendor"] == "twilio"]
    history = items(rates("history", "twilio", "voice-outbound", "--json"))
    talked(till)

    assert said.exit_code == 0, said.output
    assert [(Decimal(rate["price_cents"]), rate["effective_until"] is None) for rate in listed] == [
        (Decimal("1.30"), False), (Decimal("1.5"), True),
    ]  # fmt: skip
    assert history == listed
    assert till.row("SELECT twilio_cost_cents AS c FROM call_cost_breakdowns")["c"] == Decimal("1.30")


def test_m11_the_past_is_never_edited(till: Till, rates: Any):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    past = rates("set", "twilio", "voice-outbound", "second", "9", "--from", f"{yesterday:%Y-%m-%d}", "--source", "x")
    before = till.row("SELECT count(*) AS n, sum(price_cents) AS cents FROM service_rates")
    for change in (
        "UPDATE service_rates SET price_cents = 0",
        "DELETE FROM service_rates WHERE vendor = 'twilio'",
        "TRUNCATE service_rates",
        "INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)"
        " VALUES ('twilio', 'voice-outbound', 'second', now() - interval '1 second', 0, 60, 'x')",
    ):
        with pytest.raises(psycopg.Error) as refusal:
            till.books.execute(change)
        assert refusal.value.sqlstate == "CM040", change

    assert past.exit_code == 1
    assert "never changed" in past.output
    assert till.row("SELECT count(*) AS n, sum(price_cents) AS cents FROM service_rates") == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("twilio", "voice-outbound", "second", "--source", "x"), 2),
        (("twilio", "voice-outbound", "second", "1", "--end", "--source", "x"), 2),
        (("twilio", "voice-outbound", "minute", "1", "--source", "x"), 2),
        (("nobody", "voice-outbound", "second", "1", "--source", "x"), 2),
        (("twilio", "voice-outbound", "second", "much", "--source", "x"), 2),
        (("twilio", "voice-outbound", "second", "1_0", "--source", "x"), 2),
        (("twilio", "voice-outbound", "second", "1"), 2),
        (("twilio", "voice-outbound", "second", "1", "--per", "6_0", "--source", "x"), 2),
        (("twilio", "voice-outbound", "second", "1", "--per", "0", "--source", "x"), 2),
        (("twilio", "voice-outbound", "second", "NaN", "--source", "x"), 2),
        (("twilio", "voice-outbound", "second", "1000000000000", "--source", "x"), 1),
        (("twilio", "voice-outbound", "second", "0.000000001", "--source", "x"), 1),
    ],
)
def test_a_rate_that_is_none_is_refused(rates: Any, arguments: tuple[str, ...], code: int):
    assert rates("set", *arguments).exit_code == code


def test_m11_a_model_without_a_price_is_a_refused_call_and_no_report_at_zero(till: Till, rates: Any):
    talked(till)
    ended = rates("set", "cerebras", MODELS["brain"], "input_token", "--end", "--source", "switched off")
    with pytest.raises(psycopg.Error) as refusal:
        till.call("call_2")
    report = rates("reprice", "--json")
    lines = {line["key"]: line for line in items(report)}

    assert ended.exit_code == 0, ended.output
    assert refusal.value.sqlstate == "CM009"
    assert report.exit_code == 1
    assert (lines["cerebras"]["unpriced_calls"], lines["cerebras"]["repriced_cents"]) == (1, None)
    assert Decimal(lines["cerebras"]["booked_cents"]) > 0
    assert lines["twilio"]["repriced_cents"] == lines["twilio"]["booked_cents"]


def test_m11_a_past_period_is_repriced_as_a_report_and_no_book_changes(till: Till, rates: Any):
    talked(till)
    booked = (
        "SELECT b.total_cost_cents, a.spent_in_month_cents FROM call_cost_breakdowns AS b CROSS JOIN user_credits AS a"
    )
    before = till.row(booked)
    rates("set", "twilio", "voice-outbound", "second", "2.60", "--per", "60", "--source", "a new contract")
    now = items(rates("reprice", "--json", "--by", "day"))
    then = items(rates("reprice", "--json", "--as-of", "2026-01-01"))
    nothing = rates("reprice", "--from", "2026-01-01", "--to", "2026-01-02", "--json")

    assert Decimal(now[0]["repriced_cents"]) - Decimal(now[0]["booked_cents"]) == Decimal("1.30")
    assert all(line["repriced_cents"] == line["booked_cents"] for line in then)
    assert items(nothing) == []
    assert till.row(booked) == before


prices = st.tuples(st.decimals(0, 50, places=8, allow_nan=False), st.sampled_from((1, 7, 60, 1_000, 1_000_000)))
used = st.tuples(
    st.integers(0, 300), st.decimals(0, 300, places=4, allow_nan=False), *[st.integers(0, 3_000) for _ in range(6)]
)
LEGS = (
    ("twilio", "carrier", "second"), ("deepgram", "listener", "second"), ("cerebras", "brain", "input_token"),
    ("cerebras", "brain", "output_token"), ("elevenlabs", "voice", "character"),
    ("cerebras", "fallback", "input_token"), ("cerebras", "fallback", "output_token"), ("espeak", "local", "character"),
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(new=st.lists(prices, min_size=8, max_size=8), quantities=used)
def test_m10_m11_repriced_is_decimals_to_the_last_digit(till: Till, new: list, quantities: tuple):
    connection = till.books
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_tier(%s, 'unlimited')", (USER,))
        connection.execute(
            "SELECT start_call('call_p', %s, 'brad', %s, %s, %s)", (USER, PHONE, CARD, datetime.now(UTC).date())
        )
        seconds, audio, t_in, t_out, chars, f_in, f_out, own = quantities
        connection.execute(
            "SELECT finish_call(%s, 'call_p', 'completed', 'hung_up', 1, %s, %s, %s, %s, %s, %s, %s, %s)",
            (USER, seconds, audio, t_in, t_out, chars, f_in, f_out, own),
        )
        connection.execute(
            "INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)"
            " SELECT v, m, u, clock_timestamp(), c, p, 'test'"
            " FROM unnest(%s::text[], %s::text[], %s::text[], %s::numeric[], %s::integer[]) AS r (v, m, u, c, p)",
            [
                [leg[0] for leg in LEGS], [MODELS[leg[1]] for leg in LEGS], [leg[2] for leg in LEGS],
                [price for price, _ in new], [per for _, per in new],
            ],
        )  # fmt: skip
        found = connection.execute(
            "SELECT vendor, booked_cents, repriced_cents FROM reprice_calls(now() - interval '1 day', 'infinity',"
            " clock_timestamp())"
        ).fetchall()
        row = till.row("SELECT * FROM call_cost_breakdowns WHERE call_id = 'call_p'")
    legs = [money.price(quantity, *rate) for quantity, rate in zip(quantities, new, strict=True)]
    expected = {
        "twilio": legs[0], "deepgram": legs[1], "cerebras": legs[2] + legs[3] + legs[5] + legs[6],
        "elevenlabs": legs[4] + legs[7],
    }  # fmt: skip

    assert {line["vendor"]: line["repriced_cents"] for line in found} == expected
    assert sum(line["booked_cents"] for line in found) == row["total_cost_cents"]
