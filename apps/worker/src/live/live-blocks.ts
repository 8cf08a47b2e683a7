import { type ResourceChange, type ResourceKey, resourceId } from '#platform/xds/xds-resource.js';

/**
 * What of a target's resources is not in force although its release is: refused by Envoy, or held back for clusters that are not warm. While there is
 * any, the rest of a release may be proven and serve, but its version is not live: what it changed may be just what is missing.
 */
export class LiveBlocks {
  /** By resource: the place of the release that sent it again, once one has. */
  readonly #refused = new Map<string, number | undefined>();
  #held: ReadonlySet<string> = new Set();

  get any(): boolean {
    return this.#refused.size + this.#held.size > 0;
  }

  refuse(keys: Iterable<ResourceKey>): void {
    for (const key of keys) this.#refused.set(resourceId(key), undefined);
  }

  /** All that is held back now; empty when nothing is any more. */
  hold(keys: Iterable<ResourceKey>): void {
    this.#held = new Set([...keys].map(resourceId));
  }

  /** A release was sent that changes these. */
  sent(sequence: number, { upserts, removed }: ResourceChange): void {
    if (this.#refused.size === 0) return;
    for (const key of [...upserts, ...removed]) {
      const id = resourceId(key);
      if (this.#refused.has(id)) this.#refused.set(id, sequence);
    }
  }

  /** A release was proven: what it or one before it sent again, and Envoy did not refuse again, is in force. */
  proven(sequence: number): void {
    for (const [id, resent] of this.#refused) if (resent !== undefined && resent <= sequence) this.#refused.delete(id);
  }
}
