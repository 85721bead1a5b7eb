"""Whether backups are made, hold, and have been tried: by what is noted of them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from callmeback import errors
from callmeback.ops.backup_repository import check_key
from callmeback.ops.doctor.verdicts import Check, Finding, Patient, Skip
from callmeback.pg import statements

SQL: Final = statements.load("callmeback.ops.doctor", "backups.sql")

# A night's backup, and two hours for it to be made.
WHOLE_AGE_MAX: Final = timedelta(hours=26)
DRILL_AGE_MAX: Final = timedelta(days=8)


async def key(patient: Patient) -> Sequence[Finding]:
    """Whether what is in the repository could be opened: without its key a backup is nothing."""
    settings = patient.settings
    try:
        # In a thread: a folder of another machine may hang, and a passphrase is made into a key slowly.
        await asyncio.to_thread(check_key, settings.backup_folder, settings.home, settings.backup_passphrase)
    except (errors.ConfigurationError, errors.BackupDamaged) as exc:
        return [Finding(str(settings.backup_folder), exc.detail, True)]
    except OSError as exc:
        raise Skip(f"{exc.filename} can't be read by this user ({exc.strerror}).") from exc

    return ()


async def second_place(patient: Patient) -> Sequence[Finding]:
    """No finding of its own: the question makes sense only where there is a second place."""
    if patient.settings.backup_mirror is None:
        raise Skip("No second place is set: CALLMEBACK_BACKUP_MIRROR. What burns with the machine is gone.")

    return ()


CHECKS: Final = (
    Check(
        "the backups can be opened",
        "Lost? `callmeback backup now` with another CALLMEBACK_BACKUP_DIR begins anew, while the database lives.",
        probe=key,
        is_beside=True,
    ),
    Check(
        "there is a fresh backup",
        "Is the worker running? Its log says why it made none; `callmeback backup now` makes one at once.",
        SQL.whole_backup,
        parameters={"age_max": WHOLE_AGE_MAX},
    ),
    Check(
        "the last runs went well",
        "docs/runbook.md has each message; then `callmeback backup now`, `verify` or `drill`.",
        SQL.last_runs,
    ),
    Check(
        "a restore was tried",
        "`callmeback backup drill` restores the newest backup beside the database and examines it.",
        SQL.drill,
        parameters={"age_max": DRILL_AGE_MAX},
    ),
    Check(
        "the second place has it",
        "The worker's log says what the second place answered; the next backup sends what is missing.",
        SQL.mirrored,
        probe=second_place,
    ),
)
