import { type ApiObject, isNewer, keyOf, versionOf } from './api-object.js';
import type { WatchEvent } from './watch-events.js';

/** Deleted objects whose version is remembered, so that a late event does not bring them back. */
const MOST_REMEMBERED = 4_096;

/**
 * The objects of one kind as the API server last told of them. Events that come twice, or behind newer ones (two API servers, a watch that was begun
 * again), change nothing: an object goes only from one resource version to a newer one.
 */
export class ObjectStore<T extends ApiObject> {
  #objects = new Map<string, T>();
  readonly #deleted = new Map<string, string>();

  get objects(): ReadonlyMap<string, T> {
    return this.#objects;
  }

  /** Everything there is, as a list says: what it lacks is gone, also when its deletion was never heard of. @returns the keys that changed */
  replace(list: readonly T[]): Set<string> {
    const before = this.#objects;
    this.#objects = new Map(list.map((object) => [keyOf(object), object]));
    this.#deleted.clear(); // a list is complete: no event that is older than it can come on the watch that begins at it
    const changed = new Set<string>();
    for (const [key, object] of this.#objects) {
      const known = before.get(key);
      if (known === undefined || versionOf(known) !== versionOf(object)) changed.add(key);
    }
    for (const key of before.keys()) if (!this.#objects.has(key)) changed.add(key);
    return changed;
  }

  /** @returns the keys that changed */
  apply(events: readonly WatchEvent<T>[]): Set<string> {
    const changed = new Set<string>();
    for (const event of events) {
      const key = event.type === 'BOOKMARK' ? undefined : this.#take(event);
      if (key !== undefined) changed.add(key);
    }
    return changed;
  }

  #take({ type, object }: WatchEvent<T>): string | undefined {
    const key = keyOf(object);
    const version = versionOf(object);
    const known = this.#objects.get(key);
    const last = known === undefined ? this.#deleted.get(key) : versionOf(known);
    if (last !== undefined && !isNewer(version, last)) return undefined;
    if (type !== 'DELETED') {
      this.#objects.set(key, object);
      this.#deleted.delete(key);
      return key;
    }
    this.#objects.delete(key);
    this.#deleted.set(key, version);
    if (this.#deleted.size > MOST_REMEMBERED) this.#deleted.delete(this.#deleted.keys().next().value ?? '');
    return known === undefined ? undefined : key;
  }
}
