"""Books at the end of a day: closed, with their hash published outside the database, and checked against everybody's.

The published file has one JSON line a closed day. Whoever could change the ledger and its seals together would have to
change that file too, and wherever it was copied.
"""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

import httpx
import msgspec

from callmeback import errors, money
from callmeback.domain import books
from callmeback.domain.books import Dialled, Period, Seal
from callmeback.ops import comparison, doctor
from callmeback.pg.pool import Database
from callmeback.providers.stripe import Cashier
from callmeback.providers.twilio import Carrier

FOLDER: Final = "books"
PUBLISHED: Final = "sealed-days.jsonl"
# Each attempt is a commit of its own: the second sees whether what was open at the first is still there.
SEAL_ATTEMPTS_MAX: Final = 60
SEAL_PAUSE_S: Final = 1.0
READ_SECONDS_MAX: Final = 300.0
# After a longer silence a person has to say from where on the books go on.
DAYS_A_ROUND_MAX: Final = 60
OBJECTS_MAX: Final = doctor.OBJECTS_MAX
# Ours is measured at the media stream, the carrier's at its switch, and both are whole seconds.
DURATION_SLACK_SECONDS: Final = 3
# A call of the edge of the period may stand on the other side of it at the carrier.
EDGE: Final = timedelta(hours=2)
# The carrier tells a call's length a little after its end.
CALL_ON_ITS_WAY: Final = timedelta(minutes=10)

Sleep = Callable[[float], Awaitable[None]]
Outcome = Literal["green", "red", "unknown"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to; `objects` are the first of those that are wrong, or why it could not be made."""

    name: str
    verdict: Outcome
    summary: str
    objects: tuple[str, ...] = ()


class Vendors(msgspec.Struct, frozen=True):
    """Whom to ask; each with the moment before which it knows nothing, as a simulator that was started then."""

    cashier: Cashier
    carrier: Carrier
    payments_since: datetime | None = None
    carrier_since: datetime | None = None


async def close(db: Database, day: date, sealed_by: str, sleep: Sleep) -> Seal:
    """Seal a day, waiting for transactions that may still write into it; sealed before is no error.

    Raises DayOpen when it isn't over or doesn't come to rest, DayPassed when a later day is sealed already.
    """
    for _ in range(SEAL_ATTEMPTS_MAX):
        async with db.transaction(deadline_s=READ_SECONDS_MAX) as tx:
            state = await books.seal(tx, day, sealed_by)
        if state == "sealed":
            async with db.transaction(read_only=True) as tx:
                return await books.sealed_day(tx, day)
        if state == "not_over":
            raise errors.DayOpen(f"{day} isn't over yet (UTC, and five minutes).")
        if state == "too_late":
            raise errors.DayPassed(f"{day} was never sealed, and a later day is: it can't be sealed any more.")
        await sleep(SEAL_PAUSE_S)

    raise errors.DayOpen(f"A transaction from before the end of {day} is still open: see `callmeback doctor`.")


async def close_yesterday(db: Database, folder: Path, sealed_by: str, sleep: Sleep) -> int:
    """Seal and publish the days that ended (UTC), up to yesterday; how many, the newest from before included.

    From the newest that is sealed on: one whose process died before it was published is published now, and a day that
    was missed while nobody worked could never be sealed after the next. In its first five minutes a day leaves the one
    before open.
    """
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    async with db.transaction(read_only=True) as tx:
        newest = await books.newest_sealed_day(tx)
    first = yesterday if newest is None else max(newest, yesterday - DAYS_A_ROUND_MAX * timedelta(days=1))
    closed = 0
    for number in range((yesterday - first).days + 1):
        try:
            seal = await close(db, first + timedelta(days=number), sealed_by, sleep)
        except errors.DayOpen:
            break
        await asyncio.to_thread(publish, folder, seal)
        closed += 1

    return closed


def published(folder: Path) -> dict[date, str]:
    """Day and hash of every line of the published file; raises BooksDiffer for one that can't be read."""
    path = folder / PUBLISHED
    try:
        # What follows the last line's end was being written when the disk was full or the process died.
        lines = path.read_bytes().split(b"\n")[:-1]
        seals = [msgspec.json.decode(line, type=Seal) for line in lines]
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as exc:
        raise errors.BooksDiffer(f"{path} has a line that is no sealed day.") from exc

    return {seal.day: seal.batch_hash for seal in seals}


def publish(folder: Path, seal: Seal) -> Path:
    """Add the day to the published file, once; raises BooksDiffer if another hash of it stands there."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / PUBLISHED
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        # The worker and an operator may publish at once.
        fcntl.flock(file, fcntl.LOCK_EX)
        before = published(folder).get(seal.day)
        if before is not None and before != seal.batch_hash:
            raise errors.BooksDiffer(f"{seal.day} was published with another hash: see {path}.")
        if before is None:
            file.seek(file.read().rfind(b"\n") + 1)
            file.truncate()
            file.write(msgspec.json.encode(seal) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    return path


# What could not be asked is not in order, nor is what somebody should look at.
_WEIGHT: Final[Mapping[str, Outcome]] = {"green": "green", "warning": "red", "red": "red", "skipped": "unknown"}


async def check_own(db: Database, days: Period, folder: Path) -> list[Finding]:
    """Our books by themselves: the doctor's proofs, costs at their rates, sealed days, what was published of them."""
    verdicts = await doctor.prove(db, ["money"])
    found = [
        Finding(
            name=verdict.name,
            verdict=_WEIGHT[verdict.verdict],
            summary=verdict.what_to_do,
            objects=tuple(f"{symptom.object}: {symptom.detail}" for symptom in verdict.objects),
        )
        for verdict in verdicts
    ]

    return [*found, await _check_costs(db, days), await _check_seals(db, folder)]


async def _check_costs(db: Database, days: Period) -> Finding:
    async with db.transaction(read_only=True, deadline_s=READ_SECONDS_MAX) as tx:
        wrong = await books.miscosted(tx, days.begins_at, days.ends_at)

    return _finding(
        "costs are quantities at the rates of their time",
        [f"{one.day} {one.vendor}: booked {one.booked_cents} ¢, {one.repriced_cents} ¢ by its rates" for one in wrong],
        f"{days.first} to {days.last}",
    )


async def _check_seals(db: Database, folder: Path) -> Finding:
    async with db.transaction(read_only=True, deadline_s=READ_SECONDS_MAX) as tx:
        sealed = await books.sealed_days(tx)
    outside = published(folder)
    wrong = [f"{day.day}: its rows are not what was sealed" for day in sealed if not day.is_intact]
    wrong += [
        f"{day.day}: sealed with another hash than was published"
        for day in sealed
        if day.day in outside and outside[day.day] != day.batch_hash
    ]
    known = {day.day for day in sealed}
    wrong += [f"{day}: was published, and is sealed no longer" for day in sorted(outside) if day not in known]
    unpublished = sum(day.day not in outside for day in sealed)

    return _finding(
        "sealed days are what they were",
        wrong,
        f"{len(sealed)} sealed, {unpublished} of them not in {folder / PUBLISHED}",
    )


async def check_vendors(
    db: Database, days: Period, vendors: Vendors, *, on_its_way: timedelta = comparison.ON_ITS_WAY
) -> list[Finding]:
    """Our books against the provider's list of money and the carrier's list of calls."""
    return [await _check_money(db, days, vendors, on_its_way), await _check_calls(db, days, vendors)]


async def _check_money(db: Database, days: Period, vendors: Vendors, on_its_way: timedelta) -> Finding:
    name = "money equals the payment provider's list"
    since = max(days.begins_at, vendors.payments_since or days.begins_at)
    try:
        found = await comparison.compare(db, vendors.cashier, since, days.ends_at, on_its_way=on_its_way)
    except errors.VendorFailed as exc:
        return Finding(name=name, verdict="unknown", summary=exc.detail)
    wrong = [
        f"{one.kind} {one.object_id}: ours {one.our_cents} ¢, theirs {one.their_cents} ¢" for one in found.differences
    ]
    summary = (
        f"{found.objects} objects since {since:%Y-%m-%d %H:%M}Z, ours {_cents(found.our_cents)} ¢, theirs "
        f"{_cents(found.their_cents)} ¢, fees {_cents(found.fees_cents)} ¢"
    )
    if found.on_its_way:
        summary += f"; {len(found.on_its_way)} younger than {on_its_way} may be on their way"

    return _finding(name, wrong, summary)


async def _check_calls(db: Database, days: Period, vendors: Vendors) -> Finding:
    name = "talks are as long as the carrier's"
    since = max(days.begins_at, vendors.carrier_since or days.begins_at)
    theirs: dict[str, int] = {}
    young: set[str] = set()
    try:
        async for page in vendors.carrier.calls(since - EDGE, days.ends_at + EDGE):
            theirs |= {call.sid: call.duration_seconds or 0 for call in page if call.ended}
            young |= {call.sid for call in page if not call.ended or _is_young(call.ended_at)}
    except errors.VendorFailed as exc:
        return Finding(name=name, verdict="unknown", summary=exc.detail)
    async with db.transaction(read_only=True, deadline_s=READ_SECONDS_MAX) as tx:
        around = await books.dialled(tx, since - EDGE, days.ends_at + EDGE)
        known = {call.carrier_sid for call in around}
        strangers = [sid for sid in theirs if sid not in known | young]
        # One at the edge of both periods, or one that isn't settled yet.
        ours_elsewhere = await books.known_calls(tx, strangers) if strangers else frozenset()
    ours = [call for call in around if since <= call.created_at < days.ends_at and call.carrier_sid not in young]
    wrong = [
        f"{call.call_id}: ours {call.duration_seconds} s, the carrier's {_seconds(theirs, call)}"
        for call in ours
        if abs(theirs.get(call.carrier_sid, -DURATION_SLACK_SECONDS - 1) - call.duration_seconds)
        > DURATION_SLACK_SECONDS
    ]
    wrong += [f"{sid}: the carrier's, and none of our calls" for sid in sorted(set(strangers) - ours_elsewhere)]

    return _finding(
        name,
        wrong,
        f"{len(ours)} calls since {since:%Y-%m-%d %H:%M}Z, ours {sum(call.duration_seconds for call in ours)} s, "
        f"theirs {sum(theirs.get(call.carrier_sid, 0) for call in ours)} s",
    )


def _seconds(theirs: dict[str, int], call: Dialled) -> str:
    return f"{theirs[call.carrier_sid]} s" if call.carrier_sid in theirs else "list hasn't got it"


def _is_young(ended_at: datetime | None) -> bool:
    return ended_at is not None and timedelta(0) <= datetime.now(UTC) - ended_at < CALL_ON_ITS_WAY


def _cents(cents: Decimal) -> str:
    return money.format_cents(cents)


def _finding(name: str, wrong: Sequence[str], summary: str) -> Finding:
    return Finding(name=name, verdict="red" if wrong else "green", summary=summary, objects=tuple(wrong[:OBJECTS_MAX]))


async def simulator_began(url: str, timeout_s: float = 5.0) -> datetime:
    """Since when the simulated vendors remember anything; raises VendorFailed where none is running."""
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            answer = await client.get(f"{url}/vendors")
            return msgspec.json.decode(answer.content, type=_Began).began_at
    except (httpx.HTTPError, msgspec.MsgspecError) as exc:
        raise errors.VendorFailed("The simulated vendors are not running: start `callmeback up`.") from exc


class _Began(msgspec.Struct):
    began_at: datetime
