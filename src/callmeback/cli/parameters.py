"""What options of several commands take: days, lengths of time, moments."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import click
from click.core import ParameterSource

from callmeback.domain import books
from callmeback.domain.books import Period

DAY: Final = click.DateTime(["%Y-%m-%d"])
NOW: Final = "now"

_DIGITS: Final = re.compile(r"[0-9]{1,40}")
_SIGNED: Final = re.compile(r"[+-]?[0-9]{1,40}")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhdw])")


def stands_alone(context: click.Context) -> bool:
    """Whether a group that is a command too was asked without a subcommand.

    Raises click's UsageError where one of its own options stands before a subcommand, which would never hear of it.
    """
    if context.invoked_subcommand is None:
        return True
    for parameter in context.command.params:
        assert parameter.name is not None, "click names every parameter"
        if context.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                f"{parameter.opts[0]} says nothing before {context.invoked_subcommand}; say it after."
            )

    return False


class Whole(click.IntRange):
    """A whole number within bounds, in digits, with a sign where it may be below zero. Python would read 1_000 too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises click's BadParameter, exit code 2."""
        is_signed = self.min is not None and self.min < 0
        if isinstance(value, str) and not (_SIGNED if is_signed else _DIGITS).fullmatch(value):
            self.fail(f"{value!a} is not a whole number in digits, such as 1000.", param, ctx)

        return super().convert(value, param, ctx)


class Duration(click.ParamType[timedelta]):
    """A length of time such as 30d: a whole number and one of s, m, h, d, w; above zero unless zero is allowed."""

    name = "duration"

    def __init__(self, *, can_be_zero: bool = False) -> None:
        self._can_be_zero = can_be_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Raises click's BadParameter, exit code 2."""
        if isinstance(value, timedelta):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!a} is not a length of time such as 90s, 15m, 12h, 30d or 4w.", param, ctx)
        length = _length(found)
        if not length and not self._can_be_zero:
            self.fail(f"{value!a} is no length of time: it has to be above zero.", param, ctx)
        if length > datetime.max.replace(tzinfo=UTC) - datetime.now(UTC):
            self.fail(f"{value!a} from now is past the end of the calendar.", param, ctx)

        return length


class Moment(click.ParamType[datetime]):
    """A time as RFC 3339, `now`, or so long ago (`90s`, `10m`, `2h`, `1d`).

    One without an offset is this machine's local time, as on the clock of whoever types it.
    """

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Raises click's BadParameter, exit code 2."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        ago = _DURATION.fullmatch(text)
        try:
            if text == NOW or ago is not None:
                return datetime.now(UTC) - (timedelta(0) if ago is None else _length(ago))
            found = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.fail(
                f"{text!a} is not a time such as 2026-11-26T14:30+01:00, 2026-11-26T14:30 (local), 10m (ago) or now.",
                param,
                ctx,
            )
        try:
            return found.astimezone(UTC)
        except (OverflowError, ValueError, OSError):
            # At an end of the calendar, where no other zone has a name for it; nothing is that old or that new.
            return found.replace(tzinfo=UTC)


def _length(found: re.Match[str]) -> timedelta:
    return timedelta(seconds=int(found["number"]) * _UNITS[found["unit"]])


def period(first: datetime | None, last: datetime | None, default_days: int) -> Period:
    """The days of `--from` and `--to`: by default this many, up to today in UTC. Raises click's UsageError."""
    end = last.date() if last else datetime.now(UTC).date()
    begin = first.date() if first else date.fromordinal(max(1, end.toordinal() - default_days + 1))
    if begin > end:
        raise click.UsageError("--from is later than --to.")

    return books.period(begin, end)
