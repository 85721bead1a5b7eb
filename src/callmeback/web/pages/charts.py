"""Geometry of the charts, as the templates draw them in SVG. Pure; no colours, no words but axis labels.

Widths are percents of the drawing and heights are pixels, so that a chart fits any screen and letters stay readable.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from callmeback.web.pages import words

HEIGHT: Final = 240
TOP: Final = 22
BOTTOM: Final = 26
BAR_SHARE: Final = 0.72
GRID_LINES_MAX: Final = 5
# How much higher than everything else a limit may be and still be drawn: beyond that the rest would lie flat.
LIMIT_REACH: Final = 3
STEPS: Final = (1, 2, 5)


class Bar(msgspec.Struct, frozen=True):
    """A rectangle; `title` is what a pointer is told."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Tick(msgspec.Struct, frozen=True):
    """A mark on an axis; `at` is percents on the days' and pixels on the money's."""

    at: float
    label: str


class Line(msgspec.Struct, frozen=True):
    """From one point to another."""

    x1: float
    y1: float
    x2: float
    y2: float


class MonthChart(msgspec.Struct, frozen=True, kw_only=True):
    """A month as a stair: what the days before had come to, and on top what the day itself added.

    `ahead` leads from today to what is expected on the last day; `limit_at` None for a limit above the drawing.
    """

    before: list[Bar]
    days: list[Bar]
    ahead: Line | None
    limit_at: float | None
    money: list[Tick]
    dates: list[Tick]
    height: int = HEIGHT
    floor: int = HEIGHT - BOTTOM


class PairChart(msgspec.Struct, frozen=True, kw_only=True):
    """Two bars for each day, of which the first may lie below zero."""

    first: list[Bar]
    second: list[Bar]
    zero: float
    money: list[Tick]
    dates: list[Tick]
    height: int = HEIGHT


class _Scale(msgspec.Struct, frozen=True):
    """From cents to pixels."""

    least: Decimal
    most: Decimal

    def y(self, cents: Decimal) -> float:
        share = float((self.most - cents) / (self.most - self.least))

        return round(TOP + share * (HEIGHT - TOP - BOTTOM), 2)


def month(
    month: date,
    spent: Mapping[date, Decimal],
    *,
    today: date,
    forecast_cents: Decimal,
    limit_cents: Decimal,
) -> MonthChart:
    """What was spent by day of a month, what it comes to at its end, and the limit."""
    count = days_in(month)
    shown = [month + timedelta(days=day) for day in range(count)]
    total = sum((spent.get(day, Decimal(0)) for day in shown), Decimal(0))
    tallest = max(total, forecast_cents, Decimal(1))
    has_limit = 0 < limit_cents <= tallest * LIMIT_REACH
    top = max(tallest, limit_cents) if has_limit else tallest
    scale, grid = _grid(Decimal(0), top)
    before, days = [], []
    sum_so_far = Decimal(0)
    for place, day in enumerate(shown):
        if day > today:
            break
        own = spent.get(day, Decimal(0))
        title = f"{words.weekday_of(day)}: {words.small(own)}, {words.small(sum_so_far + own)} so far"
        before.append(_bar(place, count, scale, Decimal(0), sum_so_far, title))
        days.append(_bar(place, count, scale, sum_so_far, sum_so_far + own, title))
        sum_so_far += own
    is_going_on = shown[0] <= today < shown[-1]

    return MonthChart(
        before=before,
        days=days,
        ahead=_ahead(shown, today, scale, sum_so_far, forecast_cents) if is_going_on and total else None,
        limit_at=scale.y(limit_cents) if has_limit else None,
        money=grid,
        dates=_dates(shown),
    )


def pairs(days: Sequence[date], first: Mapping[date, Decimal], second: Mapping[date, Decimal]) -> PairChart:
    """Two sums for each of the days, such as revenue and cost."""
    values = [Decimal(0), *first.values(), *second.values()]
    scale, grid = _grid(min(values), max(*values, Decimal(1)))
    left: list[Bar] = []
    right: list[Bar] = []
    for place, day in enumerate(days):
        for bars, sums, part in ((left, first, 0), (right, second, 1)):
            cents = sums.get(day, Decimal(0))
            title = f"{words.weekday_of(day)}: {words.signed_dollars(cents)}"
            low, high = min(cents, Decimal(0)), max(cents, Decimal(0))
            bars.append(_bar(2 * place + part, 2 * len(days), scale, low, high, title))

    return PairChart(first=left, second=right, zero=scale.y(Decimal(0)), money=grid, dates=_dates(days))


def days_in(month: date) -> int:
    """How many days the month has that begins on this day."""
    return (next_month(month) - month).days


def next_month(month: date) -> date:
    """The first day of the next one."""
    return (month + timedelta(days=31)).replace(day=1)


def _bar(place: int, count: int, scale: _Scale, low: Decimal, high: Decimal, title: str) -> Bar:
    slot = 100 / count
    top = scale.y(high)

    return Bar(
        x=round((place + (1 - BAR_SHARE) / 2) * slot, 3),
        y=top,
        width=round(slot * BAR_SHARE, 3),
        height=round(scale.y(low) - top, 2),
        title=title,
    )


def _ahead(shown: Sequence[date], today: date, scale: _Scale, spent: Decimal, forecast: Decimal) -> Line:
    slot = 100 / len(shown)
    place = (today - shown[0]).days

    return Line(
        x1=round((place + 0.5) * slot, 3),
        y1=scale.y(spent),
        x2=round(100 - slot / 2, 3),
        y2=scale.y(max(spent, forecast)),
    )


def _grid(least: Decimal, most: Decimal) -> tuple[_Scale, list[Tick]]:
    """A scale that ends on round sums, and a line for each of them but the zero."""
    step = _step(most - least)
    low = int((least / step).to_integral_value(ROUND_FLOOR))
    high = int((most / step).to_integral_value(ROUND_CEILING))
    scale = _Scale(low * step, high * step)
    sums = [step * place for place in range(low, high + 1) if place]

    return scale, [Tick(scale.y(cents), _sum(cents, step)) for cents in sums]


def _step(span: Decimal) -> Decimal:
    """The smallest round step that needs few enough lines: 1, 2 or 5 times a power of ten."""
    power = Decimal(1).scaleb(span.adjusted() - 1)
    for _ in range(len(STEPS)):
        for digit in STEPS:
            if span <= digit * power * GRID_LINES_MAX:
                return digit * power
        power *= 10
    raise AssertionError("a step above the span itself needs one line")


def _sum(cents: Decimal, step: Decimal) -> str:
    """A label as short as its neighbours allow."""
    if abs(cents) < words.CENTS_IN_A_DOLLAR and step < words.CENTS_IN_A_DOLLAR:
        return f"{cents.normalize():f} ¢"
    sign = "-" if cents < 0 else ""

    return f"{sign}${abs(cents) / 100:,.0f}" if step % 100 == 0 else f"{sign}${abs(cents) / 100:,.2f}"


def _dates(days: Sequence[date]) -> list[Tick]:
    """The first day and about every fifth, under the middle of its bar."""
    slot = 100 / len(days)
    every = max(1, round(len(days) / 6))
    places = range(0, len(days), every)

    return [Tick(round((place + 0.5) * slot, 3), f"{days[place].day} {days[place]:%b}") for place in places]
