"""Statements for the policy: what clients send, and what must not pass, each with the rule that refuses it."""

from typing import Final

# In the shape in which Drizzle, Kysely and Prisma write them.
CLIENTS_READ: Final = (
    "SELECT 1",
    "SELECT 1;",
    "select version()",
    "/* traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' */ SELECT 1",
    'select "id", "email", "name" from "users" where "users"."id" = $1 limit $2',
    'select "users"."id", count("calls"."id")::int from "users" left join "calls" on "calls"."user_id" = "users"."id"'
    ' group by "users"."id" having count("calls"."id") > $1 order by "users"."created_at" desc nulls last',
    'select "p"."id", "p_calls"."data" as "calls" from "personas" "p" left join lateral (select'
    ' coalesce(json_agg(json_build_array("c"."id", "c"."status")), \'[]\'::json) as "data" from (select * from "calls"'
    ' where "calls"."persona_id" = "p"."id" order by "calls"."created_at" limit $1) "c") "p_calls" on true',
    'select distinct on ("user_id") "user_id", "status" from "calls" order by "user_id", "created_at" desc',
    'with "mine" as (select "id" from "calls" where "user_id" = $1) select count(*) from "mine"',
    'select "id" from "personas" where "name" ilike $1 and "category" in ($2, $3) and "id" <> all($4)',
    'select "id" from "personas" where exists (select 1 from "calls" where "persona_id" = "personas"."id")',
    'SELECT "public"."users"."id", "public"."users"."name"::text FROM "public"."users" WHERE ("public"."users"."id" ='
    ' $1 AND 1=1) ORDER BY "public"."users"."id" ASC LIMIT $2 OFFSET $3',
    'SELECT COUNT(*) AS "_count._all" FROM (SELECT "public"."users"."id" FROM "public"."users" WHERE 1=1 OFFSET $1)'
    ' AS "sub"',
    'SELECT "t0"."id", "u"."__prisma_data__" AS "user" FROM "public"."calls" AS "t0" LEFT JOIN LATERAL (SELECT'
    ' JSONB_BUILD_OBJECT(\'id\', "t1"."id") AS "__prisma_data__" FROM (SELECT "t2".* FROM "public"."users" AS "t2"'
    ' WHERE "t0"."user_id" = "t2"."id" LIMIT $1) AS "t1") AS "u" ON TRUE',
    "select * from users natural join user_credits",
    "table personas",
    "values (1, 'a'), (2, 'b')",
    "select * from calls union all select * from calls except select * from calls intersect (select * from calls)",
)
CLIENTS_WRITE: Final = (
    'insert into "personas" ("id", "name", "category") values ($1, $2, default), ($3, $4, default)'
    ' on conflict ("id") do update set "name" = excluded."name" where "personas"."id" <> $5 returning "id", "name"',
    'insert into "personas" ("id") values ($1) on conflict do nothing',
    'insert into "personas" default values',
    'insert into "personas" ("id", "name") select "id", "name" from "personas" where "id" = $1',
    'update "users" set "name" = $1, "updated_at" = now() where "users"."id" = $2 returning *',
    'update "users" set ("name", "phone") = ($1, $2) from "calls" where "calls"."user_id" = "users"."id"',
    'delete from "calls" using "users" where "users"."id" = "calls"."user_id" and "users"."id" = $1',
    'with "gone" as (delete from "calls" where "id" = $1 returning *) select * from "gone"',
    'select * from "scheduled_calls" where "status" = \'scheduled\' limit 1 for update skip locked',
    'select * from "users" for key share of "users" nowait',
    "merge into personas as p using (values ($1, $2)) as n (id, name) on p.id = n.id"
    " when matched and p.name <> n.name then update set name = n.name"
    " when matched then do nothing when not matched then insert (id, name) values (n.id, n.name)"
    " when not matched by source then delete returning merge_action(), p.id",
    "insert into personas (id) values ($1) returning with (old as before, new as after) before.id, after.id",
)
TRANSACTIONS: Final = (
    "begin",
    "BEGIN",
    "begin ",
    "begin isolation level repeatable read read only deferrable",
    "begin isolation level read committed read write not deferrable",
    "start transaction isolation level serializable",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "set transaction read only, deferrable",
    "commit",
    "COMMIT AND CHAIN",
    "end",
    "rollback",
    "abort",
    "savepoint sp1",
    'savepoint "Ä savepoint"',
    "release savepoint sp1",
    "rollback to savepoint sp1",
)
# What clients ask of the catalogue: node-postgres and Kysely, Drizzle, Prisma, psycopg and JDBC.
CATALOGUE_READS: Final = (
    'select "ns"."nspname" from "pg_catalog"."pg_namespace" as "ns"',
    'select "a"."attname", pg_get_serial_sequence(quote_ident("ns"."nspname") || \'.\' || quote_ident("c"."relname"),'
    ' "a"."attname"), col_description("a"."attrelid", "a"."attnum") from "pg_catalog"."pg_attribute" as "a"'
    ' inner join "pg_catalog"."pg_class" as "c" on "a"."attrelid" = "c"."oid" inner join "pg_catalog"."pg_namespace"'
    ' as "ns" on "c"."relnamespace" = "ns"."oid" inner join "pg_catalog"."pg_type" as "typ" on "a"."atttypid" ='
    ' "typ"."oid" where "c"."relkind" in ($1, $2) and "ns"."nspname" !~ $3 and "a"."attnum" >= 0',
    "select t.oid, t.typarray from pg_catalog.pg_type a left join pg_catalog.pg_type t on t.oid = a.typelem"
    " where a.typcategory = 'A' group by t.oid, t.typarray",
    "select table_schema, table_name, column_name, is_nullable, data_type from information_schema.columns"
    " where table_schema not in ('pg_catalog', 'information_schema') order by ordinal_position",
    "select conname, pg_get_constraintdef(oid, true), conrelid::regclass::text from pg_constraint where contype = 'f'",
    "select pg_get_indexdef(i.indexrelid), pg_get_expr(i.indpred, i.indrelid) from pg_index i",
    "select e.enumlabel from pg_enum e join pg_type t on t.oid = e.enumtypid where t.typname = $1",
    "select format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid) from pg_attribute left join pg_attrdef"
    " on attrelid = adrelid and attnum = adnum where attrelid = to_regclass($1)",
    "select has_table_privilege($1, 'select'), pg_table_is_visible(oid), obj_description(oid, 'pg_class')"
    " from pg_class",
    "select (information_schema._pg_expandarray(i.indkey)).n from pg_catalog.pg_index i",
    "select current_setting('server_version_num'), current_schema(), current_database(), current_user",
    "show server_version",
    "SHOW TIME ZONE",
    "show transaction isolation level",
)
READS: Final = (
    "select",
    "select from personas",
    "select now() - interval '30 days', current_date, localtimestamp(3), extract(epoch from now()), date(now())",
    "select now() at time zone 'Europe/Berlin', timezone('UTC', now()), (now(), now()) overlaps (now(), now())",
    "select substring('abc' from 1 for 2), trim(both 'x' from 'xax'), overlay('abc' placing 'x' from 1),"
    " position('a' in 'ba'), normalize('é', nfc), 'é' is nfc normalized, collation for ('a'), upper('a'), length('a')",
    "select 'abc' similar to 'a%', 'abc' like 'a!%' escape '!', 'a' ~* 'B', 1 between symmetric 2 and 0, 1 in (1, 2)",
    "select x, row_number() over w, lag(x, 1) over (partition by y order by x rows between 1 preceding and current row)"
    " from (values (1, 2)) as t (x, y) window w as (order by x desc nulls first)",
    "select percentile_cont(0.5) within group (order by x), count(*) filter (where x > 1), string_agg(x::text, ','"
    " order by x), array_agg(distinct x), grouping(x) from generate_series(1, 3) as g (x) group by cube (x)",
    "with recursive t (n) as (values (1) union all select n + 1 from t where n < 5) search depth first by n set o"
    " cycle n set c using p select sum(n) from t",
    "select case when 1 is null or true is not true then 'a' end, coalesce(null, 1), nullif(1, 2),"
    " greatest(1, 2), row(1, 2) < (1, 3)",
    "select (array[1, 2])[1:2], (array[[1]])[1][1], array(select 1), 1 = any (array[1]), array[1] || 2, '{a}'::text[]",
    "select '{\"a\": [1]}'::jsonb -> 'a' ->> 0, '{}'::jsonb @> '{}', jsonb_path_query_array('{}', '$.a'), to_jsonb(1)",
    "select json_object('a': 1 returning jsonb), json_array(1, 2), json_arrayagg(x order by x), json_objectagg('k': x),"
    " json('{}'), json_scalar(1), json_serialize('{}'), '{}' is json object, json_exists('{}'::jsonb, '$.a'"
    " passing 1 as x),"
    " json_value('{}'::jsonb, '$.a' returning int default 1 on empty), json_query('{}'::jsonb, '$' with wrapper),"
    " json_array(select 1) from generate_series(1, 2) as g (x)",
    "select * from json_table('[{\"a\": 1}]'::jsonb, '$[*]' columns (a int path '$.a', n for ordinality,"
    " nested path '$.b[*]' columns (c text path '$')))",
    "select * from rows from (generate_series(1, 2), unnest(array['a'])) with ordinality as t (a, b, n)",
    "select * from json_to_recordset('[]') as t (a int, b text)",
    "select * from personas tablesample bernoulli (10) repeatable (1)",
    "select repeat('x', 10), generate_series(1, 10), md5('a'), sha256('a'), gen_random_uuid(), random()",
    "select u.*, u, (u).name, u.name from users u",
    "select 'a' collate \"C\", b'101', x'1F', 1e10, .5, 0x1F, 1_000, e'a\\n', u&'\\0041', $$a$$, $tag$a$tag$",
    "select 1 operator(pg_catalog.+) 2, -1, @ -1, 2 ^ 3, 5 % 2, 5 & 1, 5 # 1, ~5, 1 << 2",
    "select 'users'::regclass, 'text'::regtype, 1::numeric(10, 2), cast('1' as int), '[1,2)'::int4range,"
    " 'a'::varchar(3)",
    "explain select * from personas",
    "explain (analyze, buffers, format json) select * from personas",
    "explain analyze verbose select * from personas",
    "explain update personas set name = 'x'",
    "explain (analyze off, costs false) delete from personas",
    "explain (generic_plan) select * from personas where id = $1",
    "-- a comment first\nselect /* and /* nested */ */ 1 -- and last",
)

# By the rule that refuses them.
REFUSED: Final[dict[str, tuple[str, ...]]] = {
    "one_statement": ("select 1; select 2", "select 1; drop table users", "select 1;;;select 2", "begin; select 1"),
    "transaction": (
        "begin",
        "commit",
        "rollback",
        "savepoint a",
        "prepare transaction 'a'",
        "commit prepared 'a'",
        "rollback prepared 'a'",
    ),
    "set": (
        "set role postgres",
        "set session authorization postgres",
        "set search_path = public",
        "set local statement_timeout = 0",
        "set time zone 'utc'",
        "reset all",
        "reset role",
        "set transaction read write",
        "set session characteristics as transaction read write",
        "set constraints all deferred",
        "discard all",
        "alter system set work_mem = '1GB'",
    ),
    "do": ("do $$ begin perform 1; end $$",),
    "copy": (
        "copy users to program 'sh'",
        "copy users from program 'sh'",
        "copy users to '/tmp/x'",
        "copy (select 1) to stdout",
        "copy users from stdin",
    ),
    "call": ("call p()",),
    "prepare": ("prepare a as select 1", "execute a", "deallocate a", "deallocate all"),
    "listen": ("listen a", "notify a, 'b'", "unlisten *"),
    "cursor": (
        "declare a cursor for select 1",
        "declare a cursor with hold for select 1",
        "fetch a",
        "move a",
        "close all",
        "update users set name = 'x' where current of a",
    ),
    "lock": ("lock table users",),
    "load": ("load 'x'",),
    "maintenance": ("vacuum", "analyze users", "cluster users", "reindex table users", "checkpoint"),
    "roles": (
        "grant all on users to public",
        "grant postgres to me",
        "create role a superuser",
        "alter role a superuser",
        "alter role a set work_mem = '1GB'",
        "drop role a",
        "reassign owned by a to b",
        "drop owned by a",
        "alter default privileges grant all on tables to public",
    ),
    "truncate": ("truncate users", "truncate only users cascade"),
    "ddl": (
        "create table a (b int)",
        "create table a as select 1",
        "create temp table a as select 1",
        "create view a as select 1",
        "create function a() returns int language sql as 'select 1'",
        "create rule a as on insert to b do nothing",
        "create extension dblink",
        "alter table users disable row level security",
        "alter view a set (security_invoker = off)",
        "drop table users",
        "comment on table users is 'x'",
        "create index on users (id)",
        "security label on table users is 'x'",
        "alter table users rename to b",
        "create policy a on users using (true)",
        "create trigger a after insert on users execute function b()",
        "create operator + (function = f, leftarg = int, rightarg = int)",
        "create cast (int as text) without function",
        "create schema a",
        "create database a",
        "create foreign table a () server b",
        "import foreign schema a from server b into c",
        "create event trigger a on ddl_command_end execute function b()",
        "create subscription a connection 'b' publication c",
        "create tablespace a location '/b'",
        "create server a foreign data wrapper b",
        "create user mapping for public server a",
        "alter database a set work_mem = '1GB'",
    ),
    "into": (
        "select * into a from users",
        "select 1 into temp a",
        "with x as (select 1) select * into unlogged b from x",
    ),
    "explain": (
        "explain analyze delete from users",
        "explain (analyze) insert into users default values",
        "explain (analyze true) update users set name = ''",
        "explain (analyze on, analyze off) update users set name = ''",
        "explain (analyze 1) delete from users",
        'explain ("analyze") delete from users',
        "explain analyze with x as (delete from users returning 1) select * from x",
        "explain analyze select * from users for update",
        "explain create table a as select 1",
        "explain execute a",
        "explain declare a cursor for select 1",
        "explain analyze create table a as select 1",
        "explain (settings) select 1",
    ),
    "settings": (
        "show all",
        "show hba_file",
        "show data_directory",
        "select current_setting('data_directory')",
        "select current_setting($1)",
        "select current_setting('server_' || 'version')",
        "select current_setting(setting_name => 'server_version')",
        "select setseed(0.5)",
        "select pg_show_all_settings()",
    ),
    "syntax": ("selec 1", "select (", "select 'a", "select $$a", '"', "\\d", "select 1 from", "é", "/*"),
    "xml": (
        "select xmlelement(name a)",
        "select xmlparse(document '<a/>')",
        "select xpath('/a', '<a/>')",
        "select xmlserialize(content '' as text)",
        "select * from xmltable('/a' passing '<a/>' columns b int)",
        "select xmlagg(x) from t",
    ),
    "function": (
        "select unknown_function()",
        "select int4eq(1, 1)",
        "select pg_catalog.int4eq(1, 1)",
        "select pg_catalog.some_function_of_the_future()",
        "select public.lower('a')",
        "select information_schema._pg_truetypid(a, t) from x",
        "select pg_temp.f()",
        "select pg_toast.f()",
        "select * from users tablesample other(1)",
    ),
    "relation": (
        "select * from pg_authid",
        'select * from "pg_authid"',
        "select * from pg_catalog.pg_authid",
        "select * from pg_shadow",
        "select * from pg_roles",
        "select * from pg_stat_activity",
        "select * from pg_stat_statements",
        "select * from public.pg_stat_statements, pg_stats",
        "select * from pg_settings",
        "select * from pg_file_settings",
        "select * from pg_hba_file_rules",
        "select * from pg_prepared_statements",
        "select * from pg_prepared_xacts",
        "select * from pg_locks",
        "select * from pg_cursors",
        "select * from pg_statistic",
        "select * from pg_statistic_ext_data",
        "select * from pg_views",
        "select * from pg_policies",
        "select * from pg_largeobject",
        "select * from pg_user_mappings",
        "select * from pg_relation_of_the_future",
        "select * from pg_catalog.relation_of_the_future",
        "select * from pg_toast.pg_toast_1255",
        "select * from pg_temp.a",
        "table pg_authid",
        "insert into pg_authid default values",
        "update pg_settings set setting = 'x'",
        "delete from pg_toast.a",
        "merge into pg_authid using users on true when matched then delete",
        "with pg_authid as (select 1) select * from pg_authid",
    ),
}
