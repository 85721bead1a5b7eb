"""Each request has an id, in its answer and in the log; and a span, where somebody set up OpenTelemetry."""

import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog
from tests.web.house import Build, House, Person

from callmeback import logs
from callmeback.web.identity import HEADER

pytestmark = pytest.mark.anyio


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


async def test_every_answer_has_an_id_of_its_own(house: House):
    given = {HEADER: "chosen-by-a-stranger"}
    answers = [
        await house.client().get("/health"),
        await house.client().get("/nowhere"),
        await house.client().get("/health", headers=given),
    ]
    ids = [answer.headers[HEADER] for answer in answers]

    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{20}", name) for name in ids)


async def test_behind_a_proxy_of_the_operators_its_id_is_kept(build: Build):
    house = await build(public_url="https://callmeback.example")
    kept = await house.client().get("/health", headers={HEADER: "01JD8ZK3-abc"})
    wrong = await house.client().get("/health", headers={HEADER: "x" * 65})

    assert kept.headers[HEADER] == "01JD8ZK3-abc"
    assert wrong.headers[HEADER] != "x" * 65


@pytest.mark.usefixtures("restored")
async def test_the_log_has_the_id_of_the_request(house: House, ann: Person, capsys: pytest.CaptureFixture[str]):
    logs.configure(json=True)
    house.books.execute("ALTER TABLE user_preferences RENAME COLUMN memory TO elsewhere")
    answer = await ann.client.get("/api/preferences")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]

    assert answer.status_code == 500
    assert [line["request_id"] for line in lines if line["event"] == "request_crashed"] == [answer.headers[HEADER]]


async def test_vendors_are_counted_and_timed(house: House, ann: Person):
    text = (await house.client().get("/metrics")).text

    assert re.search(r'callmeback_vendor_seconds_count{doing="send a text",vendor="\w+"} [1-9]', text)
    assert "2025550101" not in text
