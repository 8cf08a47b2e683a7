import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';

import type { JsonObject } from '#platform/kernel/json.js';

import { databaseUnavailable } from './combiner.js';
import type { SubjectRecord } from './command.js';
import { classify } from './database-errors.js';

export interface Read {
  readonly streamVersion: number;
  readonly records: ReadonlyMap<string, SubjectRecord>;
}

interface Waiting {
  readonly stream: string;
  readonly subjects: readonly string[];
  readonly deadline: number;
  resolve(read: Read): void;
  reject(error: unknown): void;
}

interface Row {
  stream_version: number | null;
  version: number | null;
  from_version: number | null;
  schema_version: number | null;
  state: JsonObject | null;
  recorded_at: Date | null;
}

/** Half of what a batch of appends takes: with more callers than this, one half reads while the other half is recorded. */
const GROUP = 32;

/**
 * Reads subjects for decisions. Concurrent readers share one statement, which answers each from one snapshot. Two may be under way at once, so
 * that a slow one (a bulk import reading 100,000 subjects) does not stand in everybody's way.
 */
export class SubjectReader {
  private waiting: Waiting[] = [];
  private underWay = 0;
  private scheduled = false;
  private readonly pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.pool = pool;
  }

  /** @throws DomainError `database_unavailable` when the deadline (performance.now()'s clock) passes first. */
  read(stream: string, subjects: readonly string[], deadline: number): Promise<Read> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ stream, subjects, deadline, resolve, reject });
      this.schedule();
    });
  }

  private schedule(): void {
    if (this.scheduled || this.underWay >= 2 || this.waiting.length === 0) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      const group = this.waiting.splice(0, GROUP);
      this.underWay += 1;
      void this.serve(group).finally(() => {
        this.underWay -= 1;
        this.schedule();
      });
      this.schedule();
    });
  }

  private async serve(group: readonly Waiting[]): Promise<void> {
    const streams: string[] = [];
    const subjects: string[] = [];
    for (const waiting of group) {
      // A reader without subjects still wants its stream's version: an empty name is no subject and matches none.
      for (const subject of waiting.subjects.length ? waiting.subjects : ['']) {
        streams.push(waiting.stream);
        subjects.push(subject);
      }
    }
    for (let retryMs = 10; ; retryMs = Math.min(retryMs * 2, 500)) {
      try {
        const { rows } = await this.pool.query<Row>({
          name: 'chancery.read_subjects',
          text: 'SELECT stream_version, version, from_version, schema_version, state, recorded_at FROM chancery.read_subjects($1::text[], $2::text[])',
          values: [streams, subjects],
        });
        let at = 0;
        for (const waiting of group) {
          const count = Math.max(1, waiting.subjects.length);
          waiting.resolve(toRead(waiting, rows.slice(at, at + count)));
          at += count;
        }
        return;
      } catch (error) {
        const failure = classify(error);
        const passing = failure === 'lost' || failure === 'aborted' || failure === 'refused';
        const now = performance.now();
        if (!passing || group.every(({ deadline }) => deadline <= now + retryMs)) {
          for (const waiting of group) waiting.reject(passing ? databaseUnavailable(error) : error);
          return;
        }
        await sleep(retryMs);
      }
    }
  }
}

function toRead(waiting: Waiting, rows: readonly Row[]): Read {
  const records = new Map<string, SubjectRecord>();
  waiting.subjects.forEach((subject, i) => {
    const row = rows[i]!;
    records.set(subject, {
      subject,
      version: row.version ?? 0,
      streamVersion: row.from_version ?? 0,
      schemaVersion: row.schema_version ?? 0,
      state: row.state,
      recordedAt: row.recorded_at?.toISOString() ?? null,
    });
  });
  return { streamVersion: rows[0]?.stream_version ?? 0, records };
}
