"""Acting for a person from the terminal, through the running web process: whoever reads the house's secret may.

The session begins and ends with the command.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import click
import httpx

from callmeback import errors
from callmeback.cli.installation import owner_database
from callmeback.cli.parameters import Whole
from callmeback.domain import auth, operators, tokens
from callmeback.domain.calls import MINUTES_MAX
from callmeback.pg import home
from callmeback.settings import Settings

REQUEST_TIMEOUT_S: Final = 15.0

who_option = click.option("--as", "who", required=True, metavar="EMAIL|ID", help="For whom.")
phone_option = click.option("--phone", metavar="NUMBER", help="A verified number; by default the primary one.")
minutes_option = click.option(
    "--minutes",
    type=Whole(1, MINUTES_MAX),
    metavar="N",
    help="Longest talk in minutes; by default what the plan allows.",
)


@contextlib.contextmanager
def session(who: str) -> Iterator[httpx.Client]:
    """A client of the web process that is logged in as somebody; raises NotFound for nobody."""
    settings = home.complete(Settings.from_env())
    token = asyncio.run(_token(settings, who))
    base_url = home.read_run(settings.home).get("url") or settings.base_url
    with httpx.Client(
        base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_TIMEOUT_S
    ) as client:
        try:
            yield client
        finally:
            # The session ends with the command, unless nobody is there to end it any more.
            with contextlib.suppress(httpx.TransportError):
                client.post("/api/auth/logout")


def ask(
    client: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    query: dict[str, str] | None = None,
) -> bytes:
    """One request; a refusal becomes an error with the problem's own sentence."""
    try:
        response = client.request(method, path, json=body, params=query)
    except UnicodeEncodeError as exc:
        raise errors.ValidationFailed("A text contains half a character.") from exc
    except httpx.TransportError as exc:
        if method == "GET":
            raise
        raise errors.ConfigurationError("The web process doesn't answer: is `callmeback up` running?") from exc
    if response.is_error:
        problem = response.json() if "json" in response.headers.get("content-type", "") else {}
        raise click.ClickException(str(problem.get("detail") or problem.get("title") or response.reason_phrase))

    return response.content


async def _token(settings: Settings, who: str) -> str:
    assert settings.jwt_secret is not None, "complete() saw to it"
    async with owner_database(settings) as db, db.transaction(read_only=True) as tx:
        account = await operators.account(tx, who)
        valid_from = await auth.tokens_valid_from(tx, account.id)
        claims = await auth.claims_for(tx, account.id, account.email, valid_from)

    return tokens.sign(settings.jwt_secret, claims)
