import { Injectable } from '@nestjs/common';
import { type Query, QueryBus } from '@nestjs/cqrs';

import { DomainError } from '#platform/kernel/errors.js';

/** How long a read may take before the caller is told that the database does not answer. */
const READ_DEADLINE_MS = 5_000;

/** The same of a read that may be about everything: 100,000 mappings are written and sent in seconds. */
export const WHOLE_READ_MS = 30_000;

/** The edge between HTTP and the queries: every read has a deadline, so a database that is gone is a 503 and not a hanging client. */
@Injectable()
export class QueryRunner {
  constructor(private readonly bus: QueryBus) {}

  /** @throws DomainError unavailable `database_unavailable` after `deadlineMs`, 5 s for all but reads that are long by their nature. */
  async run<R>(query: Query<R>, deadlineMs: number = READ_DEADLINE_MS): Promise<R> {
    return withDeadline(this.bus.execute(query), deadlineMs);
  }

  /** As `run`, for a read beside something else that may fail first: until somebody awaits it, its own failure is nobody's. */
  begin<R>(query: Query<R>): Promise<R> {
    const running = this.run(query);
    running.catch(() => undefined);
    return running;
  }
}

/** The promise's result, or `database_unavailable` when it takes longer than `deadlineMs`. */
export async function withDeadline<R>(work: Promise<R>, deadlineMs: number): Promise<R> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new DomainError('unavailable', 'database_unavailable', 'The database does not answer. Try again in a moment.')),
      deadlineMs,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
