import { type Db, sqlQuery } from '#platform/database/database.js';

import { limits } from './limits.js';

/** How long a count is believed: other processes create mappings too. */
const believedMs = 60_000;

/**
 * Knows whether a gateway has as many mappings as it may. It counts before the append and not under its lock, so
 * concurrent commands may pass the limit by as many as they are; the limit has room for that. What a count leaves free
 * is given out by half, for a minute, before it counts again.
 */
export class MappingBudget {
  readonly #db: Db;
  readonly #limit: number;
  readonly #free = new Map<string, { readonly seenAtMs: number; left: number }>();

  constructor(db: Db, limit: number = limits.mappingsPerGateway) {
    this.#db = db;
    this.#limit = limit;
  }

  /** To be asked once before each command that may create a mapping. */
  async isFull(gateway: string): Promise<boolean> {
    const free = this.#free.get(gateway);
    if (free !== undefined && free.left > 0 && performance.now() - free.seenAtMs < believedMs) {
      free.left -= 1;
      return false;
    }
    const [row] = await sqlQuery<{ count: string }>(this.#db, countMappings, [`gateway/${gateway}`, this.#limit]);
    const count = Number(row?.count ?? 0);
    this.#free.set(gateway, { seenAtMs: performance.now(), left: Math.floor((this.#limit - count) / 2) });
    return count >= this.#limit;
  }
}

/** Stops at the limit: more is not needed to know. '0' follows '/' in the C collation. */
const countMappings = `
  SELECT count(*) AS count
    FROM (SELECT FROM chancery.subject
           WHERE stream = $1 AND subject >= 'mapping/' AND subject < 'mapping0' AND state IS NOT NULL
           LIMIT $2) AS live`;
