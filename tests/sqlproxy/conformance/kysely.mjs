// Kysely with its Neon dialect over HTTP, and with its own PostgreSQL dialect over the driver's Pool.
import { neon, Pool } from "@neondatabase/serverless";
import { Kysely, PostgresDialect, sql } from "kysely";
import { NeonDialect } from "kysely-neon";

import { connectionString, report } from "./proxy.mjs";

const http = new Kysely({ dialect: new NeonDialect({ neon: neon(connectionString) }) });
const socket = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString, max: 2 }) }) });

const made = (db, id) => db.insertInto("call_scenario_templates").values({ id, name: "Kysely", scenario_text: "Hello" });
const count = async (like) => {
  const { n } = await http
    .selectFrom("call_scenario_templates")
    .select(sql`count(*)::int4`.as("n"))
    .where("id", "like", like)
    .executeTakeFirstOrThrow();

  return n;
};

await report({
  select: () => http.selectFrom("personas").select(["id", "name", "is_active"]).where("id", "=", "brad").execute(),
  join: () =>
    http
      .selectFrom("personas as p")
      .innerJoin("personas as q", "q.id", "p.id")
      .select(["p.id", "q.name"])
      .orderBy("p.id")
      .execute(),
  insert: () => made(http, "ky-1").returning(["id", "use_count"]).executeTakeFirst(),
  update: async () => {
    const { numUpdatedRows } = await http
      .updateTable("call_scenario_templates")
      .set({ use_count: 2 })
      .where("id", "=", "ky-1")
      .executeTakeFirstOrThrow();

    return numUpdatedRows;
  },
  unique: () => made(http, "ky-1").execute(),
  remove: async () => (await http.deleteFrom("call_scenario_templates").where("id", "=", "ky-1").executeTakeFirstOrThrow()).numDeletedRows,
  httpTransaction: () => http.transaction().execute((tx) => made(tx, "ky-t0").execute()),
  socketTransaction: async () => {
    await socket.transaction().execute(async (tx) => {
      await made(tx, "ky-t1").execute();
      await made(tx, "ky-t2").execute();
    });

    return count("ky-t%");
  },
  socketRollback: async () => {
    await socket
      .transaction()
      .execute(async (tx) => {
        await made(tx, "ky-r1").execute();
        await made(tx, "ky-r1").execute();
      })
      .catch(() => undefined);

    return count("ky-r%");
  },
  socketSerializable: () =>
    socket.transaction().setIsolationLevel("serializable").setAccessMode("read only").execute((tx) => tx.selectFrom("personas").select("id").orderBy("id").execute()),
});
await socket.destroy();
await http.destroy();
