import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';

import type { JsonObject } from '#platform/kernel/json.js';

import { databaseUnavailable } from './combiner.js';
import type { SubjectRecord } from './command.js';
import { classify } from './database-errors.js';

export interface Read {
  readonly streamVersion: number;
  readonly records: ReadonlyMap<string, SubjectRecord>;
  /** Of the kinds that were asked for: does any subject live? */
  readonly kinds: ReadonlyMap<string, boolean>;
}

/** What one decision rests on. */
interface Asked {
  readonly stream: string;
  readonly subjects: readonly string[];
  readonly kinds: readonly string[];
}

interface Waiting extends Asked {
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
  lives?: boolean | null;
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
  read(asked: Asked, deadline: number): Promise<Read> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ ...asked, deadline, resolve, reject });
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
    const query = statementFor(group);
    for (let retryMs = 10; ; retryMs = Math.min(retryMs * 2, 500)) {
      try {
        const { rows } = await this.pool.query<Row>(query);
        let at = 0;
        for (const waiting of group) {
          const count = namesOf(waiting).length;
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

/** A row each. A reader without any still wants its stream's version: an empty name is no subject and matches none. */
function namesOf({ subjects, kinds }: Asked): readonly string[] {
  if (kinds.length > 0) return [...subjects, ...kinds.map((kind) => `${kind}/`)];
  return subjects.length > 0 ? subjects : [''];
}

const COLUMNS = 'stream_version, version, from_version, schema_version, state, recorded_at';

function statementFor(group: readonly Asked[]): pg.QueryConfig {
  const streams: string[] = [];
  const names: string[] = [];
  const areKinds: boolean[] = [];
  for (const asked of group) {
    namesOf(asked).forEach((name, i) => {
      streams.push(asked.stream);
      names.push(name);
      areKinds.push(asked.kinds.length > 0 && i >= asked.subjects.length);
    });
  }
  return areKinds.includes(true)
    ? {
        name: 'chancery.read_subjects_and_kinds',
        text: `SELECT ${COLUMNS}, lives FROM chancery.read_subjects($1::text[], $2::text[], $3::boolean[])`,
        values: [streams, names, areKinds],
      }
    : {
        name: 'chancery.read_subjects',
        text: `SELECT ${COLUMNS} FROM chancery.read_subjects($1::text[], $2::text[])`,
        values: [streams, names],
      };
}

function toRead(waiting: Asked, rows: readonly Row[]): Read {
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
  const kinds = new Map(waiting.kinds.map((kind, i) => [kind, rows[waiting.subjects.length + i]?.lives === true]));
  return { streamVersion: rows[0]?.stream_version ?? 0, records, kinds };
}
