"""Which account at which vendor a process uses: the operator's, or the simulator's on this machine.

The simulator's credentials are derived from the house's secret, so that every process of one home agrees on them.
"""

import hashlib
import hmac
from typing import Final

from callmeback import errors
from callmeback.providers.twilio import BASE_URL, CarrierConfig
from callmeback.settings import Settings
from callmeback.simulator import SimulatorConfig

SIMULATOR_HOST: Final = "127.0.0.1"


def simulator_config(settings: Settings) -> SimulatorConfig:
    """The simulated carrier's customer: us."""
    return SimulatorConfig(auth_token=_simulated_token(settings))


def simulator_url(settings: Settings, scheme: str, vendor: str) -> str:
    """Where a simulated vendor answers: the web process of this machine."""
    return f"{scheme}://{SIMULATOR_HOST}:{settings.port}/simulator/{vendor}"


def carrier_config(settings: Settings) -> CarrierConfig:
    """The account at the carrier."""
    if settings.simulated("carrier"):
        simulated = simulator_config(settings)
        return CarrierConfig(
            account_sid=simulated.account_sid,
            auth_token=simulated.auth_token,
            number=simulated.number,
            base_url=simulator_url(settings, "http", "carrier"),
        )
    if not (settings.twilio_account_sid and settings.twilio_auth_token and settings.twilio_phone_number):
        raise errors.ConfigurationError("A carrier needs its account, token and number.")

    return CarrierConfig(
        account_sid=settings.twilio_account_sid,
        auth_token=settings.twilio_auth_token,
        number=settings.twilio_phone_number,
        base_url=settings.twilio_base_url or BASE_URL,
    )


def _simulated_token(settings: Settings) -> str:
    secret = (settings.jwt_secret or "").encode()

    return hmac.new(secret, b"callmeback:simulated_carrier", hashlib.sha256).hexdigest()[:32]
