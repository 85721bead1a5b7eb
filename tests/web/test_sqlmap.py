"""sqlmap against the API, as somebody who is logged in: addresses, questions and bodies that reach a statement."""

import asyncio
import json
from pathlib import Path

import pytest
from tests import sqlmap
from tests.web.house import Person

PLACES = [
    ("GET", "/api/personas?category=friend*", None),
    ("GET", "/api/personas/brad*", None),
    ("PUT", "/api/relationships/brad*", {"is_favorite": True}),
    ("PUT", "/api/relationships/brad", {"relationship_type": "friend*"}),
    ("POST", "/api/scenarios", {"name": "Morning*", "scenario_text": "You wake me."}),
    ("GET", "/api/costs?from=2026-01-01&to=2026-12-31&group_by=day*", None),
    ("GET", "/api/costs?from=2026-01-01*&to=2026-12-31&group_by=day", None),
    ("GET", "/api/calls?cursor=x*", None),
    ("GET", "/api/calls/call_0*", None),
]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "body", "full"),
    [
        pytest.param(*PLACES[0], False, marks=pytest.mark.slow),
        *(pytest.param(*place, True, marks=pytest.mark.proof) for place in PLACES),
    ],
)
async def test_the_api_lets_nothing_through(
    ann: Person, tmp_path: Path, method: str, path: str, body: dict[str, object] | None, full: bool
):
    plain = await ann.client.request(method, path.replace("*", ""), json=_without_marks(body))

    assert plain.status_code in (200, 201, 400, 404, 422), plain.text
    assert not await asyncio.to_thread(
        sqlmap.attack,
        tmp_path,
        f"{ann.client.base_url}".rstrip("/") + path,
        method=method,
        body=None if body is None else json.dumps(body),
        headers=(f"Authorization: Bearer {ann.token}",),
        full=full,
    )


def _without_marks(body: dict[str, object] | None) -> object:
    return None if body is None else json.loads(json.dumps(body).replace("*", ""))
