import type { ResourceSet } from '#platform/xds/resource-set.js';
import { type ResourceChange, type ResourceKey, resourceId, type XdsResource } from '#platform/xds/xds-resource.js';

const MODULUS = 1n << 256n;

/** What the digest of two sets together is more than the one set's: the digest of the other. Hexadecimal, as `ResourceSet.digest`. */
export function digestDifference(both: string, one: string): string {
  if (!/^[0-9a-f]{64}$/.test(both)) return '';
  const difference = (BigInt(`0x${both}`) - BigInt(`0x${one}`) + MODULUS) % MODULUS;
  return difference.toString(16).padStart(64, '0');
}

/** Changes of two sets without a common resource, as one. */
export function mergedChange(a: ResourceChange, b: ResourceChange): ResourceChange {
  if (b.upserts.length + b.removed.length === 0) return a;
  return { upserts: [...a.upserts, ...b.upserts], removed: [...a.removed, ...b.removed] };
}

/** One change and one that came after it, as one. */
export function laterChange(earlier: ResourceChange, later: ResourceChange): ResourceChange {
  const upserts = new Map(earlier.upserts.map((resource) => [resourceId(resource), resource]));
  const removed = new Map(earlier.removed.map((key) => [resourceId(key), key]));
  for (const resource of later.upserts) {
    upserts.set(resourceId(resource), resource);
    removed.delete(resourceId(resource));
  }
  for (const key of later.removed) {
    removed.set(resourceId(key), key);
    upserts.delete(resourceId(key));
  }
  return { upserts: [...upserts.values()], removed: [...removed.values()] };
}

/**
 * What brings a holder of one set, as it was at a revision, to another set (or to the same one as it is now). Undefined when the set does not remember
 * what has changed since.
 */
export function changeBetween(from: ResourceSet, revision: number, to: ResourceSet): ResourceChange | undefined {
  const since = from.changesSince(revision);
  if (from === to || since === undefined) return since;
  // What changed in the old set since is uncertain: the new set's resource, or its absence, is sent in any case.
  const uncertain = new Map<string, ResourceKey>([...since.upserts, ...since.removed].map((key) => [resourceId(key), key]));
  const upserts: XdsResource[] = [];
  const removed: ResourceKey[] = [];
  for (const resource of to) {
    if (from.get(resource)?.version !== resource.version || uncertain.has(resourceId(resource))) upserts.push(resource);
  }
  for (const resource of from) if (to.get(resource) === undefined) removed.push({ typeUrl: resource.typeUrl, name: resource.name });
  for (const key of since.removed) if (to.get(key) === undefined) removed.push(key);
  return { upserts, removed };
}
