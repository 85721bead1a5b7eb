"""Mending what is safe to mend: the commands that findings came with, one after another, each for itself.

They end sessions, build and drop indexes beside the running work, analyse and vacuum. None removes a row.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from callmeback import errors
from callmeback.ops.doctor.verdicts import Verdict
from callmeback.pg import command

# A vacuum or an index of a large table takes a while; what blocks others gives up much sooner.
COMMAND_SECONDS_MAX: Final = 3_600
LOCK_SECONDS_MAX: Final = 5


class Mended(msgspec.Struct, frozen=True):
    """A command that was run for a check; `error` is None when it worked."""

    area: str
    name: str
    command: str
    error: str | None


async def mend(dsn: str, verdicts: Sequence[Verdict]) -> list[Mended]:
    """Run what these verdicts ask for, as the user of `dsn`; a failure is noted, and the next one tried."""
    done = []
    for verdict in verdicts:
        for text in verdict.mends:
            done.append(Mended(verdict.area, verdict.name, text, await _run(dsn, text)))

    return done


async def _run(dsn: str, text: str) -> str | None:
    try:
        await command.run(dsn, text, seconds_max=COMMAND_SECONDS_MAX, lock_seconds_max=LOCK_SECONDS_MAX)
    except errors.CallMeBackError as exc:
        cause = exc.__cause__

        return f"{exc.detail} ({getattr(cause, 'sqlstate', None) or type(cause).__name__})"

    return None
