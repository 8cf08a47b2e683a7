import { type Db, sqlQuery } from '#platform/database/database.js';

import { limits } from './limits.js';

/** How many places a process takes from one count: what the others of its kind cannot see of it. */
const CHUNK = 100;
/** How long a count is believed: other processes create mappings too. In ms. */
const BELIEVED_MS = 60_000;

/** Places for more mappings, while a command is under way; or the news that there are fewer. */
export interface MappingPlace {
  /** True when there is no place at all. */
  readonly isFull: boolean;
  /** How many mappings the command may make: as many as were asked for, or all that there is. */
  readonly room: number;
  /** The command has ended, whichever way. */
  release(): void;
}

interface Ledger {
  /** The commands under way, each with its places. */
  readonly underWay: Map<Promise<void>, number>;
  left: number;
  countedAtMs: number;
  /** The most places that the count would have found. */
  countedFor: number;
  /** How many places were taken while it was counted. */
  countedBeside: number;
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
  /** How many mappings a gateway may have. */
  readonly limit: number;
  readonly #ledgers = new Map<string, Ledger>();

  constructor(db: Db, limit: number = limits.mappingsPerGateway) {
    this.#db = db;
    this.limit = limit;
  }

  /** To be asked once before each command that may create mappings, for as many as it may create at most, and released after it. */
  async take(gateway: string, places = 1): Promise<MappingPlace> {
    const ledger = this.#ledgerOf(gateway);
    let room = places;
    while (ledger.left < places || performance.now() - ledger.countedAtMs > BELIEVED_MS) {
      ledger.counting ??= this.#count(gateway, ledger, places).finally(() => {
        ledger.counting = undefined;
      });
      await ledger.counting;
      if (ledger.left >= places) break;
      if (ledger.countedFor < places) continue; // another's count, which did not look further than it needed
      // Those under way may have been counted already, or may yet fail: only a count without them is certain that there are no more.
      if (ledger.underWay.size > 0) {
        await Promise.race(ledger.underWay.keys());
        continue;
      }
      if (ledger.countedBeside > 0) continue; // they ended while it was counted
      room = ledger.left;
      break;
    }
    if (room === 0) return { isFull: true, room, release: () => undefined };
    ledger.left -= room;
    let ended: () => void = () => undefined;
    const command = new Promise<void>((resolve) => {
      ended = resolve;
    });
    ledger.underWay.set(command, room);
    return {
      isFull: false,
      room,
      release: () => {
        ledger.underWay.delete(command);
        ended();
      },
    };
  }

  /** Something made mappings that asked for no places (it had counted for itself): whoever comes next counts anew. */
  forget(gateway: string): void {
    this.#ledgerOf(gateway).countedAtMs = Number.NEGATIVE_INFINITY;
  }

  async #count(gateway: string, ledger: Ledger, places: number): Promise<void> {
    const before = [...ledger.underWay.values()].reduce((sum, taken) => sum + taken, 0);
    const [row] = await sqlQuery<{ count: string }>(this.#db, countMappings, [`gateway/${gateway}`, this.limit]);
    // No place is given out during the count, so those under way are at most those from before it.
    ledger.countedBeside = before;
    ledger.countedFor = Math.max(CHUNK, places);
    ledger.left = Math.max(0, Math.min(ledger.countedFor, this.limit - Number(row?.count ?? 0) - before));
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
    const ledger: Ledger = {
      underWay: new Map(),
      left: 0,
      countedAtMs: Number.NEGATIVE_INFINITY,
      countedFor: 0,
      countedBeside: 0,
      counting: undefined,
    };
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
