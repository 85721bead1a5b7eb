"""Schemathesis over the OpenAPI document: thousands of requests, right and wrong, and never a server error.

Each answer must also be what the document says: its status, its media type, its shape.
"""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from tests.web.house import House, Person

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

EXAMPLES = 15
SEED = 20_261_122
TIMEOUT_S = 300
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# What ends the session, or the person, that the others need.
ENDS_THE_SESSION = ("logout", "logout-everywhere", "password/reset")


async def run(house: House, folder: Path, *options: str) -> int:
    """Run schemathesis in a process of its own; fails with what it found, answers how many requests were fine."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("st"),
        "run",
        f"{house.url}/docs/openapi.json",
        "--checks", CHECKS,
        "--max-examples", str(EXAMPLES),
        "--seed", str(SEED),
        "--phases", "examples,coverage,fuzzing",
        "--suppress-health-check", "all",
        "--generation-database", "none",
        "--request-timeout", "20",
        "--continue-on-failure",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NO_COLOR": "1"},
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text

    return sum(int(count) for count in re.findall(r"(\d+) passed$", text, re.MULTILINE)[-1:])


async def test_no_server_error_for_a_person(house: House, ann: Person, tmp_path: Path):
    excluded = "|".join(ENDS_THE_SESSION)
    await house.script("+12025550101", answers="busy")
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.until(ann, placed["id"])
    order = {"persona_id": "brad", "rrule": "FREQ=DAILY", "starts_at": "2026-01-01T07:00"}
    planned = (await ann.client.post("/api/schedules", json=order)).json()
    (tmp_path / "schemathesis.toml").write_text(
        f'[parameters]\ncall_id = "{placed["id"]}"\nschedule_id = "{planned["id"]}"\n'
    )
    passed = await run(
        house,
        tmp_path,
        "--header", f"Authorization: Bearer {ann.token}",
        "--exclude-path-regex", rf"/api/auth/({excluded})|/api/admin",
        "--exclude-operation-id", "ApiAuthMeEraseMe",
    )  # fmt: skip

    assert passed > 1_000
    # The session lived to the end, so the requests met more than a refusal.
    assert (await ann.client.get("/api/auth/me")).status_code == 200


async def test_no_server_error_for_a_stranger(house: House, tmp_path: Path):
    assert await run(house, tmp_path) > 1_000


async def test_no_server_error_for_an_admin(house: House, ann: Person, tmp_path: Path):
    house.books.execute("INSERT INTO admin_users (user_id, granted_by) VALUES (%s, 'test')", (ann.id,))
    passed = await run(
        house, tmp_path, "--header", f"Authorization: Bearer {ann.token}", "--include-path-regex", "/api/admin"
    )

    assert passed > 50
