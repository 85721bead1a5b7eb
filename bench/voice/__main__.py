"""The claim `voice`: five interleaved rounds of our pipeline and of Pipecat on the same work, then one line of JSON.

Every round starts its processes anew: one with the pipeline, one with callers and vendors.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.peers import Peers

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
CALLS = 30
PEER_CALLS = 10
SETTLE_SECONDS = 8.0
MEASURE_SECONDS = 25.0
# The whole bench ends within twelve minutes, whatever hangs.
BENCH_SECONDS_MAX = 660
ADDED_MS_MAX = 15.0
CPU_PERCENT_MAX = 3.0
CLEAR_MS_MAX = 50.0
# Half a gigabyte, which this bench alone installs.
PEERS = Peers("pipecat", "Pipecat", ("pipecat-ai==1.14.0", "websockets==17.4", "uvicorn==0.54.0", "fastapi==0.165.0"))


class Part:
    """A process that prints JSON lines and is driven by lines."""

    def __init__(self, command: list[str]) -> None:
        paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.ready = self.read("ready")

    def read(self, event: str) -> dict:
        """The next JSON line of that kind; whatever a library prints between is passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                message = json.loads(line)
                assert message["event"] == event, f"expected {event}, got {message['event']}"
                return message
        raise RuntimeError(f"{self.process.args} ended before it said {event}")

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_round(command: list[str], calls: int) -> dict:
    """One round of one pipeline: its CPU per call in percent of a core, and the vendors' readings."""
    echo = Part([sys.executable, "-m", "bench.voice.echo"])
    vendors = Part([sys.executable, "-m", "bench.voice.vendors"])
    pipeline = Part([*command, str(vendors.ready["http"]), str(vendors.ready["sockets"])])
    try:
        order = {
            "media": pipeline.ready["media"],
            "echo": echo.ready["port"],
            "calls": calls,
            "settle_seconds": SETTLE_SECONDS,
            "measure_seconds": MEASURE_SECONDS,
        }
        vendors.tell(json.dumps(order))
        vendors.read("measuring")
        began, used = time.monotonic(), cpu_seconds(pipeline)
        vendors.read("measured")
        used, took = cpu_seconds(pipeline) - used, time.monotonic() - began
        result = vendors.read("result")
        result["cpu_percent_per_call"] = used / took / calls * 100
        result["load"] = os.getloadavg()[0]
        return result
    finally:
        pipeline.end()
        vendors.end()
        echo.end()


def cpu_seconds(pipeline: Part) -> float:
    pipeline.tell("cpu")
    return float(pipeline.read("cpu")["seconds"])


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def summary(rounds: list[dict]) -> dict:
    """The median over the rounds of each round's figure."""

    def median(figure) -> float:
        return round(statistics.median(figure(result) for result in rounds), 3)

    return {
        "rounds": len(rounds),
        "cpu_percent_per_call": median(lambda r: r["cpu_percent_per_call"]),
        "added_ms_p50": median(lambda r: percentile(r["added_ms"], 50)),
        "added_ms_p95": median(lambda r: percentile(r["added_ms"], 95)),
        "machine_noise_ms_p50": median(lambda r: percentile(r["noise_ms"], 50)),
        "machine_noise_ms_p95": median(lambda r: percentile(r["noise_ms"], 95)),
        "legs_ms_p50": [median(lambda r, leg=leg: percentile(r["legs_ms"][leg], 50)) for leg in range(3)],
        "legs_ms_p95": [median(lambda r, leg=leg: percentile(r["legs_ms"][leg], 95)) for leg in range(3)],
        "response_ms_p50": median(lambda r: percentile(r["response_ms"], 50)),
        "clear_after_start_of_turn_ms_p95": median(lambda r: percentile(r["clear_ms"], 95)),
        "clear_after_onset_ms_p50": median(lambda r: percentile(r["onset_ms"], 50)),
        "clear_after_onset_ms_p95": median(lambda r: percentile(r["onset_ms"], 95)),
        "turns": sum(r["turns"] for r in rounds),
        "incomplete_turns": sum(r["turns"] - r["whole_turns"] for r in rounds),
        "interruptions": sum(len(r["clear_ms"]) for r in rounds),
        "failed_calls": sum(r["failed_calls"] for r in rounds),
        "load_before_rounds": [round(r["load"], 1) for r in rounds],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.voice", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    missing = "not asked for" if options.without_peer else PEERS.install()
    ours, theirs = [], []
    for number in range(options.rounds):
        if time.monotonic() - began > BENCH_SECONDS_MAX - 2 * (SETTLE_SECONDS + MEASURE_SECONDS + 15):
            print(f"out of time after {number} rounds", file=sys.stderr)
            break
        ours.append(run_round([sys.executable, "-m", "bench.voice.ours"], CALLS))
        if missing is None:
            theirs.append(run_round([str(PEERS.python), "bench/voice/peer_pipecat.py"], PEER_CALLS))
        latest = [round(results[-1]["cpu_percent_per_call"], 2) for results in (ours, theirs) if results]
        print(f"round {number + 1}: CPU percent per call {latest}", file=sys.stderr, flush=True)
    print(json.dumps(report(ours, theirs, missing)))


def report(ours: list[dict], theirs: list[dict], missing: str | None) -> dict:
    """The last line: how many times less than Pipecat a call costs, and whether what was promised was reached."""
    mine = summary(ours)
    figures: dict = {"calls": CALLS, "ours": mine}
    figures["reached"] = {
        "added_ms_p95_at_most_15": mine["added_ms_p95"] <= ADDED_MS_MAX,
        "cpu_percent_per_call_at_most_3": mine["cpu_percent_per_call"] <= CPU_PERCENT_MAX,
        "clear_at_most_50_ms_after_onset_p95": mine["clear_after_onset_ms_p95"] <= CLEAR_MS_MAX,
    }
    ratios = {}
    if theirs:
        peer = summary(theirs)
        figures |= {"pipecat_calls": PEER_CALLS, "pipecat": peer}
        pairs = list(zip(ours, theirs, strict=True))
        ratios["pipecat.cpu_per_call"] = round(
            statistics.median(b["cpu_percent_per_call"] / a["cpu_percent_per_call"] for a, b in pairs), 3
        )
        ratios["pipecat.added_latency"] = round(
            statistics.median(percentile(b["added_ms"], 50) / percentile(a["added_ms"], 50) for a, b in pairs), 3
        )
    else:
        figures["pipecat_missing"] = missing
    return {"claim": "voice", "ratios": ratios, "figures": figures}


if __name__ == "__main__":
    main()
