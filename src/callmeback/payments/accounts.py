"""Which account at the payments vendor a process uses: the operator's, or the simulator's on this machine.

The simulator's key and secret are derived from the house's secret, so that every process of one home agrees on them. A
webhook secret that is set is the simulator's too, so that whoever set it can sign events by hand.
"""

import hashlib
import hmac
from typing import Final
from urllib.parse import urlsplit

from callmeback import errors
from callmeback.providers.stripe import BASE_URL, CashierConfig
from callmeback.settings import Settings

SIMULATOR_HOST: Final = "127.0.0.1"
WEBHOOK_PATH: Final = "/webhooks/stripe"
# Where the vendor's own pages stand: Checkout and the customer portal.
HOSTED_PAGES: Final = ("https://checkout.stripe.com", "https://billing.stripe.com")


def stripe_account(settings: Settings) -> CashierConfig:
    """The account in use; raises ConfigurationError where a real one lacks its key or secret."""
    if settings.simulated("payments"):
        return CashierConfig(
            api_key="sk_test_" + _derived(settings, "key"),
            webhook_secret=settings.stripe_webhook_secret or "whsec_" + _derived(settings, "webhook"),
            base_url=f"http://{SIMULATOR_HOST}:{settings.port}/simulator/payments",
        )
    if not (settings.stripe_api_key and settings.stripe_webhook_secret):
        raise errors.ConfigurationError("Payments need STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET.")

    return CashierConfig(
        api_key=settings.stripe_api_key,
        webhook_secret=settings.stripe_webhook_secret,
        base_url=(settings.stripe_base_url or BASE_URL).rstrip("/"),
    )


def page_origins(settings: Settings) -> tuple[str, ...]:
    """Where people pay: the origins of the vendor's pages, the only foreign ones that a form of ours may lead to."""
    base_url = stripe_account(settings).base_url
    if base_url == BASE_URL:
        return HOSTED_PAGES

    return (origin_of(base_url),)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)

    return f"{parts.scheme}://{parts.netloc}"


def simulated_webhook_url(settings: Settings) -> str:
    """Where the simulated vendor sends its events: the web process of this machine, whatever its public name is."""
    return f"http://{SIMULATOR_HOST}:{settings.port}{WEBHOOK_PATH}"


def _derived(settings: Settings, purpose: str) -> str:
    secret = (settings.jwt_secret or "").encode()

    return hmac.new(secret, f"callmeback:simulated_payments_{purpose}".encode(), hashlib.sha256).hexdigest()[:32]
