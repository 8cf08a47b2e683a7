import type pg from 'pg';

import { DomainError } from '#platform/kernel/errors.js';

import type { DecidedCommand } from './command.js';
import { claimTaken, referenceMissing } from './decision.js';

/**
 * What the append would refuse under the head's lock, asked without it: a claim that another subject holds, a reference to what is not there, the end
 * of what others need. For a dry run, whose answer is only true for the moment anyway.
 * @throws DomainError conflict `claim_taken`, `referenced`; invalid `reference_missing`.
 */
export async function refuseAsAppendWould(pool: pg.Pool, command: DecidedCommand): Promise<void> {
  const written = [...command.written];
  const taken = await pool.query<{ claim: string; subject: string }>(
    'SELECT claim, subject FROM chancery.claim WHERE stream = $1 AND claim = ANY($2) AND subject <> ALL($3) ORDER BY claim LIMIT 1',
    [command.stream, command.claims.map(({ claim }) => claim), written],
  );
  if (taken.rows[0]) throw claimTaken(taken.rows[0].claim, taken.rows[0].subject);
  const needed = [...command.reads].filter(([, version]) => version === null).map(([subject]) => subject);
  const missing = await pool.query<{ subject: string }>(
    `SELECT n.subject FROM unnest($2::text[]) AS n(subject)
     WHERE NOT EXISTS (SELECT FROM chancery.subject s WHERE s.stream = $1 AND s.subject = n.subject AND s.state IS NOT NULL) LIMIT 1`,
    [command.stream, needed],
  );
  if (missing.rows[0]) throw referenceMissing(missing.rows[0].subject);
  const ended = command.events.filter((event) => event.last && event.json === null).map(({ subject }) => subject);
  const used = await pool.query<{ target: string; subject: string }>(
    'SELECT target, subject FROM chancery.reference WHERE stream = $1 AND target = ANY($2) AND subject <> ALL($3) ORDER BY target, subject LIMIT 1',
    [command.stream, ended, written],
  );
  if (used.rows[0]) throw referenced(used.rows[0].target, used.rows[0].subject);
}

function referenced(subject: string, by: string): DomainError {
  return new DomainError('conflict', 'referenced', `${subject} is in use by ${by}.`, { extra: { subject, by } });
}
