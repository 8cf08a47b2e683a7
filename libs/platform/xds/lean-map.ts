/**
 * A map that costs nothing while it is empty. A stream has dozens that are empty nearly always, and a thousand streams have dozens of thousands: an empty Map
 * takes 200 bytes, and keeps the room of what was in it.
 */
export class LeanMap<K, V> implements ReadonlyMap<K, V> {
  #entries: Map<K, V> | undefined;

  get size(): number {
    return this.#entries?.size ?? 0;
  }

  get(key: K): V | undefined {
    return this.#entries?.get(key);
  }

  has(key: K): boolean {
    return this.#entries?.has(key) === true;
  }

  set(key: K, value: V): this {
    this.#entries ??= new Map();
    this.#entries.set(key, value);
    return this;
  }

  delete(key: K): boolean {
    const deleted = this.#entries?.delete(key) === true;
    if (this.#entries?.size === 0) this.#entries = undefined;
    return deleted;
  }

  forEach(work: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.entries()) work(value, key, this);
  }

  entries(): MapIterator<[K, V]> {
    return (this.#entries ?? (NONE as Map<K, V>)).entries();
  }

  keys(): MapIterator<K> {
    return (this.#entries ?? (NONE as Map<K, V>)).keys();
  }

  values(): MapIterator<V> {
    return (this.#entries ?? (NONE as Map<K, V>)).values();
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }
}

const NONE: Map<unknown, unknown> = new Map();
