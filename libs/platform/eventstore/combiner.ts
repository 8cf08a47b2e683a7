import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';

import type { DatabaseLog } from '#platform/database/database.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import { DomainError } from '#platform/kernel/errors.js';

import { appendBatch, takeBatch } from './batch.js';
import { appendBulk, isBulk } from './bulk.js';
import type { AppendResult, DecidedCommand } from './command.js';
import { classify } from './database-errors.js';

interface Entry {
  readonly command: DecidedCommand;
  /** On performance.now()'s clock. */
  readonly deadline: number;
  /** An attempt was sent and its answer never came: it may have been committed. */
  maybeCommitted: boolean;
  resolve(result: AppendResult): void;
  reject(error: unknown): void;
}

const RETRY_MS = { first: 10, most: 500 };
/**
 * With so many waiting, a second batch is sent while the first is being committed: it waits at the head's lock, and the database works while this process
 * prepares the next. A smaller one would only take the others' turn.
 */
const SECOND_BATCH = 16;

/**
 * Appends the commands of one stream. What arrives while a commit is under way is sent together when it ends, so callers share commits and none waits
 * for a timer: an idle combiner sends at once.
 *
 * A command ends in one of four ways: a result; `unstorable`; `database_unavailable` (certainly not written); `outcome_unknown` (sent, the answer lost,
 * and the truth not found before its deadline). A lost answer is resolved by sending the command again: its id is recorded once.
 */
export class Combiner {
  private readonly queue: Entry[] = [];
  private underWay = 0;
  private bulks = 0;
  private lastBulk: Promise<void> = Promise.resolve();
  private scheduled = false;
  private readonly pool: pg.Pool;
  private readonly log: DatabaseLog | undefined;

  constructor(pool: pg.Pool, log?: DatabaseLog) {
    this.pool = pool;
    this.log = log;
  }

  append(command: DecidedCommand, deadline: number): Promise<AppendResult> {
    return new Promise((resolve, reject) => {
      const entry = { command, deadline, maybeCommitted: false, resolve, reject };
      if (isBulk(command)) this.appendAside(entry);
      else {
        this.queue.push(entry);
        this.schedule();
      }
    });
  }

  get idle(): boolean {
    return this.underWay === 0 && this.bulks === 0 && this.queue.length === 0;
  }

  /** Many events are staged for seconds before they take the head's lock: the others do not wait behind them, and they wait behind each other only. */
  private appendAside(entry: Entry): void {
    this.bulks += 1;
    this.lastBulk = this.lastBulk
      .then(() => this.settle([entry]))
      .finally(() => {
        this.bulks -= 1;
      });
  }

  /** Sends what is due at the end of this turn of the event loop: callers answered by one commit ask again within one turn, and so meet. */
  private schedule(): void {
    if (this.scheduled || !this.due()) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      if (this.due()) this.send();
    });
  }

  private due(): boolean {
    if (this.queue.length === 0) return false;
    return this.underWay === 0 || (this.underWay === 1 && this.queue.length >= SECOND_BATCH);
  }

  private send(): void {
    this.underWay += 1;
    void this.settle(takeBatch(this.queue)).finally(() => {
      this.underWay -= 1;
      this.schedule();
    });
    this.schedule();
  }

  /** Brings each command of the batch to its end. Never rejects. */
  private async settle(batch: readonly Entry[]): Promise<void> {
    let entries = batch;
    for (let retryMs = RETRY_MS.first; ; retryMs = Math.min(retryMs * 2, RETRY_MS.most)) {
      entries = dropExpired(entries);
      if (entries.length === 0) return;
      try {
        const results = await this.attempt(entries);
        for (let i = 0; i < entries.length; i++) this.answer(entries[i]!, results[i]!);
        return;
      } catch (error) {
        const failure = classify(error);
        if (failure === 'lost' || failure === 'aborted') {
          await sleep(retryMs);
          continue;
        }
        if (entries.length > 1 && failure !== 'refused') {
          if (failure === 'defect')
            this.log?.error(
              { err: error, commands: entries.length },
              'a batch failed in a way that it should not; its commands are tried alone',
            );
          // One of them made the statement fail: halve until it stands alone, and the others go through.
          const middle = entries.length >> 1;
          await this.settle(entries.slice(0, middle));
          await this.settle(entries.slice(middle));
          return;
        }
        for (const entry of entries) entry.reject(explain(error, entry));
        return;
      }
    }
  }

  private answer(entry: Entry, result: AppendResult): void {
    if (result.code === 'again') {
      this.queue.unshift(entry);
    } else entry.resolve(result);
  }

  private async attempt(entries: readonly Entry[]): Promise<AppendResult[]> {
    failpoint('eventstore.beforeTx');
    const client = await this.pool.connect();
    const retry = entries.some((entry) => entry.maybeCommitted);
    const commands = entries.map((entry) => entry.command);
    const deadline = Math.min(...entries.map((entry) => entry.deadline));
    let broken: Error | undefined;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(timedOut()), Math.max(0, deadline - performance.now()));
    });
    try {
      const sent = isBulk(commands[0]!)
        ? appendBulk(client, commands[0]!).then((result) => [result])
        : appendBatch(client, commands, retry);
      const results = await Promise.race([sent, late]);
      failpoint('eventstore.afterCommitBeforeAck');
      return results;
    } catch (error) {
      if (classify(error) === 'lost') {
        broken = error as Error;
        for (const entry of entries) entry.maybeCommitted = true;
      }
      throw error;
    } finally {
      clearTimeout(timer);
      client.release(broken);
    }
  }
}

function timedOut(): Error {
  return Object.assign(new Error('timeout: the database did not answer before the deadline'), { code: 'ETIMEDOUT' });
}

function dropExpired(entries: readonly Entry[]): Entry[] {
  const now = performance.now();
  return entries.filter((entry) => {
    if (entry.deadline > now) return true;
    entry.reject(entry.maybeCommitted ? outcomeUnknown(entry.command) : databaseUnavailable());
    return false;
  });
}

function explain(error: unknown, entry: Entry): unknown {
  const failure = classify(error);
  const { message } = error as Error;
  if (failure === 'raced') return error;
  if (failure === 'refused') return entry.maybeCommitted ? outcomeUnknown(entry.command, error) : databaseUnavailable(error);
  if (failure === 'unstorable')
    return new DomainError('invalid', 'unstorable', `The database cannot store this: ${message}.`, { cause: error });
  return error;
}

export function databaseUnavailable(cause?: unknown): DomainError {
  return new DomainError(
    'unavailable',
    'database_unavailable',
    'The database does not answer. Nothing was changed; try again.',
    cause === undefined ? {} : { cause },
  );
}

export function outcomeUnknown(command: DecidedCommand, cause?: unknown): DomainError {
  return new DomainError(
    'unavailable',
    'outcome_unknown',
    `The connection to the database was lost while the change was being recorded, so it may or may not have happened. Send the same request again with the same Idempotency-Key, or look for the command ${command.context.commandId}.`,
    { extra: { commandId: command.context.commandId }, ...(cause === undefined ? {} : { cause }) },
  );
}
