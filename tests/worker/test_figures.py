"""What a worker shows of the house: every figure that is watched is there, at 0 where there is nothing."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from callmeback.pg.pool import Database
from callmeback.worker.figures import Figures

pytestmark = pytest.mark.anyio


def shown(figures: Figures) -> set[str]:
    return set(generate_latest(figures.registry).decode().splitlines())


async def test_states_without_a_call_or_an_event_are_shown_at_0(worker: Database, tmp_path: Path):
    figures = Figures(worker, tmp_path)
    unknown = shown(figures)
    await figures.look()
    lines = shown(figures)

    assert not any(line.startswith("callmeback_calls_open{") for line in unknown)
    assert lines >= {
        'callmeback_calls_open{status="in_progress"} 0.0',
        'callmeback_calls_last_hour{status="failed"} 0.0',
        'callmeback_payment_events_waiting{state="refused"} 0.0',
        "callmeback_ledger_unproved_accounts 0.0",
        "callmeback_schedule_lateness_seconds 0.0",
    }
    assert 'callmeback_calls_open{status="completed"} 0.0' not in lines
