import { z } from 'zod';

import { readBody } from '#platform/http/body-shape.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import { MOST_CHANGES, type WrittenChange } from './changeset.js';

const ChangeInput = z.strictObject({
  op: z
    .enum(['put', 'patch', 'delete'])
    .describe('put creates or replaces; patch merges (RFC 7396) into what is there; delete ends what is there.'),
  subject: z.string().describe('mapping/<name>, principal/<name>, route-test/<name>, or gateway for the settings (scope admin).'),
  value: z.unknown().optional().describe('As in a PUT or PATCH of the thing itself; none for delete.'),
  ifVersion: z
    .int()
    .min(0)
    .optional()
    .describe('Only if the subject is at this version of its own before the set; 0: only if it does not exist.'),
});

const fields = {
  reason: z.string().max(1000).optional().describe('Why; kept in the record.'),
  overrideQuarantine: z.boolean().optional().describe('true: bring back states that are in quarantine. Needs a reason.'),
};

/** The body of `POST /v1/gateways/{gateway}/changesets`. */
export const ChangesetInput = z.strictObject({ ...fields, changes: z.array(ChangeInput).max(MOST_CHANGES) });

export interface Changeset {
  readonly reason: string | undefined;
  readonly overrideQuarantine: boolean;
  readonly changes: readonly WrittenChange[];
}

const outline = z.strictObject({ ...fields, changes: z.array(z.unknown()) });

/**
 * Reads the body of a changeset. What is wrong with the shape of a change is kept in its place, to be told with all that is wrong with the others.
 * @throws DomainError malformed for the body around them; invalid `changes_too_many`.
 */
export function parseChangeset(body: Json): Changeset {
  checkLength(body); // before anything looks at each of them
  const { reason, overrideQuarantine = false, changes } = readBody(outline, body);
  return { reason, overrideQuarantine, changes: changes.map(readChange) };
}

function checkLength(body: Json): void {
  const changes = typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as JsonObject).changes : undefined;
  if (!Array.isArray(changes) || changes.length <= MOST_CHANGES) return;
  const message = `A changeset has at most ${MOST_CHANGES} changes, and this has ${changes.length}; send several, or the whole with PUT config.`;
  throw new DomainError('invalid', 'changes_too_many', message, { errors: [{ pointer: '/changes', code: 'changes_too_many', message }] });
}

function readChange(change: unknown): WrittenChange {
  try {
    const { op, subject, value, ifVersion } = readBody(ChangeInput, change);
    return { op, subject, value: value as Json | undefined, ifVersion };
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
}
