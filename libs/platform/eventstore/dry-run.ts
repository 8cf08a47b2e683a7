import type pg from 'pg';

import { DomainError } from '#platform/kernel/errors.js';

import type { DecidedCommand } from './command.js';
import { claimTaken, referenceMissing } from './decision.js';

/** So many keys are asked for at once: some milliseconds. */
const PIECE = 1_000;

/**
 * What the append would refuse under the head's lock, asked without it: a claim that another subject holds, a reference to what is not there, the end
 * of what others need. For a dry run, whose answer is only true for the moment anyway.
 * @throws DomainError conflict `claim_taken`, `referenced`; invalid `reference_missing`.
 */
export async function refuseAsAppendWould(pool: pg.Pool, command: DecidedCommand): Promise<void> {
  const { stream, written } = command;
  for (const claims of pieces(command.claims)) {
    const { rows } = await pool.query<{ claim: string; subject: string }>(
      `SELECT c.claim, c.subject FROM unnest($2::text[], $3::text[]) AS n(claim, subject)
       CROSS JOIN LATERAL (SELECT c.claim, c.subject FROM chancery.claim c WHERE c.stream = $1 AND c.claim = n.claim LIMIT 1) c
       WHERE c.subject <> n.subject ORDER BY c.claim`,
      [stream, claims.map(({ claim }) => claim), claims.map(({ subject }) => subject)],
    );
    const taken = rows.find(({ subject }) => !written.has(subject));
    if (taken) throw claimTaken(taken.claim, taken.subject);
  }
  const needed = [...command.reads].filter(([, version]) => version === null).map(([subject]) => subject);
  for (const subjects of pieces(needed)) {
    const missing = await pool.query<{ subject: string }>(
      `SELECT n.subject FROM unnest($2::text[]) AS n(subject)
       WHERE NOT EXISTS (SELECT FROM chancery.subject s WHERE s.stream = $1 AND s.subject = n.subject AND s.state IS NOT NULL) LIMIT 1`,
      [stream, subjects],
    );
    if (missing.rows[0]) throw referenceMissing(missing.rows[0].subject);
  }
  const ended = command.events.filter((event) => event.last && event.json === null).map(({ subject }) => subject);
  for (const targets of pieces(ended)) {
    const { rows } = await pool.query<{ target: string; subject: string }>(
      'SELECT target, subject FROM chancery.reference WHERE stream = $1 AND target = ANY($2) ORDER BY target, subject',
      [stream, targets],
    );
    const used = rows.find(({ subject }) => !written.has(subject));
    if (used) throw referenced(used.target, used.subject);
  }
}

function* pieces<T>(items: readonly T[]): Iterable<readonly T[]> {
  for (let from = 0; from < items.length; from += PIECE) yield items.slice(from, from + PIECE);
}

function referenced(subject: string, by: string): DomainError {
  return new DomainError('conflict', 'referenced', `${subject} is in use by ${by}.`, { extra: { subject, by } });
}
