// The specification's database-proxy: the one Worker that holds the key and talks to the world outside. The others
// reach it through a service binding and never see the key. It has no fetch handler, so no request from outside can.
import { WorkerEntrypoint } from "cloudflare:workers";

// The proxy's own deadline is 10 s; this one is for a network that swallows the answer.
const DEADLINE_MS = 12_000;

// What JSON can say, and so what goes in as a parameter and comes back in a row.
export type Value = null | boolean | number | string | Value[] | { [key: string]: Value };
export type Row = Record<string, Value>;

export interface Statement {
  query: string;
  parameters?: Value[];
}

export interface BatchOptions {
  isolation?: "ReadUncommitted" | "ReadCommitted" | "RepeatableRead" | "Serializable";
  readOnly?: boolean;
  // A repeated batch with the same key gets the first one's answer, and writes nothing again.
  idempotencyKey?: string;
}

// What the other Workers are bound to. (The binding's own type, Service<…>, can't describe JSON, which nests for ever.)
export interface Database {
  executeQuery(query: string, parameters?: Value[]): Promise<Row[]>;
  executeNamed(name: string, parameters?: Value[]): Promise<Row[]>;
  executeBatch(queries: Statement[], options?: BatchOptions): Promise<Row[][]>;
}

export interface Env {
  CALLMEBACK_DB_URL: string;
  CALLMEBACK_DB_API_KEY: string;
}

interface Result {
  rows: Row[];
}

interface Problem {
  code?: string;
  title?: string;
  detail?: string;
  sqlstate?: string;
}

// RPC carries name and message of an error and drops its other fields, so the stable code leads the message.
export class DatabaseError extends Error {
  override name = "DatabaseError";

  constructor(code: string, text: string) {
    super(`${code}: ${text}`);
  }
}

export class DatabaseProxy extends WorkerEntrypoint<Env> implements Database {
  // One statement with its parameters; the rows, with typed values.
  async executeQuery(query: string, parameters: Value[] = []): Promise<Row[]> {
    const result = await this.ask<Result>("/query", { query, parameters });

    return result.rows;
  }

  // A statement that was registered for the key under a name: what a key should be allowed when it can be.
  async executeNamed(name: string, parameters: Value[] = []): Promise<Row[]> {
    const result = await this.ask<Result>(`/named/${encodeURIComponent(name)}`, { parameters });

    return result.rows;
  }

  // All of them in one transaction, or none; the rows of each.
  async executeBatch(queries: Statement[], options: BatchOptions = {}): Promise<Row[][]> {
    const { idempotencyKey, ...transaction } = options;
    const headers: Record<string, string> = idempotencyKey === undefined ? {} : { "Idempotency-Key": idempotencyKey };
    const answer = await this.ask<{ results: Result[] }>("/batch", { queries, ...transaction }, headers);

    return answer.results.map((result) => result.rows);
  }

  private async ask<Answer>(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await this.send(path, body, headers);
    if (!response.ok) {
      throw await refusal(response);
    }

    return response.json<Answer>();
  }

  private async send(path: string, body: unknown, headers: Record<string, string>): Promise<Response> {
    try {
      return await fetch(new URL(path, this.env.CALLMEBACK_DB_URL), {
        method: "POST",
        headers: {
          Authorization: `Bearer ${this.env.CALLMEBACK_DB_API_KEY}`,
          "Content-Type": "application/json",
          ...headers,
        },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(DEADLINE_MS),
      });
    } catch (error) {
      // What the network says may name hosts; callers learn that nobody answered.
      console.error("the database did not answer", error instanceof Error ? error.name : typeof error);
      throw new DatabaseError("unreachable", "The database did not answer.");
    }
  }
}

async function refusal(response: Response): Promise<DatabaseError> {
  const problem = await response.json<Problem>().catch((): Problem => ({}));

  return new DatabaseError(
    problem.code ?? `status_${response.status}`,
    problem.detail ?? problem.title ?? `The database answered ${response.status}.`,
  );
}

// A Worker needs a default export; without handlers it answers nobody.
export default {};
