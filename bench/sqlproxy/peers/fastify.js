// The peer: the lean way. Fastify and node-postgres, nothing else. Run as `node fastify.js PORT DSN KEY`.
const fastify = require("fastify");
const { Pool } = require("pg");

const [port, connectionString, key] = process.argv.slice(2);
const pool = new Pool({ connectionString, max: 20, idleTimeoutMillis: 30000, connectionTimeoutMillis: 2000 });
const app = fastify();

app.addHook("onRequest", async (request, reply) => {
  if (request.headers.authorization !== `Bearer ${key}`) {
    return reply.code(401).send({ error: "Unauthorized" });
  }
});

app.post("/query", async (request, reply) => {
  const { query, parameters } = request.body;
  if (!query) {
    return reply.code(400).send({ error: "Query is required" });
  }
  try {
    const result = await pool.query(query, parameters || []);
    return { rows: result.rows, rowCount: result.rowCount, command: result.command };
  } catch (error) {
    return reply.code(500).send({ error: error.message });
  }
});

app.listen({ port: Number(port), host: "127.0.0.1" });
