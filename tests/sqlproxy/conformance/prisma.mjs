// Prisma with its Neon adapters: PrismaNeon over WebSocket, PrismaNeonHttp over HTTP. `prisma generate` came before.
import { PrismaNeon, PrismaNeonHttp } from "@prisma/adapter-neon";

import { connectionFor, connectionString, given, report } from "./proxy.mjs";

const { PrismaClient } = await import("./node_modules/.conformance/prisma/index.js").then((module) => module.default ?? module);

const socket = new PrismaClient({ adapter: new PrismaNeon({ connectionString, max: 2 }) });
const http = new PrismaClient({ adapter: new PrismaNeonHttp(connectionString, {}) });
// With a key that sees people's data masked: through the schema of the masked views, and past it.
const maskedUrl = connectionFor(given.maskedKey);
const masked = new PrismaClient({ adapter: new PrismaNeon({ connectionString: maskedUrl, max: 1 }, { schema: "masked" }) });
const past = new PrismaClient({ adapter: new PrismaNeon({ connectionString: maskedUrl, max: 1 }) });

const data = (id) => ({ data: { id, name: "Prisma", scenarioText: "Hello" } });
const count = (startsWith) => socket.scenario.count({ where: { id: { startsWith } } });

await report({
  find: () => socket.persona.findUnique({ where: { id: "brad" } }),
  many: () => socket.persona.findMany({ where: { isActive: true, name: { contains: "a", mode: "insensitive" } }, select: { id: true }, orderBy: { id: "asc" } }),
  create: () => socket.scenario.create(data("pr-1")),
  update: () => socket.scenario.update({ where: { id: "pr-1" }, data: { useCount: { increment: 2 } }, select: { useCount: true } }),
  unique: () => socket.scenario.create(data("pr-1")).catch((error) => ({ code: error.code })),
  upsert: () =>
    socket.scenario.upsert({ where: { id: "pr-1" }, create: data("pr-1").data, update: { name: "Upserted" }, select: { name: true } }),
  batch: async () => {
    await socket.$transaction([socket.scenario.create(data("pr-b1")), socket.scenario.create(data("pr-b2"))]);

    return count("pr-b");
  },
  interactive: async () => {
    await socket.$transaction(async (tx) => {
      await tx.scenario.create(data("pr-i1"));
      await tx.scenario.update({ where: { id: "pr-i1" }, data: { useCount: 5 } });
    });

    return (await socket.scenario.findUniqueOrThrow({ where: { id: "pr-i1" } })).useCount;
  },
  rollback: async () => {
    await socket
      .$transaction(async (tx) => {
        await tx.scenario.create(data("pr-r1"));
        throw new Error("changed my mind");
      })
      .catch(() => undefined);

    return count("pr-r");
  },
  raw: () => socket.$queryRaw`SELECT ${1}::int4 AS one, ${"x"}::text AS text, ${[1, 2]}::int4[] AS list`,
  remove: async () => (await socket.scenario.deleteMany({ where: { id: { startsWith: "pr-b" } } })).count,
  httpFind: () => http.persona.findUnique({ where: { id: "sarah" }, select: { name: true, temperature: true } }),
  httpCreate: () => http.scenario.create({ ...data("pr-h1"), select: { id: true } }),
  masked: () => masked.scenario.findUnique({ where: { id: "pr-h1" }, select: { id: true, scenarioText: true } }),
  past: () => past.scenario.findMany().catch((error) => ({ refused: /permission denied|42501/.test(error.message) })),
});
await socket.$disconnect();
await masked.$disconnect();
await past.$disconnect();
await http.$disconnect();
