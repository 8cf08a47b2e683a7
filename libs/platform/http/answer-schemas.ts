import { z } from 'zod';

/** What several answers share. Schemas of answers are for the interface description and for tests; nothing is parsed by them. */
export const isoTime = z.string().describe('ISO 8601, UTC.');

export const warningSchema = z
  .object({ code: z.string(), message: z.string(), pointer: z.string() })
  .describe('Accepted, and worth a second look.');

export function pageSchema(item: z.ZodType) {
  return z.object({ items: z.array(item), next: z.string().nullable().describe('The cursor of the next page, or null on the last.') });
}

const json = z.unknown();

/** What one version, or a plan of one, does to one subject. */
export const changeSchema = z.object({
  subject: z.string(),
  event: z.string(),
  before: json,
  after: json,
  diff: z.array(z.object({ op: z.enum(['add', 'remove', 'replace']), pointer: z.string(), before: json, after: json })),
});

/** What the route tests say that a write has to do with. */
export const routeTestsSchema = z
  .looseObject({
    passed: z.int(),
    failed: z
      .array(
        z.looseObject({ test: z.string(), message: z.string(), expect: z.looseObject({}).optional(), got: z.looseObject({}).optional() }),
      )
      .describe('At most 100; a plan and a refusal say of each what it expects and got.'),
    failedCount: z.int(),
    notAffected: z.int().describe('Tests that the changes cannot have to do with; they were not run.'),
  })
  .describe('Of a write that changes mappings or route tests.');

export const dryRunSchema = z.object({
  dryRun: z.literal(true),
  basedOn: z
    .int()
    .describe("The version that this was planned on. The answer's ETag as If-Match of the write carries out exactly this plan."),
  changes: z.array(changeSchema),
  warnings: z.array(warningSchema),
  routeTests: routeTestsSchema.optional(),
});

/** RFC 9457. A refusal may carry more members (`currentVersion`, `commandId`, ...). */
export const problemSchema = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  instance: z.string(),
  code: z.string().describe('Stable.'),
  errors: z.array(z.object({ pointer: z.string(), code: z.string(), message: z.string() })).optional(),
  requestId: z.string(),
});
