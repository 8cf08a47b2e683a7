import { type ServiceDefinition, status } from '@grpc/grpc-js';

import type { Log } from '#platform/log/log.js';
import type { AdsCaller, DeltaCall, EnvoySession, SequencerTiming, SotwCall } from './envoy-session.js';
import type { EnvoyStream } from './envoy-stream.js';
import { AggregatedDiscoveryServiceService } from './generated/discovery.js';

export interface AdsEndpointOptions {
  readonly log: Log;
  /**
   * Says what a caller should have, or throws: a DomainError ends the stream with its message, anything else is logged and ends it too. Nothing is read from
   * the stream before it is answered.
   */
  open(caller: AdsCaller): Promise<EnvoySession>;
  /** A stream is there and works; `stream.session` is what `open` answered. Called before any callback of the session. */
  opened?(stream: EnvoyStream): void;
  readonly timing?: Partial<SequencerTiming>;
}

/** The discovery service with responses as the bytes that they are: encoded once, not once per stream. */
export const adsService = {
  deltaAggregatedResources: {
    ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
    responseSerialize: (bytes: Buffer) => bytes,
  },
  streamAggregatedResources: {
    ...AggregatedDiscoveryServiceService.streamAggregatedResources,
    responseSerialize: (bytes: Buffer) => bytes,
  },
} as unknown as ServiceDefinition;

/**
 * ADS for Envoys, both protocols. `server.addService(adsService, endpoint.methods())` in any grpc-js server; or call `delta` and `sotw` from methods that
 * look first who is there.
 */
export class AdsEndpoint {
  readonly #options: AdsEndpointOptions;
  readonly #streams = new Set<EnvoyStream>();

  constructor(options: AdsEndpointOptions) {
    this.#options = options;
  }

  get streams(): ReadonlySet<EnvoyStream> {
    return this.#streams;
  }

  methods(): { deltaAggregatedResources(call: DeltaCall): void; streamAggregatedResources(call: SotwCall): void } {
    return { deltaAggregatedResources: (call) => this.delta(call), streamAggregatedResources: (call) => this.sotw(call) };
  }

  delta(call: DeltaCall): void {
    call.emit('error', { code: status.UNIMPLEMENTED, details: this.#options.log.level });
  }

  sotw(call: SotwCall): void {
    call.emit('error', { code: status.UNIMPLEMENTED, details: this.#options.log.level });
  }

  /**
   * Updates all streams, a few at once, and gives way to other work in between: a thousand of them do not hold up the event loop. For one stream
   * `EnvoyStream.update` is the quicker way.
   */
  update(): void {}

  /** Ends all streams; new ones are refused. */
  close(_reason: string): void {}
}
