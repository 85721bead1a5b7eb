"""A worker and a dialler in a process of their own, to be killed and stopped: `python -m tests.worker.churn CONFIG`."""

import asyncio
import sys
from datetime import timedelta

import msgspec

from callmeback.domain import due
from callmeback.pg.pool import Database
from callmeback.providers.twilio import Carrier, CarrierConfig
from callmeback.settings import DEFAULT_REGIONS, Settings
from callmeback.voice.dialler import Dialler
from callmeback.worker import ringing
from callmeback.worker.ringing import Ringer

NOWHERE = "http://127.0.0.1:9"
SOON_S = 0.1
# The database goes away while this runs; whoever waits longer is just slow.
WAIT_S = 2.0


class Config(msgspec.Struct, frozen=True):
    """Whom to connect to; without a carrier nothing is dialled."""

    worker_dsn: str
    voice_dsn: str
    lease_s: float
    carrier_url: str | None = None
    account_sid: str = "AC0"
    auth_token: str = "t"


async def main(config: Config) -> None:
    """Work until a signal ends the process."""
    due.LEASE = timedelta(seconds=config.lease_s)  # type: ignore[misc]  # shorter, so that it is outlasted in seconds
    ringing.RETRY_S = SOON_S  # type: ignore[misc]  # the same
    carrier = Carrier(
        CarrierConfig(
            account_sid=config.account_sid,
            auth_token=config.auth_token,
            number="+12025550199",
            base_url=config.carrier_url or NOWHERE,
        )
    )
    async with (
        Database.open(config.worker_dsn, name="churn", max_size=4, wait_s=WAIT_S) as worker,
        Database.open(config.voice_dsn, name="churn", max_size=4, wait_s=WAIT_S) as voice,
    ):
        ringer = Ringer(worker, carrier, None, Settings.from_env({}), "churn")  # type: ignore[arg-type]  # no cards
        work = [ringer.ring(asyncio.Event())]
        if config.carrier_url is not None:
            work.append(Dialler(voice, carrier, NOWHERE, "churn", allowed_regions=DEFAULT_REGIONS).run())
        await asyncio.gather(*work)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Config)))
