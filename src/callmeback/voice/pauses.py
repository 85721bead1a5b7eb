"""Keeps the garbage collector from holding up calls: its pauses are heard, since one loop serves thirty of them."""

from __future__ import annotations

import gc

# A call makes few cycles; looking for them a tenth as often as Python does by itself loses nothing.
YOUNG_OBJECTS = 7_000
YOUNG_ROUNDS = 20
MIDDLE_ROUNDS = 20


def shorten() -> None:
    """Set aside everything that exists now; to be called once, when a process that holds calls has started.

    Modules and routes live as long as the process, and walking over them took up to 50 ms in `bench/voice`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, MIDDLE_ROUNDS)
