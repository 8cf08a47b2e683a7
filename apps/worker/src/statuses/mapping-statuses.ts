import type { Found } from '#features/discovery/discovery.js';
import { readStatusRows, replaceStatusRows, type StatusRow } from '#features/rollout/set-aside.table.js';
import type { Db } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';

import type { FoldedMapping } from '../fold/gateway-fold.js';
import { serviceOf } from '../fold/gateways.js';
import type { LiveLane } from '../live/live-lane.js';
import { isSetAside, type SetAsides } from './set-asides.js';

export interface MappingStatusesOptions {
  readonly db: Db;
  readonly log: Log;
  readonly gateway: string;
  readonly mappings: ReadonlyMap<string, FoldedMapping>;
  readonly asides: SetAsides;
  lane(): LiveLane | undefined;
  found(): ReadonlyMap<string, Found>;
}

/**
 * The rows that say of mappings what their configuration does not: no endpoint is known, it makes no sense to Envoy. Behind the pushes and never in
 * their way, one write at a time. A write that fails is made again with the next one.
 */
export class MappingStatuses {
  readonly #options: MappingStatusesOptions;
  #due = false;
  #writing: Promise<void> | undefined;
  #written: string | undefined;

  constructor(options: MappingStatusesOptions) {
    this.#options = options;
  }

  /** Something that the rows depend on has changed. */
  touch(): void {
    this.#due = true;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async settled(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    const { db, log, gateway } = this.#options;
    while (this.#due) {
      this.#due = false;
      await new Promise((resolve) => setImmediate(resolve)); // what an Envoy waits for goes first
      const wanted = this.#wanted();
      const { mappings, asides } = this.#options;
      const stale = asides.rows.filter((row) => mappings.get(row.mapping)?.digest !== row.digest).map(({ mapping }) => mapping);
      const text = JSON.stringify([wanted, stale]);
      if (text === this.#written) continue;
      try {
        const before = await readStatusRows(db, gateway);
        const kept = before.filter(isSetAside).filter((row) => mappings.get(row.mapping)?.digest === row.digest);
        const aside = new Set(kept.map(({ mapping }) => mapping));
        await replaceStatusRows(db, gateway, before, [
          ...kept,
          ...wanted.filter((row) => row.state !== 'set_aside' || !aside.has(row.mapping)),
        ]);
        this.#written = text;
      } catch (err) {
        log.warn({ err, gateway }, 'the statuses of mappings could not be written; the next change writes them');
      }
    }
  }

  /** Only what there is something to say about: usually next to nothing, so that it is found by its cause and not mapping by mapping. */
  #wanted(): StatusRow[] {
    const { mappings } = this.#options;
    const rows: StatusRow[] = [];
    for (const [mapping, { code, detail }] of this.#options.lane()?.table.refused ?? []) {
      const digest = mappings.get(mapping)?.digest;
      if (digest !== undefined) rows.push({ mapping, state: 'set_aside', digest, code, reason: detail, dropped: false });
    }
    const missing = new Map([...this.#options.found()].filter(([, { endpoints }]) => endpoints.length === 0));
    if (missing.size > 0) {
      for (const [mapping, folded] of mappings) {
        const found = missing.get(serviceOf(folded.state.service)?.key ?? '');
        if (found === undefined) continue;
        const reason = `${folded.state.service}: no endpoint is known${found.error === '' ? '' : ` (${found.error})`}. It goes live by itself when there is one.`;
        rows.push({ mapping, state: 'unresolved', digest: folded.digest, code: 'unresolved_service', reason, dropped: false });
      }
    }
    return rows;
  }
}
