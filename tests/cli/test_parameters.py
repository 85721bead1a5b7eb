"""What options of several commands take: one way to say a time."""

from datetime import UTC, datetime, timedelta

import click
import pytest
from tests.test_docs import commands

from callmeback.__main__ import app
from callmeback.cli.parameters import Moment


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


@pytest.mark.parametrize("text", ["yesterday", "", "10", "2026-13-01", "999999w", "25:00"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time such as"):
        moment(text)


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
