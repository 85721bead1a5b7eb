"""Claims and completions a second with a long future ahead, lateness, and the carrier's pace; see `__main__.py`."""
