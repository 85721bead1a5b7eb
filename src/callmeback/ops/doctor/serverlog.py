"""The last hour of PostgreSQL's own log, where it lies on this machine: what failed, and what that means.

Messages can quote values of rows, so none is shown as it is: a line is known by its form, and told in our words with
the names of tables and constraints that stand in it.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from callmeback import logs
from callmeback.ops import loglines
from callmeback.ops.doctor.verdicts import Check, Facts, Finding, Patient, Skip
from callmeback.ops.loglines import ServerLine
from callmeback.pg import roles, statements

SQL: Final = statements.load("callmeback.ops.doctor", "serverlog.sql")

WINDOW: Final = timedelta(hours=1)
# Of each file, from its end.
TAIL_BYTES_MAX: Final = 4 << 20
FILES_MAX: Final = 4
FINDINGS_MAX: Final = 20
SAID_LENGTH_MAX: Final = 200
RUNNER: Final = "callmeback migrate"

_FOREIGN_KEY: Final = re.compile(r'violates foreign key constraint "(?P<name>[^"]+)"')


class Kind(msgspec.Struct, frozen=True):
    """A form of line, and what it means.

    One that is `expected_of_keys` is a wall at work, or a typing error, where a key of the SQL proxy asked.
    """

    form: re.Pattern[str]
    meaning: str
    is_red: bool = False
    expected_of_keys: bool = False


_KINDS: Final = (
    Kind(
        re.compile(r"No space left on device"),
        "the disk was full: what was being written was refused, nothing acknowledged is lost. Make room",
        is_red=True,
    ),
    Kind(
        re.compile(r"invalid page in block|page verification failed|could not read block"),
        "a page on the disk is damaged: stop, copy the data folder, restore from the newest verified backup",
        is_red=True,
    ),
    Kind(
        re.compile(r"could not (?:fsync|write|extend) "),
        "the disk refused a write; see the system's log for the device",
        is_red=True,
    ),
    Kind(
        re.compile(r"was terminated by signal (?P<what>\d+)"),
        "a process of the server was killed by this signal (9: for want of memory, or by hand); every session was cut, "
        "the server recovered by itself",
    ),
    Kind(
        re.compile(r"out of memory"),
        "the server ran out of memory: less work_mem, fewer connections, or more memory",
        is_red=True,
    ),
    Kind(
        re.compile(r"too many clients already|remaining connection slots are reserved"),
        "somebody was refused for want of a connection: see the area connections",
    ),
    Kind(re.compile(r"deadlock detected"), "two transactions waited for one another; one of them was ended"),
    Kind(
        re.compile(r'password authentication failed for user "(?P<what>callmeback_\w+|postgres)"'),
        "this role came with another password: the services have different role secrets, or somebody guesses",
    ),
    Kind(
        re.compile(r"permission denied for (?P<what>(?:table|view|function|schema|sequence|column) \w+)"),
        "a role asked for what it wasn't granted; `callmeback migrate apply` puts the grants of the services right",
        expected_of_keys=True,
    ),
    Kind(
        re.compile(r'(?P<what>(?:relation|column|function) "?[\w.]+"?).* does not exist'),
        "a statement speaks of what isn't there: the program and the schema are of different versions; see the area "
        "migrations",
        expected_of_keys=True,
    ),
    Kind(
        re.compile(r"canceling statement due to (?P<what>statement timeout|lock timeout)"),
        "statements took longer than they may: see slow statements and lock waits",
    ),
)


class ForeignKey(msgspec.Struct, frozen=True):
    """Which columns of which tables a foreign key ties together."""

    name: str
    child: str
    parent: str
    child_columns: str
    parent_columns: str


async def failures(patient: Patient) -> Sequence[Finding]:
    """Failures of the last hour, by what they mean; the foreign keys have a check of their own."""
    found: Counter[tuple[str, str, bool]] = Counter()
    newest: dict[tuple[str, str, bool], datetime] = {}
    for line in await recent(patient):
        key = _meaning(line)
        if key is not None and not line.program.startswith(RUNNER):
            found[key] += 1
            newest[key] = max(line.at, newest.get(key, line.at))

    return [
        Finding(key[0], f"{_times(count)} at {newest[key]:%H:%M:%S} UTC: {key[1]}.", key[2])
        for key, count in found.most_common(FINDINGS_MAX)
    ]


def _times(count: int) -> str:
    return "once," if count == 1 else f"{count} times, last"


async def foreign_keys(patient: Patient) -> Sequence[Finding]:
    """Foreign keys that refused a row, or the removal of one, in the last hour, and what they want."""
    refused: Counter[str] = Counter()
    for line in await recent(patient):
        match = _FOREIGN_KEY.search(line.text)
        if match is not None:
            refused[match["name"]] += 1
    if not refused:
        return ()
    async with patient.db.transaction(read_only=True) as tx:
        known = await tx.all(SQL.foreign_keys, ForeignKey, names=sorted(refused))

    return [
        Finding(
            f"{key.child}.{key.name}",
            f"refused {refused[key.name]} times: {key.child_columns} of {key.child} must be {key.parent_columns} of a "
            f"row of {key.parent}. Does that row exist? Insert into {key.parent} first; remove from {key.child} first.",
            False,
        )
        for key in known[:FINDINGS_MAX]
    ]


async def failed_migrations(patient: Patient) -> Sequence[Finding]:
    """What the server told the migration runner in the last hour, the newest last."""
    return [
        Finding(f"{line.at:%H:%M:%S} UTC", logs.redact_text(line.text)[:SAID_LENGTH_MAX], False)
        for line in await recent(patient)
        if line.program.startswith(RUNNER) and line.level in ("ERROR", "FATAL")
    ][-FINDINGS_MAX:]


async def recent(patient: Patient) -> list[ServerLine]:
    """Lines of the last hour that concern this database or the whole server; raises Skip where they can't be read."""
    facts = patient.facts
    if facts is None or facts.log_directory is None or facts.data_directory is None:
        raise Skip("This role may not know where the server's log is.")

    return await asyncio.to_thread(_read, facts)


def _read(facts: Facts) -> list[ServerLine]:
    assert facts.log_directory is not None and facts.data_directory is not None, "looked at before"
    folder = Path(facts.data_directory) / facts.log_directory
    try:
        files = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[-FILES_MAX:]
        since = time.time() - WINDOW.total_seconds()
        texts = [loglines.tail(path, TAIL_BYTES_MAX) for path in files if path.stat().st_mtime >= since]
    except OSError as exc:
        raise Skip(f"The server's log can't be read from here ({exc.strerror}).") from exc
    if not files:
        raise Skip("The server's log isn't on this machine.")
    begin = datetime.now(UTC) - WINDOW

    return [
        line
        for text in texts
        for line in loglines.server_lines(text)
        if line.at >= begin and line.database in (None, facts.database)
    ]


def _meaning(line: ServerLine) -> tuple[str, str, bool] | None:
    """What a line is about, what it means and whether that is bad; None for what is of no concern."""
    if line.level == "PANIC":
        return "PANIC", "the server gave up and restarted; the lines before it say why", True
    is_of_key = (line.role or "").startswith(roles.KEY_PREFIX)
    for kind in _KINDS:
        if is_of_key and kind.expected_of_keys:
            continue
        match = kind.form.search(line.text)
        if match is not None:
            what = match.groupdict().get("what") or match[0].strip()
            return (f"signal {what}" if what.isdigit() else what), kind.meaning, kind.is_red

    return None


CHECKS: Final = (
    Check(
        "statements don't fail inside",
        "The server's log has the lines themselves (`callmeback logs --service postgres`).",
        probe=failures,
    ),
    Check(
        "foreign keys find their rows",
        "Whoever writes names a row that isn't there, or removes one that is still named.",
        probe=foreign_keys,
    ),
)
