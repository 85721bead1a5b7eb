"""Making what was written survive a loss of power: files and names of a whole folder at once."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

# Flushes that wait for the disk together are answered by one of them.
AT_ONCE: Final = 16


def make_tree(folder: Path) -> None:
    """Have the disk hold all files of a folder and their names; raises OSError where it can't."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(_fsync, _paths(folder)):
            pass


def _paths(folder: Path) -> Iterator[str]:
    # Tablespaces lie behind links.
    for name, _, files in os.walk(folder, followlinks=True):
        yield name
        for file in files:
            yield os.path.join(name, file)


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
