import { type ChannelOptions, type ServiceDefinition, status } from '@grpc/grpc-js';

import { DomainError, type ErrorKind } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import type { AdsCaller, AdsProtocol, DeltaCall, EnvoySession, SequencerTiming, SotwCall } from './envoy-session.js';
import { EnvoyStream } from './envoy-stream.js';
import { AggregatedDiscoveryServiceService, type DeltaDiscoveryRequest, type DiscoveryRequest } from './generated/discovery.js';

export interface AdsEndpointOptions {
  readonly log: Log;
  /**
   * Says what a caller should have, or throws: a DomainError ends the stream with its message, anything else is logged and ends it too. Nothing more is read
   * from the stream before it is answered. A set that is still empty makes Envoy drop what it has: answer when it is known.
   */
  open(caller: AdsCaller): Promise<EnvoySession>;
  /** A stream is there and works; `stream.session` is what `open` answered. Called before any callback of the session. */
  opened?(stream: EnvoyStream): void;
  readonly timing?: Partial<SequencerTiming>;
  /** How long a caller may take for its first request. Milliseconds, 10,000 by default. */
  readonly firstRequestMs?: number;
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
 * For the server that the endpoint is registered in: a client that does not answer a ping is given up after twice this time, and with it all that waits for it.
 * An Envoy that comes back says what it holds, a hundred bytes for each resource.
 */
export function adsServerOptions(keepaliveMs = 10_000): ChannelOptions {
  return {
    'grpc.keepalive_time_ms': keepaliveMs,
    'grpc.keepalive_timeout_ms': keepaliveMs,
    'grpc.max_receive_message_length': 16 * 1024 * 1024,
    'grpc.max_send_message_length': -1,
  };
}

const defaults: SequencerTiming = { warmDeadlineMs: 3_000, removalGraceMs: 5_000, warmingIntervalMs: 250, listenerIntervalMs: 5_000 };
/** How long updates run before other work gets its turn. */
const SLICE_MS = 8;

/**
 * ADS for Envoys, both protocols. `server.addService(adsService, endpoint.methods())` in any grpc-js server; or call `delta` and `sotw` from methods that
 * look first who is there.
 */
export class AdsEndpoint {
  readonly #options: AdsEndpointOptions;
  readonly #streams = new Set<EnvoyStream>();
  readonly #toUpdate = new Set<EnvoyStream>();
  #updating = false;
  #closed = false;

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
    this.#serve(call, 'delta');
  }

  sotw(call: SotwCall): void {
    this.#serve(call, 'sotw');
  }

  /**
   * Updates streams, all or these, a few at once, and gives way to other work in between: a thousand of them do not hold up the event loop. The first few are
   * updated before this returns, so with few streams it is as quick as `EnvoyStream.update`.
   */
  update(streams: Iterable<EnvoyStream> = this.#streams): void {
    for (const stream of streams) {
      this.#toUpdate.delete(stream); // those that waited longest stay in front of those that were just updated
      this.#toUpdate.add(stream);
    }
    if (this.#updating) return;
    this.#updating = true;
    this.#updateSlice();
  }

  /** Ends all streams; new ones are refused. */
  close(reason: string): void {
    this.#closed = true;
    for (const stream of [...this.#streams]) stream.close(reason);
  }

  #updateSlice(): void {
    const end = performance.now() + SLICE_MS;
    for (const stream of this.#toUpdate) {
      this.#toUpdate.delete(stream);
      try {
        stream.update();
      } catch (error) {
        // One stream's fault stays its own: the others still wait for theirs.
        this.#ended(stream.caller.call, stream, error);
      }
      if (performance.now() >= end) break;
    }
    if (this.#toUpdate.size > 0) setImmediate(() => this.#updateSlice());
    else this.#updating = false;
  }

  /** By events and not by an async iterator, which costs each stream some 2 KB and each request several promises. */
  #serve(call: DeltaCall | SotwCall, protocol: AdsProtocol): void {
    let stream: EnvoyStream | undefined;
    let ended = false;
    const timer = setTimeout(() => fail(call, status.DEADLINE_EXCEEDED, 'no request'), this.#options.firstRequestMs ?? 10_000);
    const end = (error?: unknown) => {
      clearTimeout(timer);
      if (ended) return;
      ended = true;
      if (error !== undefined) this.#ended(call, stream, error);
      else if (stream === undefined && !call.writableEnded) call.end();
      stream?.close('Envoy ended the stream');
      if (stream !== undefined) this.#forget(stream);
    };
    const receive = (request: DeltaDiscoveryRequest | DiscoveryRequest) => {
      try {
        if (!ended) stream?.receive(request);
      } catch (error) {
        end(error);
      }
    };
    const first = (request: DeltaDiscoveryRequest | DiscoveryRequest) => {
      clearTimeout(timer);
      call.pause(); // nothing more is read before it is known what the caller should have
      this.#open(call, protocol, request).then((opened) => {
        stream = opened;
        if (ended) {
          stream.close('the connection was lost');
          this.#forget(stream);
        } else {
          receive(request);
          call.resume();
        }
      }, end);
    };
    call.on('cancelled', () => call.destroy());
    call.on('data', (request: DeltaDiscoveryRequest | DiscoveryRequest) => (stream === undefined ? first(request) : receive(request)));
    call.on('end', () => end());
    call.on('error', (error) => end(error instanceof Error ? error : undefined)); // what is none we have said ourselves
    call.on('close', () => end(new Error('the connection was lost')));
    if (this.#closed) end(new DomainError('unavailable', 'ads_closed', 'This control plane is stopping.'));
  }

  #forget(stream: EnvoyStream): void {
    this.#streams.delete(stream);
    this.#toUpdate.delete(stream);
  }

  async #open(call: DeltaCall | SotwCall, protocol: AdsProtocol, first: DeltaDiscoveryRequest | DiscoveryRequest): Promise<EnvoyStream> {
    const node = { id: first.node?.id ?? '', cluster: first.node?.cluster ?? '' };
    const caller: AdsCaller = { node, protocol, metadata: call.metadata, peer: call.getPeer(), call };
    const session = await this.#options.open(caller);
    const stream = new EnvoyStream(caller, session, { ...defaults, ...this.#options.timing });
    this.#streams.add(stream);
    this.#options.opened?.(stream);
    if (this.#closed) stream.close('the control plane stops');
    return stream;
  }

  #ended(call: DeltaCall | SotwCall, stream: EnvoyStream | undefined, error: unknown): void {
    const gone = call.cancelled || call.destroyed;
    const reason = error instanceof Error ? error.message : String(error);
    if (!(error instanceof DomainError) && !gone) this.#options.log.error({ err: error, node: stream?.node.id }, 'an ADS stream failed');
    if (!gone && error instanceof DomainError)
      fail(call, kindToStatus[error.kind] ?? status.FAILED_PRECONDITION, `${error.code}: ${reason}`);
    else if (!gone) fail(call, status.INTERNAL, 'internal error');
    stream?.close(gone ? 'the connection was lost' : reason);
  }
}

const kindToStatus: Partial<Record<ErrorKind, status>> = {
  malformed: status.INVALID_ARGUMENT,
  invalid: status.INVALID_ARGUMENT,
  unauthenticated: status.UNAUTHENTICATED,
  forbidden: status.PERMISSION_DENIED,
  not_found: status.NOT_FOUND,
  unavailable: status.UNAVAILABLE,
};

function fail(call: DeltaCall | SotwCall, code: status, details: string): void {
  call.emit('error', { code, details });
}
