import type { AdsCaller, AdsProtocol, EnvoySession, HeldBack, Rejection, SequencerTiming } from './envoy-session.js';
import type { DeltaDiscoveryRequest, DiscoveryRequest } from './generated/discovery.js';

/** One Envoy's ADS stream, in either protocol, brought to what its sets hold step by step: make before break. */
export class EnvoyStream {
  constructor(
    readonly caller: AdsCaller,
    readonly session: EnvoySession,
    readonly timing: SequencerTiming,
  ) {}

  get node(): { readonly id: string; readonly cluster: string } {
    return this.caller.node;
  }

  get protocol(): AdsProtocol {
    return this.caller.protocol;
  }

  /** Why the stream ended; undefined while it lives. */
  get closedBecause(): string | undefined {
    return undefined;
  }

  /** See EnvoySession.onSettled; -1 before anything was compared. */
  get settledRevision(): number {
    return -1;
  }

  /** By resource id: what Envoy refused and still should have. */
  get rejected(): ReadonlyMap<string, Rejection> {
    return new Map();
  }

  /** By resource id. */
  get heldBack(): ReadonlyMap<string, HeldBack> {
    return new Map();
  }

  /** What Envoy has acknowledged (or said that it holds, when it came back) of a type: name to version. */
  held(_typeUrl: string): ReadonlyMap<string, string> {
    return new Map();
  }

  /** The sets may have changed: what can go at once is written before this returns. */
  update(): void {}

  /** Takes one request of the stream. */
  receive(_request: DeltaDiscoveryRequest | DiscoveryRequest): void {}

  close(_reason: string): void {}
}
