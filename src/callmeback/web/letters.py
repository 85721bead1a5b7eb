"""The mails of the house: what they say, and that they go out beside the request."""

import asyncio
from typing import Final
from urllib.parse import urlencode

from callmeback.domain import auth
from callmeback.providers.mail import Mail
from callmeback.web.services import Services

# How long a registration waits for its mail, so that it is usually there when the answer is.
WAIT_SECONDS: Final = 2.0
# Every answer to "I forgot my password" takes this long: the time tells nothing about the address.
FORGOT_SECONDS: Final = 0.5

VERIFY_PATH: Final = "/verify-email"
RESET_PATH: Final = "/reset-password"


def verification(base_url: str, email: str, token: str) -> Mail:
    """The mail that proves an address."""
    link = f"{base_url}{VERIFY_PATH}?{urlencode({'token': token})}"
    days = auth.VERIFICATION_VALID_FOR.days
    body = (
        f"Welcome to Call Me Back.\n\nOpen this link to confirm your e-mail address:\n{link}\n\n"
        f"It works once, for {days} days. You can be called without it."
    )

    return Mail(email, "Confirm your e-mail address", body)


def reset(base_url: str, email: str, token: str) -> Mail:
    """The mail that sets a new password."""
    link = f"{base_url}{RESET_PATH}?{urlencode({'token': token})}"
    minutes = auth.RESET_VALID_FOR.seconds // 60
    body = (
        f"Somebody, we hope you, asked for a new password.\n\nOpen this link to set one:\n{link}\n\n"
        f"It works once, for {minutes} minutes. If it wasn't you, do nothing."
    )

    return Mail(email, "Set a new password", body)


async def send_verification(services: Services, email: str) -> None:
    """Mail a verification link; waits a moment for it, never for long."""
    task = services.later("mail a verification", _mail_verification(services, email))
    if task is not None:
        await asyncio.wait([task], timeout=WAIT_SECONDS)


async def send_reset(services: Services, email: str) -> None:
    """Mail a reset link if somebody has this address; takes the same time either way."""
    services.later("mail a reset", _mail_reset(services, email))
    await asyncio.sleep(FORGOT_SECONDS)


async def send_nothing() -> None:
    """What `send_reset` takes, without a mail."""
    await asyncio.sleep(FORGOT_SECONDS)


async def _mail_verification(services: Services, email: str) -> None:
    token = await auth.issue_link(services.api, email, "email_verification")
    if token is not None:
        await services.mailer.send(verification(services.settings.base_url, email, token))


async def _mail_reset(services: Services, email: str) -> None:
    token = await auth.issue_link(services.api, email, "password_reset")
    if token is not None:
        await services.mailer.send(reset(services.settings.base_url, email, token))
