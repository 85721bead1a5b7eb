"""What options of several commands take: days, lengths of time, moments."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import click

from callmeback.domain import books
from callmeback.domain.books import Period

DAY: Final = click.DateTime(["%Y-%m-%d"])
NOW: Final = "now"

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhdw])")


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
        if found is None or (int(found["number"]) == 0 and not self._can_be_zero):
            self.fail(f"{value!a} is not a time such as 90s, 15m, 12h, 30d or 4w.", param, ctx)
        length = _length(found)
        if length > datetime.max.replace(tzinfo=UTC) - datetime.now(UTC):
            self.fail(f"{value!a} from now is past the end of the calendar.", param, ctx)

        return length


class Ago(click.ParamType[datetime]):
    """`90s`, `10m`, `2h`, `1d` ago, or a time in ISO 8601 (UTC unless it says otherwise)."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Raises click's BadParameter, exit code 2."""
        text = str(value)
        found = _DURATION.fullmatch(text)
        try:
            if found is not None:
                return datetime.now(UTC) - _length(found)
            moment = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.fail(f"{text!a} is not a time such as 90s, 10m, 2h, 1d (ago), or 2026-11-26T14:30.", param, ctx)

        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _length(found: re.Match[str]) -> timedelta:
    return timedelta(seconds=int(found["number"]) * _UNITS[found["unit"]])


class Moment(click.ParamType[datetime]):
    """A time as RFC 3339, or `now`; one without an offset is this machine's local time."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Raises click's BadParameter, exit code 2."""
        if isinstance(value, datetime):
            return value
        if value == NOW:
            return datetime.now(UTC)
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(
                f"{value!a} is not a time such as 2026-11-26T14:30:00+01:00, or 2026-11-26T14:30 in local time.",
                param,
                ctx,
            )
        try:
            return found.astimezone(UTC)
        except (OverflowError, ValueError, OSError):
            # At an end of the calendar, where no other zone has a name for it; no backup is that old or that new.
            return found.replace(tzinfo=UTC)


def period(first: datetime | None, last: datetime | None, default_days: int) -> Period:
    """The days of `--from` and `--to`: by default this many, up to today in UTC. Raises click's UsageError."""
    end = last.date() if last else datetime.now(UTC).date()
    begin = first.date() if first else date.fromordinal(max(1, end.toordinal() - default_days + 1))
    if begin > end:
        raise click.UsageError("--from is later than --to.")

    return books.period(begin, end)
