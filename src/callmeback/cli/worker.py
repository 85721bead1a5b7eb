"""`callmeback worker`: what happens without a request, such as the reaper and the clean-up."""

import click

from callmeback import worker
from callmeback.cli.installation import service_settings


@click.command()
def command() -> None:
    """Run the work of the house until a signal."""
    worker.run(service_settings("worker"))
