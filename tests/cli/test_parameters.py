"""What options of several commands take: one way to say a time, a length of time, a period."""

from datetime import UTC, date, datetime, timedelta

import click
import pytest
from tests.test_docs import commands

from callmeback.__main__ import app
from callmeback.cli import parameters
from callmeback.cli.parameters import Duration, Moment


def moment(text: str) -> datetime:
    return Moment().convert(text, None, None)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-26T03:00:00+00:00", "2026-11-26T03:00:00"),
        ("2026-11-26T03:00:00Z", "2026-11-26T03:00:00"),
        ("2026-11-26 03:00", "2026-11-26T02:00:00"),
        ("2026-07-01T03:00", "2026-07-01T01:00:00"),
        ("2026-11-26", "2026-11-25T23:00:00"),
        ("2026-10-25T02:30", "2026-10-25T00:30:00"),
    ],
)
def test_a_time_without_an_offset_is_the_machine_s(text: str, utc: str) -> None:
    assert moment(text) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_a_time_may_be_now_or_so_long_ago() -> None:
    begun = datetime.now(UTC)
    found = [moment("now"), moment("90s"), moment("2h")]
    spent = datetime.now(UTC) - begun

    for at, ago in zip(found, (timedelta(0), timedelta(seconds=90), timedelta(hours=2)), strict=True):
        assert timedelta(0) <= at + ago - begun <= spent


@pytest.mark.parametrize("text", ["yesterday", "", "10", "-1d", "٣d", "2026-13-01", "999999w", "25:00"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time such as"):
        moment(text)


@pytest.mark.parametrize("text", ["", "30", "-1d", "1.5h", "2 days", "2026-11-26", "٣d"])
def test_what_is_no_length_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a length of time such as 90s, 15m, 12h, 30d or 4w"):
        Duration().convert(text, None, None)


def test_a_length_of_zero_is_refused_for_that_where_it_means_nothing() -> None:
    with pytest.raises(click.BadParameter, match="'0s' is no length of time: it has to be above zero"):
        Duration().convert("0s", None, None)

    assert Duration(can_be_zero=True).convert("0s", None, None) == timedelta(0)


def test_every_option_that_takes_a_time_takes_it_so_and_says_so() -> None:
    """But a planned call's, which is another person's: the API wants its offset."""
    options = [
        (f"{name} {option.opts[0]}", option)
        for name, command in commands(app, "callmeback")
        for option in command.params
        if isinstance(option, click.Option) and (option.metavar or option.type.name) == "TIME"
    ]
    times = {name for name, option in options if isinstance(option.type, Moment)}

    assert {name for name, _ in options} - times == {"callmeback schedule add --at"}
    assert times == {
        "callmeback restore --to", "callmeback restore rows --to", "callmeback rates set --from",
        "callmeback rates reprice --as-of", "callmeback logs --since",
    }  # fmt: skip
    assert all("local without an offset" in str(option.help) for name, option in options if name in times)


@pytest.mark.parametrize(
    ("text", "length"),
    [("90s", timedelta(seconds=90)), ("12h", timedelta(hours=12)), ("4w", timedelta(weeks=4)), ("0s", timedelta())],
)
def test_a_length_of_time_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert Duration(can_be_zero=True).convert(text, None, None) == length


@pytest.mark.parametrize("text", ["", "1", "d", "-1d", "0d", "1.5h", "1 d", "1d\n", "٣d", "1D", "9999999s", "999999w"])
def test_a_length_that_is_none_or_never_ends_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


def test_a_period_is_so_many_days_up_to_today_and_begins_no_earlier_than_the_calendar() -> None:
    today, first = datetime.now(UTC).date(), datetime(1, 1, 1)
    usual = parameters.period(None, None, 30)

    assert (usual.last - usual.first, usual.last - today <= timedelta(days=1)) == (timedelta(days=29), True)
    assert parameters.period(None, first, 30).first == date.min
    with pytest.raises(click.UsageError):
        parameters.period(datetime(9999, 1, 1), None, 30)
