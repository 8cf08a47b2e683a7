import { sha256Hex } from '#platform/kernel/digest.js';
import { type ResourceChange, type ResourceKey, resourceId, type XdsResource } from './xds-resource.js';

/** How many changed resources are remembered, for readers that come back. One that is further behind compares the whole set. */
const JOURNAL_KEYS = 20_000;
/** Readers stand at few revisions at a time (most at the newest but one): what they share is merged once. */
const MERGED_KEPT = 16;
const MODULUS = 1n << 256n;
const NONE: ReadonlyMap<string, XdsResource> = new Map();

/**
 * What an Envoy should have: its resources by type and name. One set is shared by all streams that want it; each of them remembers the revision that it
 * has seen and asks for what changed since, so that a change costs a stream what the change is, not what the set is.
 */
export class ResourceSet {
  readonly #types = new Map<string, Map<string, XdsResource>>();
  /** How many resources of the set need a cluster. */
  readonly #users = new Map<string, number>();
  readonly #journal: { readonly revision: number; readonly keys: readonly ResourceKey[] }[] = [];
  readonly #merged = new Map<number, ResourceChange>();
  #journalKeys = 0;
  #size = 0;
  #revision = 0;
  #sum = 0n;

  /** A set with these resources, at revision 1 (0 when there are none). */
  static of(resources: Iterable<XdsResource>): ResourceSet {
    const set = new ResourceSet();
    set.apply({ upserts: [...resources], removed: [] });
    return set;
  }

  /** Counts the changes that changed something. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Names the content: the sum, modulo 2^256, of the SHA-256 of `type NUL name NUL version` of each resource; 64 hexadecimal digits. Equal contents, equal
   * digests, whatever way led there. An empty set has one too (all zeros), and that of sets without a common resource is the sum of theirs.
   */
  get digest(): string {
    return hex(this.#sum);
  }

  get(key: ResourceKey): XdsResource | undefined {
    return this.#types.get(key.typeUrl)?.get(key.name);
  }

  ofType(typeUrl: string): ReadonlyMap<string, XdsResource> {
    return this.#types.get(typeUrl) ?? NONE;
  }

  /** All resources, in no particular order. */
  *[Symbol.iterator](): Iterator<XdsResource> {
    for (const resources of this.#types.values()) yield* resources.values();
  }

  /** True when a resource of the set needs this cluster. */
  needs(cluster: string): boolean {
    return this.#users.has(cluster);
  }

  /**
   * Changes the set, all of it or nothing, and answers the revision that it is at now. What is there already at the same version, and the removal of what
   * is not there, are no change; a change of nothing leaves the revision as it is.
   * @throws Error when one resource is named twice.
   */
  apply(change: ResourceChange): number {
    refuseTwins(change);
    const keys: ResourceKey[] = [];
    for (const resource of change.upserts) {
      const before = this.get(resource);
      if (before?.version === resource.version) continue;
      this.#put(resource, before);
      keys.push(resource);
    }
    for (const key of change.removed) {
      const before = this.get(key);
      if (before === undefined) continue;
      this.#remove(before);
      keys.push(key);
    }
    if (keys.length > 0) this.#record(keys.map(({ typeUrl, name }) => ({ typeUrl, name })));
    return this.#revision;
  }

  /**
   * What changed after that revision, merged: each resource once, as it is now. Undefined when the revision is too old to tell, or not one of this set: the
   * reader compares the whole set then.
   */
  changesSince(revision: number): ResourceChange | undefined {
    if (revision === this.#revision) return { upserts: [], removed: [] };
    const oldest = this.#journal[0]?.revision ?? this.#revision + 1;
    if (revision > this.#revision || revision < oldest - 1) return undefined;
    let merged = this.#merged.get(revision);
    if (merged === undefined) {
      merged = this.#merge(revision);
      if (this.#merged.size < MERGED_KEPT) this.#merged.set(revision, merged);
    }
    return merged;
  }

  #merge(revision: number): ResourceChange {
    const keys = new Map<string, ResourceKey>();
    // The journal has one entry per revision, without gaps: where to begin is known.
    const from = this.#journal.length - (this.#revision - revision);
    for (const entry of this.#journal.slice(from)) for (const key of entry.keys) keys.set(resourceId(key), key);
    const upserts: XdsResource[] = [];
    const removed: ResourceKey[] = [];
    for (const key of keys.values()) {
      const resource = this.get(key);
      if (resource === undefined) removed.push(key);
      else upserts.push(resource);
    }
    return { upserts, removed };
  }

  #record(keys: readonly ResourceKey[]): void {
    this.#revision += 1;
    this.#merged.clear();
    this.#journal.push({ revision: this.#revision, keys });
    this.#journalKeys += keys.length;
    let forgotten = 0;
    while (this.#journalKeys > JOURNAL_KEYS) {
      this.#journalKeys -= this.#journal[forgotten]?.keys.length ?? 0;
      forgotten += 1;
    }
    if (forgotten > 0) this.#journal.splice(0, forgotten);
  }

  #put(resource: XdsResource, before: XdsResource | undefined): void {
    let resources = this.#types.get(resource.typeUrl);
    if (resources === undefined) {
      resources = new Map();
      this.#types.set(resource.typeUrl, resources);
    }
    resources.set(resource.name, resource);
    this.#sum = modulo(this.#sum + digestOf(resource) - (before === undefined ? 0n : digestOf(before)));
    if (before === undefined) this.#size += 1;
    else this.#forgetNeeds(before);
    for (const cluster of resource.needs) this.#users.set(cluster, (this.#users.get(cluster) ?? 0) + 1);
  }

  #remove(before: XdsResource): void {
    this.#types.get(before.typeUrl)?.delete(before.name);
    this.#size -= 1;
    this.#sum = modulo(this.#sum - digestOf(before));
    this.#forgetNeeds(before);
  }

  #forgetNeeds(before: XdsResource): void {
    for (const cluster of before.needs) {
      const users = (this.#users.get(cluster) ?? 1) - 1;
      if (users === 0) this.#users.delete(cluster);
      else this.#users.set(cluster, users);
    }
  }
}

/** The resource of this name in sets without a common one. */
export function resourceOf(sets: readonly ResourceSet[], typeUrl: string, name: string): XdsResource | undefined {
  for (const set of sets) {
    const resource = set.ofType(typeUrl).get(name);
    if (resource !== undefined) return resource;
  }
  return undefined;
}

/** The digest of several sets without a common resource, as if they were one. */
export function digestOfSets(sets: Iterable<ResourceSet>): string {
  let sum = 0n;
  for (const set of sets) sum = modulo(sum + BigInt(`0x${set.digest}`));
  return hex(sum);
}

function digestOf({ typeUrl, name, version }: XdsResource): bigint {
  return BigInt(`0x${sha256Hex(`${typeUrl}\0${name}\0${version}`)}`);
}

function modulo(sum: bigint): bigint {
  return ((sum % MODULUS) + MODULUS) % MODULUS;
}

function hex(sum: bigint): string {
  return sum.toString(16).padStart(64, '0');
}

function refuseTwins({ upserts, removed }: ResourceChange): void {
  if (upserts.length + removed.length < 2) return;
  const seen = new Set<string>();
  for (const key of [...upserts, ...removed]) {
    const id = resourceId(key);
    if (seen.has(id)) throw new Error(`one change names ${id} twice`);
    seen.add(id);
  }
}
