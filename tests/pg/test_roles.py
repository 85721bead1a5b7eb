"""The login roles of a cluster: plain, limited, made once, by several at a time."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import Cluster

from callmeback import errors
from callmeback.pg import home, roles, server

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of its own: what is done to roles here, everybody on the shared one would feel."""
    place = Path(tempfile.mkdtemp(prefix="callmeback-roles-"))
    place.chmod(0o711)
    try:
        with server.start(place, durable=False) as running:
            secret = home.generated_secrets(place)["role_secret"]
            asyncio.run(roles.ensure(running.superuser_dsn, secret))
            yield Cluster(
                owner_dsn=running.owner_dsn,
                superuser_dsn=running.superuser_dsn,
                template="template1",
                role_secret=secret,
                programs=str(running.endpoint.programs),
                major=running.endpoint.major,
            )
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def superuser(cluster: Cluster) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cluster.superuser_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database_url(cluster: Cluster) -> str:
    return cluster.owner_dsn


ATTRIBUTES = """
SELECT rolname FROM pg_roles
WHERE rolname LIKE 'callmeback\\_%'
    AND rolcanlogin AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls OR rolreplication)
ORDER BY rolname
"""


def can_log_in(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.anyio
async def test_right_roles_are_left_alone(cluster: Cluster):
    assert await roles.ensure(cluster.superuser_dsn, cluster.role_secret) == []


def test_roles_are_plain_login_roles_without_memberships(superuser: psycopg.Connection):
    assert [row[0] for row in superuser.execute(ATTRIBUTES)] == sorted(roles.ROLES)
    members = superuser.execute(
        "SELECT m.member::regrole::text, m.roleid::regrole::text FROM pg_auth_members AS m "
        "WHERE m.roleid::regrole::text LIKE 'callmeback%'"
    ).fetchall()
    assert members == []


@pytest.mark.parametrize("role", roles.ROLES)
def test_a_role_logs_in_with_its_own_password_only(cluster: Cluster, database_url: str, role: str):
    right = roles.dsn_for(role, cluster.role_secret, database_url)

    assert can_log_in(right)
    assert not can_log_in(roles.dsn_for(role, cluster.role_secret + "x", database_url))
    assert conninfo_to_dict(right)["dbname"] == conninfo_to_dict(database_url)["dbname"]


@pytest.mark.parametrize("role", roles.ROLES)
def test_every_role_finds_the_primary_of_a_cluster(cluster: Cluster, database_url: str, role: str):
    several = make_conninfo(
        database_url,
        host="127.0.0.1,127.0.0.1",
        port=f"1,{conninfo_to_dict(database_url)['port']}",
        target_session_attrs="read-write",
    )

    assert can_log_in(roles.dsn_for(role, cluster.role_secret, several))


def test_passwords_differ_by_role_and_secret():
    made = {roles.password(secret, role) for secret in ("a" * 32, "b" * 32) for role in roles.ROLES}

    assert len(made) == 2 * len(roles.ROLES)


@pytest.mark.anyio
async def test_what_differs_is_mended_by_several_at_once(cluster: Cluster, superuser: psycopg.Connection):
    superuser.execute("ALTER ROLE callmeback_readonly CREATEDB BYPASSRLS NOLOGIN PASSWORD 'something else'")
    superuser.execute("ALTER ROLE callmeback_readonly SET statement_timeout = '1h'")
    superuser.execute("ALTER ROLE callmeback_voice RESET ALL")
    try:
        changed = await asyncio.gather(*[roles.ensure(cluster.superuser_dsn, cluster.role_secret) for _ in range(4)])
    finally:
        await roles.ensure(cluster.superuser_dsn, cluster.role_secret)

    assert {role for each in changed for role in each} == {roles.READONLY, roles.VOICE}
    assert [row[0] for row in superuser.execute(ATTRIBUTES)] == sorted(roles.ROLES)
    assert can_log_in(roles.dsn_for(roles.READONLY, cluster.role_secret, cluster.owner_dsn))
    settings = superuser.execute("SELECT rolconfig FROM pg_roles WHERE rolname = 'callmeback_voice'").fetchone()
    assert settings is not None
    assert sorted(settings[0]) == sorted(
        f"{name}={value}".replace("timezone", "TimeZone") for name, value in roles.SETTINGS[roles.VOICE].items()
    )


def test_the_owner_finds_the_statistics_of_statements_without_their_schema(cluster: Cluster):
    """Section 11.2 of the specification asks for them as PostgreSQL's manual does."""
    with psycopg.connect(cluster.owner_dsn) as owner:
        path = owner.execute("SHOW search_path").fetchone()

    assert path == ("public, monitoring",)


@pytest.mark.anyio
async def test_the_servers_log_never_has_a_password(cluster: Cluster, superuser: psycopg.Connection):
    """What goes over the wire is a SCRAM verifier."""
    superuser.execute("ALTER ROLE callmeback_voice PASSWORD NULL")
    superuser.execute("ALTER SYSTEM SET log_statement = 'ddl'")
    superuser.execute("SELECT pg_reload_conf()")
    try:
        assert await roles.ensure(cluster.superuser_dsn, cluster.role_secret) == [roles.VOICE]
    finally:
        superuser.execute("ALTER SYSTEM RESET log_statement")
        superuser.execute("SELECT pg_reload_conf()")
    (stored,) = superuser.execute(
        "SELECT rolpassword FROM pg_authid WHERE rolname = 'callmeback_voice'"
    ).fetchone() or ("",)
    log = ""
    # The server's logger writes it when it is its turn.
    async with asyncio.timeout(PATIENCE_S):
        while stored.split("$")[-1] not in log:
            await asyncio.sleep(0.01)
            log = str((superuser.execute("SELECT pg_read_file(pg_current_logfile())").fetchone() or ("",))[0])

    assert stored.startswith("SCRAM-SHA-256$")
    assert roles.password(cluster.role_secret, roles.VOICE) not in log


@pytest.mark.anyio
async def test_who_may_not_make_roles_is_told(cluster: Cluster, superuser: psycopg.Connection):
    superuser.execute("ALTER ROLE callmeback_voice RESET lock_timeout")
    try:
        with pytest.raises(errors.Forbidden):
            await roles.ensure(cluster.owner_dsn, cluster.role_secret)
    finally:
        await roles.ensure(cluster.superuser_dsn, cluster.role_secret)


@pytest.mark.anyio
@pytest.mark.anyio
async def test_without_a_superuser_the_disk_is_bounded_where_it_was_allowed(
    cluster: Cluster, superuser: psycopg.Connection
):
    """On a managed server the user of DATABASE_URL has CREATEROLE, and perhaps SET on temp_file_limit."""
    superuser.execute("CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'made'")
    maker = psycopg.conninfo.make_conninfo(cluster.superuser_dsn, user="maker", password="made")
    wanted = {f"{roles.KEY_PREFIX}{'a' * 16}": roles.KEY_SETTINGS}
    settings = "SELECT rolconfig FROM pg_roles WHERE rolname = %s"
    try:
        await roles.ensure(maker, cluster.role_secret, wanted)
        before = superuser.execute(settings, [*wanted]).fetchone()
        superuser.execute("GRANT SET ON PARAMETER temp_file_limit TO maker")
        mended = await roles.ensure(maker, cluster.role_secret, wanted)
        after = superuser.execute(settings, [*wanted]).fetchone()
    finally:
        superuser.execute("REVOKE ALL ON PARAMETER temp_file_limit FROM maker")
        await roles.drop(cluster.superuser_dsn, [*wanted])
        superuser.execute("DROP ROLE maker")

    assert before is not None and after is not None
    assert "work_mem=16MB" in before[0] and not any(each.startswith("temp_file_limit") for each in before[0])
    assert mended == [*wanted]
    assert "temp_file_limit=3GB" in after[0]


@pytest.mark.anyio
async def test_no_server_is_unavailable():
    with pytest.raises(errors.DatabaseUnavailable):
        await roles.ensure("postgresql://nobody@127.0.0.1:1/none", "s" * 32)


@pytest.mark.anyio
async def test_the_password_that_was_given_is_never_changed(cluster: Cluster, database_url: str):
    """A role may set its own password; with another secret that would lock the operator out of DATABASE_URL."""
    with pytest.raises(errors.Forbidden):
        await roles.ensure(database_url, "another secret, of another installation")

    assert can_log_in(database_url)
