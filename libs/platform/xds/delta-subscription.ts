import type { DeltaDiscoveryRequest } from './generated/discovery.js';
import type { EncodedResource } from './resource.js';

/** What is to be sent next on one type. */
export interface DeltaPush {
  readonly nonce: string;
  readonly resources: readonly EncodedResource[];
  readonly removed: readonly string[];
}

export type DeltaAnswer =
  | { readonly kind: 'subscribed' }
  | { readonly kind: 'acked' }
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'stale' };

/**
 * One resource type on one delta stream: what the other side asked for, holds, and was sent. Pure: it is told what should be
 * there (`want`) and what came in (`receive`), and says what to send (`next`).
 *
 * At most one push is un-acknowledged. While it is, `want` only replaces what comes next, so that a slow client costs one
 * push of memory and skips what was superseded in between. A refused (NACK) version is not sent again until another is wanted.
 */
export class DeltaSubscription {
  #subscribed = false;
  #wildcard = false;
  readonly #names = new Set<string>();
  /** By name: the version that the other side holds, or was sent last. */
  readonly #held = new Map<string, string>();
  readonly #refused = new Map<string, string>();
  #wanted: ReadonlyMap<string, EncodedResource> = new Map();
  #known = false;
  #inFlight: { nonce: string; versions: Map<string, string>; before: Map<string, string | undefined> } | undefined;
  #sent = 0;

  get subscribed(): boolean {
    return this.#subscribed;
  }

  get awaitingAnswer(): boolean {
    return this.#inFlight !== undefined;
  }

  /** The whole set of resources that the other side should have. Until it is called the first time nothing is sent or removed. */
  want(resources: ReadonlyMap<string, EncodedResource>): void {
    this.#wanted = resources;
    this.#known = true;
  }

  /** True when everything that is wanted was sent (it may not be acknowledged yet). */
  get complete(): boolean {
    return this.#subscribed && this.#difference() === undefined;
  }

  /** True when everything that is wanted was sent and acknowledged. */
  get settled(): boolean {
    return this.complete && this.#inFlight === undefined;
  }

  /** The next push, or undefined when there is nothing to send now. */
  next(): DeltaPush | undefined {
    if (!this.#subscribed || this.#inFlight !== undefined) return undefined;
    const difference = this.#difference();
    if (difference === undefined) return undefined;
    this.#sent += 1;
    const nonce = String(this.#sent);
    const versions = new Map(difference.resources.map((resource) => [resource.name, resource.version]));
    const before = new Map([...versions.keys(), ...difference.removed].map((name) => [name, this.#held.get(name)]));
    for (const [name, version] of versions) this.#held.set(name, version);
    for (const name of difference.removed) this.#held.delete(name);
    this.#inFlight = { nonce, versions, before };
    return { nonce, ...difference };
  }

  /** Takes a request of this type. A request that answers an older push than the one in flight is `stale` and changes nothing but the subscription. */
  receive(request: DeltaDiscoveryRequest): DeltaAnswer {
    const first = !this.#subscribed;
    this.#subscribe(request, first);
    if (request.responseNonce === '') return first ? { kind: 'subscribed' } : { kind: 'stale' };
    if (this.#inFlight === undefined || request.responseNonce !== this.#inFlight.nonce) return { kind: 'stale' };
    const { versions, before } = this.#inFlight;
    this.#inFlight = undefined;
    if (request.errorDetail === undefined) {
      for (const name of versions.keys()) this.#refused.delete(name);
      return { kind: 'acked' };
    }
    for (const [name, version] of versions) this.#refused.set(name, version);
    for (const [name, version] of before) {
      if (version === undefined) this.#held.delete(name);
      else this.#held.set(name, version);
    }
    return { kind: 'refused', message: request.errorDetail.message };
  }

  #subscribe(request: DeltaDiscoveryRequest, first: boolean): void {
    this.#subscribed = true;
    if (first) {
      for (const [name, version] of Object.entries(request.initialResourceVersions)) this.#held.set(name, version);
      if (request.resourceNamesSubscribe.length === 0) this.#wildcard = true; // the protocol's old way to say "everything"
    }
    for (const name of request.resourceNamesSubscribe) {
      if (name === '*') this.#wildcard = true;
      else {
        this.#names.add(name);
        if (!first) this.#held.delete(name); // asked for again: it wants to see it again
      }
    }
    for (const name of request.resourceNamesUnsubscribe) {
      if (name === '*') this.#wildcard = false;
      this.#names.delete(name);
    }
  }

  #difference(): { resources: EncodedResource[]; removed: string[] } | undefined {
    if (!this.#known) return undefined;
    const resources = [...this.#wanted.values()].filter(
      ({ name, version }) =>
        (this.#wildcard || this.#names.has(name)) && this.#held.get(name) !== version && this.#refused.get(name) !== version,
    );
    const removed = [...this.#held.keys()].filter((name) => !this.#wanted.has(name));
    return resources.length === 0 && removed.length === 0 ? undefined : { resources, removed };
  }
}
