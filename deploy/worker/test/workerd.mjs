// Runs the Workers of this folder in workerd, as their wrangler.json says, asks them what standard input says, and
// writes the answers to standard output:
//   {"proxy": "http://127.0.0.1:3000", "key": "cmb_…", "requests": [{"worker", "method", "path"}…], "authority": PEM or none}
//   → {"answers": [{"status", "body"}…], "outside": status of database-proxy asked over HTTP}
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const WORKERS = ["database-proxy", "persona-manager", "standard-driver"];
const START_MS_MAX = 30_000;

async function main() {
  const { proxy, key, requests, authority } = JSON.parse(await text(process.stdin));
  const folder = await mkdtemp(path.join(tmpdir(), "callmeback-workerd-"));
  try {
    const config = await configuration(folder, authority, {
      // Secrets are set with `wrangler secret put`; they stand in no file of the tree.
      "database-proxy": { CALLMEBACK_DB_URL: proxy, CALLMEBACK_DB_API_KEY: key },
      "standard-driver": {
        CALLMEBACK_DB_URL: proxy,
        CALLMEBACK_DATABASE_URL: `postgresql://key:${key}@db.callmeback.example/callmeback`,
      },
    });
    const { runtime, ports } = await start(config);
    try {
      const answers = [];
      for (const { worker, method, path: target } of requests) {
        answers.push(await ask(ports[worker], method, target));
      }
      const outside = await ask(ports["database-proxy"], "POST", "/query");
      process.stdout.write(JSON.stringify({ answers, outside: outside.status }));
    } finally {
      runtime.kill("SIGKILL");
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function ask(port, method, target) {
  const response = await fetch(`http://127.0.0.1:${port}${target}`, { method });
  const body = await response.text();

  return { status: response.status, body: response.headers.get("content-type") === "application/json" ? JSON.parse(body) : body };
}

// workerd's own configuration, made from each Worker's wrangler.json, and its modules, bundled as wrangler does it.
async function configuration(folder, authority, variables) {
  const trust = authority === undefined ? "" : `, tlsOptions = (trustedCertificates = [${quoted(authority)}])`;
  const workers = await Promise.all(WORKERS.map((name) => worker(folder, name, variables[name] ?? {})));
  const file = path.join(folder, "config.capnp");
  await writeFile(
    file,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
${WORKERS.map((name) => `    (name = ${quoted(name)}, worker = .${constant(name)}),`).join("\n")}
    (name = "internet", network = (allow = ["local"]${trust}))
  ],
  sockets = [
${WORKERS.map((name) => `    (name = ${quoted(name)}, address = "127.0.0.1:0", http = (), service = ${quoted(name)})`).join(",\n")}
  ]
);
${workers.join("")}`,
  );

  return file;
}

async function worker(folder, name, variables) {
  const settings = JSON.parse(await readFile(path.join(ROOT, name, "wrangler.json"), "utf8"));
  const bundle = `${name}.js`;
  await build({
    entryPoints: [path.join(ROOT, name, settings.main)],
    outfile: path.join(folder, bundle),
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*"],
    logLevel: "error",
  });
  const bindings = [
    ...Object.entries({ ...settings.vars, ...variables }).map(([at, value]) => `(name = ${quoted(at)}, text = ${quoted(value)})`),
    ...(settings.services ?? []).map(
      ({ binding, service, entrypoint }) =>
        `(name = ${quoted(binding)}, service = (name = ${quoted(service)}, entrypoint = ${quoted(entrypoint)}))`,
    ),
  ];

  return `const ${constant(name)} :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed ${quoted(bundle)})],
  compatibilityDate = ${quoted(settings.compatibility_date)},
  bindings = [${bindings.join(", ")}]
);
`;
}

async function start(config) {
  const program = createRequire(import.meta.url)("workerd").default;
  const runtime = spawn(program, ["serve", config, "--control-fd=3"], { stdio: ["ignore", "inherit", "inherit", "pipe"] });
  const ports = {};
  let said = "";
  const listening = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("workerd did not start")), START_MS_MAX);
    runtime.once("exit", (code) => reject(new Error(`workerd ended with ${code}`)));
    runtime.stdio[3].on("data", (chunk) => {
      said += chunk;
      const lines = said.split("\n");
      said = lines.pop();
      for (const line of lines.filter(Boolean)) {
        const { event, socket, port } = JSON.parse(line);
        if (event === "listen") {
          ports[socket] = port;
        }
      }
      if (Object.keys(ports).length === WORKERS.length) {
        clearTimeout(timer);
        resolve();
      }
    });
  });
  await listening;

  return { runtime, ports };
}

const quoted = (value) => JSON.stringify(value);
const constant = (name) => name.replace(/-(\w)/g, (_, letter) => letter.toUpperCase());

await main();
