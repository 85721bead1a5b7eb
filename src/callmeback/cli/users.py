"""`callmeback users …`: accounts, by the operator."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import click

from callmeback import errors
from callmeback.cli.installation import in_transaction
from callmeback.cli.output import json_option, show, show_json
from callmeback.cli.parameters import Duration, Whole
from callmeback.domain import operators
from callmeback.domain.operators import AccountLine
from callmeback.pg.pool import Session

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
    "--limit", type=Whole(1, operators.PAGE_MAX), metavar="N", default=50, show_default=True,
    help="How many.",
)  # fmt: skip
@click.option("--before", metavar="ID", help="Older than this account: the next page.")
@json_option
def list_(limit: int, before: str | None, as_json: bool) -> None:
    """The newest accounts with their balances."""
    found = asyncio.run(in_transaction(lambda tx: operators.accounts(tx, limit=limit, before=before)))
    show(found, COLUMNS, as_json=as_json)


@command.command("show")
@click.argument("who", metavar="EMAIL|ID")
@json_option
def show_(who: str, as_json: bool) -> None:
    """One account."""
    found = asyncio.run(in_transaction(lambda tx: operators.account(tx, who)))
    if as_json:
        show_json(found)
    else:
        show([found], COLUMNS, as_json=False)


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.argument("role", type=click.Choice(["admin", "user"]), metavar="ROLE")
@json_option
def role(who: str, role: operators.Role, as_json: bool) -> None:
    """Make somebody an admin, or an ordinary user again."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.set_role(tx, account.id, role, granted_by=getpass.getuser())

    _change(who, work, f"{who} is now {role}.", as_json=as_json)


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.argument("tier")
@json_option
def tier(who: str, tier: str, as_json: bool) -> None:
    """Put an account on a tier: free, basic, premium or unlimited."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.set_tier(tx, account.id, tier)

    try:
        _change(who, work, f"{who} is now on {tier}.", as_json=as_json)
    except errors.UnknownTier as exc:
        raise click.BadParameter(str(exc), param_hint="TIER") from exc


@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("who", metavar="EMAIL|ID")
@click.argument("amount", type=Whole(-operators.CREDITS_MAX, operators.CREDITS_MAX), metavar="±N")
@click.option("--reason", required=True, help="Why; kept in the ledger for ever, so name no person.")
@json_option
def adjust(who: str, amount: int, reason: str, as_json: bool) -> None:
    """Give or take credits, with a row in the ledger. Each run moves them once."""
    if amount == 0:
        raise click.BadParameter("Nothing would move.", param_hint="±N")

    async def work(tx: Session, account: AccountLine) -> int:
        return await operators.adjust(tx, account.id, amount, reason)

    balance = _on_account(who, work)
    if as_json:
        show_json({"amount": amount, "balance_after": balance})
    else:
        click.echo(f"{who}: {amount:+d} credits, {balance} now.")


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.argument("credits_", type=Whole(1, operators.CREDITS_MAX), metavar="N")
@click.option("--expires", type=Duration(), required=True, metavar="LENGTH", help="Usable this long, such as 30d.")
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
@json_option
def block(who: str, as_json: bool) -> None:
    """No login and no new calls from now on."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.block(tx, account.id)

    _change(who, work, f"{who} is blocked.", as_json=as_json)


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@json_option
def unblock(who: str, as_json: bool) -> None:
    """Allow login and calls again."""

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.unblock(tx, account.id)

    _change(who, work, f"{who} may log in and call again.", as_json=as_json)


@command.command()
@click.argument("who", metavar="EMAIL|ID")
@click.option("--yes", is_flag=True, help="Don't ask; only a terminal is asked at all.")
@json_option
def erase(who: str, yes: bool, as_json: bool) -> None:
    """Take out everything personal, for good. The ledger stays, without the person."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Erase {who}? This can't be undone.", abort=True)

    async def work(tx: Session, account: AccountLine) -> None:
        await operators.erase(tx, account.id)

    _change(who, work, "Erased.", as_json=as_json)


def _change(who: str, work: Work[None], sentence: str, *, as_json: bool) -> None:
    """Do the work and say so; with `as_json` by the account as it is then."""

    async def changed(tx: Session, account: AccountLine) -> AccountLine:
        await work(tx, account)

        return await operators.account(tx, account.id)

    account = _on_account(who, changed)
    if as_json:
        show_json(account)
    else:
        click.echo(sentence)


def _on_account(who: str, work: Work[ResultT]) -> ResultT:
    """Find the account and do the work in one transaction."""

    async def both(tx: Session) -> ResultT:
        account = await operators.account(tx, who)
        if account.is_erased:
            raise errors.NotFound("This person was erased.")

        return await work(tx, account)

    return asyncio.run(in_transaction(both))
