"""The claim `start`: seconds from `callmeback up` to a 200 of /ready, on a new home and on the same home again.

The peer is the same machine's bare PostgreSQL: `initdb` and `pg_ctl start` of the wheel's programs, waited for, which
no start of ours can beat. Five interleaved rounds, medians, one line of JSON at the end.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from callmeback.pg import server

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
PATIENCE_S = 60.0
POLL_S = 0.02


def main() -> None:
    first, again, bare, bare_again = [], [], [], []
    for number in range(ROUNDS):
        home = Path(tempfile.mkdtemp(prefix="callmeback-start-"))
        home.chmod(0o711)
        try:
            first.append(up(home / "ours"))
            again.append(up(home / "ours"))
            bare.append(database(home / "bare"))
            bare_again.append(database(home / "bare"))
        finally:
            shutil.rmtree(home, ignore_errors=True)
        print(
            f"round {number + 1}: first {first[-1]:.2f} s, again {again[-1]:.2f} s, bare {bare[-1]:.2f} s", flush=True
        )
    figures = {
        "first_seconds": round(statistics.median(first), 2),
        "again_seconds": round(statistics.median(again), 2),
        "postgresql_first_seconds": round(statistics.median(bare), 2),
        "postgresql_again_seconds": round(statistics.median(bare_again), 2),
    }
    ratios = {
        "postgresql.first": round(figures["postgresql_first_seconds"] / figures["first_seconds"], 3),
        "postgresql.again": round(figures["postgresql_again_seconds"] / figures["again_seconds"], 3),
    }
    print(json.dumps({"claim": "start", "ratios": ratios, "figures": figures}))


def up(home: Path) -> float:
    """Seconds until /ready answers 200; everything is stopped again before this returns."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        **os.environ,
        "CALLMEBACK_HOME": str(home),
        "CALLMEBACK_PORT": str(port),
        "PYTHONPATH": str(ROOT / "src"),
    }
    environ.pop("DATABASE_URL", None)
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "callmeback", "up"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() - begun > PATIENCE_S:
                raise SystemExit("`callmeback up` did not get ready")
            time.sleep(POLL_S)
        return time.monotonic() - begun
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def database(home: Path) -> float:
    """Seconds until the database alone accepts connections."""
    begun = time.monotonic()
    with server.start(home):
        return time.monotonic() - begun


if __name__ == "__main__":
    main()
