"""Options that several commands take: what is read, and what is wrong usage and never a traceback."""

from datetime import UTC, date, datetime, timedelta

import click
import pytest

from callmeback.cli import parameters
from callmeback.cli.parameters import Ago, Duration


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


@pytest.mark.parametrize("text", ["", "-1d", "٣d", "999999w", "yesterday", "2026-13-01"])
def test_a_time_ago_that_is_none_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Ago().convert(text, None, None)


def test_a_period_is_so_many_days_up_to_today_and_begins_no_earlier_than_the_calendar() -> None:
    today, first = datetime.now(UTC).date(), datetime(1, 1, 1)
    usual = parameters.period(None, None, 30)

    assert (usual.last - usual.first, usual.last - today <= timedelta(days=1)) == (timedelta(days=29), True)
    assert parameters.period(None, first, 30).first == date.min
    with pytest.raises(click.UsageError):
        parameters.period(datetime(9999, 1, 1), None, 30)
