"""The accidental deletion: rows as they were at a moment, back into the living database; what is there stays."""

from datetime import datetime

from callmeback.ops import restore
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.pg import transfer
from callmeback.pg.transfer import Moved


def rows(site: Site, table: str, condition: str, until: datetime, *, report: Report = silent) -> Moved:
    """Bring back the rows of a table that `condition` chooses in the database of `until` and that are missing now.

    Rows keep their keys; one whose key is there now, changed or not, stays as it is. Who was erased since stays erased.
    Raises RestoreRefused for a moment that can't be reached, an unknown table or a condition that PostgreSQL refuses.
    """
    source = site.running()
    with restore.beside(site, until, report=report) as side:
        report("Copying rows", 0, None)

        return transfer.copy_rows(side.dsn, source.dsn, table, condition)
