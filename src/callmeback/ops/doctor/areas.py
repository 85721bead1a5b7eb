"""The table of checks, by area, in the order in which they are read."""

from collections.abc import Mapping, Sequence
from typing import Final

from callmeback.ops.doctor import (
    backups,
    calls,
    connections,
    migrations,
    money,
    payments,
    schema,
    server,
    serverlog,
    services,
    storage,
)
from callmeback.ops.doctor.verdicts import Check

AREAS: Final[Mapping[str, Sequence[Check]]] = {
    "connections": connections.CHECKS,
    "services": services.CHECKS,
    "migrations": migrations.CHECKS,
    "money": money.CHECKS,
    "payments": payments.CHECKS,
    "calls": calls.CHECKS,
    "schema": schema.CHECKS,
    "storage": storage.CHECKS,
    "backups": backups.CHECKS,
    "server": server.CHECKS,
    "log": serverlog.CHECKS,
}
