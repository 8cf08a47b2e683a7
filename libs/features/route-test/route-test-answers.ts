import { z } from 'zod';

import { isoTime, routeTestsSchema, warningSchema } from '#platform/http/answer-schemas.js';

const texts = z.record(z.string(), z.union([z.string(), z.array(z.string())]));

const stateFields = {
  name: z.string(),
  request: z.object({ method: z.string(), url: z.string(), headers: texts }),
  expect: z.object({
    mapping: z.string().optional(),
    none: z.literal(true).optional(),
    rewrittenPath: z.string().optional(),
    upstream: z.string().optional(),
  }),
};

/** A route test as it is read. */
export const routeTestSchema = z.object({
  ...stateFields,
  version: z.int().describe("The test's own version; its ETag."),
  gatewayVersion: z.int().describe("The gateway's version that made it."),
  recordedAt: isoTime.nullable(),
  result: z
    .object({
      passed: z.boolean(),
      got: z.object({
        mapping: z.string().nullable(),
        rewrittenPath: z.string().nullable(),
        upstream: z.string().nullable(),
        answered: z.string().nullable(),
      }),
      message: z.string().nullable(),
    })
    .describe('On the routes of this moment.'),
});

/** A route test as a write answers it. */
export const writtenRouteTestSchema = z.object({
  ...stateFields,
  version: z.int(),
  gatewayVersion: z.int(),
  recordedAt: isoTime.nullable(),
  routeTests: routeTestsSchema.optional(),
  warnings: z.array(warningSchema).optional(),
});

export const deletedRouteTestSchema = z.object({ name: z.string(), deleted: z.literal(true), gatewayVersion: z.int() });
