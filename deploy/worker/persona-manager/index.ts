// A service of the specification that needs the database: it is bound to database-proxy and holds no key.
import type { Database } from "../database-proxy/index";

export interface Env {
  DATABASE_PROXY: Database;
}

const PERSONA = "SELECT id, name, description, category, avatar_url FROM personas WHERE is_active AND id = $1";
const RENAME = "UPDATE call_scenario_templates SET name = $2 WHERE id = $1 RETURNING id, name";
const USE = "UPDATE call_scenario_templates SET use_count = use_count + 1 WHERE id = $1 RETURNING use_count";

// The status for a code of the proxy; what isn't named here is no fault of the caller.
const STATUSES: Record<string, number> = {
  rate_limited: 429,
  overloaded: 503,
  database_unavailable: 503,
  deadline_exceeded: 504,
  unreachable: 502,
};

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    try {
      return await route(request.method, url, env);
    } catch (error) {
      const code = (error instanceof Error ? error.message : "").split(":", 1)[0] ?? "";
      console.error("persona-manager", code);

      return Response.json({ error: code }, { status: STATUSES[code] ?? 500 });
    }
  },
} satisfies ExportedHandler<Env>;

async function route(method: string, url: URL, env: Env): Promise<Response> {
  const [, kind, id] = url.pathname.split("/");
  if (method === "GET" && kind === "personas" && id !== undefined) {
    return persona(id, env);
  }
  if (method === "PUT" && kind === "scenarios" && id !== undefined) {
    return renamed(id, url.searchParams.get("name") ?? "", env);
  }

  return Response.json({ error: "not_found" }, { status: 404 });
}

async function persona(id: string, env: Env): Promise<Response> {
  const rows = await env.DATABASE_PROXY.executeQuery(PERSONA, [id]);

  return rows[0] === undefined ? Response.json({ error: "not_found" }, { status: 404 }) : Response.json(rows[0]);
}

// Two statements that hold together or not at all.
async function renamed(id: string, name: string, env: Env): Promise<Response> {
  const [names, uses] = await env.DATABASE_PROXY.executeBatch([
    { query: RENAME, parameters: [id, name] },
    { query: USE, parameters: [id] },
  ]);

  return Response.json({ ...names?.[0], ...uses?.[0] });
}
