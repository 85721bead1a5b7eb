"""Geometry of the charts."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from callmeback.web.pages import charts

NOVEMBER = date(2026, 11, 1)
cents = st.decimals(min_value=0, max_value=10_000_000, places=4)
days = st.dictionaries(st.dates(NOVEMBER, date(2026, 11, 30)), cents, max_size=30)


@given(spent=days, today=st.dates(NOVEMBER, date(2026, 11, 30)), forecast=cents, limit=cents)
def test_everything_stays_inside_the_drawing(
    spent: dict[date, Decimal], today: date, forecast: Decimal, limit: Decimal
):
    chart = charts.month(NOVEMBER, spent, today=today, forecast_cents=forecast, limit_cents=limit)

    for bar in (*chart.before, *chart.days):
        assert 0 <= bar.x and bar.x + bar.width <= 100
        assert charts.TOP <= bar.y <= bar.y + bar.height <= chart.floor + 0.01
    assert all(charts.TOP - 0.01 <= tick.at < chart.floor for tick in chart.money)
    assert 1 <= len(chart.money) <= charts.GRID_LINES_MAX
    assert len(chart.days) == today.day
    if chart.limit_at is not None:
        assert charts.TOP <= chart.limit_at <= chart.floor


def test_a_day_stands_on_the_days_before_it():
    spent = {NOVEMBER: Decimal(30), NOVEMBER + timedelta(days=2): Decimal(20)}
    chart = charts.month(
        NOVEMBER, spent, today=date(2026, 11, 3), forecast_cents=Decimal(500), limit_cents=Decimal(1_000)
    )
    first, second, third = chart.days

    assert chart.before[0].height == second.height == 0
    assert chart.before[2].y == third.y + third.height == first.y
    assert first.height / third.height == 1.5
    assert third.title == "Tue 3 Nov: 20.00 ¢, 50.00 ¢ so far"
    assert chart.ahead is not None
    assert (chart.ahead.y1, chart.ahead.x2) == (third.y, round(100 - 100 / 60, 3))
    assert [tick.label for tick in chart.money] == ["$2", "$4", "$6", "$8", "$10"]


def test_a_limit_far_above_is_not_drawn():
    for limit, is_drawn in ((0, False), (300, True), (301, False)):
        chart = charts.month(
            NOVEMBER, {NOVEMBER: Decimal(50)}, today=date(2026, 11, 15),
            forecast_cents=Decimal(100), limit_cents=Decimal(limit),
        )  # fmt: skip

        assert (chart.limit_at is not None) is is_drawn


def test_on_the_last_day_nothing_lies_ahead():
    chart = charts.month(
        NOVEMBER, {NOVEMBER: Decimal(5)}, today=date(2026, 11, 30), forecast_cents=Decimal(5), limit_cents=Decimal(9)
    )

    assert chart.ahead is None
    assert [tick.label for tick in chart.money] == ["2 ¢", "4 ¢", "6 ¢", "8 ¢", "10 ¢"]


def test_a_day_on_which_more_was_given_back_than_paid_lies_below_zero():
    shown = [NOVEMBER + timedelta(days=day) for day in range(7)]
    chart = charts.pairs(shown, {shown[0]: Decimal(999), shown[1]: Decimal(-500)}, {shown[0]: Decimal(100)})

    assert chart.first[0].y + chart.first[0].height == chart.zero
    assert chart.first[1].y == chart.zero < chart.first[1].y + chart.first[1].height
    assert chart.first[1].title == "Mon 2 Nov: -$5.00"
    assert [tick.label for tick in chart.money] == ["-$5", "$5", "$10"]


def test_months_have_their_days():
    assert [charts.days_in(date(2028, month, 1)) for month in (1, 2, 4, 12)] == [31, 29, 30, 31]
