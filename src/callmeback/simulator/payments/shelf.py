"""Things by their ids, in the order of their making; the oldest make room. Lists go from the newest to the oldest."""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from callmeback.simulator.payments.records import Record

R = TypeVar("R", bound=Record)
ROOM_SHARE: Final = 20
"""A full shelf drops one in so many of its things at once."""


class Shelf(Generic[R]):
    """All things of one kind."""

    def __init__(self, kind: str, most: int) -> None:
        self.kind = kind
        self._most = most
        self._order: list[R] = []
        self._places: dict[str, int] = {}
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, record: R) -> R:
        """Put a new one on top."""
        if len(self._order) >= self._most:
            count = max(1, self._most // ROOM_SHARE)
            for old in self._order[:count]:
                del self._places[old.id]
            del self._order[:count]
            self._dropped += count
        self._places[record.id] = self._dropped + len(self._order)
        self._order.append(record)
        return record

    def get(self, name: str | None) -> R | None:
        """The one with this id."""
        place = self._places.get(name or "")
        return None if place is None else self._order[place - self._dropped]

    def __getitem__(self, name: str | None) -> R:
        """The one with this id, which is known to be here."""
        return self._order[self._places[name or ""] - self._dropped]

    def older_than(self, name: str | None) -> Iterator[R]:
        """From the one made before that (the newest, if None) to the oldest."""
        start = len(self._order) if name is None else self._places[name] - self._dropped
        return (self._order[place] for place in range(start - 1, -1, -1))

    def newer_than(self, name: str) -> Iterator[R]:
        """From the one made after that to the newest."""
        return (self._order[place] for place in range(self._places[name] - self._dropped + 1, len(self._order)))

    def __iter__(self) -> Iterator[R]:
        return self.older_than(None)
