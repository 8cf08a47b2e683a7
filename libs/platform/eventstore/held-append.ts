import type pg from 'pg';

import { DomainError } from '#platform/kernel/errors.js';
import { runInTurns } from '#platform/kernel/turns.js';

import { appendBulk } from './bulk.js';
import { databaseUnavailable, outcomeUnknown } from './combiner.js';
import type { AppendResult, DecidedCommand, Outcome, SubjectRecord } from './command.js';
import { classify } from './database-errors.js';
import { checkPrecondition, composing, viewOf } from './decision.js';
import { refuseAsAppendWould } from './dry-run.js';
import { type DecideOnSnapshot, outcomeOf, readWholeWithin, recordsOf, snapshotOf, type WholeRequest } from './whole-stream.js';

type Refused = { readonly refusal: Exclude<AppendResult, { code: 'appended' }>; readonly before: ReadonlyMap<string, SubjectRecord> };

/**
 * Reads a stream as a whole, decides and appends while nobody else can append to it. It costs the others the time of the decision, so it is for a
 * command that was overtaken several times.
 * @returns the outcome, or what the append refused; undefined when the stream could not be held, which may be tried again.
 * @throws DomainError whatever `decide` throws; stale `version_mismatch`; unavailable `database_unavailable`, `outcome_unknown`.
 */
export async function appendHeld(pool: pg.Pool, request: WholeRequest, decide: DecideOnSnapshot): Promise<Outcome | Refused | undefined> {
  const client = await pool.connect();
  let sent: DecidedCommand | undefined;
  let broken: Error | undefined;
  try {
    await client.query('BEGIN');
    await client.query('SELECT chancery.hold($1)', [request.stream]);
    const all = await readWholeWithin(client, request.stream);
    const decided = await decide(await snapshotOf(all));
    const before = await recordsOf(request, decided, all.records);
    checkPrecondition(request.precondition, viewOf(all.version, before));
    const pinned = { ...request, subjects: [], precondition: { streamVersion: all.version } };
    const command = await runInTurns(composing(pinned, decided, { streamVersion: all.version, records: before }));
    const outcome = outcomeOf(request, decided, { command, before, version: all.version });
    if (outcome.unchanged || outcome.dryRun) {
      await client.query('ROLLBACK');
      if (!outcome.unchanged) await refuseAsAppendWould(pool, command);
      return outcome;
    }
    sent = command;
    const result = await appendBulk(client, command); // its COMMIT ends the transaction that holds the stream
    return result.code === 'appended'
      ? { ...outcome, version: result.version, recordedAt: result.recordedAt }
      : { refusal: result, before };
  } catch (error) {
    const failure = error instanceof DomainError ? 'defect' : classify(error);
    if (failure === 'lost') broken = error as Error;
    else await client.query('ROLLBACK').catch(() => undefined); // nothing is left to roll back where the append has done it
    if (failure === 'lost' || failure === 'refused') throw sent === undefined ? databaseUnavailable(error) : outcomeUnknown(sent, error);
    if (failure === 'aborted') return undefined;
    throw error;
  } finally {
    client.release(broken);
  }
}
