"""A worker's ringing and a dialler, as a process of its own: `python -m bench.schedules.crew CONFIG`."""

import asyncio
import logging
import sys

import msgspec
import structlog

from callmeback.domain import costs
from callmeback.pg.pool import Database
from callmeback.providers.twilio import Carrier, CarrierConfig
from callmeback.settings import Settings
from callmeback.voice.dialler import Dialler
from callmeback.worker.ringing import Ringer

NOWHERE = "http://127.0.0.1:9"


class Config(msgspec.Struct, frozen=True):
    """Whom to connect to."""

    worker_dsn: str
    voice_dsn: str
    carrier_url: str
    account_sid: str
    auth_token: str
    number: str


async def main(config: Config) -> None:
    """Ring and dial until a signal ends the process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    carrier = Carrier(
        CarrierConfig(
            account_sid=config.account_sid,
            auth_token=config.auth_token,
            number=config.number,
            base_url=config.carrier_url,
        )
    )
    settings = Settings.from_env({})
    async with (
        Database.open(config.worker_dsn, name="ring", max_size=4, wait_s=10.0) as worker,
        Database.open(config.voice_dsn, name="dial", max_size=12, wait_s=10.0) as voice,
    ):
        async with worker.transaction() as tx:
            await costs.ensure_card(tx, settings)
        ringer = Ringer(worker, carrier, None, settings, "bench")  # type: ignore[arg-type]  # nobody pays by card
        print("ready", flush=True)
        dialler = Dialler(voice, carrier, NOWHERE, "bench", allowed_regions=settings.allowed_regions)
        await asyncio.gather(ringer.ring(asyncio.Event()), dialler.run())


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Config)))
