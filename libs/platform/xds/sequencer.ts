import type { AdsProtocol, HeldBack, Rejection, SequencerTiming } from './envoy-session.js';
import { everything, type Flight, type Held, type Outgoing, type Pending, stampOf, waitingSince } from './flight.js';
import { LeanMap } from './lean-map.js';
import { type EnvoyType, MakeBeforeBreak, ORDER } from './make-before-break.js';
import type { SequencerRequest } from './requests.js';
import type { ResourceSet } from './resource-set.js';
import { type Effects, heldBackNow, isSame, NOTHING, settledNow, WAITING_TYPES } from './standing.js';
import { TypeProgress } from './type-progress.js';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  type ResourceKey,
  SCOPED_ROUTE_TYPE,
  SECRET_TYPE,
  type XdsResource,
} from './xds-resource.js';

const NONE: ReadonlySet<string> = new Set();
const BY_NAME: ReadonlySet<string> = new Set([SECRET_TYPE, ENDPOINT_TYPE, EXTENSION_TYPE]);
/**
 * About how much a response holds. A client that does not read costs no more than one of them per type, whatever the sets are; measured, thirty responses
 * instead of one cost a cold start a few milliseconds.
 */
const RESPONSE_BYTES = 1024 * 1024;
/** Acknowledgements of clusters that may be overdue at a time: as long as one cluster does not warm, every change of clusters adds one. */
const OVERDUE_KEPT = 1_000;

/**
 * Brings one Envoy to what the sets hold, step by step. Pure: it is told what came in, that the sets changed, and the time in milliseconds; it says what to
 * write (`next`, until it answers undefined), what happened (`effects`) and when to look again (`wakeAt`). What may go when is in MakeBeforeBreak.
 *
 * There are no batches: a change only marks names, and each name goes as soon as it may, in the version that is wanted then. So a slow Envoy skips what was
 * superseded, a change that waits holds up no other, and nothing is queued but names.
 */
export class Sequencer {
  readonly types: Readonly<Record<EnvoyType, TypeProgress>>;
  readonly #rules: MakeBeforeBreak;
  readonly #sets: readonly ResourceSet[];
  readonly #timing: SequencerTiming;
  readonly #sotw: boolean;
  readonly #cursors: number[];
  readonly #warming = { asked: false, answeredAt: Number.NEGATIVE_INFINITY, askedSequence: 0, urgent: false };
  #sequence = 0;
  #acked: ResourceKey[] = [];
  #rejected: Rejection[] = [];
  #heldBack: ReadonlyMap<string, HeldBack> = NOTHING;
  #settled = -1;

  constructor(options: {
    readonly sets: readonly ResourceSet[];
    readonly timing: SequencerTiming;
    readonly protocol: AdsProtocol;
    readonly asksWarming: boolean;
  }) {
    this.#sets = options.sets;
    this.#timing = options.timing;
    this.#sotw = options.protocol === 'sotw';
    this.#cursors = options.sets.map((set) => set.revision);
    // In the state-of-the-world protocol a response holds what Envoy has already, so its bytes must be kept.
    const hold = this.#sotw ? itself : stampOf;
    const progress = (typeUrl: EnvoyType) => new TypeProgress(typeUrl, BY_NAME.has(typeUrl), options.sets, hold);
    this.types = {
      [SECRET_TYPE]: progress(SECRET_TYPE),
      [CLUSTER_TYPE]: progress(CLUSTER_TYPE),
      [ENDPOINT_TYPE]: progress(ENDPOINT_TYPE),
      [LISTENER_TYPE]: progress(LISTENER_TYPE),
      [SCOPED_ROUTE_TYPE]: progress(SCOPED_ROUTE_TYPE),
      [EXTENSION_TYPE]: progress(EXTENSION_TYPE),
    };
    this.#rules = new MakeBeforeBreak(this.types, options.sets, options.timing, options.asksWarming);
  }

  get settledRevision(): number {
    return this.#settled;
  }

  get heldBack(): ReadonlyMap<string, HeldBack> {
    return this.#heldBack;
  }

  /** Takes a request. Types that are not delivered are ignored: there is nothing of them. */
  receive(request: SequencerRequest, now: number): void {
    const progress = this.#progress(request.typeUrl);
    if (progress === undefined) return;
    this.setChanged(now); // so that comparisons below are with what the cursors say
    const { again, compare } = progress.subscribe(request);
    if (request.nonce !== '') this.#answer(progress, request.nonce, request.error);
    for (const name of again) this.#mark(progress, name, this.#pending(now, true));
    if (!compare) return;
    for (const name of progress.everyName(this.#rules.wantedNames(progress.typeUrl))) {
      // Endpoints that Envoy brings from an earlier stream do not count for a cluster that it was sent on this one.
      const cluster = progress.typeUrl === ENDPOINT_TYPE && this.types[CLUSTER_TYPE].flightOf(name) !== undefined;
      this.#mark(progress, name, this.#pending(now, cluster));
    }
  }

  /** The sets may have changed: marks what did. */
  setChanged(now: number): void {
    if (this.#sets.every((set, i) => set.revision === this.#cursors[i])) return;
    const changes = this.#sets.map((set, i) => set.changesSince(this.#cursors[i] ?? 0));
    for (const [i, set] of this.#sets.entries()) this.#cursors[i] = set.revision;
    const pending = this.#pending(now);
    if (changes.some((change) => change === undefined)) {
      for (const progress of Object.values(this.types)) {
        for (const name of progress.everyName(this.#rules.wantedNames(progress.typeUrl))) this.#mark(progress, name, pending);
      }
      return;
    }
    for (const change of changes) {
      for (const { typeUrl, name } of [...(change?.upserts ?? []), ...(change?.removed ?? [])]) {
        const progress = this.#progress(typeUrl);
        if (progress !== undefined) this.#mark(progress, name, pending);
      }
    }
  }

  /** The next response to be written, or undefined when nothing can go now. */
  next(now: number): Outgoing | undefined {
    this.#giveUpWaiting(now);
    this.#rules.begin(now);
    for (const typeUrl of ORDER) {
      const progress = this.types[typeUrl];
      if (this.#rules.holds(progress)) continue;
      const selected = progress.select((name, pending) => this.#rules.may(progress, name, pending), this.#responseBytes(progress));
      if (selected !== undefined) return this.#send(progress, selected, now);
    }
    return undefined;
  }

  /** What happened since the last call. */
  effects(now: number): Effects {
    this.#rules.begin(now);
    const heldBack = heldBackNow(this.#rules, now);
    const changed = !isSame(heldBack, this.#heldBack);
    this.#heldBack = heldBack;
    const settled = settledNow(this.#rules, this.#revision, heldBack);
    const grew = settled > this.#settled;
    this.#settled = Math.max(settled, this.#settled);
    const news = { heldBack: changed ? [...heldBack.values()] : undefined, settled: grew ? settled : undefined };
    const effects: Effects = { acked: this.#acked, rejected: this.#rejected, ...news };
    this.#acked = [];
    this.#rejected = [];
    return effects;
  }

  /** When time alone may change what can go, or undefined. */
  wakeAt(now: number): number | undefined {
    const { warmDeadlineMs, warmingIntervalMs } = this.#timing;
    let soonest: number | undefined;
    const consider = (at: number | undefined) => {
      if (at !== undefined && at > now && (soonest === undefined || at < soonest)) soonest = at;
    };
    const clusters = this.types[CLUSTER_TYPE];
    if (clusters.flight !== undefined) consider(clusters.flight.at + warmDeadlineMs);
    if (this.#rules.awaitsClusters) {
      for (const [name, flight] of this.#rules.clustersNotWarm()) consider(waitingSince(name, flight) + warmDeadlineMs);
    }
    for (const typeUrl of WAITING_TYPES) {
      if (this.types[typeUrl].isQuiet) continue;
      for (const [, { at }] of this.types[typeUrl].unsent()) consider(at + warmDeadlineMs);
    }
    consider(this.#rules.nextRemovalAt);
    consider(this.#rules.nextListenerAt);
    if (this.#wantsWarming()) consider(this.#warming.answeredAt + warmingIntervalMs);
    return soonest;
  }

  /** True when somebody should ask now which clusters are warming; `warmingAnswer` must follow. */
  warmingQuestion(now: number): boolean {
    if (!this.#rules.asks || !this.#wantsWarming()) return false;
    if (!this.#warming.urgent && now - this.#warming.answeredAt < this.#timing.warmingIntervalMs) return false;
    this.#warming.asked = true;
    this.#warming.urgent = false;
    this.#warming.askedSequence = this.#sequence;
    return true;
  }

  /** The answer; undefined when there is none. */
  warmingAnswer(names: ReadonlySet<string> | undefined, now: number): void {
    this.#warming.asked = false;
    this.#warming.answeredAt = now;
    this.#rules.learnWarming(this.#warming.askedSequence, names);
  }

  #wantsWarming(): boolean {
    const { asks, awaitsClusters } = this.#rules;
    return asks && awaitsClusters && !this.#warming.asked && !this.#rules.clustersNotWarm().next().done;
  }

  #answer(progress: TypeProgress, nonce: string, error: string | undefined): void {
    const answer = progress.answer(nonce, error);
    const { typeUrl } = progress;
    if (answer.kind === 'refused') {
      this.#rejected.push({ key: { typeUrl, name: answer.name }, version: answer.version, message: answer.message });
    }
    if (answer.kind !== 'acked') return;
    for (const flight of answer.flights) {
      for (const name of flight.pending.keys()) this.#acked.push({ typeUrl, name });
      if (typeUrl === ENDPOINT_TYPE) this.#endpointsAcked(flight);
    }
  }

  #endpointsAcked(endpoints: Flight): void {
    const clusters = this.types[CLUSTER_TYPE];
    for (const flight of [clusters.flight, ...clusters.overdue]) {
      if (flight === undefined || flight.sequence > endpoints.sequence) continue;
      for (const name of endpoints.upserts.keys()) {
        // Endpoints that it does not ask for say nothing of a cluster: those of one that was removed, before it was sent another that it refuses.
        if (!flight.upserts.has(name) || !this.types[ENDPOINT_TYPE].covers(name)) continue;
        flight.warmed.set(name, true);
        this.#warming.urgent = true;
      }
    }
  }

  #mark(progress: TypeProgress, name: string, pending: Pending): void {
    if (progress.typeUrl === CLUSTER_TYPE && progress.wanted(name) !== undefined) this.#rules.forgetGrace(name);
    if (progress.mark(name, pending)) return;
    const rejection = progress.rejections.get(name);
    if (rejection !== undefined) this.#rejected.push({ key: { typeUrl: progress.typeUrl, name }, ...rejection });
  }

  #send(progress: TypeProgress, selected: ReadonlyMap<string, Pending>, now: number): Outgoing {
    this.#sequence += 1;
    const resources: XdsResource[] = [];
    const upserts = new Map<string, Held>();
    let removed: Set<string> | undefined;
    for (const name of selected.keys()) {
      const wanted = progress.wanted(name);
      if (wanted === undefined) {
        removed ??= new Set();
        removed.add(name);
        continue;
      }
      resources.push(wanted);
      upserts.set(wanted.name, progress.hold(wanted));
    }
    const nonce = String(this.#sequence);
    const whole = this.#sotw && !progress.byName;
    const doubtful = progress.doubts.size === 0 ? NONE : new Set([...upserts.keys()].filter((name) => progress.doubts.has(name)));
    const gone = removed ?? NONE;
    const flight: Flight = { nonce, sequence: this.#sequence, at: now, upserts, removed: gone, pending: selected, warmed: new LeanMap() };
    progress.send(flight);
    if (progress.typeUrl === LISTENER_TYPE) this.#rules.listenerTurns.took(upserts.size, now);
    if (progress.typeUrl === CLUSTER_TYPE)
      this.#clustersSent(whole ? [...upserts.keys(), ...progress.doubts.keys()] : upserts.keys(), gone, now);
    return {
      typeUrl: progress.typeUrl,
      nonce,
      resources: whole ? everything(progress.held, flight) : resources,
      removed: this.#sotw ? [] : [...gone],
      doubtful,
    };
  }

  /** A changed cluster warms anew, and Envoy does not ask for its endpoints again: they follow, the same bytes too. A whole state may change what is in doubt. */
  #clustersSent(upserts: Iterable<string>, removed: Iterable<string>, now: number): void {
    const endpoints = this.types[ENDPOINT_TYPE];
    for (const name of upserts) {
      if (endpoints.wanted(name) === undefined) endpoints.held.delete(name); // what it had is of no use to it
      this.#mark(endpoints, name, this.#pending(now, true));
    }
    for (const name of removed) this.#rules.forgetGrace(name);
  }

  #giveUpWaiting(now: number): void {
    const clusters = this.types[CLUSTER_TYPE];
    // In the state-of-the-world protocol a response repeats those before it, and only the newest is answered: there, the next waits for the answer.
    if (this.#sotw || clusters.flight === undefined || clusters.overdue.length >= OVERDUE_KEPT) return;
    // As long as one acknowledgement is withheld, so are those that follow: there is nothing to wait for.
    if (clusters.overdue.length > 0 || now - clusters.flight.at >= this.#timing.warmDeadlineMs) clusters.giveUpWaiting();
  }

  #responseBytes(progress: TypeProgress): number {
    if (this.#sotw && !progress.byName) return Number.POSITIVE_INFINITY;
    if (progress.typeUrl !== SCOPED_ROUTE_TYPE || progress.begun) return RESPONSE_BYTES;
    // The first scopes may come in parts only when the listener waits for a filter that comes after all of them.
    return this.#rules.isWanted(EXTENSION_TYPE) ? RESPONSE_BYTES : Number.POSITIVE_INFINITY;
  }

  get #revision(): number {
    return this.#cursors.reduce((sum, revision) => sum + revision, 0);
  }

  #pending(now: number, again = false): Pending {
    return { since: this.#revision, at: now, again };
  }

  #progress(typeUrl: string): TypeProgress | undefined {
    return this.types[typeUrl as EnvoyType];
  }
}

/** What is kept of a resource in the state-of-the-world protocol. */
function itself(resource: XdsResource): Held {
  return resource;
}
