"""Nine days without a house, by the clock of the server and of the worker: what is rung, what is shown as missed."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.worker.plans import Plans

from callmeback.pg import home as homes
from callmeback.pg import migrate, roles, server
from callmeback.pg.place import Place

DAYS = 9
PATIENCE_S = 60.0
LIBRARIES = (
    *Path("/usr/lib").glob("*/faketime/libfaketime.so.1"),
    *Path("/usr/lib64").glob("faketime/libfaketime.so.1"),
)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="callmeback-tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def clock(days: int) -> dict[str, str]:
    """What sets the clock of a program forward; timers go on as they are."""
    if not days:
        return {}
    return {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": f"+{days}d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def work(folder: Path, dsn: str, secret: str, days: int, until: Callable[[], bool]) -> None:
    """`callmeback worker` until that is so."""
    environ = {
        "PATH": os.environ["PATH"],
        "CALLMEBACK_HOME": str(folder),
        "CALLMEBACK_BACKUP_SCHEDULE": "no",
        "DATABASE_URL": dsn,
        "CALLMEBACK_ROLE_SECRET": secret,
        "CALLMEBACK_PORT": "9",
    }
    log = folder / f"worker-{days}.log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "callmeback", "worker"], env=environ | clock(days), stdout=output, stderr=output
        )
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not until():
            assert worker.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(PATIENCE_S)


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES, reason="capability: libfaketime is not installed")
def test_c05_after_nine_days_of_downtime_nothing_late_rings_and_what_repeats_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = homes.generated_secrets(home)["role_secret"]
    begun = datetime.now(UTC)
    running = server.start(home, durable=False, archive=False)
    try:
        asyncio.run(roles.ensure(running.superuser_dsn, secret))
        migrate.apply(running.owner_dsn)
        plans = Plans(running.owner_dsn)
        ann = plans.person()
        missed = plans.call(ann, begun + timedelta(hours=1))
        later = plans.call(plans.person(), begun + timedelta(days=DAYS, seconds=10))
        start = (begun + timedelta(hours=2)).replace(second=0, microsecond=0)
        daily = plans.schedule(ann, "FREQ=DAILY", start.strftime("%Y-%m-%dT%H:%M"))
        work(tmp_path, running.owner_dsn, secret, 0, lambda: bool(plans.rows(daily)))
        plans.books.close()
    finally:
        running.stop()

    plain = Place.as_account

    def ahead(place: Place) -> dict[str, Any]:
        arguments = plain(place)
        return arguments | {"env": arguments["env"] | clock(DAYS)}

    monkeypatch.setattr(Place, "as_account", ahead)
    running = server.start(home, durable=False, archive=False)
    try:
        plans = Plans(running.owner_dsn)
        there: datetime = plans.value("SELECT clock_timestamp()")
        work(tmp_path, running.owner_dsn, secret, DAYS, lambda: plans.state(later)[0] == "executed")
        rows = plans.rows(daily)
        called = plans.books.execute("SELECT id FROM calls").fetchall()
        rung = plans.row(later)
        shown = plans.state(missed)
        plans.books.close()
    finally:
        running.stop()

    assert there - begun > timedelta(days=DAYS)
    assert shown == ("missed", "too_late")
    assert [row["status"] for row in rows] == ["missed"] * DAYS + ["scheduled"]
    assert [row["occurrence"] for row in rows] == [start + timedelta(days=day) for day in range(DAYS + 1)]
    assert [row["outcome"] for row in rows[:-1]] == ["too_late"] + ["downtime"] * (DAYS - 1)
    assert called == [{"id": rung["call_id"]}]
    assert rung["scheduled_time"] <= rung["executed_at"] <= rung["latest_start_at"]
