"""`callmeback schedule` against a running web process: one story, and refusals in a sentence."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.web.house import House, Person

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMEOUT_S = 60.0
WEEKDAYS = "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"


async def run(house: House, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, complaints."""
    settings = house.settings
    environ = {
        "PATH": os.environ["PATH"],
        "CALLMEBACK_HOME": str(settings.home),
        "CALLMEBACK_PORT": str(settings.port),
        "CALLMEBACK_JWT_SECRET": settings.jwt_secret or "",
        "DATABASE_URL": settings.database_url or "",
    }
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "callmeback", "schedule", *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )

    return process.returncode, process.stdout, process.stderr


async def told(house: House, *arguments: str) -> dict[str, Any]:
    """What a command answers with `--json`."""
    code, output, complaints = await run(house, *arguments, "--json")
    assert code == 0, complaints
    found: dict[str, Any] = json.loads(output)

    return found


async def test_a_schedule_s_life_in_the_terminal(house: House, ann: Person):
    mine = ("--as", ann.email)
    seen = await told(house, "preview", WEEKDAYS, "2058-01-07T07:00", "--zone", "Asia/Tokyo", *mine)
    made = await told(
        house,
        "add",
        "sarah",
        "--rule",
        WEEKDAYS,
        "--start",
        "2058-01-07T07:00",
        "--retries",
        "2",
        "--minutes",
        "5",
        *mine,
    )
    paused = await told(house, "pause", made["id"], *mine)
    resumed = await told(house, "resume", made["id"], *mine)
    moved = await told(house, "move", made["id"], "2058-01-07T08:00:00+01:00", *mine)
    skipped = await told(house, "skip", made["id"], *mine)
    _, table, _ = await run(house, "list", *mine)
    ended = await told(house, "cancel", made["id"], *mine)
    listed = await told(house, "list", *mine)

    assert seen["items"][0]["at"] == "2058-01-07T07:00:00+09:00"
    assert (made["persona_id"], made["retries"]["max"], made["max_minutes"]) == ("sarah", 2, 5)
    assert (made["at"], made["timezone"]) == ("2058-01-07T07:00:00+01:00", "Europe/Berlin")
    assert [paused["status"], resumed["status"], ended["status"]] == ["paused", "active", "ended"]
    assert (moved["at"], skipped["at"]) == ("2058-01-07T08:00:00+01:00", "2058-01-08T07:00:00+01:00")
    assert made["id"] in table and WEEKDAYS in table and "07:00:00+01:00" in table
    assert [item["id"] for item in listed["items"]] == [made["id"]]


WRONG = [
    (("add",), 2, "Missing option '--as'"),
    (("add", "--as", "ANN"), 2, "Say either --at, or both --rule and --start."),
    (("add", "--rule", WEEKDAYS, "--as", "ANN"), 2, "Say either --at, or both --rule and --start."),
    (("add", "nobody", "--at", "2058-01-01T07:00Z", "--as", "ANN"), 1, "There is no such persona."),
    (("preview", "FREQ=SECONDLY", "2058-01-01T07:00", "--as", "ANN"), 1, "every 5 minutes at most"),
    (("cancel", "rep_../../calls", "--as", "ANN"), 1, "There is no such thing"),
]


async def test_wrong_input_is_a_sentence(house: House, ann: Person):
    for arguments, code, sentence in WRONG:
        given = [ann.email if argument == "ANN" else argument for argument in arguments]
        answer, output, complaints = await run(house, *given)

        assert (answer, output) == (code, ""), arguments
        assert sentence in complaints
        assert "Traceback" not in complaints
