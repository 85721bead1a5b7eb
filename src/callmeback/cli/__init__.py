"""The command line: one module a command, imported only when it is asked for, so that `--help` answers at once."""

import errno
import importlib
import sys
from typing import Any, Final

import click

from callmeback import errors

# A machine that has no room, or gives no permission, for what a command prints or keeps.
UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
# A path that somebody gave, and that can't exist or isn't theirs.
MISLED: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})

# Name of the command (its module is `callmeback.cli.<name>`, with `command` in it) and the line `--help` shows.
COMMANDS: Final = {
    "up": "Everything on one machine: database, web, proxy, worker.",
    "reload": "New code and migrations into the running `up`, without a gap.",
    "serve": "The web process alone.",
    "proxy": "SQL over HTTP alone.",
    "worker": "The worker alone.",
    "migrate": "Migrations of the database.",
    "call": "Place a call and watch it in the terminal.",
    "schedule": "Calls to come: add, list, preview, pause, resume, skip, move, cancel.",
    "keys": "Keys of the SQL proxy: create, list, rotate, revoke, allow, learn, sync.",
    "users": "Accounts: role, tier, credits, block, erase.",
    "jobs": "The house's periodic work: last run, next run, failures.",
    "books": "Books: close a day, check, export, margins.",
    "rates": "What vendors charge: list, set, history, reprice.",
    "coupons": "Codes that make a pack cheaper.",
    "report": "Balances, volume, personas, margin, vendors' costs, dearest calls.",
    "backup": "Backups: now, list, verify, drill.",
    "restore": "Restore: into a folder, rows, in place, a dump.",
    "upgrade": "The data to the installed major version of PostgreSQL.",
    "doctor": "What is wrong, and what to do about it.",
    "inspect": "Inside the database: statements, tables, indexes, locks, memory, sessions.",
    "logs": "What the services wrote: followed, filtered.",
    "psql": "A shell in the database.",
}


class Commands(click.Group):
    """The commands of COMMANDS. A domain error ends with its message and exit code 1, wrong usage with 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are explained."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"callmeback.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command), cmd_name

        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a domain error is one line, never a traceback. Logs stay out of standard output."""
        # Imported as late as the commands are: `--help` needs no logger.
        importlib.import_module("callmeback.logs").configure(json=not sys.stderr.isatty())
        try:
            return super().invoke(ctx)
        except errors.CallMeBackError as exc:
            raise click.ClickException(exc.detail) from exc
        except OSError as exc:
            if exc.errno not in UNWRITABLE and (exc.filename is None or exc.errno not in MISLED):
                raise
            where = "Standard output, or a file," if exc.filename is None else exc.filename
            raise click.ClickException(f"{where} can't be written: {exc.strerror}.") from exc


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="callmeback", message="%(version)s")
def app() -> None:
    """Call Me Back: personas that call you. Settings come from the environment; see docs/reference/settings.md."""
