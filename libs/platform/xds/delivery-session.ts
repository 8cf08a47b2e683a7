import type { GrpcCall } from '#platform/grpc/grpc-call.js';

import { DeltaSubscription } from './delta-subscription.js';
import { type AgentMessage, type Hello, type Validated, WorkerMessage } from './generated/delivery.js';
import type { DeltaDiscoveryRequest } from './generated/discovery.js';
import type { EncodedLiveRelease } from './live-release.js';
import { type LiveAnswer, LiveStream } from './live-stream.js';
import {
  BOOTSTRAP_TYPE,
  DELIVERY_TYPES,
  type DeliveryType,
  ENDPOINTS_TYPE,
  type EncodedResource,
  encodeDeltaResponse,
  LIVE_TYPE,
  MANIFEST_TYPE,
} from './resource.js';

export type ReportsCall = GrpcCall<AgentMessage>;
export type DiscoveryCall = GrpcCall<DeltaDiscoveryRequest>;

/** Everything that one release consists of, encoded. */
export interface EncodedRelease {
  readonly bootstrap: EncodedResource;
  readonly endpoints: readonly EncodedResource[];
  readonly manifest: EncodedResource;
}

/** How the push of a release went, as far as the agent's acknowledgement: what became of it afterwards comes as reports. */
export type PushOutcome =
  | { readonly kind: 'acknowledged' }
  | { readonly kind: 'refused'; readonly type: DeliveryType; readonly message: string }
  /** A newer push took its place before it was acknowledged; the agent may have it all the same. */
  | { readonly kind: 'superseded' }
  /** The stream ended first: whether the agent has it is unknown. */
  | { readonly kind: 'unknown'; readonly reason: string };

/** One connected agent: its two streams, what it holds, and what waits for it. Nothing here is shared with other sessions. */
export class DeliverySession {
  readonly #reports: ReportsCall;
  readonly #ackTimeoutMs: number;
  readonly #onClosed: (session: DeliverySession, reason: string) => void;
  readonly #subscriptions = new Map<string, DeltaSubscription>();
  readonly #validations = new Map<string, (result: Validated | undefined) => void>();
  #discovery: DiscoveryCall | undefined;
  #live = new LiveStream();
  #liveTimer: NodeJS.Timeout | undefined;
  #push: { release: EncodedRelease; settle: (outcome: PushOutcome) => void; timer: NodeJS.Timeout } | undefined;
  #validationCount = 0;
  #closed: string | undefined;

  constructor(
    readonly id: string,
    readonly hello: Hello,
    options: {
      readonly reports: ReportsCall;
      /** How long an agent may take to acknowledge a push before its connection counts as dead. */
      readonly ackTimeoutMs: number;
      readonly onClosed: (session: DeliverySession, reason: string) => void;
    },
  ) {
    this.#reports = options.reports;
    this.#ackTimeoutMs = options.ackTimeoutMs;
    this.#onClosed = options.onClosed;
    for (const type of DELIVERY_TYPES) this.#subscriptions.set(type, new DeltaSubscription());
  }

  get target(): string {
    return this.hello.target;
  }

  /** Why the session ended; undefined while it lives. */
  get closedBecause(): string | undefined {
    return this.#closed;
  }

  /** True when the agent has opened its discovery stream and can be pushed to. */
  get subscribed(): boolean {
    return this.#discovery !== undefined;
  }

  /** Sends one release; the one before, if it is not acknowledged yet, is superseded. Never rejects. */
  push(release: EncodedRelease): Promise<PushOutcome> {
    if (this.#closed !== undefined) return Promise.resolve({ kind: 'unknown', reason: this.#closed });
    this.#settle({ kind: 'superseded' });
    const outcome = new Promise<PushOutcome>((resolve) => {
      const timer = setTimeout(() => this.close(`no acknowledgement within ${this.#ackTimeoutMs} ms`), this.#ackTimeoutMs);
      this.#push = { release, settle: resolve, timer };
    });
    this.#subscription(ENDPOINTS_TYPE).want(byName(release.endpoints));
    this.#subscription(BOOTSTRAP_TYPE).want(byName([release.bootstrap]));
    this.#pump();
    return outcome;
  }

  /** True when a live release can be sent now: the agent has asked for them, and has answered the one before. */
  get takesLive(): boolean {
    return this.#closed === undefined && this.#discovery !== undefined && this.#live.ready;
  }

  /** True when the agent has asked for live releases on its present stream. */
  get asksForLive(): boolean {
    return this.#discovery !== undefined && this.#live.subscribed;
  }

  /**
   * Sends one live release; its bytes are on their way when this returns. `answered` is called once: when the agent has it (through the fence and on
   * disk), or refuses it. It is not called when the session ends first; then nobody knows.
   * @throws Error when `takesLive` is false.
   */
  pushLive(release: EncodedLiveRelease, answered: (answer: LiveAnswer) => void): void {
    if (!this.takesLive) throw new Error(`${this.target} cannot take a live release now`);
    this.#discovery?.write(this.#live.send(release, answered));
    this.#liveTimer = setTimeout(() => this.close(`no acknowledgement within ${this.#ackTimeoutMs} ms`), this.#ackTimeoutMs);
  }

  /**
   * Asks the agent to run `envoy --mode validate` on these bytes.
   * @throws Error when there is no answer before the deadline or the session ends.
   */
  validate(json: Buffer, deadlineMs: number): Promise<Validated> {
    if (this.#closed !== undefined) return Promise.reject(new Error(`the agent is gone: ${this.#closed}`));
    this.#validationCount += 1;
    const requestId = `${this.id}-${this.#validationCount}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#validations.get(requestId)?.(undefined), deadlineMs);
      this.#validations.set(requestId, (result) => {
        clearTimeout(timer);
        this.#validations.delete(requestId);
        if (result !== undefined) resolve(result);
        else reject(new Error(this.#closed === undefined ? `no validation within ${deadlineMs} ms` : `the agent is gone: ${this.#closed}`));
      });
      this.#send({ message: { $case: 'validate', validate: { requestId, json } } });
    });
  }

  /** Acknowledges a report: the agent may forget it. */
  acknowledge(reportId: number): void {
    this.#send({ message: { $case: 'reportAck', reportAck: { id: reportId } } });
  }

  takeValidated(result: Validated): void {
    this.#validations.get(result.requestId)?.(result);
  }

  /** Attaches the agent's discovery stream; one that was open before is ended. */
  attach(call: DiscoveryCall): void {
    this.#discovery?.end();
    this.#discovery = call;
    this.#live = new LiveStream();
    clearTimeout(this.#liveTimer);
    for (const type of DELIVERY_TYPES) this.#subscriptions.set(type, new DeltaSubscription());
    const push = this.#push;
    if (push === undefined) return;
    this.#subscription(ENDPOINTS_TYPE).want(byName(push.release.endpoints));
    this.#subscription(BOOTSTRAP_TYPE).want(byName([push.release.bootstrap]));
  }

  detach(call: DiscoveryCall): void {
    if (this.#discovery === call) this.#discovery = undefined;
  }

  /** Takes one request of the discovery stream. Types that are not ours are ignored: there is nothing of them. */
  receive(request: DeltaDiscoveryRequest): void {
    if (request.typeUrl === LIVE_TYPE) {
      this.#live.receive(request, () => clearTimeout(this.#liveTimer));
      return;
    }
    const subscription = this.#subscriptions.get(request.typeUrl);
    if (subscription === undefined) return;
    const answer = subscription.receive(request);
    if (answer.kind === 'refused') {
      this.#settle({ kind: 'refused', type: request.typeUrl as DeliveryType, message: answer.message });
    } else if (answer.kind === 'acked' && request.typeUrl === MANIFEST_TYPE && subscription.settled) {
      this.#settle({ kind: 'acknowledged' });
    }
    this.#pump();
  }

  /** Ends both streams. What was pushed and not acknowledged is `unknown`. */
  close(reason: string): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    clearTimeout(this.#liveTimer);
    this.#settle({ kind: 'unknown', reason });
    for (const settle of [...this.#validations.values()]) settle(undefined);
    this.#discovery?.end();
    this.#reports.end();
    this.#onClosed(this, reason);
  }

  /** Sends what can be sent: files first, the manifest when all of its files are on their way. */
  #pump(): void {
    if (this.#discovery === undefined) return;
    this.#sendNext(ENDPOINTS_TYPE);
    this.#sendNext(BOOTSTRAP_TYPE);
    const push = this.#push;
    if (push === undefined) return;
    if (!this.#subscription(ENDPOINTS_TYPE).complete || !this.#subscription(BOOTSTRAP_TYPE).complete) return;
    this.#subscription(MANIFEST_TYPE).want(byName([push.release.manifest]));
    this.#sendNext(MANIFEST_TYPE);
  }

  #sendNext(type: DeliveryType): void {
    const next = this.#subscription(type).next();
    if (next !== undefined) this.#discovery?.write(encodeDeltaResponse({ typeUrl: type, ...next }));
  }

  #settle(outcome: PushOutcome): void {
    const push = this.#push;
    if (push === undefined) return;
    this.#push = undefined;
    clearTimeout(push.timer);
    push.settle(outcome);
  }

  #subscription(type: DeliveryType): DeltaSubscription {
    const subscription = this.#subscriptions.get(type);
    if (subscription === undefined) throw new Error(`no subscription for ${type}`);
    return subscription;
  }

  #send(message: WorkerMessage): void {
    if (this.#closed === undefined) this.#reports.write(WorkerMessage.encode(message).finish());
  }
}

function byName(resources: readonly EncodedResource[]): ReadonlyMap<string, EncodedResource> {
  return new Map(resources.map((resource) => [resource.name, resource]));
}
