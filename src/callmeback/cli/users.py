"""`callmeback users …`: accounts, by the operator."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import click

from callmeback import errors
from callmeback.cli.installation import owner_dsn
from callmeback.cli.keys import Duration
from callmeback.cli.output import json_option, show, show_json
from callmeback.domain import operators
from callmeback.domain.operators import AccountLine
from callmeback.pg.pool import Database, Session
from callmeback.settings import Settings

COLUMNS: Final = {
    "id": "Id",
    "email": "E-mail",
    "tier": "Tier",
    "available_credits": "Credits",
    "held_credits": "Held",
    "debt_credits": "Debt",
    "role": "Role",
    "is_blocked": "Blocked",
    "is_erased": "Erased",
    "created_at": "Since",
}

ResultT = TypeVar("ResultT")
Work = Callable[[Session, AccountLine], Awaitable[ResultT]]


@click.group(name="users")
def command() -> None:
    """Accounts: list, show, role, tier, adjust, grant, block, unblock, erase."""


@command.command("list")
@click.option(
    "--limit", type=click.IntRange(1, operators.PAGE_MAX), metavar="N", default=50, show_default=True,
    help="How many.",
)  # fmt: skip
@click.option("--before", metavar="ID", help="Older than this account: the next page.")
@json_option
def list_(limit: int, before: str | None, as_json: bool) -> None:
    """The newest accounts with their balances."""
    found = asyncio.run(_transact(lambda tx: operators.accounts(tx, limit=limit, before=before)))
    show(found, COLUMNS, as_json=as_json)


@command.command("show")
@click.argument("who", metavar="EMAIL|ID")
@json_option
def show_(who: str, as_json: bool) -> None:
    """One account."""
    found = asyncio.run(_transact(lambda tx: operators.account(tx, who)))
    if as_json:
        show_json(found)
    else:
        show([found], COLUMNS, as_json=False)


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.argument("role", type=click.Choice(["admin", "user"]))
def role(who: str, role: operators.Role) -> None:
    """Make somebody an admin, or an ordinary user again."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.set_role(tx, account.id, role, granted_by=getpass.getuser())

    _on_account(who, work)
    click.echo(f"{who} is now {role}.")


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.argument("tier")
def tier(who: str, tier: str) -> None:
    """Put an account on a tier: free, basic, premium or unlimited."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.set_tier(tx, account.id, tier)

    _on_account(who, work)
    click.echo(f"{who} is now on {tier}.")


@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("who", metavar="EMAIL|ID")
@click.argument("amount", type=int, metavar="±N")
@click.option("--reason", required=True, help="Why; kept in the ledger for ever, so name no person.")
@json_option
def adjust(who: str, amount: int, reason: str, as_json: bool) -> None:
    """Give or take credits, with a row in the ledger. Each run moves them once."""

    async def work(tx: Session, account: AccountLine) -> int:
        return await operators.adjust(tx, account.id, amount, reason)

    balance = _on_account(who, work)
    if as_json:
        show_json({"amount": amount, "balance_after": balance})
    else:
        click.echo(f"{who}: {amount:+d} credits, {balance} now.")


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.argument("credits_", type=click.IntRange(1, operators.CREDITS_MAX), metavar="N")
@click.option("--expires", type=Duration(), required=True, metavar="TIME", help="Usable this long, such as 30d.")
@click.option("--cause", required=True, help="Which promotion; each gives a person credits once. Name no person.")
@json_option
def grant(who: str, credits_: int, expires: timedelta, cause: str, as_json: bool) -> None:
    """Give N credits that expire: a promotion."""
    expires_at = datetime.now(UTC) + expires

    async def work(tx: Session, account: AccountLine) -> bool:
        return await operators.grant(tx, account.id, credits_, cause, expires_at)

    given = _on_account(who, work)
    if as_json:
        show_json({"credits": credits_, "expires_at": expires_at, "granted": given})
    elif given:
        click.echo(f"{who}: {credits_} credits until {expires_at:%Y-%m-%d %H:%M}Z.")
    else:
        click.echo(f"{who} got the credits of this promotion before.")


@command.command()
@click.argument("who", metavar="EMAIL|ID")
def block(who: str) -> None:
    """No login and no new calls from now on."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.block(tx, account.id)

    _on_account(who, work)
    click.echo(f"{who} is blocked.")


@command.command()
@click.argument("who", metavar="EMAIL|ID")
def unblock(who: str) -> None:
    """Allow login and calls again."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.unblock(tx, account.id)

    _on_account(who, work)
    click.echo(f"{who} may log in and call again.")


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.option("--yes", is_flag=True, help="Don't ask; only a terminal is asked at all.")
def erase(who: str, yes: bool) -> None:
    """Take out everything personal, for good. The ledger stays, without the person."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Erase {who}? This can't be undone.", abort=True)

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.erase(tx, account.id)

    _on_account(who, work)
    click.echo("Erased.")


def _on_account(who: str, work: Work[ResultT]) -> ResultT:
    """Find the account and do the work in one transaction."""

    async def both(tx: Session) -> ResultT:
        account = await operators.account(tx, who)
        if account.is_erased:
            raise errors.NotFound("This person was erased.")

        return await work(tx, account)

    return asyncio.run(_transact(both))


async def _transact(work: Callable[[Session], Awaitable[ResultT]]) -> ResultT:
    async with (
        Database.open(owner_dsn(Settings.from_env()), name="cli", max_size=1) as db,
        db.transaction() as tx,
    ):
        return await work(tx)
