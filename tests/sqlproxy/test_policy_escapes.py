"""Ways out of a key's grants, at the level of verdicts: each is refused before the server sees it."""

import pytest
from tests.sqlproxy import statements

from callmeback.sqlproxy import functions, policy

# Where in a statement a function can hide. `{}` is a call.
PLACES = (
    "select {}",
    "select 1 where {} is null",
    "select 1 from users order by {}",
    "select 1 from users group by {}",
    "select 1 from users having {} is null",
    "select 1 limit {}",
    "select 1 offset {}",
    "select distinct on ({}) 1",
    "select * from {} as f",
    "select * from rows from ({}) as f",
    "select * from users u, lateral (select {}) l",
    "select * from users join calls on {} is null",
    "select * from users tablesample bernoulli ({})",
    "select * from users tablesample bernoulli (1) repeatable ({})",
    "select count(*) filter (where {} is null) from users",
    "select string_agg(name, ',' order by {}) from users",
    "select percentile_cont({}) within group (order by 1) from users",
    "select rank() over (partition by {}) from users",
    "select rank() over w from users window w as (order by {})",
    "select sum(1) over (rows between {} preceding and current row) from users",
    "select case when true then {} end",
    "select case {} when 1 then 2 end",
    "select coalesce(null, {})",
    "select greatest(1, {})",
    "select nullif(1, {})",
    "select array[{}]",
    "select (array[1])[{}]",
    "select (array[1])[1:{}]",
    "select row({})",
    "select ({}).x",
    "select {}::text",
    'select {} collate "C"',
    "select {} is distinct from 1",
    "select {} is true",
    "select 1 in (1, {})",
    "select 1 = any (array[{}])",
    "select 1 between 1 and {}",
    "select 'a' like {}",
    "select 'a' like 'b' escape {}",
    "select now() at time zone {}",
    "select exists (select {})",
    "select 1 in (select {})",
    "select array(select {})",
    "select (select {})",
    "select lower({})",
    "select lower(variadic {})",
    "select make_interval(days => {})",
    "select extract(day from {})",
    "select substring('a' from {})",
    "select json_object('a': {})",
    "select json_array({})",
    "select json_array(select {})",
    "select json_arrayagg({} order by 1)",
    "select json_objectagg('a': {})",
    "select json_value('{{}}'::jsonb, '$' passing {} as x)",
    "select json_value('{{}}'::jsonb, '$' default {} on empty)",
    "select json_scalar({})",
    "select {} is json",
    "select * from json_table({}, '$' columns (a int path '$'))",
    "select * from json_table('{{}}'::jsonb, '$' columns (a int path '$' default {} on error))",
    "select * from json_table('{{}}'::jsonb, '$' columns (nested '$' columns (a int path '$' default {} on error)))",
    "values (1, {})",
    "select 1 union select {}",
    "select 1 intersect (select 2 except all select {})",
    "with a as (select {}) select 1",
    "with a as materialized (select {}) select 1",
    "with recursive a as (select 1 union all select {} from a) select 1",
    "insert into users values ({})",
    "insert into users select {}",
    "insert into users values (1) on conflict (({})) do nothing",
    "insert into users values (1) on conflict (id) where {} is null do nothing",
    "insert into users values (1) on conflict (id) do update set name = {}",
    "insert into users values (1) on conflict (id) do update set name = '' where {} is null",
    "insert into users values (1) returning {}",
    "update users set name = {}",
    "update users set (name, phone) = (select {}, 2)",
    "update users set a[{}] = 1",
    "update users set name = '' from {} as f",
    "update users set name = '' where {} is null returning 1",
    "delete from users where {} is null",
    "delete from users using {} as f",
    "merge into users using (select {}) s on true when matched then do nothing",
    "merge into users using calls on {} is null when matched then do nothing",
    "merge into users using calls on true when matched and {} is null then do nothing",
    "merge into users using calls on true when matched then update set name = {}",
    "merge into users using calls on true when not matched then insert values ({})",
    "merge into users using calls on true when matched then delete returning {}",
    "explain select {}",
    "explain (verbose) select {}",
    "select * from users where name = {} for update",
)


def rule_of(text: str) -> str | None:
    return policy.judge(text, session=False).rule


@pytest.mark.parametrize("place", PLACES)
def test_a_refused_function_is_found_wherever_it_stands(place: str):
    assert rule_of(place.format("pg_sleep(1)")) == "sleep"
    assert rule_of(place.format("pg_catalog.query_to_xml('', true, true, '')")) == "dynamic_sql"
    assert rule_of(place.format("my_function()")) == "function"
    assert rule_of(place.format("lower('1')")) is None


REFUSED_BY_NAME = [
    (rule, name.replace("*", "anything")) for rule, group in functions.REFUSED.items() for name in group.names.split()
]


@pytest.mark.parametrize(("rule", "name"), REFUSED_BY_NAME)
def test_each_refused_function_is_refused_in_every_spelling(rule: str, name: str):
    for call in (f'"{name}"(1)', f'"{name}" ( )', f"pg_catalog.{name}(1)", f"public.{name}(1)"):
        assert rule_of(f"select {call}") == rule, call
    encoded = "".join(f"\\{ord(letter):04x}" for letter in name)

    assert rule_of(f'select u&"{encoded}"(1)') == rule
    if name != "xmlexists":  # a keyword, with a grammar of its own
        assert rule_of(f"select /* */ {name.upper()} /* */ -- x\n (1)") == rule


@pytest.mark.parametrize(
    "text",
    [
        "select (1).pg_sleep",
        "select ('x'::text).pg_read_file",
        "select ((1)).pg_sleep",
        "select f.pg_sleep from generate_series(1, 2) as f",
        "select (f.pg_sleep) from generate_series(1, 2) as f",
        "select (select 1).pg_sleep",
        "select (array[1])[1].pg_sleep",
        "select (row(1)).x.pg_sleep",
        "select 1 order by (2).pg_sleep",
        'select (1)."pg_sleep"',
        "update users set name = (1).pg_sleep",
        "select (16384::oid).lo_get",
        "select ('secret'::text).current_setting",
        "select n.current_setting from unnest(array['data_directory']) as n",
        "select ('users'::regclass).pg_relation_size",
        "select (1).pg_terminate_backend",
        "select c.pg_advisory_lock from generate_series(1, 2) as c",
        "select ('x'::regclass).nextval",
    ],
)
def test_a_function_in_the_form_of_a_column_is_found(text: str):
    assert rule_of(text) not in (None, "syntax", "node")


def test_columns_may_bear_harmless_names():
    assert rule_of("select t.xml, t.date, t.version, (t.name).length, t.sequence from things t") is None


# The faults of the old proxy


@pytest.mark.parametrize("text", statements.REFUSED["copy"])
def test_s01_copy_gives_no_shell(text: str):
    assert rule_of(text) == "copy"
    assert policy.judge(text, session=True).rule == "copy"


@pytest.mark.parametrize(
    "text",
    [
        "create table x (a text); copy x from program 'id'",
        "do $$ begin execute 'copy x from program ''id'''; end $$",
        "create function f() returns int language c as 'libc', 'system'",
        "create extension plpython3u",
        "select lo_import('/etc/passwd')",
        "select lo_export(1, '/tmp/x')",
        "select pg_read_file('/etc/passwd')",
        "select pg_read_binary_file('/etc/passwd')",
        "select pg_ls_dir('/')",
        "select pg_stat_file('/etc/passwd')",
        "load '/tmp/evil.so'",
        "alter system set archive_command = 'sh'",
        "alter role current_user superuser",
        "set role postgres",
        "set session authorization postgres",
        "select set_config('role', 'postgres', false)",
        "select set_config('session_authorization', 'postgres', false)",
        "grant pg_execute_server_program to current_user",
        "select dblink('dbname=callmeback', 'drop table users')",
        "select dblink_exec('drop table users')",
        "select pg_reload_conf()",
        "select pg_promote()",
        "create subscription s connection 'host=evil' publication p",
        "create server s foreign data wrapper file_fdw",
    ],
)
def test_s01_no_statement_reaches_the_machine(text: str):
    assert rule_of(text) is not None
    assert policy.judge(text, session=True).rule is not None


@pytest.mark.parametrize("text", ["select pg_terminate_backend(pg_backend_pid())", "select pg_cancel_backend(1)"])
def test_s03_no_backend_is_ended(text: str):
    assert rule_of(text) == "signals"


@pytest.mark.parametrize("text", [*statements.TRANSACTIONS, *statements.REFUSED["transaction"]])
def test_s04_no_transaction_leaks_into_the_next_request(text: str):
    assert rule_of(text) in ("transaction", "set")


@pytest.mark.parametrize(
    "text",
    [
        *statements.REFUSED["set"],
        *statements.REFUSED["prepare"],
        *statements.REFUSED["listen"],
        *statements.REFUSED["cursor"],
        "select set_config('search_path', 'x', false)",
        "select setseed(0.1)",
        "select nextval('s')",
        "select lastval()",
        "select currval('s')",
        "select pg_advisory_lock(1)",
        "create temp table a (b int)",
        "select 1 into temp a",
    ],
)
def test_s04_nothing_is_left_in_the_session(text: str):
    assert rule_of(text) is not None
    in_session = policy.judge(text, session=True)
    # A session may choose the mode of its own transaction, where the grants decide whether it can write, and drop what
    # it has prepared.
    assert in_session.rule is not None or in_session.kind in ("transaction", "deallocate")


@pytest.mark.parametrize(
    "text",
    [
        "select pg_sleep(60)",
        "select pg_sleep_for('1 hour')",
        "select pg_sleep_until('tomorrow')",
        "select pg_advisory_xact_lock(1)",
        "select pg_try_advisory_lock(1)",
        "lock table users in access exclusive mode",
        "set statement_timeout = 0",
        "set local lock_timeout = 0",
        "alter role current_user set statement_timeout = 0",
    ],
)
def test_s05_nothing_waits_or_lifts_its_limits(text: str):
    assert rule_of(text) is not None


def test_s06_messages_hold_nothing_of_the_statement_s_values():
    for texts in statements.REFUSED.values():
        for text in texts:
            found = policy.judge(f"{text} ", session=False)
            assert found.message is not None
            assert "/tmp" not in found.message
            assert "callmeback" not in found.message


# What the page names


def test_a_read_only_request_is_not_left_by_commit():
    """CVE-2026-12045 of another proxy: COMMIT ends the read-only transaction, and a write follows."""
    for text in ("commit; delete from users", "commit;\ndelete from users", "rollback; begin read write; select 1"):
        assert rule_of(text) == "one_statement"
        assert policy.judge(text, session=True).rule == "one_statement"


@pytest.mark.parametrize(
    "text",
    [
        "with x as (delete from users returning *) select * from x",
        "with x as (update users set name = '' returning *) select * from x",
        "with x as (insert into users values (1) returning *) select * from x",
        "with x as (merge into users using calls on true when matched then delete returning *) select * from x",
        "with a as (with b as (delete from users returning *) select * from b) select * from a",
        "select * from users for update",
        "select * from users for no key update",
        "select * from users for share",
        "select * from users for key share",
        "select * from (select * from users for update) x",
        "select 1 where exists (select from users for update)",
        "with x as (select * from users for update) select * from x",
        "(select * from users) union all (select * from users for update)",
    ],
)
def test_the_class_is_decided_by_what_is_inside(text: str):
    found = policy.judge(text, session=False)

    assert (found.rule, found.kind) == (None, "write")


@pytest.mark.parametrize(
    "text",
    [
        "select query_to_xml('select * from users', true, true, '')",
        "select table_to_xml('users', true, true, '')",
        "select cursor_to_xml('c', 1, true, true, '')",
        "select schema_to_xml('public', true, true, '')",
        "select database_to_xml(true, true, '')",
        "select * from ts_stat('select to_tsvector(email) from users')",
        "select ts_rewrite('a'::tsquery, 'select email::tsquery, email::tsquery from users')",
        "select * from crosstab('select 1')",
        "select * from dblink('', 'select 1') as t (a int)",
    ],
)
def test_no_function_runs_a_text_of_its_own(text: str):
    assert rule_of(text) == "dynamic_sql"


@pytest.mark.parametrize(
    "text",
    [
        "select current_setting('callmeback.user_id')",
        "select current_setting('data_directory', true)",
        "select current_setting(n) from (values ('data_directory')) v (n)",
        "select current_setting('Data_Directory')",
        "show config_file",
        "select * from pg_settings",
        "select * from pg_show_all_settings()",
        "select * from pg_file_settings",
    ],
)
def test_settings_are_not_told(text: str):
    assert rule_of(text) in ("settings", "relation")


@pytest.mark.parametrize("text", ["select pg_get_viewdef('masked.users')", "select * from pg_views"])
def test_the_conditions_of_other_keys_are_not_told(text: str):
    assert rule_of(text) in ("definitions", "relation")


@pytest.mark.parametrize(
    "name",
    [
        "pg_authid",
        '"pg_authid"',
        "PG_AUTHID",
        'u&"pg\\005fauthid"',
        "pg_catalog.pg_authid",
        'pg_catalog."pg_authid"',
        "callmeback.pg_catalog.pg_authid",
        "only pg_authid",
        "pg_authid *",
        "(pg_authid cross join users)",
        "users, lateral (select * from pg_authid) x",
        "pg_authid tablesample system (100)",
    ],
)
def test_passwords_are_not_reached_by_any_spelling(name: str):
    assert rule_of(f"select * from {name}") == "relation"
    assert rule_of(f"insert into users select 1 from {name}") == "relation"
    assert rule_of(f"update users set name = '' where exists (select from {name})") == "relation"
    assert rule_of(f"with x as (select * from {name}) select * from x") == "relation"
