"""The doctor's words: a check, what it finds, and the verdict that follows from it. Nothing here asks anything."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Literal

import msgspec

from callmeback.pg.flaws import Flaw
from callmeback.pg.pool import Database
from callmeback.pg.reach import Closed
from callmeback.pg.statements import Statement
from callmeback.settings import Settings

# Objects that a verdict names; there may be more of them.
OBJECTS_MAX: Final = 20
# A question of the catalogue takes milliseconds; one that takes longer waits for somebody.
QUESTION_SECONDS_MAX: Final = 10.0

Outcome = Literal["green", "warning", "red", "skipped"]
Level = Literal["warning", "red"]
Need = Literal["statistics", "superuser", "history"]


class Symptom(msgspec.Struct, frozen=True):
    """One thing that is wrong: an account, a call, a table or a process by its name, and its figures."""

    object: str
    detail: str


class Finding(Flaw, frozen=True):
    """A symptom with its weight, and the command that mends it where that is safe: a flaw, of a schema or another."""


class Facts(msgspec.Struct, frozen=True):
    """What is known of the server before the first check. `statistics_age` is None where it was never reset."""

    major: int
    role: str
    sees_everything: bool
    is_superuser: bool
    is_replica: bool
    statistics_age: timedelta | None
    data_directory: str | None
    log_directory: str | None
    database: str


class Patient(msgspec.Struct, frozen=True, kw_only=True):
    """What is examined: a database by its owner, and, where it is ours, by the superuser; the services around it.

    `closed` is why no new connection gets in. `facts` is None when the database can't be asked; then only what stands
    beside it is looked at. `age` is how long ago the installation was made.
    """

    settings: Settings
    dsn: str
    db: Database
    superuser: Database | None = None
    closed: Closed | None = None
    facts: Facts | None = None
    age: timedelta | None = None


class Skip(Exception):
    """A look that could not be taken; its text is the reason."""


Probe = Callable[[Patient], Awaitable[Sequence[Finding]]]


class Check(msgspec.Struct, frozen=True):
    """A question to the database, or a probe beside it, and the advice that goes with the answer.

    Neither gives a row where all is well; with both, the probe says first whether the question makes sense. A question
    that returns Symptom weighs `level`. `needs` is what it can't be answered without: the statistics of all sessions,
    the superuser, a week of history. One that is `beside` looks past the database, and is asked when that is away.
    """

    name: str
    advice: str
    question: Statement | None = None
    probe: Probe | None = None
    shape: type[Symptom | Finding] = Finding
    level: Level = "red"
    parameters: Mapping[str, object] = {}
    needs: tuple[Need, ...] = ()
    is_beside: bool = False
    seconds_max: float = QUESTION_SECONDS_MAX


class Verdict(msgspec.Struct, frozen=True):
    """What a check found. `what_to_do` is empty when it is green; for a skipped one it says why.

    `mends` are the commands that `--fix` would run.
    """

    area: str
    name: str
    verdict: Outcome
    objects: Sequence[Symptom]
    what_to_do: str
    mends: Sequence[str] = ()
