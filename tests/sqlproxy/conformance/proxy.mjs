// How every script here reaches the proxy, and how it reports: one JSON object of its cases on standard output.
// Standard input holds {"url", "key", …}. The configuration is the one that docs/howto/edge.md gives.
import { text } from "node:stream/consumers";

import { neonConfig } from "@neondatabase/serverless";
import ws from "ws";

export const given = JSON.parse(await text(process.stdin));

// Where the driver goes by itself.
export const { fetchEndpoint: defaultEndpoint } = neonConfig;

const url = new URL(given.url);
neonConfig.fetchEndpoint = new URL("/sql", url).href;
neonConfig.wsProxy = `${url.host}/v2`;
neonConfig.useSecureWebSocket = false;
neonConfig.webSocketConstructor = ws;

export const connectionString = connectionFor(given.key);

export function connectionFor(key) {
  return `postgresql://key:${key}@pg.db.callmeback.example/callmeback`;
}

// Runs each case in turn; what it throws becomes its result.
export async function report(cases) {
  const results = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      results[name] = plain(await run());
    } catch (error) {
      results[name] = { error: described(error) };
    }
  }
  process.stdout.write(JSON.stringify(results));
}

const FIELDS = ["name", "message", "code", "severity", "detail", "hint", "position", "schema", "table", "column", "constraint", "routine"];

export function described(error) {
  return Object.fromEntries(FIELDS.filter((field) => error[field] !== undefined).map((field) => [field, String(error[field])]));
}

// JSON has no Date, no bytes, no NaN and no Decimal; each says which it was.
export function plain(value) {
  if (value === undefined) {
    return { undefined: true };
  }
  if (typeof value === "bigint") {
    return { bigint: String(value) };
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    return { number: String(value) };
  }
  if (value instanceof Date) {
    return { date: Number.isNaN(value.getTime()) ? "invalid" : value.toISOString() };
  }
  if (value instanceof Uint8Array) {
    return { bytes: Buffer.from(value).toString("hex") };
  }
  if (typeof value?.toFixed === "function" && typeof value === "object") {
    return { decimal: String(value) };
  }
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }

  return value;
}
