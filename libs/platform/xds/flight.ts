import type { LeanMap } from './lean-map.js';
import type { XdsResource } from './xds-resource.js';

/** What Envoy has of a name. One object per resource and version, shared by all streams: it does not keep the bytes in memory. */
export interface Held {
  readonly version: string;
  /** Undefined when Envoy brought it from an earlier stream: nobody knows any more what it needs. */
  readonly needs: readonly string[] | undefined;
}

/** A name that Envoy must be sent. Whether as a resource or as a removal is decided when it goes. */
export interface Pending {
  /** The revision of the sets with which it began to differ. */
  readonly since: number;
  /** When. Milliseconds. */
  readonly at: number;
  /** To be sent although Envoy has this version: it asked again, or its cluster changed. */
  readonly again: boolean;
}

/** A response that Envoy has not answered yet. */
export interface Flight {
  readonly nonce: string;
  /** Counts all responses of the stream. */
  readonly sequence: number;
  readonly at: number;
  readonly upserts: ReadonlyMap<string, Held>;
  readonly removed: ReadonlySet<string>;
  readonly pending: ReadonlyMap<string, Pending>;
  /** Clusters of it whose endpoints Envoy has acknowledged since. */
  readonly warmed: LeanMap<string, true>;
}

/** What Envoy's answer to a response comes to. */
export type Answer =
  | { readonly kind: 'acked'; readonly flights: readonly Flight[] }
  | { readonly kind: 'refused'; readonly name: string; readonly version: string; readonly message: string }
  /** Which of several resources it was is found out by sending them in smaller parts. */
  | { readonly kind: 'suspected' }
  | { readonly kind: 'stale' };

/** One response to be written. */
export interface Outgoing {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly XdsResource[];
  /** Empty in the state-of-the-world protocol, which says it by leaving out. */
  readonly removed: readonly string[];
  /** Names that were in a response which Envoy refused: see `toldApart` in envoy-frames.ts. */
  readonly doubtful: ReadonlySet<string>;
}

const stamps = new WeakMap<XdsResource, Held>();
/** The one object that stands for this resource with all streams that hold it. */
export function stampOf(resource: XdsResource): Held {
  let stamp = stamps.get(resource);
  if (stamp === undefined) {
    stamp = { version: resource.version, needs: resource.needs };
    stamps.set(resource, stamp);
  }
  return stamp;
}

/** Since when a name of a response differs from what Envoy has. */
export function waitingSince(name: string, flight: Flight): number {
  return flight.pending.get(name)?.at ?? flight.at;
}

/** All that Envoy should have of a type after a response in the state-of-the-world protocol. There, what is held is kept as the resource itself. */
export function everything(held: ReadonlyMap<string, Held>, { upserts, removed }: Flight): XdsResource[] {
  const all = new Map<string, Held>(held);
  for (const [name, resource] of upserts) all.set(name, resource);
  for (const name of removed) all.delete(name);
  return [...all.values()] as XdsResource[];
}
