"""Services are started again at a bounded pace, given up when they never start, and stopped in their order."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from callmeback import errors
from callmeback.cli import supervisor as supervision
from callmeback.cli.supervisor import Service, Supervisor

pytestmark = pytest.mark.anyio

# Notes its start and its end in a file, and ends at SIGTERM after a while.
OBEDIENT = """
import os, signal, sys, time
name, path, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
def note(word):
    with open(path, "a") as file:
        file.write(f"{name} {word} {os.getpid()}\\n")
def end(*_):
    time.sleep(pause)
    note("ended")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("began")
while True:
    time.sleep(0.05)
"""
# The same, which says at once that it is ready, as systemd's services do.
SPEAKING = OBEDIENT.replace(
    'note("began")',
    """note("began")
import socket
if address := os.environ.get("NOTIFY_SOCKET"):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", address)""",
)
STUBBORN = OBEDIENT.replace("signal.signal(signal.SIGTERM, end)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes"
    path.touch()

    return path


@pytest.fixture
async def started() -> AsyncIterator[Callable[..., Supervisor]]:
    supervisors: list[Supervisor] = []

    def start(*services: Service) -> Supervisor:
        supervisor = Supervisor(services)
        supervisor.start()
        supervisors.append(supervisor)
        return supervisor

    yield start
    for supervisor in supervisors:
        supervisor.hurry()
        await supervisor.stop()


def service(name: str, notes: Path, *, script: str = OBEDIENT, pause: float = 0.0, within: float = 5.0) -> Service:
    return Service(name, (sys.executable, "-c", script, name, str(notes), str(pause)), stop_within_s=within)


def words(notes: Path) -> list[str]:
    return [" ".join(line.split()[:2]) for line in notes.read_text().splitlines()]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_services_stop_one_after_the_other_in_their_order(
    started: Callable[..., Supervisor], notes: Path
) -> None:
    supervisor = started(service("first", notes, pause=0.4), service("second", notes))
    await until(lambda: len(words(notes)) == 2)

    await supervisor.stop()

    assert words(notes)[2:] == ["first ended", "second ended"]


async def test_a_killed_service_comes_back(started: Callable[..., Supervisor], notes: Path) -> None:
    supervisor = started(service("one", notes))
    for number in range(1, 4):
        await until(lambda: len(words(notes)) == number)  # noqa: B023 - awaited within the loop
        os.kill(int(notes.read_text().split()[-1]), signal.SIGKILL)
    await until(lambda: len(words(notes)) == 4)

    await supervisor.stop()
    assert words(notes) == ["one began"] * 4 + ["one ended"]


async def test_the_pace_of_restarts_is_bounded(
    started: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch, notes: Path
) -> None:
    monkeypatch.setattr(supervision, "PAUSE_MIN_S", 0.1)
    monkeypatch.setattr(supervision, "PAUSE_MAX_S", 0.4)
    script = f"import time; open({str(notes)!r}, 'a').write(f'began now {{time.time()}}\\n')"
    supervisor = started(Service("brief", (sys.executable, "-c", script), stop_within_s=1))
    supervisor.are_ready = True
    await until(lambda: len(words(notes)) >= 6)
    times = [float(line.split()[-1]) for line in notes.read_text().splitlines()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert gaps[0] >= 0.1
    assert all(gap >= 0.4 for gap in gaps[3:])
    assert not supervisor._tasks["brief"].done()


async def test_what_never_starts_is_given_up(
    started: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "PAUSE_MIN_S", 0.01)
    supervisor = started(Service("broken", (sys.executable, "-c", "raise SystemExit(7)"), stop_within_s=1))

    with pytest.raises(errors.ServerFailed, match=r"broken does not start \(exit code 7\)"):
        async with asyncio.timeout(20):
            await supervisor.failed()


async def test_a_service_that_ignores_the_signal_is_killed_at_its_deadline(
    started: Callable[..., Supervisor], notes: Path
) -> None:
    supervisor = started(service("deaf", notes, script=STUBBORN, within=0.3))
    await until(lambda: len(words(notes)) == 1)
    pid = int(notes.read_text().split()[-1])
    begun = time.monotonic()

    async with asyncio.timeout(20):
        await supervisor.stop()

    assert time.monotonic() - begun >= 0.3
    assert not Path(f"/proc/{pid}").exists()


async def test_a_second_signal_hurries(started: Callable[..., Supervisor], notes: Path) -> None:
    supervisor = started(service("deaf", notes, script=STUBBORN, within=60))
    await until(lambda: len(words(notes)) == 1)
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0.1)
    assert not stopping.done()

    supervisor.hurry()

    async with asyncio.timeout(20):
        await stopping


async def test_services_end_with_a_killed_supervisor(notes: Path) -> None:
    program = f"""
import asyncio, sys
from callmeback.cli.supervisor import Service, Supervisor
async def main():
    supervisor = Supervisor([Service("one", (sys.executable, "-c", {OBEDIENT!r}, "one", {str(notes)!r}, "0"), 5)])
    supervisor.start()
    await supervisor.failed()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            await until(lambda: len(words(notes)) == 1)
        finally:
            process.kill()
    pid = int(notes.read_text().split()[-1])

    await until(lambda: not Path(f"/proc/{pid}").exists() or "Z (zombie)" in Path(f"/proc/{pid}/status").read_text())


async def test_a_successor_is_ready_before_the_old_one_ends(started: Callable[..., Supervisor], notes: Path) -> None:
    supervisor = started(service("one", notes, script=SPEAKING), service("two", notes, script=SPEAKING))
    await until(lambda: len(words(notes)) == 2)

    assert await supervisor.roll() == []

    await until(lambda: len(words(notes)) == 6)
    assert words(notes)[2] == "one began"
    assert sorted(words(notes)[2:]) == ["one began", "one ended", "two began", "two ended"]
    assert words(notes).index("one ended") > 2
    await supervisor.stop()
    assert sorted(words(notes)[6:]) == ["one ended", "two ended"]


@pytest.mark.parametrize("script", [OBEDIENT, "raise SystemExit(7)"], ids=["never ready", "ends"])
async def test_a_successor_that_does_not_start_changes_nothing(
    started: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch, notes: Path, tmp_path: Path, script: str
) -> None:
    monkeypatch.setattr(supervision, "READY_WITHIN_S", 1.0)
    program = tmp_path / "program.py"
    program.write_text(OBEDIENT)
    supervisor = started(Service("one", (sys.executable, str(program), "one", str(notes), "0"), stop_within_s=5))
    await until(lambda: len(words(notes)) == 1)
    pid = int(notes.read_text().split()[-1])
    program.write_text(script)

    assert await supervisor.roll() == ["one"]

    assert Path(f"/proc/{pid}").exists()
    await supervisor.stop()
    assert words(notes)[-1] == "one ended"
    assert not Path(f"/proc/{pid}").exists()


async def test_what_was_replaced_may_finish_and_is_stopped_with_the_rest(
    started: Callable[..., Supervisor], notes: Path
) -> None:
    busy = SPEAKING.replace('note("began")', 'signal.signal(signal.SIGUSR1, signal.SIG_IGN); note("began")')
    made = service("busy", notes, script=busy)
    supervisor = started(Service(made.name, made.command, stop_within_s=5, retire=signal.SIGUSR1))
    await until(lambda: len(words(notes)) == 1)

    assert await supervisor.roll() == []
    assert words(notes) == ["busy began"] * 2

    await supervisor.stop()
    assert words(notes) == ["busy began"] * 2 + ["busy ended"] * 2


async def test_a_stop_in_the_middle_of_a_replacement_still_ends_all_in_order(
    started: Callable[..., Supervisor], notes: Path
) -> None:
    """As `up` does it: who wished for the replacement is cancelled, then all is stopped."""
    supervisor = started(service("one", notes), service("two", notes))
    await until(lambda: len(words(notes)) == 2)
    rolling = asyncio.create_task(supervisor.roll())
    await until(lambda: len(words(notes)) == 3)

    rolling.cancel()
    await supervisor.stop()

    assert words(notes)[3:] == ["one ended", "one ended", "two ended"]


async def test_a_service_that_dies_while_it_is_replaced_is_followed_by_its_successor(
    started: Callable[..., Supervisor], notes: Path
) -> None:
    """It is killed between its successor's start and its being ready, which waits for a file."""
    may_go = notes.with_name("may go")
    may_go.touch()
    slow = SPEAKING.replace(
        "import socket", f"import socket\nwhile not os.path.exists({str(may_go)!r}): time.sleep(0.01)"
    ).replace("while True", 'note("spoke")\nwhile True')
    supervisor = started(service("one", notes, script=slow))
    await until(lambda: len(words(notes)) == 2)
    first = int(notes.read_text().split()[-1])
    may_go.unlink()
    rolling = asyncio.create_task(supervisor.roll())
    await until(lambda: len(words(notes)) == 3)
    os.kill(first, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{first}").exists())
    may_go.touch()

    assert await rolling == []
    await until(lambda: len(words(notes)) == 4)
    await supervisor.stop()
    assert words(notes) == ["one began", "one spoke"] * 2 + ["one ended"]
