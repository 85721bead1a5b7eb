"""`callmeback reload`: the running `up` takes over new code and new migrations, and nobody notices."""

import os
import time
from typing import Final

import click

from callmeback import errors
from callmeback.cli.up import RELOAD
from callmeback.pg import home
from callmeback.settings import Settings

POLL_S: Final = 0.1
PATIENCE_S: Final = 600.0
"""Migrations may take their time."""


@click.command()
def command() -> None:
    """Apply new migrations, and replace every service of the running `up` without refusing a request or cutting a call.

    To be run after an update of the code. Settings from the environment stay as they were when `up` was started.
    """
    settings = Settings.from_env()
    running = home.read_run(settings.home)
    if not home.is_locked(settings.home) or "pid" not in running:
        raise errors.ConfigurationError(f"No `callmeback up` is running on {settings.home}.")
    # One that runs may have begun with the code before the update, so it doesn't count.
    wanted = running.get("reloads", 0) + (2 if running.get("is_reloading") else 1)
    os.kill(int(running["pid"]), RELOAD)
    deadline = time.monotonic() + PATIENCE_S
    while (now := home.read_run(settings.home)).get("reloads", 0) < wanted:
        if time.monotonic() > deadline or not home.is_locked(settings.home):
            raise errors.ServerFailed("`callmeback up` did not finish the reload; its log says why.")
        time.sleep(POLL_S)
    if now["reload_failed"]:
        raise errors.ServerFailed(
            f"Not replaced: {', '.join(now['reload_failed'])}. What ran before goes on; the log of `up` says why."
        )
    click.echo("Reloaded.")
