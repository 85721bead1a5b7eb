"""A worker's figures: each that is watched is there, on the port of the settings at the latest once that is free."""

import asyncio
import socket
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import generate_latest
from tests.worker.plans import Plans

from callmeback.pg.pool import Database
from callmeback.settings import Settings
from callmeback.worker import figures
from callmeback.worker.figures import Figures, open_to

pytestmark = pytest.mark.anyio

PATIENCE_S = 10.0


async def answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /nothing HTTP/1.1\r\n\r\n")
    said = await reader.read()
    writer.close()

    return said.startswith(b"HTTP/1.1 404")


async def test_after_a_reload_the_figures_are_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker before this one has the port until it has finished."""
    monkeypatch.setattr(figures, "PORT_LOOK_S", 0.01)
    shown = Figures(cast(Database, None), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as before:
        settings = Settings(home=tmp_path, worker_port=before.getsockname()[1])
        door = open_to(settings, shown)
        elsewhere = await door.__aenter__()
        at_first = await answers(elsewhere)
    async with asyncio.timeout(PATIENCE_S):
        while not await answers(settings.worker_port):
            await asyncio.sleep(0.01)
    left = await answers(elsewhere)
    await door.__aexit__(None, None, None)

    assert elsewhere != settings.worker_port
    assert (at_first, left) == (True, False)
    assert not await answers(settings.worker_port)


def lines_of(shown: Figures) -> set[str]:
    return set(generate_latest(shown.registry).decode().splitlines())


async def test_states_without_a_call_or_an_event_are_shown_at_0(worker: Database, tmp_path: Path) -> None:
    shown = Figures(worker, tmp_path)
    unknown = lines_of(shown)
    await shown.look()
    lines = lines_of(shown)

    assert not any(line.startswith("callmeback_calls_open{") for line in unknown)
    assert lines >= {
        'callmeback_calls_open{status="in_progress"} 0.0',
        'callmeback_calls_last_hour{status="failed"} 0.0',
        'callmeback_payment_events_waiting{state="refused"} 0.0',
        "callmeback_ledger_unproved_accounts 0.0",
        "callmeback_schedule_lateness_seconds 0.0",
    }
    assert 'callmeback_calls_open{status="completed"} 0.0' not in lines


async def test_an_account_that_was_changed_by_hand_is_counted(
    worker: Database, database_url: str, tmp_path: Path
) -> None:
    plans = Plans(database_url)
    user = plans.person()
    plans.books.execute("UPDATE user_credits SET available_credits = available_credits + 1 WHERE user_id = %s", (user,))
    plans.books.close()
    shown = Figures(worker, tmp_path)
    await shown.look()

    assert "callmeback_ledger_unproved_accounts 1.0" in lines_of(shown)
