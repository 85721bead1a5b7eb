"""Which pages show which phone, and the call that rings there. What goes over their sockets stands in
`page_phone.py`."""

import asyncio
import time
from collections import defaultdict
from typing import Any, Final

from callmeback.simulator.handset import Handset

WAITING_MAX: Final = 1000
PAGES_A_NUMBER_MAX: Final = 20
RELOAD_GRACE_S: Final = 3.0
"""A page that is reloaded in the middle of a call finds the call again; one that stays away has hung up."""


class Page:
    """An open page; what it is to be sent waits here."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.outbox: asyncio.Queue[dict[str, Any] | bytes | None] = asyncio.Queue(maxsize=WAITING_MAX)

    def send(self, message: dict[str, Any] | bytes) -> None:
        """Send an event, or sound; a page that takes nothing any more loses its newest messages."""
        if not self.outbox.full():
            self.outbox.put_nowait(message)


class Ring:
    """A call as the phones that it rings see it."""

    def __init__(self, call_sid: str, caller: str, handset: Handset) -> None:
        self.call_sid = call_sid
        self.caller = caller
        self.handset = handset
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.done = asyncio.Event()
        """Set when the person in the page hangs up, or is gone."""
        self.holder: Page | None = None
        self.answered_clock: float | None = None
        self.taken = False
        self.pages: Pages | None = None
        self.number = ""

    def over(self, reason: str) -> None:
        """The call has ended; tell the pages, if it rang there."""
        if self.pages is not None:
            self.pages.end(self, reason)


class Pages:
    """The pages of all numbers, and one ring a number at most."""

    def __init__(self) -> None:
        self._pages: defaultdict[str, list[Page]] = defaultdict(list)
        self._rings: dict[str, Ring] = {}

    def shows(self, number: str) -> bool:
        """Whether some page shows this phone, or holds a call on it."""
        return bool(self._pages.get(number)) or number in self._rings

    def open(self, page: Page) -> bool:
        """A page shows its phone; it learns of a call that already rings. False when there are too many."""
        pages = self._pages[page.number]
        if len(pages) >= PAGES_A_NUMBER_MAX:
            return False
        pages.append(page)
        ring = self._rings.get(page.number)
        if ring is not None and not ring.taken:
            page.send(_event("ringing", ring))
        elif ring is not None and ring.holder is None:
            ring.holder = page
            page.send(_event("answered", ring))
        return True

    async def close(self, page: Page) -> None:
        """A page is gone; if it held the call and isn't back soon, it hung up."""
        pages = self._pages[page.number]
        pages.remove(page)
        if not pages:
            del self._pages[page.number]
        ring = self._rings.get(page.number)
        if ring is None or ring.holder is not page:
            return
        ring.holder = None
        others = self._pages.get(page.number)
        if others:
            ring.holder = others[0]
            others[0].send(_event("answered", ring))
            return
        await asyncio.sleep(RELOAD_GRACE_S)
        if ring.holder is None:
            ring.done.set()

    async def ring(self, number: str, ring: Ring) -> str:
        """Ring in every page of the number until one answers (human) or declines (reject); busy if a call is on."""
        if number in self._rings:
            return "busy"
        ring.pages, ring.number = self, number
        self._rings[number] = ring
        for page in self._pages.get(number, []):
            page.send(_event("ringing", ring))
        return await ring.answer

    def take(self, page: Page) -> bool:
        """The page answers. False when nothing rings (any more)."""
        ring = self._rings.get(page.number)
        if ring is None or ring.answer.done():
            return False
        ring.taken, ring.holder, ring.answered_clock = True, page, time.monotonic()
        ring.handset.on_sound = lambda sound: _to_holder(ring, sound)
        ring.handset.on_clear = lambda: _to_holder(ring, {"type": "clear"})
        ring.handset.on_caption = lambda text: _to_holder(ring, {"type": "caption", "speaker": "persona", "text": text})
        ring.answer.set_result("human")
        page.send(_event("answered", ring))
        for other in self._pages.get(page.number, []):
            if other is not page:
                other.send(_event("ended", ring) | {"reason": "answered_elsewhere"})
        return True

    def decline(self, page: Page) -> bool:
        """The page refuses the call. False when nothing rings."""
        ring = self._rings.get(page.number)
        if ring is None or ring.answer.done():
            return False
        ring.answer.set_result("reject")
        return True

    def held_by(self, page: Page) -> Ring | None:
        """The call that this page is talking on."""
        ring = self._rings.get(page.number)
        return ring if ring is not None and ring.holder is page else None

    def end(self, ring: Ring, reason: str) -> None:
        """Take a call off its phones."""
        if self._rings.get(ring.number) is ring:
            del self._rings[ring.number]
        told = [ring.holder] if ring.taken else self._pages.get(ring.number, [])
        for page in told:
            if page is not None:
                page.send(_event("ended", ring) | {"reason": reason})


def _to_holder(ring: Ring, message: dict[str, Any] | bytes) -> None:
    if ring.holder is not None:
        ring.holder.send(message)


def _event(kind: str, ring: Ring) -> dict[str, Any]:
    event: dict[str, Any] = {"type": kind, "call_sid": ring.call_sid, "from": ring.caller}
    if ring.answered_clock is not None:
        event["seconds"] = int(time.monotonic() - ring.answered_clock)

    return event
