import type pg from 'pg';

import { failpoint } from '#platform/failpoint/failpoint.js';

import { claimArray } from './batch.js';
import type { AppendResult, DecidedCommand } from './command.js';
import { copyIn } from './copy-in.js';

/** From here on COPY and set-based checks beat arrays; one such command is a batch by itself. */
export const BULK_EVENTS = 200;

/** How long one statement of a bulk append may take. */
const STATEMENT_MS = 120_000;

export function isBulk(command: DecidedCommand): boolean {
  return command.events.length >= BULK_EVENTS || (!command.isPinned && command.reads.size >= 10 * BULK_EVENTS);
}

/** One command with many events as one version: staged by COPY, then checked and written set-based. The head is locked only after staging. */
export async function appendBulk(client: pg.PoolClient, command: DecidedCommand): Promise<AppendResult> {
  const { context } = command;
  await client.query('BEGIN');
  try {
    await client.query(`SET LOCAL statement_timeout = ${STATEMENT_MS}`);
    await client.query('SELECT chancery.stage_bulk()');
    await copyIn(
      client,
      'COPY pg_temp.staged_event (position, subject, version, type, schema, state, last, claims) FROM STDIN',
      eventRows(command),
    );
    const reads = [...readRows(command)];
    if (reads.length) await copyIn(client, 'COPY pg_temp.staged_read (subject, version) FROM STDIN', reads);
    if (command.references.length)
      await copyIn(client, 'COPY pg_temp.staged_reference (subject, target) FROM STDIN', referenceRows(command));
    const { rows } = await client.query<{ base_version: number; recorded_at: Date; refusal: AppendResult | null }>(
      {
        text: 'SELECT base_version, recorded_at, refusal FROM chancery.append_bulk($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)',
        query_timeout: STATEMENT_MS + 5_000, // as the server's own limit, and not that of short statements
      } as pg.QueryConfig,
      [
        command.stream,
        context.commandId,
        context.action,
        context.actor,
        context.reason ?? null,
        context.requestId ?? null,
        context.idempotencyKey ?? null,
        context.idempotencyKey ? (context.fingerprint ?? null) : null,
        command.expectedStreamVersion,
        command.details,
        context.confirmWithinMs ?? null,
      ],
    );
    failpoint('eventstore.beforeCommit');
    await client.query('COMMIT');
    const row = rows[0]!;
    return row.refusal ?? { code: 'appended', version: row.base_version + 1, recordedAt: row.recorded_at.toISOString() };
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined); // on a lost connection there is nothing left to roll back
    throw error;
  }
}

function* eventRows(command: DecidedCommand): Iterable<readonly unknown[]> {
  let position = 0;
  for (const event of command.events) {
    yield [position++, event.subject, event.subjectVersion, event.type, event.schemaVersion, event.json, event.last, claimArray(event)];
  }
}

/** What the append must look at again: of a command that is pinned to the version that it read, only what it needs and did not read. */
function* readRows({ reads, isPinned }: DecidedCommand): Iterable<readonly unknown[]> {
  for (const read of reads) if (!isPinned || read[1] === null) yield read;
}

function* referenceRows({ references }: DecidedCommand): Iterable<readonly unknown[]> {
  for (const { subject, target } of references) yield [subject, target];
}
