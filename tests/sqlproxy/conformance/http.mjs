// The driver's HTTP side as people use it: reads, writes, errors and transactions.
import { neon } from "@neondatabase/serverless";

import { connectionFor, connectionString, given, report } from "./proxy.mjs";

const sql = neon(connectionString);

const insert = (id, name) =>
  sql`INSERT INTO call_scenario_templates (id, name, scenario_text) VALUES (${id}, ${name}, 'Hello') RETURNING id, use_count`;
const count = async (like) => (await sql`SELECT count(*)::int4 AS n FROM call_scenario_templates WHERE id LIKE ${like}`)[0].n;

await report({
  template: () => sql`SELECT id, name FROM personas WHERE id = ${"brad"}`,
  composed: () => sql`SELECT id FROM personas ${sql`WHERE id = ${"sarah"}`}`,
  query: () => sql.query("SELECT id FROM personas WHERE id = $1", ["alex"]),
  arrays: () => sql.query("SELECT id, is_active FROM personas WHERE id = $1", ["alex"], { arrayMode: true }),
  full: async () => {
    const result = await sql.query("SELECT id, is_active FROM personas ORDER BY id", [], { fullResults: true });

    return { command: result.command, rowCount: result.rowCount, rowAsArray: result.rowAsArray, rows: result.rows.length };
  },
  empty: () => sql.query("", [], { fullResults: true }).then(({ command, rowCount, rows }) => ({ command, rowCount, rows })),
  write: () => insert("http-1", "One"),
  counted: async () => {
    const result = await sql.query("UPDATE call_scenario_templates SET use_count = 7 WHERE id = 'http-1'", [], { fullResults: true });

    return { command: result.command, rowCount: result.rowCount };
  },
  unique: () => insert("http-1", "Again"),
  check: () => insert("http-2", ""),
  syntax: () => sql.query("SELECT FROM WHERE"),
  unknownTable: () => sql.query("SELECT * FROM nowhere"),
  unknownColumn: () => sql.query("SELECT nothing FROM personas"),
  division: () => sql.query("SELECT 1 / 0"),
  cast: () => sql.query("SELECT $1::int4", ["many"]),
  two: () => sql.query("SELECT 1; SELECT 2"),
  forbidden: () => sql.query("DELETE FROM calls"),
  setting: () => sql.query("SELECT set_config('role', 'postgres', false)"),
  transactionControl: () => sql.query("BEGIN"),
  badKey: () => neon(connectionFor("cmb_nobody_secret"))`SELECT 1`,
  otherNames: () =>
    neon(`postgresql://postgres:${given.key}@elsewhere.example/template1?options=-c%20role%3Dpostgres`)`SELECT 1 AS one`,
  token: () => neon(connectionFor("no-key"), { authToken: given.key })`SELECT 1 AS one`,
  transaction: async () => {
    const results = await sql.transaction([insert("http-t1", "A"), insert("http-t2", "B"), sql`SELECT 1 AS one`]);

    return { results, after: await count("http-t%") };
  },
  transactionFunction: () => sql.transaction((tx) => [tx`SELECT 1 AS a`, tx`SELECT 2 AS b`], { arrayMode: true }),
  transactionFull: async () => {
    const [first, second] = await sql.transaction([sql`SELECT 1 AS a`, insert("http-t3", "C")], { fullResults: true });

    return [first.command, first.rowCount, second.command, second.rowCount];
  },
  transactionFails: () => sql.transaction([insert("http-r1", "A"), insert("http-r1", "twice")]),
  // The same texts over and over, so that the statements are prepared when the first one fails.
  transactionsFail: async () => {
    const codes = [];
    for (let n = 0; n < 5; n += 1) {
      codes.push(await sql.transaction([insert("http-r2", ""), insert("http-r2", "")]).catch((error) => error.code ?? error.message));
    }

    return codes;
  },
  afterFailure: () => count("http-r%"),
  readOnly: () => sql.transaction([insert("http-ro", "A")], { readOnly: true }),
  readOnlyEscape: () => sql.transaction([sql`COMMIT`, insert("http-ro", "A")], { readOnly: true }),
  afterReadOnly: () => count("http-ro%"),
  isolation: () =>
    sql.transaction([sql`SELECT 1 AS one`], { isolationLevel: "Serializable", readOnly: true, deferrable: true }),
  snapshot: async () => {
    const [[before], [after]] = await sql.transaction([sql`SELECT now() AS at`, sql`SELECT now() AS at`], {
      isolationLevel: "RepeatableRead",
    });

    return before.at.getTime() === after.at.getTime();
  },
  many: async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => sql`SELECT ${n}::int4 AS n`));

    return answers.every(([row], n) => row.n === n);
  },
  columnsOfOneName: () => sql.query("SELECT 1 AS a, 2 AS a", [], { arrayMode: true }),
  noColumns: () => sql.query("SELECT FROM personas", [], { arrayMode: true }),
  long: async () => (await sql`SELECT ${"ä".repeat(100_000)}::text AS t`)[0].t.length,
});
