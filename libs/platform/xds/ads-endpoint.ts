import type { IncomingHttpHeaders } from 'node:http2';

import { type GrpcMethod, streaming } from '#platform/grpc/grpc-server.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';

import { AdsCall, type AdsHost } from './ads-call.js';
import { endWith } from './end-with.js';
import type { AdsCaller, DeltaCall, EnvoySession, SequencerTiming, SotwCall } from './envoy-session.js';
import { EnvoyStream } from './envoy-stream.js';
import { AggregatedDiscoveryServiceService, DeltaDiscoveryRequest, DiscoveryRequest } from './generated/discovery.js';

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

/** What answers a stream, by its protocol. */
export interface AdsMethods {
  delta(call: DeltaCall, headers: IncomingHttpHeaders): void;
  sotw(call: SotwCall, headers: IncomingHttpHeaders): void;
}

/** The methods of the discovery service, for a GrpcServer. */
export function adsService(methods: AdsMethods): Readonly<Record<string, GrpcMethod>> {
  const { deltaAggregatedResources: delta, streamAggregatedResources: sotw } = AggregatedDiscoveryServiceService;
  return {
    [delta.path]: streaming(DeltaDiscoveryRequest.decode, (call, headers) => methods.delta(call, headers)),
    [sotw.path]: streaming(DiscoveryRequest.decode, (call, headers) => methods.sotw(call, headers)),
  };
}

/** What Envoys may send: one that comes back says what it holds, a hundred bytes for each resource. */
export const ADS_MESSAGE_BYTES = 16 * 1024 * 1024;

const defaults: SequencerTiming = { warmDeadlineMs: 3_000, removalGraceMs: 5_000, warmingIntervalMs: 250, listenerIntervalMs: 5_000 };
/** How long updates run before other work gets its turn. */
const SLICE_MS = 8;

/**
 * ADS for Envoys, both protocols: `adsService(endpoint)` for a GrpcServer; or call `delta` and `sotw` from methods that look first who is there.
 */
export class AdsEndpoint implements AdsMethods {
  readonly #options: AdsEndpointOptions;
  readonly #streams = new Set<EnvoyStream>();
  readonly #toUpdate = new Set<EnvoyStream>();
  readonly #host: AdsHost;
  #updating = false;
  #closed = false;

  constructor(options: AdsEndpointOptions) {
    this.#options = options;
    this.#host = {
      firstRequestMs: options.firstRequestMs ?? 10_000,
      open: (caller) => this.#open(caller),
      ended: (...end) => this.#ended(...end),
    };
  }

  get streams(): ReadonlySet<EnvoyStream> {
    return this.#streams;
  }

  delta(call: DeltaCall, headers: IncomingHttpHeaders): void {
    this.#serve(new AdsCall(call, headers, 'delta', this.#host));
  }

  sotw(call: SotwCall, headers: IncomingHttpHeaders): void {
    this.#serve(new AdsCall(call, headers, 'sotw', this.#host));
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

  #serve(call: AdsCall): void {
    call.call.listen(call);
    if (this.#closed) call.end(new DomainError('unavailable', 'ads_closed', 'This control plane is stopping.'));
  }

  #updateSlice(): void {
    const end = performance.now() + SLICE_MS;
    for (const stream of this.#toUpdate) {
      this.#toUpdate.delete(stream);
      try {
        stream.update();
      } catch (error) {
        // One stream's fault stays its own: the others still wait for theirs.
        this.#ended(stream.call, stream, error);
      }
      if (performance.now() >= end) break;
    }
    if (this.#toUpdate.size > 0) setImmediate(() => this.#updateSlice());
    else this.#updating = false;
  }

  async #open(caller: AdsCaller): Promise<EnvoyStream> {
    const session = await this.#options.open(caller);
    const stream = new EnvoyStream(caller, session, { ...defaults, ...this.#options.timing });
    this.#streams.add(stream);
    this.#options.opened?.(stream);
    if (this.#closed) stream.close('the control plane stops');
    return stream;
  }

  #ended(call: DeltaCall | SotwCall, stream: EnvoyStream | undefined, error: unknown): void {
    const isGone = call.isCancelled;
    if (error !== undefined && !isGone) {
      if (!call.isOver && !(error instanceof DomainError))
        this.#options.log.error({ err: error, node: stream?.node.id }, 'an ADS stream failed');
      endWith(call, error);
    }
    if (error === undefined) call.end();
    if (stream === undefined) return;
    stream.close(reasonOf(error, isGone));
    this.#streams.delete(stream);
    this.#toUpdate.delete(stream);
  }
}

function reasonOf(error: unknown, isGone: boolean): string {
  if (error === undefined) return 'Envoy ended the stream';
  if (isGone) return 'the connection was lost';
  return error instanceof Error ? error.message : String(error);
}
