"""The schema as it stands: what a failed command, a hurried hand or the years have done to it."""

from typing import Final

from callmeback.ops.doctor.verdicts import Check, Finding
from callmeback.pg import flaws, statements

SQL: Final = statements.load("callmeback.ops.doctor", "schema.sql")

# A smaller index costs too little to be worth a word.
UNUSED_BYTES_MIN: Final = 1 << 20

CHECKS: Final = (
    Check(
        "no index is invalid",
        "`--fix` drops it. Build it again: `callmeback migrate apply`, if a migration was to make it.",
        flaws.SQL.invalid_indexes,
        shape=Finding,
    ),
    Check(
        "no index is superfluous",
        "Drop it by a migration: DROP INDEX CONCURRENTLY. Each write pays for it.",
        flaws.SQL.redundant_indexes,
        shape=Finding,
    ),
    Check(
        "every large index is used",
        "Nobody has used it for a week. On every replica too? Then drop it by a migration.",
        SQL.unused_indexes,
        shape=Finding,
        parameters={"least_bytes": UNUSED_BYTES_MIN},
        needs=("history",),
    ),
    Check(
        "every foreign key has an index",
        "`--fix` builds it without stopping anybody. Write it into a migration too, so that it stays.",
        flaws.SQL.keys_without_index,
        shape=Finding,
    ),
    Check(
        "no SET NULL on NOT NULL",
        "Such a delete always fails: change what the foreign key does, or the column, by a migration.",
        flaws.SQL.set_null_on_not_null,
        shape=Finding,
    ),
    Check(
        "every constraint is checked",
        "`--fix` validates it. If a row breaks it, that is said: mend the row first.",
        flaws.SQL.constraints_not_checked,
        shape=Finding,
    ),
    Check(
        "every table has a primary key",
        "Give it one by a migration; without it no replica can follow a change and no row be named.",
        flaws.SQL.tables_without_key,
        shape=Finding,
    ),
    Check(
        "no trigger is off",
        "Find out who switched it off and what was done meanwhile (`callmeback doctor money`), then switch it on.",
        SQL.triggers_off,
        shape=Finding,
    ),
    Check(
        "the walls stand",
        "`--fix` puts it right; `callmeback migrate apply` keeps it so. Whoever had access may have read it meanwhile.",
        SQL.open_walls,
        shape=Finding,
    ),
    Check(
        "no number runs out",
        "Make the column and its sequence bigint by a migration, before the last number is given.",
        SQL.numbers_running_out,
        shape=Finding,
    ),
    Check(
        "the months to come have partitions",
        "`--fix` makes them. The worker does it daily: is it running?",
        SQL.months_missing,
        shape=Finding,
    ),
)
