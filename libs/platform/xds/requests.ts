import type { DeltaDiscoveryRequest, DiscoveryRequest } from './generated/discovery.js';
import type { Subscription } from './type-progress.js';
import { CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE } from './xds-resource.js';

/** One request, whichever the protocol. */
export interface SequencerRequest extends Subscription {
  readonly typeUrl: string;
  /** '' when it answers nothing. */
  readonly nonce: string;
  /** Envoy's words when it refuses. */
  readonly error: string | undefined;
}

/** Of these, naming nothing in the first request means everything; of the others it means nothing. */
const WILDCARD_TYPES: ReadonlySet<string> = new Set([CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE]);

/** A delta request as the sequencer takes it. */
export function normaliseDelta(request: DeltaDiscoveryRequest): SequencerRequest {
  const { typeUrl, resourceNamesSubscribe: names, resourceNamesUnsubscribe: gone } = request;
  // Only the first request of a type may name nothing and answer nothing; that is the protocol's old way to say "everything".
  const everything =
    WILDCARD_TYPES.has(typeUrl) && (names.includes('*') || (names.length === 0 && gone.length === 0 && request.responseNonce === ''));
  return {
    typeUrl,
    nonce: request.responseNonce,
    error: request.errorDetail?.message,
    ...(everything ? { wildcard: true } : gone.includes('*') ? { wildcard: false } : {}),
    subscribe: names.filter((name) => name !== '*'),
    unsubscribe: gone.filter((name) => name !== '*'),
    initial: request.initialResourceVersions,
  };
}

/** The names of each type on one state-of-the-world stream: there, each request lists all of them, and the sequencer wants to know what changed. */
export class SotwNames {
  readonly #names = new Map<string, ReadonlySet<string>>();

  normalise(request: DiscoveryRequest): SequencerRequest {
    const { typeUrl, resourceNames } = request;
    const before = this.#names.get(typeUrl);
    const names = new Set(resourceNames.filter((name) => name !== '*'));
    const everything =
      WILDCARD_TYPES.has(typeUrl) &&
      (resourceNames.includes('*') || (resourceNames.length === 0 && (before === undefined || before.size === 0)));
    this.#names.set(typeUrl, names);
    return {
      typeUrl,
      nonce: request.responseNonce,
      error: request.errorDetail?.message,
      ...(everything ? { wildcard: true } : {}),
      subscribe: [...names].filter((name) => before?.has(name) !== true),
      unsubscribe: [...(before ?? [])].filter((name) => !names.has(name)),
      initial: {},
    };
  }
}
