// Every case of types.json through the driver: over HTTP, and over WebSocket, where node-postgres writes the parameters.
import { Client, neon } from "@neondatabase/serverless";

import { connectionString, given, plain } from "./proxy.mjs";

const sql = neon(connectionString, { arrayMode: true });
const client = given.socket === false ? null : new Client(connectionString);
await client?.connect();

const results = {};
for (const { name, sql: text, parameters } of given.cases) {
  const http = await sql.query(text, parameters).then(([[value]]) => plain(value), (error) => ({ error: error.message }));
  const socket = await client
    ?.query({ text, values: parameters, rowMode: "array" })
    .then(({ rows: [[value]] }) => plain(value), (error) => ({ error: error.message }));
  results[name] = { http, socket };
}
await client?.end();
process.stdout.write(JSON.stringify(results));
