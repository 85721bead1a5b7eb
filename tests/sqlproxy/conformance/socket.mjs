// The driver's Pool and Client over WebSocket: a session of its own, with transactions that decide between statements.
import { Client, neonConfig, Pool } from "@neondatabase/serverless";

import { connectionFor, connectionString, report } from "./proxy.mjs";

async function session(run, how = {}) {
  const client = new Client({ connectionString, ...how });
  await client.connect();
  try {
    return await run(client);
  } finally {
    await client.end();
  }
}

const insert = "INSERT INTO call_scenario_templates (id, name, scenario_text) VALUES ($1, $2, 'Hello') RETURNING id";
const count = async (client, like) =>
  (await client.query("SELECT count(*)::int4 AS n FROM call_scenario_templates WHERE id LIKE $1", [like])).rows[0].n;

const result = ({ command, rowCount, rows }) => ({ command, rowCount, rows });

await report({
  simple: () => session(async (client) => result(await client.query("SELECT 1 AS one"))),
  extended: () => session(async (client) => result(await client.query("SELECT $1::int4 + 1 AS two", [1]))),
  unpipelined: async () => {
    neonConfig.pipelineConnect = false;
    try {
      return await session(async (client) => (await client.query("SELECT 1 AS one")).rows);
    } finally {
      neonConfig.pipelineConnect = "password";
    }
  },
  badKey: async () => {
    const client = new Client(connectionFor("cmb_nobody_secret"));
    client.on("error", () => undefined);
    await client.connect();
    await client.query("SELECT 1");
  },
  badKeyUnpipelined: async () => {
    neonConfig.pipelineConnect = false;
    try {
      const client = new Client(connectionFor("cmb_nobody_secret"));
      client.on("error", () => undefined);
      await client.connect();
    } finally {
      neonConfig.pipelineConnect = "password";
    }
  },
  committed: () =>
    session(async (client) => {
      await client.query("BEGIN");
      await client.query(insert, ["ws-c1", "A"]);
      const inside = await count(client, "ws-c%");
      await client.query("COMMIT");

      return [inside, await count(client, "ws-c%")];
    }),
  rolledBack: () =>
    session(async (client) => {
      await client.query("BEGIN");
      await client.query(insert, ["ws-r1", "A"]);
      await client.query("ROLLBACK");

      return count(client, "ws-r%");
    }),
  left: async () => {
    await session(async (client) => {
      await client.query("BEGIN");
      await client.query(insert, ["ws-l1", "A"]);
    });

    return session((client) => count(client, "ws-l%"));
  },
  savepoint: () =>
    session(async (client) => {
      await client.query("BEGIN");
      await client.query(insert, ["ws-s1", "A"]);
      await client.query("SAVEPOINT here");
      await client.query(insert, ["ws-s1", "twice"]).catch(() => undefined);
      await client.query("ROLLBACK TO SAVEPOINT here");
      await client.query(insert, ["ws-s2", "B"]);
      await client.query("COMMIT");

      return count(client, "ws-s%");
    }),
  failure: () => session((client) => client.query(insert, ["ws-f1", ""])),
  afterFailure: () =>
    session(async (client) => {
      const code = await client.query("SELECT 1 / 0").catch((error) => error.code);
      const { rows } = await client.query("SELECT 2 AS two");

      return [code, rows];
    }),
  named: () =>
    session(async (client) => {
      const statement = { name: "by-id", text: "SELECT name FROM personas WHERE id = $1" };
      const first = await client.query({ ...statement, values: ["brad"] });
      const second = await client.query({ ...statement, values: ["sarah"] });

      return [first.rows[0].name, second.rows[0].name];
    }),
  refused: () =>
    session(async (client) => {
      const codes = [];
      for (const text of ["DELETE FROM calls", "LISTEN anything", "COPY personas TO STDOUT", "SET ROLE postgres", "DO $$ BEGIN END $$"]) {
        codes.push(await client.query(text).then(() => "done", (error) => error.code));
      }

      return codes;
    }),
  refusedPrepared: () => session((client) => client.query({ name: "escape", text: "SELECT pg_sleep($1)", values: [60] })),
  stillThere: () =>
    session(async (client) => {
      await client.query("LISTEN anything").catch(() => undefined);

      return (await client.query("SELECT 1 AS one")).rows;
    }),
  large: () => session(async (client) => (await client.query("SELECT repeat('x', 1000) AS t FROM generate_series(1, 2000)")).rows.length),
  fields: () =>
    session(async (client) => {
      const { fields } = await client.query("SELECT id, max_tokens FROM personas LIMIT 1");

      return fields.map(({ name, dataTypeID, format }) => ({ name, dataTypeID, format }));
    }),
  pool: async () => {
    const pool = new Pool({ connectionString, max: 4 });
    try {
      const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => pool.query("SELECT $1::int4 AS n", [n])));

      return answers.every(({ rows: [row] }, n) => row.n === n);
    } finally {
      await pool.end();
    }
  },
  poolViaFetch: async () => {
    neonConfig.poolQueryViaFetch = true;
    const pool = new Pool({ connectionString });
    try {
      return (await pool.query("SELECT $1::int4 AS n", [5])).rows;
    } finally {
      neonConfig.poolQueryViaFetch = false;
      await pool.end();
    }
  },
  otherNames: () =>
    session(async (client) => (await client.query("SELECT current_database() <> 'template1' AS ours")).rows, {
      connectionString: connectionString.replace("key:", "postgres:").replace("/callmeback", "/template1"),
    }),
});
