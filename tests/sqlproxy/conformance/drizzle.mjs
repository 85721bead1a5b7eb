// Drizzle over HTTP (neon-http) and over WebSocket (neon-serverless).
import { neon, Pool } from "@neondatabase/serverless";
import { desc, eq, like, sql } from "drizzle-orm";
import { drizzle as overHttp } from "drizzle-orm/neon-http";
import { drizzle as overSocket } from "drizzle-orm/neon-serverless";
import { boolean, integer, jsonb, numeric, pgTable, text, timestamp } from "drizzle-orm/pg-core";

import { connectionString, report } from "./proxy.mjs";

const personas = pgTable("personas", {
  id: text().primaryKey(),
  name: text().notNull(),
  isActive: boolean("is_active").notNull(),
  maxTokens: integer("max_tokens").notNull(),
  temperature: numeric(),
  voice: jsonb("default_voice_settings"),
  createdAt: timestamp("created_at", { withTimezone: true }),
});
const scenarios = pgTable("call_scenario_templates", {
  id: text().primaryKey(),
  name: text().notNull(),
  scenarioText: text("scenario_text").notNull(),
  useCount: integer("use_count").notNull().default(0),
});

const http = overHttp(neon(connectionString), { schema: { personas, scenarios } });
const pool = new Pool({ connectionString, max: 2 });
const socket = overSocket(pool, { schema: { personas, scenarios } });

const made = (db, id) => db.insert(scenarios).values({ id, name: "Drizzle", scenarioText: "Hello" }).returning();
const count = (like_) => http.$count(scenarios, like(scenarios.id, like_));

await report({
  select: () => http.select().from(personas).where(eq(personas.id, "brad")),
  ordered: () => http.select({ name: personas.name }).from(personas).orderBy(desc(personas.name)).limit(2),
  relational: () => http.query.personas.findFirst({ where: eq(personas.id, "sarah"), columns: { name: true } }),
  raw: async () => (await http.execute(sql`SELECT ${1}::int4 AS one`)).rows,
  insert: () => made(http, "dz-1"),
  update: () => http.update(scenarios).set({ useCount: 3 }).where(eq(scenarios.id, "dz-1")).returning({ n: scenarios.useCount }),
  upsert: () =>
    http
      .insert(scenarios)
      .values({ id: "dz-1", name: "Other", scenarioText: "Hello" })
      .onConflictDoUpdate({ target: scenarios.id, set: { name: "Upserted" } })
      .returning({ name: scenarios.name }),
  remove: () => http.delete(scenarios).where(eq(scenarios.id, "dz-1")).returning({ id: scenarios.id }),
  batch: async () => {
    const [one, two] = await http.batch([made(http, "dz-b1"), made(http, "dz-b2")]);

    return [one[0].id, two[0].id];
  },
  batchFails: () => http.batch([made(http, "dz-f1"), made(http, "dz-f1")]).catch((error) => error.cause?.code ?? error.code),
  afterFailure: () => count("dz-f%"),
  prepared: () =>
    http.select({ id: personas.id }).from(personas).where(eq(personas.id, sql.placeholder("id"))).prepare("by_id").execute({ id: "alex" }),
  socketSelect: () => socket.select({ id: personas.id, createdAt: personas.createdAt }).from(personas).where(eq(personas.id, "brad")),
  socketTransaction: () =>
    socket.transaction(async (tx) => {
      await made(tx, "dz-t1");
      const [{ n }] = await tx.select({ n: sql`count(*)::int4` }).from(scenarios).where(like(scenarios.id, "dz-t%"));

      return n;
    }),
  socketRollback: async () => {
    await socket
      .transaction(async (tx) => {
        await made(tx, "dz-r1");
        tx.rollback();
      })
      .catch(() => undefined);

    return count("dz-r%");
  },
  socketNested: async () => {
    await socket.transaction(async (tx) => {
      await made(tx, "dz-n1");
      await tx.transaction(async (inner) => {
        await made(inner, "dz-n2");
        inner.rollback();
      }).catch(() => undefined);
    });

    return count("dz-n%");
  },
  socketReadOnly: () =>
    socket.transaction((tx) => made(tx, "dz-ro"), { accessMode: "read only", isolationLevel: "serializable" })
      .catch((error) => error.cause?.code ?? error.code),
});
await pool.end();
