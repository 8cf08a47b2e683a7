import { z } from 'zod';

import { isoTime, routeTestsSchema, warningSchema } from '#platform/http/answer-schemas.js';

const texts = z.record(z.string(), z.string());

const stateFields = {
  name: z.string(),
  host: z.string(),
  prefix: z.string().nullable(),
  path: z.string().nullable(),
  service: z.string(),
  rewrite: z.string(),
  methods: z.array(z.string()),
  headers: texts,
  precedence: z.int(),
  timeoutMs: z.int(),
  labels: texts,
  tls: z.object({ sni: z.string().nullable(), caBundle: z.string().nullable(), certificate: z.string().nullable() }).optional(),
};

const mappingStatusSchema = z.object({
  state: z.enum(['live', 'pending', 'unresolved', 'set_aside']),
  reasons: z.array(z.object({ code: z.string(), message: z.string(), since: isoTime.nullable() })),
});

/** A mapping as it is read. */
export const mappingSchema = z.object({
  ...stateFields,
  version: z.int().describe("The mapping's own version; its ETag."),
  gatewayVersion: z.int().describe("The gateway's version that made it."),
  recordedAt: isoTime.nullable(),
  status: mappingStatusSchema,
});

/** A mapping as a write answers it. */
export const writtenMappingSchema = z.object({
  ...stateFields,
  version: z.int(),
  gatewayVersion: z.int(),
  recordedAt: isoTime.nullable(),
  status: mappingStatusSchema,
  warnings: z.array(warningSchema),
  routeTests: routeTestsSchema.optional(),
});

export const deletedMappingSchema = z.object({
  name: z.string(),
  deleted: z.literal(true),
  gatewayVersion: z.int(),
  routeTests: routeTestsSchema.optional(),
});

export const routeRowSchema = z.object({
  order: z.int(),
  mapping: z.string(),
  host: z.string(),
  hostKind: z.enum(['exact', 'suffix', 'any']),
  match: z.object({ kind: z.enum(['path', 'prefix']), value: z.string() }),
  methods: z.array(z.string()),
  headers: texts,
  precedence: z.int(),
  service: z.string(),
  upstream: z.string().nullable(),
  rewrite: z.string(),
  timeoutMs: z.int(),
  labels: texts,
  mappingVersion: z.int(),
  gatewayVersion: z.int(),
  status: z.object({ state: z.enum(['unresolved', 'set_aside']), code: z.string(), reason: z.string(), since: isoTime }).nullable(),
});
