"""The story by curl, as the README tells it: its blocks are run with bash against a real `callmeback up`."""

import os
import re
import subprocess
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from tests.sources import ROOT

pytestmark = pytest.mark.slow

SECTION = "The same by curl"
STORY_TIMEOUT_S = 180
SAID = ["Hi Brad! I have an interview tomorrow and I am nervous.", "That helps, thank you. Goodbye!"]


def blocks(document: Path, heading: str) -> list[str]:
    """The sh blocks of one section, in order."""
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", document.read_text(), re.MULTILINE | re.DOTALL)

    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def told(installation, tmp_path: Path) -> tuple[httpx.Client, str, str]:
    """The story, run to its end: a client of the person in it, the call's id, and what was printed."""
    installation.up()
    installation.wait_ready()
    base_url = f"http://127.0.0.1:{installation.port}"
    script = "\n".join(
        [
            "set -euo pipefail",
            *blocks(ROOT / "README.md", SECTION),
            f'printf \'%s\\n\' "$token" "$call" > {tmp_path}/facts',
        ]
    )
    story = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.environ["PATH"], "CALLMEBACK_PUBLIC_URL": base_url},
        capture_output=True,
        text=True,
        timeout=STORY_TIMEOUT_S,
        check=False,
    )
    assert story.returncode == 0, f"{story.stdout}\n{story.stderr}\n{installation.log.read_text()}"
    token, call = (tmp_path / "facts").read_text().split()

    return httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}), call, story.stdout


def test_the_story_of_the_readme_ends_with_costs_and_transcript(told: tuple[httpx.Client, str, str]):
    client, call_id, printed = told
    with client:
        call = client.get(f"/api/calls/{call_id}").json()
        calls = client.get("/api/calls").json()["items"]
        credits = client.get("/api/credits").json()
    person = [line["text"] for line in call["transcript"] if line["speaker"] == "user"]
    persona = [line["text"] for line in call["transcript"] if line["speaker"] == "persona"]

    # Both say goodbye, and whoever is faster hangs up.
    assert (call["status"], call["answered_by"]) == ("completed", "human")
    assert call["end_reason"] in ("goodbye", "hung_up")
    assert person == SAID
    assert len(persona) >= len(SAID)
    assert Decimal(call["cost_cents"]) == sum(Decimal(cents) for cents in call["costs"].values()) > 0
    assert [item["id"] for item in calls] == [call_id]
    assert (credits["held_credits"], credits["calls_today"]) == (0, 1)
    assert call_id in printed
