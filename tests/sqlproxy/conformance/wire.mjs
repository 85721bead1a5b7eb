// What the standard driver puts on the wire and reads from it, seen at its own fetch function.
import { neon, neonConfig } from "@neondatabase/serverless";

import { connectionFor, connectionString, defaultEndpoint, given, report } from "./proxy.mjs";

const direct = fetch;

// The requests that `run` makes, and the raw answers that it gets.
async function observed(run) {
  const seen = [];
  neonConfig.fetchFunction = async (url, init) => {
    const request = new Request(url, init);
    const answer = await direct(url, init);
    seen.push({
      url,
      method: init.method,
      headers: Object.fromEntries(Object.entries(init.headers).map(([name, value]) => [name.toLowerCase(), value])),
      type: request.headers.get("content-type"),
      body: JSON.parse(init.body),
      status: answer.status,
      answer: await answer.clone().json(),
    });

    return answer;
  };
  try {
    await run().catch(() => undefined);
  } finally {
    neonConfig.fetchFunction = undefined;
  }

  return seen;
}

await report({
  read: () => observed(() => neon(connectionString)`SELECT 1::int4 AS one, true AS yes, NULL::text AS nothing`),
  types: () => observed(() => neon(connectionString)`SELECT name, max_tokens, temperature FROM personas WHERE id = ${"brad"}`),
  batch: () =>
    observed(() => {
      const sql = neon(connectionString);

      return sql.transaction([sql`SELECT ${1}::int4 AS a`, sql`SELECT ${[1, null, "x"]}::text[] AS b`], {
        isolationLevel: "Serializable",
        readOnly: true,
        deferrable: true,
      });
    }),
  token: () => observed(() => neon(connectionFor("no-key"), { authToken: given.key })`SELECT 1 AS one`),
  refused: () => observed(() => neon(connectionString)`SELECT 1 / 0`),
  // Where it goes by itself, from the host of the connection string alone.
  endpoint: async () => {
    const configured = neonConfig.fetchEndpoint;
    const asked = [];
    neonConfig.fetchEndpoint = defaultEndpoint;
    neonConfig.fetchFunction = async (url) => {
      asked.push(url);
      throw new Error("only asked where to");
    };
    try {
      await neon(connectionString)`SELECT 1`.catch(() => undefined);
      await neon(connectionString, { authToken: given.key })`SELECT 1`.catch(() => undefined);
    } finally {
      neonConfig.fetchFunction = undefined;
      neonConfig.fetchEndpoint = configured;
    }

    return asked;
  },
});
