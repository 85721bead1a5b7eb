"""sqlmap against one place of a request, at its highest level: whether it finds a way in.

A place is marked by an asterisk in the address or the body. What is attacked runs on PostgreSQL, so its families of
payloads for other databases are left out.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 1_500.0
CLEAN: Final = "all tested parameters do not appear to be injectable"
FOUND: Final = "identified the following injection point"


def attack(
    folder: Path, url: str, *, method: str = "GET", body: str | None = None, headers: tuple[str, ...] = (), full: bool
) -> bool:
    """True when sqlmap found an injection. `full` also tries UNIONs of up to 50 columns, most of its requests."""
    program = Path(sys.executable).with_name("sqlmap")
    words = [
        str(program), "--batch", "--level=5", "--risk=3", "--dbms=PostgreSQL", "--flush-session", "--disable-coloring",
        "--skip-waf", "--ignore-code=*", "--ignore-proxy", "--retries=0", "--time-sec=2", f"--output-dir={folder}",
        f"--answers=reduce the number of requests={'N' if full else 'Y'}", "-u", url, "--method", method,
    ]  # fmt: skip
    if body is not None:
        words += ["--data", body, "-H", "Content-Type: application/json"]
    for header in headers:
        words += ["-H", header]
    done = subprocess.run(
        words,
        env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)},
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    said = done.stdout + done.stderr
    # Anything else than one of its two verdicts means that it did not really try.
    assert (CLEAN in said) != (FOUND in said), said[-5_000:]

    return FOUND in said
