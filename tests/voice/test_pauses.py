"""The collector's pauses are kept short."""

import gc

from callmeback.voice import pauses


def test_what_exists_at_the_start_is_not_walked_over_again():
    before = gc.get_threshold()
    # As Python begins; an earlier test of this process may have served already.
    gc.set_threshold(700, 10, 10)
    try:
        pauses.shorten()

        assert gc.get_freeze_count() > 1000
        assert len(gc.get_objects()) < 1000
        assert gc.get_threshold()[0] > 700
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
