// The set-up of the standard driver and of Drizzle. Only here is said how the proxy is reached.
import { neon, neonConfig, Pool } from "@neondatabase/serverless";
import { drizzle } from "drizzle-orm/neon-http";

import * as schema from "./schema";

export interface Env {
  // postgresql://key:<API key>@<host>/callmeback; the host decides where the driver goes, the rest but the key nothing.
  CALLMEBACK_DATABASE_URL: string;
  // Only where the names api.* and the host itself don't lead to the proxy, as on one's own machine.
  CALLMEBACK_DB_URL?: string;
}

// One request, one statement or one transaction: what an edge function usually wants.
export function overHttp(env: Env) {
  pointAt(env);

  return neon(env.CALLMEBACK_DATABASE_URL);
}

export function withDrizzle(env: Env) {
  return drizzle(overHttp(env), { schema });
}

// A session over WebSocket, for transactions that decide between statements. It has to be ended with the request:
// a Worker can't use a socket in another request than the one that opened it.
export function session(env: Env) {
  pointAt(env);

  return new Pool({ connectionString: env.CALLMEBACK_DATABASE_URL, max: 1 });
}

function pointAt(env: Env): void {
  if (env.CALLMEBACK_DB_URL !== undefined) {
    const url = new URL(env.CALLMEBACK_DB_URL);
    neonConfig.fetchEndpoint = new URL("/sql", url).href;
    neonConfig.wsProxy = `${url.host}/v2`;
    neonConfig.useSecureWebSocket = url.protocol === "https:";
  }
}
