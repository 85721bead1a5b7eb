"""The month of bench/month in small: everything that happens to ten thousand people happens to some of sixty."""

from pathlib import Path

import pytest
from bench.month.story import Month, Stage
from tests.payments.till import CARD
from tests.web.house import House

from callmeback.pg.pool import Database

PEOPLE = 60


@pytest.mark.anyio
@pytest.mark.slow
async def test_m01_m05_m07_a_month_ends_with_green_books_and_the_vendors_totals(
    house: House, owner: Database, api: Database, worker: Database, tmp_path: Path
):
    stage = Stage(
        owner=owner, api=api, worker=worker, hand=house.books, cashier=house.services.cashier,
        carrier=house.services.carrier, simulator=f"{house.url}/simulator", card=CARD, folder=tmp_path / "books",
    )  # fmt: skip
    result = await Month(stage, PEOPLE, lambda _: None).run()
    counts = result.counts
    [money] = [finding for finding in result.findings if finding.name.startswith("money")]

    assert [finding for finding in result.findings if finding.verdict != "green"] == []
    assert counts["troubled_events"] == 0
    happened = ("refunds", "disputes", "failed_payments", "ended_plans", "calls")
    assert [name for name in happened if not counts[name]] == []
    assert counts["periods"] > 18
    assert money.summary.count(f"{counts['cents']}.00 ¢") == 2
