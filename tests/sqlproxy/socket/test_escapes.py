"""Ways out of a session's grants, tried over the wire with a real role: by statements, names, portals and settings."""

import psycopg
import pytest
from tests.sqlproxy.conftest import MakeKey
from tests.sqlproxy.socket.room import Room
from tests.sqlproxy.socket.speaker import Speaker, code, kinds, rows

from callmeback.sqlproxy import frames
from callmeback.sqlproxy.frames import SYNC

pytestmark = pytest.mark.anyio

# Each would outlast its transaction, change how later texts are read, or leave the key's grants.
NEVER = [
    "SET ROLE callmeback_owner",
    "SET SESSION AUTHORIZATION callmeback_owner",
    "SET search_path = public",
    "SET statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    "SET standard_conforming_strings = off",
    "SET client_encoding = 'SJIS'",
    "RESET ALL",
    "DISCARD ALL",
    "PREPARE p AS DELETE FROM things",
    "EXECUTE p",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "FETCH ALL FROM c",
    "LISTEN things",
    "NOTIFY things",
    "LOCK TABLE things",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    "COPY things TO STDOUT",
    "COPY things FROM STDIN",
    "COPY (SELECT 1) TO PROGRAM 'sh'",
    "DO $$ BEGIN DELETE FROM things; END $$",
    "CALL anything()",
    "CREATE TEMP TABLE t (a int)",
    "TRUNCATE things",
    "EXPLAIN ANALYZE DELETE FROM things",
    "SELECT set_config('search_path', 'public', false)",
    "SELECT pg_sleep(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT query_to_xml('DELETE FROM things', true, true, '')",
    "SELECT lo_create(0)",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_prepared_statements",
    "SELECT * FROM pg_authid",
    "COMMIT; DELETE FROM things",
    "BEGIN; SELECT 1",
]


async def test_what_no_key_may_say_is_refused_in_both_protocols_and_in_transactions(room: Room):
    async with room.client() as client:
        for text in NEVER:
            for asked in (frames.query(text.encode()), frames.parse(b"", text.encode()) + SYNC):
                heard = await client.ask(asked)
                assert kinds(heard) == "EZ", text
                assert code(heard) in ("42501", "0A000"), text
                assert client.status == "I"
                await client.query("BEGIN")
                assert kinds(await client.ask(asked)) == "EZ", text
                assert client.status == "E", text
                await client.query("ROLLBACK")

        assert await client.value("SELECT count(*) FROM things") == "100"


async def test_a_session_sees_what_its_key_was_granted_and_nothing_else(room: Room):
    async with room.client() as client:
        for text in (b"SELECT * FROM users", b"SELECT * FROM api_keys", b"SELECT secret_hash FROM public.api_keys"):
            assert code(await client.query(text.decode())) == "42501"
            # Describing tells of columns what the catalogue tells everybody; of rows it tells nothing.
            asked = frames.parse(b"", text) + frames.describe(b"S", b"") + frames.bind(b"", b"") + frames.execute(b"")
            heard = await client.ask(asked, SYNC)
            assert code(heard) == "42501"
            assert "D" not in kinds(heard)


async def test_a_session_reads_masked_data(room: Room, make_key: MakeKey):
    room.books.execute("SELECT register_user('user_ann', 'ann@x.example', 'the hash', 'Ann', 'UTC', '+12025550101')")
    masked, clear = [(await make_key(reads=("users",), pii=pii)).token for pii in (False, True)]
    async with room.client(masked) as client:
        assert "ann@x.example" not in str(await client.query("SELECT * FROM users"))
        for text in ("SELECT email FROM public.users", "SELECT email FROM clear.users"):
            assert code(await client.query(text)) == "42501"
        # A value that is compared tells as much as one that is shown.
        assert rows(await client.query("SELECT id FROM users WHERE email = 'ann@x.example'")) == []
        heard = await client.query("SELECT email::int FROM users")
        assert "ann@x" not in str(heard)
    async with room.client(clear) as client:
        heard = str(await client.query("SELECT * FROM users"))
        assert "ann@x.example" in heard
        assert "the hash" not in heard


async def test_errors_inside_functions_tell_masked_keys_less(room: Room, make_key: MakeKey):
    room.books.execute(
        "CREATE FUNCTION tell() RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$"
        " BEGIN RAISE NOTICE 'heard' USING DETAIL = 'a secret';"
        " RAISE EXCEPTION 'said' USING DETAIL = 'a secret', HINT = 'a secret'; END $$"
    )
    for pii in (False, True):
        made = await make_key(reads=("things",), calls=("tell",), pii=pii)
        async with room.client(made.token) as client:
            heard = await client.query("SELECT tell()")
            told = str([frames.read_fields(payload) for kind, payload in heard if kind in "EN"])

            assert "said" in told
            assert ("a secret" in told) is pii


async def test_a_key_that_only_reads_cannot_write(room: Room):
    async with room.client(await room.key(writes=())) as client:
        for opening in ("BEGIN", "BEGIN READ WRITE", "START TRANSACTION READ WRITE"):
            await client.query(opening)
            assert code(await client.query("DELETE FROM things")) in ("25006", "42501")
            await client.query("ROLLBACK")

        assert await client.value("SELECT count(*) FROM things") == "100"


async def test_prepared_statements_are_not_judged_again_and_need_not_be(room: Room):
    """A name given to something else, a portal of it, and a plan whose grant is taken away meanwhile."""
    async with room.client() as client:
        await client.ask(frames.parse(b"a", b"SELECT word FROM things WHERE id = 1"), SYNC)
        await client.ask(frames.close(b"S", b"a"), SYNC)
        assert code(await client.ask(frames.parse(b"a", b"COPY things TO STDOUT"), SYNC)) == "42501"
        assert code(await client.ask(frames.bind(b"", b"a"), frames.execute(b""), SYNC)) == "26000"
        await client.ask(frames.parse(b"b", b"SELECT count(*) FROM things"), SYNC)
        room.books.execute(f"REVOKE ALL ON things FROM {room.role}")
        assert code(await client.ask(frames.bind(b"", b"b"), frames.execute(b""), SYNC)) == "42501"


async def test_two_sessions_of_one_key_share_nothing(room: Room):
    async with room.client() as first, room.client() as second:
        await first.query("BEGIN")
        await first.query("UPDATE things SET word = 'changed' WHERE id = 1")
        await first.ask(frames.parse(b"a", b"SELECT 1"), SYNC)

        assert await second.value("SELECT word FROM things WHERE id = 1") == "word 1"
        assert code(await second.ask(frames.bind(b"", b"a"), SYNC)) == "26000"


async def test_every_connection_of_the_database_lost_at_once_is_survived(room: Room, superuser: psycopg.Connection):
    """What a restart of the server looks like from here."""
    async with room.client() as client:
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND (usename LIKE 'callmeback_key%%' OR usename = 'callmeback_proxy')",
            [room.books.info.dbname],
        )
        assert (await client.ending())["C"] == "57P01"
    await room.until_gone()
    async with Speaker(room.url) as again:
        assert kinds(await again.begin(await room.key())) == "RRKZ"
        assert await again.value("SELECT 1") == "1"
