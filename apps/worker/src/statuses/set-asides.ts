import type { Aside } from '#features/layout/live-table.js';
import type { StatusRow } from '#features/rollout/set-aside.table.js';

import type { FoldedMapping } from '../fold/gateway-fold.js';

/** Why a mapping is set aside by what an Envoy did with it. What makes no sense to begin with is found again by each render, and needs no memory. */
export const ENVOY_REFUSED = 'envoy_refused';
export const UPSTREAM_NOT_READY = 'upstream_not_ready';

/** The mappings of one gateway that are set aside, as their rows have it; each as it stood then, so that a changed one gets its chance. */
export class SetAsides {
  #rows = new Map<string, StatusRow>();

  /** Takes the rows as they are; answers the mappings for which that is another thing than before. */
  take(rows: readonly StatusRow[]): string[] {
    const before = this.#rows;
    this.#rows = new Map(rows.filter(isSetAside).map((row) => [row.mapping, row]));
    const names = new Set([...before.keys(), ...this.#rows.keys()]);
    return [...names].filter((name) => textOf(before.get(name)) !== textOf(this.#rows.get(name)));
  }

  /** The row that is about this mapping as it stands. */
  rowOf(name: string, mapping: Pick<FoldedMapping, 'digest'>): StatusRow | undefined {
    const row = this.#rows.get(name);
    return row?.digest === mapping.digest ? row : undefined;
  }

  asideOf(name: string, mapping: Pick<FoldedMapping, 'digest'>): Aside | undefined {
    if (!this.#rows.has(name)) return undefined; // most mappings: no digest is needed
    const row = this.rowOf(name, mapping);
    return row === undefined ? undefined : { code: row.code, drop: row.dropped };
  }

  get rows(): readonly StatusRow[] {
    return [...this.#rows.values()];
  }
}

export function isSetAside(row: StatusRow): boolean {
  return row.state === 'set_aside' && (row.code === ENVOY_REFUSED || row.code === UPSTREAM_NOT_READY);
}

function textOf(row: StatusRow | undefined): string {
  return row === undefined ? '' : JSON.stringify([row.digest, row.code, row.dropped]);
}
