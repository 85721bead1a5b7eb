// The tables that this Worker reads, as Drizzle wants them described. The database's migrations are not Drizzle's.
import { boolean, integer, jsonb, pgTable, text, timestamp } from "drizzle-orm/pg-core";

export const personas = pgTable("personas", {
  id: text().primaryKey(),
  name: text().notNull(),
  description: text(),
  category: text(),
  defaultVoiceSettings: jsonb("default_voice_settings").$type<Record<string, number>>().notNull(),
  isActive: boolean("is_active").notNull(),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull(),
});

export const scenarios = pgTable("call_scenario_templates", {
  id: text().primaryKey(),
  name: text().notNull(),
  scenarioText: text("scenario_text").notNull(),
  useCount: integer("use_count").notNull().default(0),
});
