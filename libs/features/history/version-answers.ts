import { z } from 'zod';

import { isoTime } from '#platform/http/answer-schemas.js';

const fields = {
  version: z.int(),
  action: z.string(),
  actor: z.string(),
  reason: z.string().nullable(),
  requestId: z.string().nullable(),
  commandId: z.string(),
  idempotencyKey: z.string().nullable(),
  recordedAt: isoTime,
  hash: z.string(),
  parentHash: z.string(),
  eventCount: z.int(),
  details: z.unknown().describe('What the action alone does not say: which version a rollback restored, and the like.'),
  confirmation: z
    .object({ deadline: isoTime, state: z.enum(['open', 'confirmed', 'reverted', 'conflicted']) })
    .nullable()
    .describe('Of a version that is undone by itself unless it is confirmed in time; null for all others.'),
};

export const versionSchema = z.object(fields);

export const versionWithEventsSchema = z.object({
  ...fields,
  events: z.array(
    z.object({
      index: z.int(),
      type: z.string(),
      schemaVersion: z.int(),
      subject: z.string(),
      subjectVersion: z.int(),
      before: z.unknown(),
      state: z.unknown(),
    }),
  ),
});

const json = z.unknown();
const difference = z.array(z.object({ op: z.enum(['add', 'remove', 'replace']), pointer: z.string(), before: json, after: json }));
const op = z.enum(['added', 'removed', 'changed']);

/** What leads from one version to another. */
export const versionDifferenceSchema = z.object({
  from: z.int(),
  to: z.int(),
  changes: z.array(z.object({ subject: z.string(), op, before: json, after: json, diff: difference })),
  rendered: z
    .object({
      changes: z.array(
        z.object({
          resource: z.enum(['bootstrap', 'listener', 'virtual_host', 'route', 'cluster']),
          name: z.string().describe('Of a route: <virtual host>/<route>.'),
          op,
          diff: difference,
        }),
      ),
      renderSha256: z.object({ before: z.string().nullable(), after: z.string().nullable() }),
    })
    .optional()
    .describe("What changes in Envoy's configuration; with `rendered=true`."),
});

/** One event of a subject's own history. */
export const subjectHistorySchema = z.object({
  subjectVersion: z.int(),
  gatewayVersion: z.int(),
  event: z.string(),
  schemaVersion: z.int().describe("The shape that the state was recorded in. It is answered in today's."),
  action: z.string(),
  actor: z.string(),
  reason: z.string().nullable(),
  recordedAt: isoTime,
  before: json,
  state: json,
  diff: difference,
});

/** The configuration as a document. */
export const documentSchema = z
  .looseObject({ settings: z.looseObject({}).optional(), mappings: z.array(z.looseObject({ name: z.string() })) })
  .describe('A member for each kind of subject, lists sorted by name. As YAML: the same document.');
