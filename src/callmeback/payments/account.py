"""Which account at the payment provider a process uses: the operator's, or the simulator's on this machine."""

import hashlib
import hmac
from typing import Final

from callmeback import errors
from callmeback.providers import stripe
from callmeback.providers.stripe import CashierConfig
from callmeback.settings import Settings

SIMULATOR_HOST: Final = "127.0.0.1"
SIMULATOR_PATH: Final = "/simulator/payments"
WEBHOOK_PATH: Final = "/webhooks/stripe"


def cashier_config(settings: Settings) -> CashierConfig:
    """The account at the payment provider. The simulator's secrets come from the house's, so its processes agree."""
    if settings.simulated("payments"):
        return CashierConfig(
            api_key="sk_test_" + _derived(settings, "key"),
            webhook_secret="whsec_" + _derived(settings, "webhook"),
            base_url=f"http://{SIMULATOR_HOST}:{settings.port}{SIMULATOR_PATH}",
        )
    if settings.stripe_api_key is None or settings.stripe_webhook_secret is None:
        raise errors.ConfigurationError("Payments need STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET.")

    return CashierConfig(
        api_key=settings.stripe_api_key,
        webhook_secret=settings.stripe_webhook_secret,
        base_url=settings.stripe_base_url or stripe.BASE_URL,
    )


def _derived(settings: Settings, purpose: str) -> str:
    secret = (settings.jwt_secret or "").encode()

    return hmac.new(secret, f"callmeback:simulated_payments:{purpose}".encode(), hashlib.sha256).hexdigest()[:32]
