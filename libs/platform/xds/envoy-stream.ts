import { encodeDelta, encodeSotw } from './envoy-frames.js';
import type { AdsCaller, AdsProtocol, EnvoySession, HeldBack, Rejection, SequencerTiming } from './envoy-session.js';
import type { DeltaDiscoveryRequest, DiscoveryRequest } from './generated/discovery.js';
import { type EnvoyType, ORDER } from './make-before-break.js';
import { normaliseDelta, SotwNames } from './requests.js';
import { Sequencer } from './sequencer.js';
import { type ResourceKey, resourceId } from './xds-resource.js';

/**
 * One Envoy's ADS stream, in either protocol, brought to what its sets hold step by step: make before break. The steps are Sequencer's; here are the wire,
 * the clock and the callbacks. Nothing is queued: when Envoy does not read, nothing more is written, and when it reads again it gets the newest.
 */
export class EnvoyStream {
  readonly #sequencer: Sequencer;
  readonly #names = new SotwNames();
  #timer: NodeJS.Timeout | undefined;
  #closed: string | undefined;

  readonly node: AdsCaller['node'];
  readonly protocol: AdsProtocol;
  readonly call: AdsCaller['call'];

  constructor(
    { node, protocol, call }: AdsCaller,
    readonly session: EnvoySession,
    timing: SequencerTiming,
  ) {
    const { sets, warming } = session;
    this.node = node;
    this.protocol = protocol;
    this.call = call;
    this.#sequencer = new Sequencer({ sets, timing, protocol, asksWarming: warming !== undefined });
  }

  /** Why the stream ended; undefined while it lives. */
  get closedBecause(): string | undefined {
    return this.#closed;
  }

  /** See EnvoySession.onSettled; -1 before anything was compared. */
  get settledRevision(): number {
    return this.#sequencer.settledRevision;
  }

  /** By resource id: what Envoy refused and still should have. */
  get rejected(): ReadonlyMap<string, Rejection> {
    const rejected = new Map<string, Rejection>();
    for (const typeUrl of ORDER) {
      for (const [name, { version, message }] of this.#sequencer.types[typeUrl].rejections) {
        rejected.set(resourceId({ typeUrl, name }), { key: { typeUrl, name }, version, message });
      }
    }
    return rejected;
  }

  /** By resource id. */
  get heldBack(): ReadonlyMap<string, HeldBack> {
    return this.#sequencer.heldBack;
  }

  /** What Envoy has acknowledged (or said that it holds, when it came back) of a type: name to version. */
  held(typeUrl: string): ReadonlyMap<string, string> {
    const progress = ORDER.find((type) => type === typeUrl);
    const held = progress === undefined ? [] : [...this.#sequencer.types[progress].held];
    return new Map(held.map(([name, { version }]) => [name, version]));
  }

  /** True when Envoy has acknowledged this version, or said that it holds it. */
  has({ typeUrl, name }: ResourceKey, version: string): boolean {
    return this.#sequencer.types[typeUrl as EnvoyType]?.held.get(name)?.version === version;
  }

  /** True when Envoy has refused this resource in the version in which it should have it. */
  refuses({ typeUrl, name }: ResourceKey): boolean {
    return this.#sequencer.types[typeUrl as EnvoyType]?.rejections.has(name) === true;
  }

  /** The sets may have changed: what can go at once is written before this returns. */
  update(): void {
    if (this.#closed !== undefined) return;
    this.#sequencer.setChanged(performance.now());
    this.#pump();
  }

  /** Takes one request of the stream. */
  receive(request: DeltaDiscoveryRequest | DiscoveryRequest): void {
    if (this.#closed !== undefined) return;
    const normalised = 'resourceNames' in request ? this.#names.normalise(request) : normaliseDelta(request);
    this.#sequencer.receive(normalised, performance.now());
    this.#pump();
  }

  /** Envoy has read what was written: the newest can go now. */
  drained(): void {
    this.#pump();
  }

  /** Ends the stream; Envoy keeps what it has, and dials again. */
  close(reason: string): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    clearTimeout(this.#timer);
    this.call.end();
    this.session.onClosed(reason);
  }

  #pump(): void {
    const { call } = this;
    // All questions below are asked of one moment: a deadline between two of them would be missed by both.
    let now = performance.now();
    while (this.#closed === undefined && !call.isOver && !call.needsDrain) {
      now = performance.now();
      const out = this.#sequencer.next(now);
      if (out === undefined) break;
      const text = this.session.systemVersion?.() ?? '';
      call.write(...(this.protocol === 'delta' ? encodeDelta(out, text) : encodeSotw(out, text)));
    }
    this.#askWarming(now);
    this.#setTimer(now);
    this.#tell(now);
  }

  #tell(now: number): void {
    const { acked, rejected, heldBack, settled } = this.#sequencer.effects(now);
    const { session } = this;
    if (acked.length > 0) session.onAcked?.(acked);
    for (const rejection of rejected) session.onRejected(rejection);
    if (heldBack !== undefined) session.onHeldBack(heldBack);
    if (settled !== undefined) session.onSettled(settled);
  }

  #askWarming(now: number): void {
    const { warming } = this.session;
    if (warming === undefined || !this.#sequencer.warmingQuestion(now)) return;
    const answered = (names: ReadonlySet<string> | undefined) => {
      if (this.#closed !== undefined) return;
      this.#sequencer.warmingAnswer(names, performance.now());
      this.#pump();
    };
    warming.call(this.session).then(answered, () => answered(undefined));
  }

  #setTimer(now: number): void {
    clearTimeout(this.#timer);
    if (this.#closed !== undefined) return;
    const at = this.#sequencer.wakeAt(now);
    if (at === undefined) return;
    this.#timer = setTimeout(() => this.#pump(), Math.min(Math.ceil(at - now), 60_000));
    this.#timer.unref();
  }
}
