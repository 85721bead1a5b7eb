"""The environment, read once into one frozen Struct. Every name is documented in docs/reference/settings.md."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from callmeback import errors

Vendor = Literal["carrier", "listener", "brain", "voice", "payments"]
VENDORS: Final[tuple[Vendor, ...]] = ("carrier", "listener", "brain", "voice", "payments")
ENVIRONMENTS: Final = ("development", "test", "production")

# Countries that may be dialled unless the operator says otherwise. Written out, because a country added by a library's
# update would be a country that somebody can be billed for.
DEFAULT_REGIONS: Final = (
    "US", "CA", "GB", "IE", "DE", "FR", "AT", "CH", "NL", "BE", "LU", "ES", "PT", "IT", "DK", "SE", "NO", "FI", "IS",
    "PL", "CZ", "SK", "HU", "SI", "EE", "LV", "LT", "GR", "MT", "CY", "AU", "NZ", "JP", "SG", "KR",
)  # fmt: skip
_DECIMAL: Final = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,9})?")
MIN_SECRET_LENGTH: Final = 32
MIN_PASSPHRASE_LENGTH: Final = 12
MAX_PORT: Final = 65_535
ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to reach what listens there
PROXY_PORT: Final = 3_000
WORKER_PORT: Final = 8_001


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides. `None` means not set; secrets never appear in `repr`."""

    home: Path
    database_url: str | None = None
    database_read_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    proxy_port: int = PROXY_PORT
    worker_port: int = WORKER_PORT
    proxy_audit_parameters: bool = False
    public_url: str | None = None
    jwt_secret: str | None = None
    role_secret: str | None = None
    pool_max: int = 20
    pool_wait_s: float = 2.0
    pool_idle_s: float = 30.0
    allowed_regions: tuple[str, ...] = DEFAULT_REGIONS
    smtp_url: str | None = None
    env: Literal["development", "test", "production"] = "development"

    twilio_account_sid: str | None = None
    twilio_auth_token: str | None = None
    twilio_phone_number: str | None = None
    twilio_base_url: str | None = None
    deepgram_api_key: str | None = None
    deepgram_base_url: str | None = None
    cerebras_api_key: str | None = None
    cerebras_base_url: str | None = None
    elevenlabs_api_key: str | None = None
    elevenlabs_base_url: str | None = None
    stripe_api_key: str | None = None
    stripe_webhook_secret: str | None = None
    stripe_base_url: str | None = None

    backup_dir: Path | None = None
    backup_mirror: str | None = None
    backup_passphrase: str | None = None
    backup_days: int = 30
    backup_schedule: bool = True
    backup_stanza: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_region: str | None = None
    aws_endpoint_url: str | None = None

    listener_model: str = "flux-general-en"
    brain_model: str = "gpt-oss-120b"
    brain_fallback_model: str = "qwen-3-235b-a22b-instruct-2507"
    voice_model: str = "eleven_flash_v2_5"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; raises ConfigurationError that names the variable and what it may be."""
        values = os.environ if environ is None else environ
        found: dict[str, object] = {}
        for field in msgspec.structs.fields(cls):
            raw = values.get(variable(field.name), "").strip()
            if raw:
                found[field.name] = _parse(field.name, raw)
        found.setdefault("home", Path.home() / ".callmeback")

        return cls(**found)  # type: ignore[arg-type]  # each value was parsed for its own field above

    @property
    def base_url(self) -> str:
        """Where callers and vendors reach us, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    def near_url(self, port: int) -> str:
        """Where this machine reaches what listens on one of our ports."""
        host = near(self.host)

        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def backup_folder(self) -> Path:
        """Where the repository of backups is."""
        return self.backup_dir or self.home / "backups"

    def simulated(self, vendor: Vendor) -> bool:
        """Whether this vendor is played by our simulator: it has neither a key nor a base URL."""
        key, base_url = {
            "carrier": (self.twilio_auth_token or self.twilio_account_sid, self.twilio_base_url),
            "listener": (self.deepgram_api_key, self.deepgram_base_url),
            "brain": (self.cerebras_api_key, self.cerebras_base_url),
            "voice": (self.elevenlabs_api_key, self.elevenlabs_base_url),
            "payments": (self.stripe_api_key, self.stripe_base_url),
        }[vendor]

        return key is None and base_url is None

    def check(self) -> None:
        """Raise ConfigurationError for settings that must not run together.

        Checked before secrets are generated, so that in production a missing one is seen as missing.
        """
        for problem in (
            *_carrier_problems(self),
            *_payments_problems(self),
            *_secret_problems(self),
            *_production_problems(self),
        ):
            raise errors.ConfigurationError(problem)

    def __repr__(self) -> str:
        return f"Settings(home={str(self.home)!r}, host={self.host!r}, port={self.port}, env={self.env!r}, …)"


# The names that everybody knows are without our prefix.
_PLAIN_FIELDS: Final = ("database_", "twilio_", "deepgram_", "cerebras_", "elevenlabs_", "stripe_", "aws_")


def near(host: str) -> str:
    """Where this machine reaches what listens on that address."""
    return ANY_ADDRESS.get(host, host)


def variable(field: str) -> str:
    """The environment variable of a field: the vendor's own name, or ours with the prefix."""
    if field.startswith(_PLAIN_FIELDS):
        return field.upper()

    return f"CALLMEBACK_{field.upper()}"


def _parse(field: str, raw: str) -> object:
    if field in ("home", "backup_dir"):
        return Path(raw).expanduser().absolute()
    if field in ("port", "proxy_port", "worker_port"):
        return _whole(field, raw, 1, MAX_PORT)
    if field in ("proxy_audit_parameters", "backup_schedule"):
        return _choice(field, raw)
    if field == "backup_days":
        return _whole(field, raw, 1, 3_650)
    if field == "backup_passphrase" and len(raw) < MIN_PASSPHRASE_LENGTH:
        raise errors.ConfigurationError(f"{variable(field)} must have at least {MIN_PASSPHRASE_LENGTH} characters")
    if field == "pool_max":
        return _whole(field, raw, 1, 1_000)
    if field in ("pool_wait_s", "pool_idle_s"):
        return _seconds(field, raw)
    if field == "allowed_regions":
        return _regions(raw)
    if field == "env" and raw not in ENVIRONMENTS:
        raise errors.ConfigurationError(f"{variable(field)} must be one of {', '.join(ENVIRONMENTS)}")
    if field == "host":
        return _host(raw)
    if field in ("database_url", "database_read_url"):
        return _database_url(field, raw)
    if field.endswith("_base_url"):
        return _vendor_url(field, raw)

    return raw


def _whole(field: str, raw: str, least: int, most: int) -> int:
    if not raw.isascii() or not raw.isdigit() or not least <= int(raw) <= most:
        raise errors.ConfigurationError(f"{variable(field)} must be a whole number from {least} to {most}")

    return int(raw)


def _choice(field: str, raw: str) -> bool:
    if raw.lower() not in ("yes", "no"):
        raise errors.ConfigurationError(f"{variable(field)} must be yes or no")

    return raw.lower() == "yes"


def _seconds(field: str, raw: str) -> float:
    value = float(raw) if _DECIMAL.fullmatch(raw) else 0.0
    if not 0 < value <= 3_600:
        raise errors.ConfigurationError(
            f"{variable(field)} must be a number of seconds such as 2 or 0.5, above 0 and at most 3600"
        )

    return value


def _regions(raw: str) -> tuple[str, ...]:
    regions = tuple(part.strip().upper() for part in raw.split(",") if part.strip())
    wrong = [region for region in regions if len(region) != 2 or not region.isascii() or not region.isalpha()]
    if wrong or not regions:
        raise errors.ConfigurationError("CALLMEBACK_ALLOWED_REGIONS must be two-letter countries such as US,CA,GB")

    return regions


def _host(raw: str) -> str:
    try:
        ipaddress.ip_address(raw)
    except ValueError:
        if raw != "localhost":
            raise errors.ConfigurationError("CALLMEBACK_HOST must be an IP address or localhost") from None

    return raw


def _database_url(field: str, raw: str) -> str:
    """The address as it is; its parts are the driver's to read. It is never repeated: it may hold a password.

    Several hosts, each with its port, are libpq's way to name the members of a cluster; `urlsplit` knows only one.
    """
    try:
        parts = urlsplit(raw)
        ports = [urlsplit(f"//{host}").port for host in parts.netloc.rpartition("@")[2].split(",")]
        is_one = parts.scheme in ("postgresql", "postgres") and 0 not in ports
    except ValueError:
        is_one = False
    if not is_one:
        raise errors.ConfigurationError(f"{variable(field)} must be postgresql://user:password@host:port/database")

    return raw


def _vendor_url(field: str, raw: str) -> str:
    """A vendor's address in the form that its wire is dialled by.

    The listener and the voice are WebSockets, however their host is written. The brain's vendor adds `/v1` to the
    variable of this name itself, an OpenAI-like server's address has it: either is meant.
    """
    try:
        parts = urlsplit(raw)
        is_one = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    by_socket = field in ("deepgram_base_url", "elevenlabs_base_url")
    if not is_one or (parts.scheme.startswith("ws") and not by_socket):
        raise errors.ConfigurationError(f"{variable(field)} must be {'wss' if by_socket else 'https'}://host")
    if by_socket:
        return parts._replace(scheme=parts.scheme.replace("http", "ws")).geturl()
    if field == "cerebras_base_url" and not parts.path.strip("/"):
        return parts._replace(path="/v1").geturl()

    return raw


def _carrier_problems(settings: Settings) -> list[str]:
    """A real person must never be connected to a pretended listener, brain or voice, in any environment."""
    if settings.simulated("carrier"):
        return []
    needed = ("twilio_account_sid", "twilio_auth_token", "twilio_phone_number")
    missing = [variable(name) for name in needed if getattr(settings, name) is None]
    pretended = [vendor for vendor in ("listener", "brain", "voice") if settings.simulated(vendor)]
    problems = []
    if missing:
        problems.append(f"A real carrier needs {', '.join(missing)} too.")
    if pretended:
        problems.append(
            f"The carrier is real but simulated is the {', the '.join(pretended)}: set their keys, or none at all."
        )

    return problems


def _payments_problems(settings: Settings) -> list[str]:
    if settings.simulated("payments"):
        return []
    needed = ("stripe_api_key", "stripe_webhook_secret")
    missing = [variable(name) for name in needed if getattr(settings, name) is None]

    return [f"Real payments need {' and '.join(missing)} too."] if missing else []


def _secret_problems(settings: Settings) -> list[str]:
    return [
        f"{variable(name)} must have at least {MIN_SECRET_LENGTH} characters."
        for name in ("jwt_secret", "role_secret")
        if (value := getattr(settings, name)) is not None and len(value) < MIN_SECRET_LENGTH
    ]


def _production_problems(settings: Settings) -> list[str]:
    if settings.env != "production":
        return []
    problems = [f"CALLMEBACK_ENV=production, but the {v} is simulated." for v in VENDORS if settings.simulated(v)]
    if settings.jwt_secret is None:
        problems.append("CALLMEBACK_ENV=production needs CALLMEBACK_JWT_SECRET; a generated one is for development.")

    return problems
