"""A bounded run of the fuzzer; a longer one is started by hand."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 20_000
TIMEOUT_S = 300
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="capability: atheris")
def test_no_bytes_break_the_wire(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, HERE / "wire.py", tmp_path, f"-runs={RUNS}", "-max_len=4096", "-seed=1", "-rss_limit_mb=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-3_000:]
    assert f"Done {RUNS} runs" in ended.stderr
