"""The logger hides personal data by key, by type and by pattern, whoever logs it."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from callmeback import logs


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    noisy = {name: logging.getLogger(name).level for name in ("httpx", "httpcore", "websockets", "uvicorn.access")}
    yield
    root.handlers, root.level = handlers, level
    for name, old in noisy.items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()


def redacted(**event: Any) -> dict[str, Any]:
    return dict(logs.redact(None, "info", {"event": "something", **event}))


@pytest.mark.parametrize(
    "key",
    [
        "phone", "phone_number", "to", "from", "email", "password", "token", "access_token", "api_key", "prompt",
        "system_prompt", "text", "transcript", "body", "context", "Authorization", "jwt_secret", "twilio-signature",
    ],
)  # fmt: skip
def test_s16_keys_that_name_personal_data_are_hidden(key: str) -> None:
    assert redacted(**{key: "anything at all"})[key] == "[hidden]"


@pytest.mark.parametrize(
    "secret",
    [
        "+12025550123",
        "%2B12025550123",
        "+1 (202) 555-0123",
        "202-555-0123",
        "brad@example.com",
        "postgresql://someone:pa55word@127.0.0.1/d",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl",
        "sk_live_4242424242424242",
        "AC0123456789abcdef0123456789abcdef",
        "Bearer abcdef0123456789",
    ],
)
def test_s16_patterns_are_hidden_inside_any_text(secret: str) -> None:
    event = redacted(detail=f"before {secret} after", nested={"list": [secret]})

    shown = json.dumps(event)
    assert secret not in shown
    assert "pa55word" not in shown
    assert event["detail"].startswith("before")
    assert event["detail"].endswith("after")


def test_what_is_not_personal_stays() -> None:
    event = {
        "event": "call settled",
        "call_id": "call_01h455vb4pex5vsknk084sn02q",
        "duration_seconds": 61,
        "prompt_tokens": 1_200,
        "cost": "13.17",
        "at": "2025-01-02T03:04:05.678901+00:00",
        "address": "127.0.0.1:8000",
    }

    assert redacted(**event) == event


def test_hidden_never_shows_itself() -> None:
    secret = logs.Hidden("value")

    assert f"{secret} {secret!r}" == "[hidden] [hidden]"
    assert redacted(anything=secret)["anything"] == "[hidden]"
    assert secret.value == "value"


def test_depth_and_length_are_bounded() -> None:
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"inner": deep}

    event = redacted(deep=deep, long="x" * 10_000, many=list(range(1_000)))

    assert len(json.dumps(event)) < 4_000


@pytest.mark.usefixtures("restored")
def test_s16_json_records_of_ours_and_of_libraries_are_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    logs.get_logger("ours").info("call placed", phone="+12025550123", call_id="call_1")
    logging.getLogger("theirs").warning("calling %s now", "+12025550123")
    try:
        raise ValueError("no answer from +12025550123")
    except ValueError:
        logs.get_logger("ours").exception("failed")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["ours", "theirs", "ours"]
    assert lines[0]["call_id"] == "call_1"
    assert lines[1]["event"] == "calling [hidden] now"
    assert "ValueError" in lines[2]["exception"]
    assert "2025550123" not in json.dumps(lines)
