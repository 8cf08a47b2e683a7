import { type Db, sqlQuery } from '#platform/database/database.js';

import { limits } from './limits.js';

/** How many places a process takes from one count: what the others of its kind cannot see of it. */
const CHUNK = 100;
/** How long a count is believed: other processes create mappings too. In ms. */
const BELIEVED_MS = 60_000;

/** A place for one more mapping, while a command is under way; or the news that there is none. */
export interface MappingPlace {
  readonly isFull: boolean;
  /** The command has ended, whichever way. */
  release(): void;
}

interface Ledger {
  readonly underWay: Set<Promise<void>>;
  left: number;
  countedAtMs: number;
  counting: Promise<void> | undefined;
}

/**
 * Knows whether a gateway has as many mappings as it may. Exact among the commands of one process: a count, the places that it gave
 * out and the commands under way never sum to more than the limit. Other processes are seen only in the count, so together they may pass the
 * limit by what each took since its own: at most 100 places and the commands under way (2,000 connections) for each process beyond the first.
 *
 * Exact over processes would be a count under the head's lock. That is 10 ms at 100,000 mappings for every create of every gateway, or a counter in
 * an append that knows nothing of mappings; and the limit (see `limits`) has room for the overshoot.
 */
export class MappingBudget {
  readonly #db: Db;
  readonly #limit: number;
  readonly #ledgers = new Map<string, Ledger>();

  constructor(db: Db, limit: number = limits.mappingsPerGateway) {
    this.#db = db;
    this.#limit = limit;
  }

  /** To be asked once before each command that may create a mapping, and released after it. */
  async take(gateway: string): Promise<MappingPlace> {
    const ledger = this.#ledgerOf(gateway);
    while (ledger.left === 0 || performance.now() - ledger.countedAtMs > BELIEVED_MS) {
      ledger.counting ??= this.#count(gateway, ledger).finally(() => {
        ledger.counting = undefined;
      });
      await ledger.counting;
      if (ledger.left > 0) break;
      // Those under way may have been counted already, or may yet fail: only without them is it certain that there is no place.
      if (ledger.underWay.size === 0) return { isFull: true, release: () => undefined };
      await Promise.race(ledger.underWay);
    }
    ledger.left -= 1;
    let ended: () => void = () => undefined;
    const command = new Promise<void>((resolve) => {
      ended = resolve;
    });
    ledger.underWay.add(command);
    return {
      isFull: false,
      release: () => {
        ledger.underWay.delete(command);
        ended();
      },
    };
  }

  async #count(gateway: string, ledger: Ledger): Promise<void> {
    const before = ledger.underWay.size;
    const [row] = await sqlQuery<{ count: string }>(this.#db, countMappings, [`gateway/${gateway}`, this.#limit]);
    // No place is given out during the count, so those under way are at most those from before it.
    ledger.left = Math.max(0, Math.min(CHUNK, this.#limit - Number(row?.count ?? 0) - before));
    ledger.countedAtMs = performance.now();
  }

  #ledgerOf(gateway: string): Ledger {
    const known = this.#ledgers.get(gateway);
    if (known !== undefined) return known;
    if (this.#ledgers.size >= 1_000) {
      // Names of gateways come from clients; what nobody uses is counted again when it is needed.
      for (const [name, { underWay, counting }] of this.#ledgers)
        if (underWay.size === 0 && counting === undefined) this.#ledgers.delete(name);
    }
    const ledger: Ledger = { underWay: new Set(), left: 0, countedAtMs: Number.NEGATIVE_INFINITY, counting: undefined };
    this.#ledgers.set(gateway, ledger);
    return ledger;
  }
}

/** Stops at the limit: more is not needed to know. '0' follows '/' in the C collation. */
const countMappings = `
  SELECT count(*) AS count
    FROM (SELECT FROM chancery.subject
           WHERE stream = $1 AND subject >= 'mapping/' AND subject < 'mapping0' AND state IS NOT NULL
           LIMIT $2) AS live`;
