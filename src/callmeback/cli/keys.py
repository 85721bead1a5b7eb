"""`callmeback keys …`: keys of the SQL proxy, by the operator."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import IO, Final, TypeVar

import click
import msgspec

from callmeback import errors
from callmeback.cli.installation import in_transaction, owner_database, owner_dsn, workshop
from callmeback.cli.output import json_option, show, show_json
from callmeback.cli.parameters import Duration, Whole
from callmeback.domain import keys, operators
from callmeback.domain.keys import KeyLine, Limits
from callmeback.ops import scopes
from callmeback.pg import roles
from callmeback.pg.pool import Database, Session
from callmeback.settings import Settings
from callmeback.sqlproxy import examine

COLUMNS: Final = {
    "id": "Id",
    "name": "Name",
    "mode": "Mode",
    "state": "State",
    "grants": "Grants",
    "statements": "Statements",
    "bounds": "Bounds",
    "expires_at": "Expires",
    "created_at": "Since",
}
STATEMENT_COLUMNS: Final = {"id": "Name", "kind": "Kind", "parameter_types": "Parameters", "statement": "Statement"}
SCOPE_COLUMNS: Final = {"id": "Scope", "role": "Role", "state": "State"}
GRACE_DEFAULT: Final = "24h"
LEARN_DEFAULT: Final = "1h"

ResultT = TypeVar("ResultT")


class TableLine(msgspec.Struct, frozen=True):
    """A key in a table for people."""

    id: str
    name: str
    mode: str
    state: str
    grants: str
    statements: int
    bounds: str
    expires_at: str
    created_at: str


@click.group(name="keys")
def command() -> None:
    """Keys of the SQL proxy: who may say what, and for how long."""


@command.command()
@click.argument("name")
@click.option("--mode", type=click.Choice(keys.MODES), default="named", show_default=True, help="What it may send.")
@click.option(
    "--read", multiple=True, metavar="TABLE,…|all", help="Tables and views that it may read; by default none."
)
@click.option("--write", multiple=True, metavar="TABLE,…", help="Tables that it may change; by default none.")
@click.option(
    "--call", "call_", multiple=True, metavar="FUNCTION,…", help="Functions that it may call; by default none."
)
@click.option("--as-user", metavar="USER", help="E-mail or id: sees and changes this person's rows only.")
@click.option("--pii", is_flag=True, help="Sees personal data, which is masked otherwise.")
@click.option("--expires", type=Duration(), metavar="LENGTH", help="Works this long, such as 30d; by default for ever.")
@click.option("--cidr", multiple=True, metavar="CIDR,…", help="Networks that it may come from; by default any.")
@click.option(
    "--rate", type=Whole(1, keys.RATE_MAX), metavar="N",
    help="Requests a second, and their burst; by default no limit.",
)  # fmt: skip
@click.option(
    "--concurrency", type=Whole(1, keys.CONCURRENCY_MAX), metavar="N",
    help="Requests at a time; by default no limit of its own.",
)  # fmt: skip
@json_option
def create(
    name: str,
    mode: keys.Mode,
    read: Sequence[str],
    write: Sequence[str],
    call_: Sequence[str],
    as_user: str | None,
    pii: bool,
    expires: timedelta | None,
    cidr: Sequence[str],
    rate: int | None,
    concurrency: int | None,
    as_json: bool,
) -> None:
    """Make a key and print it, once."""
    limits = Limits(expires_in=expires, cidrs=tuple(_split(cidr)), rate=rate, concurrency=concurrency)
    keys.check_limits(name, mode, limits)
    settings = Settings.from_env()

    async def work(owner: Database) -> tuple[KeyLine, str]:
        person = None
        if as_user is not None:
            async with owner.transaction(read_only=True) as tx:
                account = await operators.account(tx, as_user)
            if account.is_erased:
                raise errors.NotFound("This person was erased.")
            person = account.id
        wanted = keys.scope(reads=_split(read), writes=_split(write), calls=_split(call_), as_user_id=person, pii=pii)

        async def add(tx: Session) -> tuple[KeyLine, str]:
            return await keys.create(tx, wanted, name=name, mode=mode, limits=limits, created_by=getpass.getuser())

        return await scopes.establish(owner, workshop(settings), wanted, add)

    _tell(*_with_owner(settings, work), as_json=as_json)


@command.command("list")
@click.option("--all", "with_dead", is_flag=True, help="Also revoked and expired ones.")
@json_option
def list_(with_dead: bool, as_json: bool) -> None:
    """The keys, newest first."""
    found = asyncio.run(in_transaction(lambda tx: keys.lines(tx, with_dead=with_dead)))
    if as_json:
        show(found, {}, as_json=True)
    else:
        show([_line(key) for key in found], COLUMNS, as_json=False)


@command.command()
@click.argument("key", metavar="KEY")
@click.option(
    "--grace", type=Duration(can_be_zero=True), metavar="LENGTH", default=GRACE_DEFAULT, show_default=True,
    help="How long the old secret works on; 0s ends it now.",
)  # fmt: skip
@json_option
def rotate(key: str, grace: timedelta, as_json: bool) -> None:
    """Give a key a new secret and print it, once; the old one works on for a while."""
    _tell(*asyncio.run(in_transaction(lambda tx: keys.rotate(tx, key, grace))), as_json=as_json)


@command.command()
@click.argument("key", metavar="KEY")
@json_option
def revoke(key: str, as_json: bool) -> None:
    """End a key for good, within a second."""

    async def work(owner: Database) -> KeyLine:
        async with owner.transaction() as tx:
            revoked = await keys.revoke(tx, key)
        # The key is dead already; what its role was granted goes when nobody else needs it.
        await scopes.retire(owner, revoked.id)

        return revoked

    revoked = _with_owner(Settings.from_env(), work)
    if as_json:
        show_json(revoked)
    else:
        click.echo(f"{revoked.name} ({revoked.id}) is revoked.")


@command.command()
@click.argument("key", metavar="KEY")
@click.option("--name", "statement_id", required=True, metavar="ID", help="Its name, as in /named/ID.")
@click.option("--sql", type=click.File("rb"), required=True, metavar="FILE", help="The statement; - is standard input.")
@json_option
def allow(key: str, statement_id: str, sql: IO[bytes], as_json: bool) -> None:
    """Register a statement that a key may run: by name, or for a key of mode exact by its text."""
    settings = Settings.from_env()
    try:
        statement = sql.read(keys.STATEMENT_BYTES_MAX + 1).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise errors.ValidationFailed("The statement is not UTF-8.") from exc

    async def work(owner: Database) -> dict[str, object]:
        async with owner.transaction(read_only=True) as tx:
            found = await keys.find_living(tx, key)
        keys.check_statement(found, statement_id, statement)
        role_dsn = roles.dsn_for(found.role, workshop(settings).secret, owner_dsn(settings))
        types = await examine.parameter_types(role_dsn, statement, frozenset(found.call))
        async with owner.transaction() as tx:
            await keys.allow(tx, found, statement_id, statement, types)

        return {"key": found.id, "name": statement_id, "parameter_types": types}

    done = _with_owner(settings, work)
    if as_json:
        show_json(done)
    else:
        click.echo(f"{statement_id} is registered for {key}.")


@command.command()
@click.argument("key", metavar="KEY")
@json_option
def statements(key: str, as_json: bool) -> None:
    """The statements that a key may run: registered and learnt ones, newest first."""
    found = asyncio.run(in_transaction(lambda tx: keys.registered(tx, key)))
    show(found, STATEMENT_COLUMNS, as_json=as_json)


@command.command()
@click.argument("key", metavar="KEY")
@click.option("--name", "statement_id", required=True, metavar="ID", help="The statement's name.")
@json_option
def forget(key: str, statement_id: str, as_json: bool) -> None:
    """Let a key run a statement no more."""
    found = asyncio.run(in_transaction(lambda tx: keys.forget(tx, key, statement_id)))
    if as_json:
        show_json({"key": found.id, "name": statement_id})
    else:
        click.echo(f"{statement_id} is forgotten.")


@command.command()
@click.argument("key", metavar="KEY")
@click.option(
    "--for", "learn_for", type=Duration(), metavar="LENGTH", default=LEARN_DEFAULT, show_default=True, help="How long."
)
@click.option("--stop", is_flag=True, help="End it now.")
@json_option
def learn(key: str, learn_for: timedelta, stop: bool, as_json: bool) -> None:
    """Let a key of mode exact remember every text that it is sent for a while."""
    found = asyncio.run(in_transaction(lambda tx: keys.learn(tx, key, None if stop else learn_for)))
    if as_json:
        show_json(found)
    elif found.learning_until is None:
        click.echo(f"{found.name} knows {found.statements} statements and learns no more.")
    else:
        click.echo(f"{found.name} learns until {found.learning_until:%Y-%m-%d %H:%M:%S%z}.")


@command.command()
@json_option
def sync(as_json: bool) -> None:
    """Make the roles that keys need, after a restore, grant them again, and drop those that no key needs."""
    settings = Settings.from_env()
    found = _with_owner(settings, lambda owner: scopes.synchronise(owner, workshop(settings)))
    show(found, SCOPE_COLUMNS, as_json=as_json)


def _tell(key: KeyLine, token: str, *, as_json: bool) -> None:
    """Print a key with its secret: the only time that it is seen."""
    if as_json:
        show_json({"id": key.id, "key": token} | msgspec.to_builtins(key))
    else:
        click.echo(f"{key.name} ({key.id}), mode {key.mode}: {_grants(key)}")
        click.echo(token)
        click.echo("Keep it now: it is not shown again.", err=True)


def _line(key: KeyLine) -> TableLine:
    bounds = [
        f"{key.rate}/s" if key.rate else "",
        f"{key.concurrency} at a time" if key.concurrency else "",
        *key.cidrs,
    ]

    return TableLine(
        id=key.id,
        name=key.name,
        mode=key.mode,
        state=key.state,
        grants=_grants(key),
        statements=key.statements,
        bounds=", ".join(bound for bound in bounds if bound),
        expires_at=f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "",
        created_at=f"{key.created_at:%Y-%m-%d %H:%M}",
    )


def _grants(key: KeyLine) -> str:
    parts = [f"{verb} {', '.join(names)}" for verb, names in
             (("reads", key.read), ("writes", key.write), ("calls", key.call)) if names]  # fmt: skip
    if key.as_user is not None:
        parts.append(f"as {key.as_user}")
    parts.append("personal data shown" if key.pii else "personal data masked")

    return "; ".join(parts)


def _split(given: Sequence[str]) -> list[str]:
    """The names of an option that may be repeated, or hold several between commas."""
    return [name.strip() for part in given for name in part.split(",") if name.strip()]


def _with_owner(settings: Settings, work: Callable[[Database], Awaitable[ResultT]]) -> ResultT:
    async def run() -> ResultT:
        async with owner_database(settings) as owner:
            return await work(owner)

    return asyncio.run(run())
