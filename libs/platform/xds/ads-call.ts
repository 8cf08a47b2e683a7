import type { IncomingHttpHeaders } from 'node:http2';

import type { CallListener } from '#platform/grpc/grpc-call.js';
import { Status } from '#platform/grpc/status.js';

import type { AdsCaller, AdsProtocol, DeltaCall, SotwCall } from './envoy-session.js';
import type { EnvoyStream } from './envoy-stream.js';
import type { DeltaDiscoveryRequest, DiscoveryRequest } from './generated/discovery.js';

type AnyRequest = DeltaDiscoveryRequest | DiscoveryRequest;

/** Who answers calls. */
export interface AdsHost {
  /** How long a caller may take for its first request. Milliseconds. */
  readonly firstRequestMs: number;
  open(caller: AdsCaller): Promise<EnvoyStream>;
  /** The call is over, with an error when that is why. The stream, if there was one, is closed by the host. */
  ended(call: DeltaCall | SotwCall, stream: EnvoyStream | undefined, error: unknown): void;
}

/** One call of ADS from its first request to its end. Nothing more is read from it while it is asked what the caller should have. */
export class AdsCall implements CallListener<AnyRequest> {
  readonly call: DeltaCall | SotwCall;
  readonly #protocol: AdsProtocol;
  readonly #host: AdsHost;
  #headers: IncomingHttpHeaders | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stream: EnvoyStream | undefined;
  #isOver = false;

  constructor(call: DeltaCall | SotwCall, headers: IncomingHttpHeaders, protocol: AdsProtocol, host: AdsHost) {
    this.call = call;
    this.#headers = headers;
    this.#protocol = protocol;
    this.#host = host;
    this.#timer = setTimeout(() => call.end(Status.DEADLINE_EXCEEDED, 'no request'), host.firstRequestMs);
  }

  message(request: AnyRequest): void {
    if (this.#isOver) return;
    if (this.#stream === undefined) {
      this.#first(request);
      return;
    }
    try {
      this.#stream.receive(request);
    } catch (error) {
      this.end(error);
    }
  }

  halfClosed(): void {
    this.end(undefined);
  }

  drained(): void {
    this.#stream?.drained();
  }

  closed(): void {
    this.end(new Error('the connection was lost'));
  }

  /** Ends the call; nothing that comes afterwards counts. */
  end(error: unknown): void {
    this.#forgetTimer();
    if (this.#isOver) return;
    this.#isOver = true;
    this.#host.ended(this.call, this.#stream, error);
  }

  #first(request: AnyRequest): void {
    this.#forgetTimer();
    this.call.pause();
    const { node } = request;
    const caller: AdsCaller = {
      node: { id: node?.id ?? '', cluster: node?.cluster ?? '' },
      protocol: this.#protocol,
      headers: this.#headers ?? {},
      peer: this.call.peer,
      call: this.call,
    };
    this.#headers = undefined; // a stream lives for days
    this.#host.open(caller).then(
      (stream) => {
        this.#stream = stream;
        if (this.#isOver) this.#host.ended(this.call, stream, new Error('the connection was lost'));
        else this.message(request);
        if (!this.#isOver) this.call.resume();
      },
      (error: unknown) => this.end(error),
    );
  }

  #forgetTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
