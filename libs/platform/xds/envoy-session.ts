import type { IncomingHttpHeaders } from 'node:http2';

import type { GrpcCall } from '#platform/grpc/grpc-call.js';

import type { DeltaDiscoveryRequest, DiscoveryRequest } from './generated/discovery.js';
import type { ResourceSet } from './resource-set.js';
import type { ResourceKey } from './xds-resource.js';

export type AdsProtocol = 'delta' | 'sotw';
export type DeltaCall = GrpcCall<DeltaDiscoveryRequest>;
export type SotwCall = GrpcCall<DiscoveryRequest>;

/** Who opened a stream, as it said in its first request. Two streams may name one node (a hot restart has both epochs): nothing is keyed by it here. */
export interface AdsCaller {
  readonly node: { readonly id: string; readonly cluster: string };
  readonly protocol: AdsProtocol;
  readonly headers: IncomingHttpHeaders;
  /** Address and port, or `unix`. */
  readonly peer: string;
  /** The call itself: `peerIdentity(caller.call)` says whose certificate the connection has. */
  readonly call: DeltaCall | SotwCall;
}

/** A resource that Envoy must not have yet, and the clusters that it waits for. */
export interface HeldBack {
  readonly key: ResourceKey;
  readonly version: string;
  readonly waitsFor: readonly string[];
}

/** What Envoy refused when it was sent alone; what it had of that name before is in force. */
export interface Rejection {
  readonly key: ResourceKey;
  readonly version: string;
  /** Envoy's own words. */
  readonly message: string;
}

/**
 * What an Envoy should have, and who wants to know how far it is. The callbacks come synchronously from within the stream's work: they must not throw, and
 * may change the sets.
 */
export interface EnvoySession {
  /**
   * Sets without a common resource: for instance the gateway's, which all its targets share, and the node's own. They may change at any time; the stream
   * looks at them when `update` is called. Revisions below are the sum of the sets' revisions, so that with one set they are its own.
   */
  readonly sets: readonly ResourceSet[];
  /** Free text that Envoy shows as the version of its subscriptions, for instance the number of the gateway's version. Asked with each response. */
  systemVersion?(): string;
  /**
   * The names of the clusters that Envoy is still warming, from its admin endpoint. Asked only when an acknowledgement of clusters is overdue, never twice at
   * a time. Without it (or when it rejects) a cluster counts as warm when Envoy has acknowledged its endpoints.
   */
  warming?(): Promise<ReadonlySet<string>>;
  /** Envoy has acknowledged these. */
  onAcked?(keys: readonly ResourceKey[]): void;
  onRejected(rejection: Rejection): void;
  /** All that is held back now, whenever that changed; empty when nothing is any more. */
  onHeldBack(held: readonly HeldBack[]): void;
  /**
   * Everything that changed up to this revision is acknowledged, rejected or held back; removals of clusters that wait for their grace do not count. Called
   * each time it grows, and first when what Envoy holds was compared, also when nothing had to be sent.
   */
  onSettled(revision: number): void;
  /** Once, whoever ended it. */
  onClosed(reason: string): void;
}

/** How long the stream waits for what. Milliseconds. */
export interface SequencerTiming {
  /** For the acknowledgement of clusters, until it is decided one by one which of them are warm. 3,000 by default. */
  readonly warmDeadlineMs: number;
  /** Between the acknowledgement of the last route to a cluster that is gone and the cluster's removal. 5,000 by default. */
  readonly removalGraceMs: number;
  /** Between two questions which clusters are warming, while an acknowledgement of clusters is overdue. 250 by default. */
  readonly warmingIntervalMs: number;
  /** Between two changes of listeners, when there were many: see ListenerTurns. 5,000 by default. */
  readonly listenerIntervalMs: number;
}
