"""Ids: TypeIDs, a readable prefix and a UUIDv7 in base32, so that they sort by the time they were made.

Made in Python, never in the database. Alphabet and layout follow the TypeID specification 0.3 and RFC 9562 section 5.7.
"""

import os
import re
import threading
import time
import uuid
from typing import Final, Literal, get_args

Prefix = Literal[
    "user", "call", "rel", "scn", "txn", "per", "phone", "tok", "evt", "cost", "pur", "plan", "auth", "grant",
    "sch", "rep",
]  # fmt: skip
PREFIXES: Final[frozenset[str]] = frozenset(get_args(Prefix))

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
SUFFIX_LENGTH: Final = 26
_VALUES: Final = {letter: value for value, letter in enumerate(ALPHABET)}
# The first letter carries three bits only: 26 × 5 = 130 bits for 128.
_SUFFIX: Final = re.compile(f"[0-7][{ALPHABET}]{{{SUFFIX_LENGTH - 1}}}")
_RAND_A_MAX: Final = 0xFFF

_lock = threading.Lock()
_last_tick = 0


def new(prefix: Prefix) -> str:
    """A new id such as `call_01jd8e6y2kf4t9v0x3m5n7p8qr`; later ones of this process sort after earlier ones."""
    assert prefix in PREFIXES, prefix

    return f"{prefix}_{encode(uuid7())}"


def uuid7() -> uuid.UUID:
    """A UUIDv7: milliseconds, then a 12-bit fraction of the millisecond (RFC 9562 section 6.2, method 3), then random.

    Within a process the first 60 bits never repeat or go back, even when the clock does.
    """
    global _last_tick  # noqa: PLW0603 - the one piece of state that keeps ids in order
    with _lock:
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        tick = milliseconds << 12 | rest * (_RAND_A_MAX + 1) // 1_000_000
        _last_tick = max(tick, _last_tick + 1)
        tick = _last_tick
    random_b = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    value = (tick >> 12 & (1 << 48) - 1) << 80 | 0x7 << 76 | (tick & _RAND_A_MAX) << 64 | 0b10 << 62 | random_b

    return uuid.UUID(int=value)


def encode(value: uuid.UUID) -> str:
    """The 26 letters of a UUID, Crockford's base32 in lower case."""
    number = value.int

    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def decode(identifier: str) -> uuid.UUID:
    """The UUID inside an id; raises ValueError when it isn't one of ours."""
    prefix, _, suffix = identifier.rpartition("_")
    if prefix not in PREFIXES or not _SUFFIX.fullmatch(suffix):
        raise ValueError("not an id of this system")
    number = 0
    for letter in suffix:
        number = number << 5 | _VALUES[letter]

    return uuid.UUID(int=number)


def is_valid(identifier: str, prefix: Prefix) -> bool:
    """Whether a text has the form of an id with this prefix; it may still belong to nothing."""
    head, _, suffix = identifier.rpartition("_")

    return head == prefix and _SUFFIX.fullmatch(suffix) is not None
