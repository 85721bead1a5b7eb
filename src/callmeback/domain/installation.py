"""Whether the database is the one that this code was written for."""

from typing import Final

from callmeback.pg import migration_files, statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "installation.sql")


async def missing_migrations(tx: Session) -> list[int]:
    """Numbers of migrations that the code has and the database has not; newer ones in the database are fine."""
    applied: list[int] | None = await tx.value(SQL.applied_versions)
    known = {migration.version for migration in migration_files.read().migrations}

    return sorted(known - set(applied or ()))
