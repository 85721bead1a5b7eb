"""How a transaction of the proxy begins and ends: the statements beside a client's own."""

from typing import Final

import msgspec

from callmeback import errors
from callmeback.pg import statements
from callmeback.pg.statements import Statement
from callmeback.sqlproxy.steps import Step

SQL: Final = statements.load("callmeback.sqlproxy", "transactions.sql")

ISOLATIONS: Final[dict[str, Statement]] = {
    "readuncommitted": SQL.read_uncommitted,
    "readcommitted": SQL.read_committed,
    "repeatableread": SQL.repeatable_read,
    "serializable": SQL.serializable,
}


class Options(msgspec.Struct, frozen=True):
    """How the transaction is opened; None leaves it to the role."""

    isolation: Statement | None = None
    is_read_only: bool = False
    is_deferrable: bool = False


def isolation_of(name: str | None) -> Statement | None:
    """ReadCommitted, `read committed`, read-committed …; raises ValidationFailed."""
    if not name:
        return None
    found = ISOLATIONS.get(name.lower().replace(" ", "").replace("_", "").replace("-", ""))
    if found is None:
        raise errors.ValidationFailed(
            "isolation is ReadUncommitted, ReadCommitted, RepeatableRead or Serializable.", sqlstate="22023"
        )

    return found


def opening(options: Options) -> list[Step]:
    """What opens the transaction."""
    steps = [Step(SQL.begin.native)]
    if options.isolation is not None:
        steps.append(Step(options.isolation.native))
    if options.is_read_only:
        steps.append(Step(SQL.read_only.native))
    if options.is_deferrable:
        steps.append(Step(SQL.deferrable.native))

    return steps
