"""Logs kept in the home: written whole by several processes, set aside when full, read, filtered, followed."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from tests.ops.doctor.patients import run

from callmeback import logs
from callmeback.ops import loglines
from callmeback.ops.loglines import Follower, Wanted

WRITER = """
import json
import sys
from pathlib import Path
from callmeback import logs
logs.FILE_BYTES_MAX = 20_000
kept = logs.KeptFile(Path(sys.argv[1]))
for number in range(300):
    line = {"event": sys.argv[2] * 20, "n": number, "timestamp": "2026-01-01T00:00:00Z"}
    kept.write(json.dumps(line).encode() + b"\\n")
"""


@pytest.fixture
def logging_kept(tmp_path: Path) -> Iterator[Path]:
    """Our logging with a file in a home, put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    logs.configure(json=True)
    logs.keep(loglines.file_of(tmp_path, "serve"))
    yield tmp_path
    root.handlers[-1].close()
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_s16_kept_lines_are_redacted_and_found_by_request(logging_kept: Path):
    log = logs.get_logger("ours")
    log.info("placed", phone="+12025550123", request_id="r1", call_id="call_1")
    log.warning("slow", request_id="r2")
    logging.getLogger("theirs").error("calling %s", "+12025550123")
    logs.write_lines([b'{"event":"sql","level":"info","timestamp":"2026-01-01T00:00:00Z","sql":{"request":"r3"}}'])
    everything = loglines.read(logging_kept, Wanted())

    assert sorted(entry.event for entry in everything) == ["calling [hidden]", "placed", "slow", "sql"]
    assert "2025550123" not in loglines.file_of(logging_kept, "serve").read_text()
    for wanted, events in (
        (Wanted(request="r1"), ["placed"]),
        (Wanted(request="call_1"), ["placed"]),
        (Wanted(request="r3"), ["sql"]),
        (Wanted(level="warning"), ["slow", "calling [hidden]"]),
        (Wanted(services=("proxy",)), []),
        (Wanted(since=datetime.now(UTC) + timedelta(hours=1)), []),
        (Wanted(since=datetime.now(UTC) - timedelta(hours=1)), ["placed", "slow", "calling [hidden]"]),
    ):
        assert [entry.event for entry in loglines.read(logging_kept, wanted)] == events


def test_only_their_owner_can_read_kept_lines(logging_kept: Path):
    logs.get_logger("ours").info("anything")
    file = loglines.file_of(logging_kept, "serve")

    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_several_processes_write_whole_lines_and_set_full_files_aside(tmp_path: Path):
    file = loglines.file_of(tmp_path, "serve")
    file.parent.mkdir()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, file, name]) for name in "abc"]
    codes = [writer.wait(60) for writer in writers]
    texts = [path.read_text() for path in file.parent.iterdir()]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]

    assert codes == [0, 0, 0]
    assert 1 < len(texts) <= logs.FILES_KEPT + 1
    assert all(len(text) < 25_000 for text in texts)
    assert {line["event"] for line in lines} <= {name * 20 for name in "abc"}
    assert len({(line["event"], line["n"]) for line in lines}) == len(lines)


def test_a_follower_sees_what_is_added_and_goes_on_with_the_next_file(tmp_path: Path):
    file = tmp_path / "serve.log"
    line = '{{"event": "{}", "timestamp": "2026-01-01T00:00:00Z"}}\n'
    file.write_text(line.format("before"))
    follower = Follower("serve", file)
    first = follower.news()
    with file.open("a") as end:
        end.write(line.format("one") + line.format("half")[:10])
    second = follower.news()
    with file.open("a") as end:
        end.write(line.format("half")[10:])
    file.rename(tmp_path / "serve.log.1")
    file.write_text(line.format("two"))
    third = follower.news()
    follower.close()

    assert [[entry.event for entry in look] for look in (first, second, third)] == [[], ["one"], ["half", "two"]]


def test_the_servers_lines_are_read_with_their_level_and_without_numbers_of_people():
    text = (
        "2026-11-26 00:00:01.250 UTC [1] LOG:  database system is ready\n"
        "2026-11-26 00:00:02 UTC [2] ann@callmeback callmeback api ERROR:  no +12025550123 here\n"
        "\tmore of it\n"
    )
    ready, wrong = loglines.entries("postgres", text)

    assert (ready.level, ready.event, ready.at.microsecond) == ("info", "database system is ready", 250_000)
    assert (wrong.level, wrong.event, wrong.facts) == ("error", "no [hidden] here", {"program": "callmeback api"})


def test_the_command_filters_and_follows(tmp_path: Path):
    file = loglines.file_of(tmp_path, "worker")
    file.parent.mkdir()
    line = '{{"event": "{}", "level": "{}", "timestamp": "2026-01-01T00:00:00Z", "duty": "reap"}}\n'
    file.write_text(line.format("calm", "info") + line.format("loud", "error"))
    shown = run("logs", "--level", "warning", CALLMEBACK_HOME=str(tmp_path))
    as_json = run("logs", "--json", "--lines", "1", CALLMEBACK_HOME=str(tmp_path))
    wrong = run("logs", "--since", "yesterday", CALLMEBACK_HOME=str(tmp_path))
    in_berlin = run("logs", "--since", "2026-01-01 00:59:59", CALLMEBACK_HOME=str(tmp_path), TZ="Europe/Berlin")
    later = run("logs", "--since", "2026-01-01 01:00:01", CALLMEBACK_HOME=str(tmp_path), TZ="Europe/Berlin")
    program = [sys.executable, "-m", "callmeback", "logs", "--follow", "--lines", "1"]
    following = subprocess.Popen(program, env={"CALLMEBACK_HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True)
    assert following.stdout is not None
    first = following.stdout.readline()
    with file.open("a") as end:
        end.write(line.format("later", "info"))
    begun = time.monotonic()
    second = following.stdout.readline()
    following.terminate()
    following.wait(10)
    following.stdout.close()

    assert "loud duty=reap" in shown.stdout
    assert "calm" not in shown.stdout
    assert "2026-01-01 01:00:00.000000+0100 worker   error    loud" in in_berlin.stdout
    assert later.stdout == ""
    assert json.loads(as_json.stdout)["event"] == "loud"
    assert (wrong.returncode, "10m" in wrong.stderr) == (2, True)
    assert "loud" in first
    assert "later" in second, time.monotonic() - begun
