import type { Fence, Manifest } from '#platform/xds/generated/delivery.js';

/** The last release that this node accepted, whatever became of it. */
export interface Accepted {
  /** An empty lineage id: only the numbers could be saved from a damaged disk. */
  readonly fence: Fence;
  readonly version: number;
}

export type FenceDecision = { readonly accept: true } | { readonly accept: false; readonly code: string; readonly message: string };

/**
 * Whether a release may follow the last accepted one. A worker that was paused, doubled or restored from an old backup is stopped here
 * and nowhere else: greater (lineage, term, sequence), and within a lineage never a lower gateway version, unless the release names the
 * recorded revert or pin that allows it.
 */
export function decideFence(last: Accepted | null, release: Pick<Manifest, 'fence' | 'version' | 'lowerVersionReason'>): FenceDecision {
  const next = release.fence;
  if (next === undefined) return refuse('fence_missing', 'the release has no fence');
  if (last === null) return { accept: true };
  const order = compareFences(next, last.fence);
  if (next.lineage === last.fence.lineage && last.fence.lineageId !== '' && next.lineageId !== last.fence.lineageId) {
    return refuse(
      'lineage_conflict',
      `lineage ${next.lineage} is ${last.fence.lineageId} here and ${next.lineageId} there: two histories claim one number`,
    );
  }
  if (order <= 0) return refuse('not_newer', `release ${show(next)} is not newer than ${show(last.fence)}, which this node has accepted`);
  if (next.lineage === last.fence.lineage && release.version < last.version && release.lowerVersionReason === '') {
    return refuse('version_lower', `version ${release.version} is lower than ${last.version}, and no recorded revert or pin is named`);
  }
  return { accept: true };
}

/** Negative, zero or positive, as for sorting. */
export function compareFences(a: Fence, b: Fence): number {
  return a.lineage - b.lineage || a.term - b.term || a.sequence - b.sequence;
}

/** A release that the node does not take. */
export function refuse(code: string, message: string): FenceDecision & { accept: false } {
  return { accept: false, code, message };
}

function show(fence: Fence): string {
  return `${fence.lineage}.${fence.term}.${fence.sequence}`;
}
