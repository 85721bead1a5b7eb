"""A handle on a live call for those outside it: the user's hang-up, the carrier's word about a machine, a drain."""

from __future__ import annotations

import asyncio


class Control:
    """Wishes from outside; the session looks at them ten times a second."""

    __slots__ = ("answered_by", "carrier_ended", "drain_within_seconds", "hang_up_wanted")

    def __init__(self) -> None:
        self.answered_by: str | None = None
        self.carrier_ended = asyncio.Event()
        self.hang_up_wanted = False
        self.drain_within_seconds: float | None = None

    def hang_up(self) -> None:
        """The user asked to end the call, in the page or by the API."""
        self.hang_up_wanted = True

    def answered(self, by: str) -> None:
        """The carrier found out who answered: its own word (`human`, `machine_start`, `machine_end_beep`, …)."""
        self.answered_by = by

    def ended(self) -> None:
        """The carrier reported the end of the call: a hang-up that it doesn't answer needs no further try."""
        self.carrier_ended.set()

    def drain(self, within_seconds: float) -> None:
        """The process is to end: the call may go on for so long, and then says goodbye."""
        self.drain_within_seconds = within_seconds
