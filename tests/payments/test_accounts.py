"""Which account at the payments vendor is used, and that the simulator of a web process has the same one."""

from pathlib import Path

import pytest

from callmeback import errors
from callmeback.payments.accounts import BASE_URL, stripe_account
from callmeback.settings import Settings
from callmeback.web.app import create_app


def settings(tmp_path: Path, **more: str) -> Settings:
    return Settings(
        home=tmp_path,
        port=8123,
        database_url="postgresql://callmeback_owner@127.0.0.1:1/callmeback",
        jwt_secret="j" * 32,
        role_secret="r" * 32,
        **more,
    )


def test_the_simulated_account_is_the_home_s_own(tmp_path: Path):
    account = stripe_account(settings(tmp_path))

    assert account == stripe_account(settings(tmp_path))
    assert account.api_key.startswith("sk_test_") and account.webhook_secret.startswith("whsec_")
    assert account.api_key[8:] != account.webhook_secret[6:]
    assert account.base_url == "http://127.0.0.1:8123/simulator/payments"
    assert account.api_key not in repr(account) and account.webhook_secret not in repr(account)


def test_a_webhook_secret_that_is_set_is_the_simulator_s_too(tmp_path: Path):
    account = stripe_account(settings(tmp_path, stripe_webhook_secret="whsec_mine"))

    assert (account.webhook_secret, account.base_url) == ("whsec_mine", "http://127.0.0.1:8123/simulator/payments")


def test_a_real_account_is_the_operator_s(tmp_path: Path):
    account = stripe_account(settings(tmp_path, stripe_api_key="sk_live_1", stripe_webhook_secret="whsec_1"))

    assert (account.api_key, account.webhook_secret, account.base_url) == ("sk_live_1", "whsec_1", BASE_URL)


@pytest.mark.parametrize("given", [{"stripe_api_key": "sk_live_1"}, {"stripe_base_url": "http://127.0.0.1:1"}])
def test_half_an_account_is_refused(tmp_path: Path, given: dict[str, str]):
    with pytest.raises(errors.ConfigurationError, match="STRIPE_WEBHOOK_SECRET"):
        stripe_account(settings(tmp_path, **given))


def test_the_web_process_s_simulator_has_this_account(tmp_path: Path):
    simulator = create_app(settings(tmp_path)).state.services.simulator
    account, config = stripe_account(settings(tmp_path)), simulator.config.payments

    assert (config.api_key, config.webhook_secret) == (account.api_key, account.webhook_secret)
    assert config.webhook_url == "http://127.0.0.1:8123/webhooks/stripe"
