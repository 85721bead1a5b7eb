"""The files of `deploy/`: hardened, of settings that exist, and understood by the programs that read them."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml
from tests.sources import ROOT

from callmeback import settings

DEPLOY = ROOT / "deploy"
# systemd-analyze's figure times ten; what is promised is 2.5.
EXPOSURE_MAX = 25
UNITS = sorted(DEPLOY.glob("systemd/*.service"))


def test_there_is_a_unit():
    assert [unit.name for unit in UNITS] == ["callmeback.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_unit_is_hardened(unit: Path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("capability: systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit],
        capture_output=True, check=False, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level for callmeback.service" in done.stdout


def test_the_template_names_settings_that_exist():
    known = {settings.variable(field.name) for field in msgspec.structs.fields(settings.Settings)}
    lines = (DEPLOY / "callmeback.env").read_text().splitlines()
    named = {match[1]: match[2] for line in lines if (match := re.fullmatch(r"(?:# )?([A-Z_]+)=(.*)", line))}

    assert set(named) <= known
    assert {"CALLMEBACK_ENV", "CALLMEBACK_PUBLIC_URL", "CALLMEBACK_JWT_SECRET", "DATABASE_URL"} <= set(named)
    assert [
        name for name, value in named.items() if value and ("KEY" in name or "SECRET" in name or "TOKEN" in name)
    ] == []


def test_the_template_filled_in_starts_in_production(tmp_path: Path):
    lines = (DEPLOY / "callmeback.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    filled = {name: value or "x" * 40 for name, value in values.items()}
    filled |= {
        "TWILIO_PHONE_NUMBER": "+12025550100",
        "CALLMEBACK_SMTP_URL": "smtp://127.0.0.1:25",
        "DATABASE_URL": "postgresql://a@127.0.0.1/b",
    }
    filled["CALLMEBACK_HOME"] = str(tmp_path)

    settings.Settings.from_env(filled).check()


def test_the_compose_file_has_the_three_and_waits_for_the_database():
    compose = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    services = compose["services"]

    assert set(services) == {"database", "callmeback", "caddy"}
    assert services["callmeback"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "ports" not in services["database"]
    assert {volume.partition(":")[0] for each in services.values() for volume in each["volumes"]} - {
        "./Caddyfile",
        "./pg_hba.conf",
    } == set(compose["volumes"])


def test_the_compose_file_s_database_lets_backups_in_and_nobody_without_a_password():
    """Replication is none of the "all" databases, and the image's own file has no line for it."""
    database = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]["database"]
    lines = [line.split() for line in (DEPLOY / "pg_hba.conf").read_text().splitlines() if not line.startswith("#")]

    assert "hba_file=/etc/postgresql/pg_hba.conf" in database["command"]
    assert "./pg_hba.conf:/etc/postgresql/pg_hba.conf:ro" in database["volumes"]
    assert ["host", "replication", "postgres", "all", "scram-sha-256"] in lines
    assert {line[-1] for line in lines} == {"scram-sha-256"}


def test_caddy_understands_its_file(tmp_path: Path):
    if shutil.which("caddy") is None:
        pytest.skip("capability: caddy is not installed")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CALLMEBACK_TLS": "you@example.com"}
    done = subprocess.run(
        ["caddy", "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile"],
        env=environ, capture_output=True, check=False, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
