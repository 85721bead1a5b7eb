"""The environment: names, defaults, what is refused, and which settings may not run together."""

from pathlib import Path

import pytest

from callmeback import errors
from callmeback.settings import DEFAULT_REGIONS, VENDORS, Settings

SECRET = "s" * 40
CARRIER = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "TWILIO_PHONE_NUMBER": "+12025550100"}
TALKERS = {"DEEPGRAM_API_KEY": "d", "CEREBRAS_API_KEY": "c", "ELEVENLABS_API_KEY": "e"}
PAYMENTS = {"STRIPE_API_KEY": "p", "STRIPE_WEBHOOK_SECRET": "w"}
ALL = CARRIER | TALKERS | PAYMENTS


def test_defaults_are_those_of_the_fixed_names() -> None:
    settings = Settings.from_env({})

    assert settings.home == Path.home() / ".callmeback"
    assert (settings.host, settings.port, settings.proxy_port) == ("127.0.0.1", 8000, 3000)
    assert (settings.pool_max, settings.pool_wait_s, settings.pool_idle_s) == (20, 2.0, 30.0)
    assert settings.base_url == "http://127.0.0.1:8000"
    assert settings.allowed_regions == DEFAULT_REGIONS
    assert [vendor for vendor in VENDORS if not settings.simulated(vendor)] == []
    settings.check()


def test_every_variable_reaches_its_field() -> None:
    settings = Settings.from_env(
        ALL
        | {
            "DATABASE_URL": "postgresql://h/d",
            "CALLMEBACK_HOME": "/h",
            "CALLMEBACK_PORT": "81",
            "CALLMEBACK_PUBLIC_URL": "https://example.com/",
            "CALLMEBACK_ALLOWED_REGIONS": "us, de",
            "CALLMEBACK_POOL_WAIT_S": "0.5",
            "CALLMEBACK_BRAIN_MODEL": "m",
            "CEREBRAS_BASE_URL": "http://b",
        }
    )

    assert settings.database_url == "postgresql://h/d"
    assert settings.home == Path("/h")
    assert settings.port == 81
    assert settings.base_url == "https://example.com"
    assert settings.allowed_regions == ("US", "DE")
    assert settings.pool_wait_s == 0.5
    assert (settings.brain_model, settings.cerebras_base_url) == ("m", "http://b/v1")
    assert settings.twilio_phone_number == "+12025550100"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CALLMEBACK_PORT", "http"),
        ("CALLMEBACK_PORT", "0"),
        ("CALLMEBACK_PORT", "65536"),
        ("CALLMEBACK_PORT", "²"),
        ("CALLMEBACK_POOL_MAX", "-1"),
        ("CALLMEBACK_POOL_WAIT_S", "nan"),
        ("CALLMEBACK_POOL_IDLE_S", "soon"),
        ("CALLMEBACK_POOL_IDLE_S", "1_0"),
        ("CALLMEBACK_POOL_IDLE_S", "３０"),
        ("CALLMEBACK_ALLOWED_REGIONS", "USA"),
        ("CALLMEBACK_ALLOWED_REGIONS", ","),
        ("CALLMEBACK_ENV", "prod"),
        ("CALLMEBACK_HOST", "0.0.0.0.0"),
        ("DATABASE_URL", "garbage"),
        ("DATABASE_URL", "http://u:p@h/d"),
        ("DATABASE_URL", "postgresql://u:p@h:port/d"),
        ("DATABASE_URL", "postgresql://u:p@a:5432,b:port/d"),
        ("DATABASE_URL", "postgresql://u:p@a:5432,b:0/d"),
        ("DATABASE_READ_URL", "postgresql://u:p@a:5432,b:70000/d"),
    ],
)
def test_nonsense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=name):
        Settings.from_env({name: value})


@pytest.mark.parametrize(
    "hosts", ["a:5432,b:5433,c:5434", "a,b:5433", "[::1]:5432,127.0.0.1:5433", "u@x:p@a:1,b:2", "u:p,q@a:1,b:2", ""]
)
def test_a_cluster_is_named_by_several_hosts(hosts: str) -> None:
    url = f"postgresql://{hosts}/callmeback?target_session_attrs=read-write"
    settings = Settings.from_env({"DATABASE_URL": url, "DATABASE_READ_URL": url})

    assert (settings.database_url, settings.database_read_url) == (url, url)


def test_an_empty_variable_is_not_set() -> None:
    assert Settings.from_env({"CALLMEBACK_PORT": " ", "DEEPGRAM_API_KEY": ""}) == Settings.from_env({})


@pytest.mark.parametrize("missing", TALKERS)
def test_a_real_carrier_never_meets_a_simulated_talker(missing: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="carrier is real"):
        Settings.from_env({name: value for name, value in ALL.items() if name != missing}).check()


@pytest.mark.parametrize("missing", CARRIER)
def test_half_a_carrier_is_refused(missing: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=missing):
        Settings.from_env({name: value for name, value in ALL.items() if name != missing}).check()


def test_a_base_url_makes_a_vendor_real() -> None:
    settings = Settings.from_env(CARRIER | {"DEEPGRAM_BASE_URL": "ws://d", "CEREBRAS_BASE_URL": "http://c"})

    assert [vendor for vendor in VENDORS if settings.simulated(vendor)] == ["voice", "payments"]


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("DEEPGRAM_BASE_URL", "http://d:1", "ws://d:1"),
        ("DEEPGRAM_BASE_URL", "wss://d/x", "wss://d/x"),
        ("ELEVENLABS_BASE_URL", "https://e", "wss://e"),
        ("CEREBRAS_BASE_URL", "https://c", "https://c/v1"),
        ("CEREBRAS_BASE_URL", "https://c/", "https://c/v1"),
        ("CEREBRAS_BASE_URL", "http://[::1]:11434/v1", "http://[::1]:11434/v1"),
        ("CEREBRAS_BASE_URL", "https://c/api", "https://c/api"),
        ("TWILIO_BASE_URL", "http://t:1", "http://t:1"),
    ],
)
def test_a_base_url_is_taken_in_the_form_that_is_dialled(name: str, given: str, meant: str) -> None:
    assert getattr(Settings.from_env({name: given}), name.lower()) == meant


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_BASE_URL", "ws://t"),
        ("STRIPE_BASE_URL", "localhost:1"),
        ("DEEPGRAM_BASE_URL", "d"),
        ("CEREBRAS_BASE_URL", "http://"),
        ("ELEVENLABS_BASE_URL", "ws://e:port"),
    ],
)
def test_a_base_url_that_is_none_is_refused(name: str, value: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=name):
        Settings.from_env({name: value})


def test_production_with_everything_set_passes() -> None:
    Settings.from_env(ALL | {"CALLMEBACK_ENV": "production", "CALLMEBACK_JWT_SECRET": SECRET}).check()


@pytest.mark.parametrize("missing", ["STRIPE_API_KEY", "CALLMEBACK_JWT_SECRET"])
def test_production_refuses_simulated_vendors_and_generated_secrets(missing: str) -> None:
    environ = ALL | {"CALLMEBACK_ENV": "production", "CALLMEBACK_JWT_SECRET": SECRET}
    del environ[missing]

    with pytest.raises(errors.ConfigurationError, match="production"):
        Settings.from_env(environ).check()


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="CALLMEBACK_JWT_SECRET"):
        Settings.from_env({"CALLMEBACK_JWT_SECRET": "short"}).check()


def test_the_text_form_shows_no_secret() -> None:
    settings = Settings.from_env(ALL | {"CALLMEBACK_JWT_SECRET": SECRET, "DATABASE_URL": "postgresql://u:pw@h/d"})

    assert SECRET not in repr(settings)
    assert "pw" not in f"{settings!s}"
