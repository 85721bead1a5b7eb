"""The login roles of a cluster: the six of the services and one per scope of keys; their limits, their passwords.

A role is a wall, so none has a privilege over the cluster and none is a member of another. Which tables each one sees
is said in `sql/access/`. Roles belong to the cluster, not to a database: they are made once, by `ensure`.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callmeback import errors
from callmeback.pg import parameters, rows, statements
from callmeback.pg.errors import translate
from callmeback.pg.statements import Statement
from callmeback.pg.wire import Alarm, Connection, Step

SQL: Final = statements.load("callmeback.pg", "roles.sql")

OWNER: Final = "callmeback_owner"
API: Final = "callmeback_api"
WORKER: Final = "callmeback_worker"
VOICE: Final = "callmeback_voice"
READONLY: Final = "callmeback_readonly"
PROXY: Final = "callmeback_proxy"
# Followed by the id of a scope.
KEY_PREFIX: Final = "callmeback_key_"

# Limits that a session starts with. They catch what the client's own deadlines can't: a client that is gone.
_EVERY: Final = {"timezone": "UTC"}
SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    OWNER: {
        **_EVERY,
        "statement_timeout": "10min",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "1min",
        # Who looks around finds the statistics under the names that PostgreSQL's manual gives them.
        "search_path": "public, monitoring",
    },
    API: {
        **_EVERY,
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
    },
    WORKER: {
        **_EVERY,
        "statement_timeout": "30s",
        "lock_timeout": "4s",
        "idle_in_transaction_session_timeout": "30s",
    },
    VOICE: {
        **_EVERY,
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
    },
    READONLY: {
        **_EVERY,
        "statement_timeout": "30s",
        "lock_timeout": "1s",
        "idle_in_transaction_session_timeout": "30s",
        "default_transaction_read_only": "on",
    },
    PROXY: {
        **_EVERY,
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
    },
}
ROLES: Final = tuple(SETTINGS)
# What a key's session starts with. A session may change them, so the proxy has deadlines of its own.
KEY_SETTINGS: Final[Mapping[str, str]] = {
    **_EVERY,
    "statement_timeout": "10s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "work_mem": "16MB",
    # For what doesn't fit into work_mem, on the disk that the whole database lives on. A core fills 250 MB a second, so
    # a statement without an end meets its deadline first; the limit is for machines on which it would not.
    "temp_file_limit": "3GB",
}

# Several programs may start at once on one cluster. Whoever loses a race for a row of pg_authid looks again.
ATTEMPTS_MAX: Final = 20
PAUSE_S: Final = 0.05
DEADLINE_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5
_DUPLICATE_ROLE: Final = "42710"
_UNIQUE_VIOLATION: Final = "23505"
_INTERNAL_ERROR: Final = "XX000"  # "tuple concurrently updated"
# Another database of this cluster still grants something to the role.
_DEPENDENT_OBJECTS: Final = "2BP01"
_UNDEFINED_ROLE: Final = "42704"

Settings = Mapping[str, str]


class Role(msgspec.Struct, frozen=True):
    """A role as the catalogue has it: a plain login role or not, and its settings as "name=value"."""

    is_plain: bool
    settings: list[str]


def password(secret: str, role: str) -> str:
    """The password of a role: HMAC-SHA256 of its name, in hex. Kept nowhere; made again from the secret."""
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()


def dsn_for(role: str, secret: str, dsn: str) -> str:
    """The same servers and database as `dsn`, as `role`."""
    assert role in SETTINGS or role.startswith(KEY_PREFIX), f"{role} is none of ours"
    more: dict[str, str] = {}
    if role == READONLY and conninfo_to_dict(dsn).get("target_session_attrs") == "read-write":
        # Its sessions are read only on the primary too, where libpq would therefore never let it in.
        more["target_session_attrs"] = "primary"

    return make_conninfo(dsn, user=role, password=password(secret, role), **more)


async def ensure(dsn: str, secret: str, wanted: Mapping[str, Settings] = SETTINGS) -> list[str]:
    """Create the roles that are missing and mend those that differ, as a superuser or a role with CREATEROLE.

    `wanted` has the settings of each role by its name. May run in several processes at once, and again at every start:
    a role that is right is left alone. Returns the roles that were created or changed. Raises DatabaseUnavailable,
    Forbidden, Conflict when others never let it finish.
    """
    connection = await _connect(dsn)
    try:
        return [role for role in wanted if await _settle(connection, role, wanted[role], dsn, secret)]
    except psycopg.Error as exc:
        raise translate(exc) from exc
    finally:
        await connection.close()


async def drop(dsn: str, unneeded: Sequence[str]) -> list[str]:
    """Drop roles of scopes, as for `ensure`; one that another database of the cluster uses stays. Returns the dropped.

    Raises DatabaseUnavailable, Forbidden.
    """
    connection = await _connect(dsn)
    dropped: list[str] = []
    try:
        for role in unneeded:
            assert role.startswith(KEY_PREFIX), f"{role} is no scope's"
            try:
                command = await _write(connection, SQL.drop_command, role=role)
                await connection.execute(command.encode(), prepare=False)
                dropped.append(role)
            except psycopg.Error as exc:
                if exc.sqlstate not in (_DEPENDENT_OBJECTS, _UNDEFINED_ROLE):
                    raise
    except psycopg.Error as exc:
        raise translate(exc) from exc
    finally:
        await connection.close()

    return dropped


async def _connect(dsn: str) -> Connection:
    try:
        return await Connection.connect(dsn, autocommit=True, context=rows.Types(), connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.Error as exc:
        raise translate(exc) from exc


async def _settle(connection: Connection, role: str, settings: Settings, dsn: str, secret: str) -> bool:
    """Make one role right; whether anything had to be done."""
    # Whoever we are logged in as has the password that the operator gave it, and may change it: never do.
    changed, password_is_right = False, connection.info.user == role
    for _ in range(ATTEMPTS_MAX):
        found = await _role(connection, role)
        commands = await _commands(connection, role, settings, found, secret)
        if found is not None and not password_is_right:
            password_is_right = await _can_log_in(dsn_for(role, secret, dsn))
            if not password_is_right:
                verifier = _verifier(connection, role, secret)
                commands.append(await _write(connection, SQL.password_command, role=role, verifier=verifier))
        if not commands:
            return changed
        try:
            for command in commands:
                await connection.execute(command.encode(), prepare=False)
            changed = password_is_right = True
        except psycopg.Error as exc:
            if exc.sqlstate not in (_DUPLICATE_ROLE, _UNIQUE_VIOLATION, _INTERNAL_ERROR):
                raise
            await asyncio.sleep(PAUSE_S)

    raise errors.Conflict(f"The role {role} keeps changing.")


async def _commands(
    connection: Connection, role: str, settings: Settings, found: Role | None, secret: str
) -> list[str]:
    """What is still to be done for a role, the password of an existing one aside."""
    commands: list[str] = []
    if found is None:
        verifier = _verifier(connection, role, secret)
        commands.append(await _write(connection, SQL.create_command, role=role, verifier=verifier))
    elif not found.is_plain:
        commands.append(await _write(connection, SQL.plain_command, role=role))
    present = dict(setting.lower().split("=", 1) for setting in (found.settings if found else []))
    for name, value in settings.items():
        if present.get(name) != value.lower():
            command = await _write(connection, SQL.setting_command, role=role, setting=name, value=value)
            commands += [command] if command else []

    return commands


async def _role(connection: Connection, role: str) -> Role | None:
    result = await connection.exchange(
        [Step(SQL.role_attributes, [parameters.encode(role)])], Alarm(connection, DEADLINE_S)
    )
    connection.transformer.set_pgresult(result)
    found = connection.transformer.load_rows(0, result.ntuples, rows.maker(Role, rows.columns(result)))

    return found[0] if found else None


async def _write(connection: Connection, statement: Statement, **params: str) -> str:
    values = [parameters.encode(params[name]) for name in statement.parameters]
    result = await connection.exchange([Step(statement, values)], Alarm(connection, DEADLINE_S))

    return (result.get_value(0, 0) or b"").decode()


def _verifier(connection: Connection, role: str, secret: str) -> str:
    """What the server keeps instead of the password, made here so that no log of a server ever has the password."""
    clear = password(secret, role).encode()
    return connection.pgconn.encrypt_password(clear, role.encode(), b"scram-sha-256").decode()


async def _can_log_in(dsn: str) -> bool:
    """Whether a login succeeds. When it fails for another reason than the password, setting that again does no harm."""
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError:
        return False
    await connection.close()

    return True
