// The peer: the specification's proxy. Express 4 with helmet and cors, node-postgres with the pool of its section 11.3.
// Run as `node express.js PORT DSN KEY`.
const cors = require("cors");
const express = require("express");
const helmet = require("helmet");
const { Pool } = require("pg");

const [port, connectionString, key] = process.argv.slice(2);
const pool = new Pool({ connectionString, max: 20, idleTimeoutMillis: 30000, connectionTimeoutMillis: 2000 });
const app = express();

app.use(helmet());
app.use(cors());
app.use(express.json());

app.use((request, response, next) => {
  const header = request.headers.authorization;
  if (!header || !header.startsWith("Bearer ") || header.slice(7) !== key) {
    return response.status(401).json({ error: "Unauthorized" });
  }
  next();
});

app.post("/query", async (request, response) => {
  const { query, parameters } = request.body;
  if (!query) {
    return response.status(400).json({ error: "Query is required" });
  }
  try {
    const result = await pool.query(query, parameters || []);
    response.json({ rows: result.rows, rowCount: result.rowCount, command: result.command });
  } catch (error) {
    response.status(500).json({ error: error.message });
  }
});

app.listen(Number(port), "127.0.0.1");
