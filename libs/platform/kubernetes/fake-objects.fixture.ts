/** An object as the fake keeps it: whatever was sent, with the metadata that a server adds. */
export interface FakeObject {
  kind?: string;
  apiVersion?: string;
  metadata: {
    name: string;
    namespace: string;
    resourceVersion: string;
    uid: string;
    labels?: Record<string, string>;
    finalizers?: string[];
    deletionTimestamp?: string;
    [more: string]: unknown;
  };
  [more: string]: unknown;
}

/** One change of the history. `before` is what was there, for watches that select by label. */
export interface FakeChange {
  readonly version: number;
  /** `/api/v1/services`: the collection without its namespace. */
  readonly collection: string;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: FakeObject;
  readonly before: FakeObject | undefined;
}

/** A failure that an API server answers with. */
export class FakeFault extends Error {
  constructor(
    readonly code: number,
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

/** What the fake API server stores: objects, one counter of resource versions over all of them, and a history that can be compacted. */
export class FakeObjects {
  readonly #objects = new Map<string, Map<string, FakeObject>>();
  #history: FakeChange[] = [];
  #version = 1;
  #forgotten = 0;
  readonly #listeners = new Set<(change: FakeChange) => void>();

  get version(): number {
    return this.#version;
  }

  /** Changes up to and with this version can no longer be watched from. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** Forgets the history, as etcd does after five minutes. */
  compact(): void {
    this.#forgotten = this.#version;
    this.#history = [];
  }

  onChange(listener: (change: FakeChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changesSince(version: number): readonly FakeChange[] {
    return this.#history.filter((change) => change.version > version);
  }

  list(collection: string, namespace: string | undefined): FakeObject[] {
    const all = [...(this.#objects.get(collection) ?? new Map<string, FakeObject>())].sort(([a], [b]) => (a < b ? -1 : 1));
    return all.map(([, object]) => object).filter(({ metadata }) => namespace === undefined || metadata.namespace === namespace);
  }

  get(collection: string, namespace: string, name: string): FakeObject {
    const object = this.#objects.get(collection)?.get(`${namespace}/${name}`);
    if (object === undefined) throw new FakeFault(404, 'NotFound', `"${name}" not found`);
    return object;
  }

  create(collection: string, namespace: string, sent: Partial<FakeObject>): FakeObject {
    const name = sent.metadata?.name ?? '';
    if (name === '') throw new FakeFault(422, 'Invalid', 'name is required');
    if (this.#objects.get(collection)?.has(`${namespace}/${name}`)) throw new FakeFault(409, 'AlreadyExists', `"${name}" already exists`);
    return this.#put('ADDED', collection, {
      ...sent,
      metadata: { ...sent.metadata, name, namespace, uid: `uid-${this.#version}` } as never,
    });
  }

  update(collection: string, namespace: string, name: string, sent: Partial<FakeObject>): FakeObject {
    const known = this.get(collection, namespace, name);
    const expected = sent.metadata?.resourceVersion;
    if (expected !== undefined && expected !== known.metadata.resourceVersion)
      throw new FakeFault(409, 'Conflict', 'the object has been modified');
    const object = { ...sent, metadata: { ...sent.metadata, name, namespace, uid: known.metadata.uid } as FakeObject['metadata'] };
    if (known.metadata.deletionTimestamp === undefined) return this.#put('MODIFIED', collection, object);
    object.metadata.deletionTimestamp = known.metadata.deletionTimestamp;
    const isLast = (object.metadata.finalizers ?? []).length === 0;
    return this.#put(isLast ? 'DELETED' : 'MODIFIED', collection, object);
  }

  patch(collection: string, namespace: string, name: string, patch: unknown): FakeObject {
    return this.update(collection, namespace, name, merged(this.get(collection, namespace, name), patch) as FakeObject);
  }

  delete(collection: string, namespace: string, name: string): FakeObject {
    const known = this.get(collection, namespace, name);
    if ((known.metadata.finalizers ?? []).length === 0) return this.#put('DELETED', collection, known);
    return this.#put('MODIFIED', collection, { ...known, metadata: { ...known.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } });
  }

  #put(type: FakeChange['type'], collection: string, sent: FakeObject): FakeObject {
    this.#version += 1;
    const object: FakeObject = { ...sent, metadata: { ...sent.metadata, resourceVersion: String(this.#version) } };
    const objects = this.#objects.get(collection) ?? new Map<string, FakeObject>();
    this.#objects.set(collection, objects);
    const key = `${object.metadata.namespace}/${object.metadata.name}`;
    const before = objects.get(key);
    if (type === 'DELETED') objects.delete(key);
    else objects.set(key, object);
    const change: FakeChange = { version: this.#version, collection, type, object, before };
    this.#history.push(change);
    for (const listener of this.#listeners) listener(change);
    return object;
  }
}

/** RFC 7396. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> = typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name], value);
  }
  return result;
}
