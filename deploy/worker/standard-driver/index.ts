// A Worker without the RPC service: the standard driver, and Drizzle over it, against the proxy.
import { NeonDbError } from "@neondatabase/serverless";
import { desc, eq } from "drizzle-orm";

import { type Env, overHttp, session, withDrizzle } from "./database";
import { personas, scenarios } from "./schema";

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const id = searchParams.get("id") ?? "";
    const route = ROUTES[pathname];

    return route === undefined ? Response.json({ error: "not_found" }, { status: 404 }) : Response.json(await route(env, id));
  },
} satisfies ExportedHandler<Env>;

const ROUTES: Record<string, (env: Env, id: string) => Promise<unknown>> = {
  "/read": read,
  "/transaction": transaction,
  "/error": error,
  "/session": decided,
  "/drizzle": drizzled,
  "/drizzle/transaction": drizzledBatch,
};

async function read(env: Env, id: string) {
  const sql = overHttp(env);
  const [persona] = await sql`SELECT id, name, is_active, max_tokens, temperature, created_at FROM personas WHERE id = ${id}`;

  return persona;
}

async function transaction(env: Env, id: string) {
  const sql = overHttp(env);
  const [made, counted] = await sql.transaction([
    sql`INSERT INTO call_scenario_templates (id, name, scenario_text) VALUES (${id}, 'Made at the edge', 'Hello') RETURNING id`,
    sql`SELECT count(*)::int AS count FROM call_scenario_templates WHERE id = ${id}`,
  ]);

  return { made, counted };
}

async function error(env: Env, id: string) {
  const sql = overHttp(env);
  try {
    await sql`INSERT INTO call_scenario_templates (id, name, scenario_text) VALUES (${id}, '', 'Hello')`;
  } catch (refused) {
    if (refused instanceof NeonDbError) {
      return { code: refused.code, constraint: refused.constraint, table: refused.table };
    }
    throw refused;
  }

  return { code: null };
}

// Reads, then decides, then writes, in one transaction.
async function decided(env: Env, id: string) {
  const pool = session(env);
  try {
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      const { rows } = await client.query("SELECT use_count FROM call_scenario_templates WHERE id = $1", [id]);
      await client.query("UPDATE call_scenario_templates SET use_count = $2 WHERE id = $1", [id, rows[0].use_count + 10]);
      await client.query("COMMIT");
    } finally {
      client.release();
    }
    const { rows } = await pool.query("SELECT use_count FROM call_scenario_templates WHERE id = $1", [id]);

    return rows[0];
  } finally {
    await pool.end();
  }
}

async function drizzled(env: Env, id: string) {
  const db = withDrizzle(env);
  const [persona] = await db.select().from(personas).where(eq(personas.id, id));
  const names = await db.select({ name: personas.name }).from(personas).orderBy(desc(personas.name)).limit(3);

  return { persona, names };
}

async function drizzledBatch(env: Env, id: string) {
  const db = withDrizzle(env);
  const [made, found] = await db.batch([
    db.insert(scenarios).values({ id, name: "Drizzle", scenarioText: "Hello" }).returning({ id: scenarios.id }),
    db.query.scenarios.findMany({ where: eq(scenarios.id, id), columns: { name: true, useCount: true } }),
  ]);

  return { made, found };
}
