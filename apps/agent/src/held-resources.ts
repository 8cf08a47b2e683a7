import { sha256Hex } from '#platform/kernel/digest.js';
import type { LiveRelease } from '#platform/xds/generated/delivery.js';
import type { ResourceSet } from '#platform/xds/resource-set.js';

import { type FenceDecision, refuse } from './fence.js';

const NOTHING = sha256Hex('');

/**
 * The release with what it sends without bytes taken from what the node has: a worker that cannot open a secret (its key is missing) can still say that the
 * node keeps it. Refused when the node does not have it.
 */
export function withHeld(release: LiveRelease, held: ResourceSet): LiveRelease | (FenceDecision & { accept: false }) {
  const missing: string[] = [];
  const changed = release.changed.map((item) => {
    const version = Buffer.from(item.sha256).toString('hex');
    if (item.value.length > 0 || version === NOTHING) return item;
    const own = held.get(item);
    if (own?.version === version) return { ...item, value: own.value };
    missing.push(item.name);
    return item;
  });
  if (missing.length > 0) return refuse('secret_missing', `not sent, and not on this node: ${missing.slice(0, 20).join(', ')}`);
  return { ...release, changed };
}
