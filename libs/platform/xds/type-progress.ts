import type { Answer, Flight, Held, Pending } from './flight.js';
import { LeanMap } from './lean-map.js';
import { type ResourceSet, resourceOf } from './resource-set.js';
import { parts } from './suspects.js';
import type { XdsResource } from './xds-resource.js';

/** What a request says about names, whichever the protocol. */
export interface Subscription {
  readonly wildcard?: boolean;
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** What Envoy brings from an earlier stream: name to version. */
  readonly initial: Readonly<Record<string, string>>;
}

/** Refused versions are remembered as long as the stream lives, up to this many; names that carry a hash of their content come and go. */
const REFUSALS_KEPT = 1_000;

/**
 * One resource type on one stream: what Envoy asked for, has, was sent and refused. It decides nothing about order: `select` is told what may go.
 *
 * A name moves from `pending` into a flight and from there, acknowledged, into `held`. A flight of several that is refused makes suspects of them (what
 * Envoy took of it is unknown): they are sent in smaller parts until one is refused alone. That version is not sent again.
 */
export class TypeProgress {
  readonly held = new LeanMap<string, Held>();
  readonly pending = new LeanMap<string, Pending>();
  /** What is wanted and was refused alone: what Envoy had of that name before is in force. */
  readonly rejections = new LeanMap<string, { readonly version: string; readonly message: string }>();
  /** What Envoy may have instead of what is held: it was in a response of several that was refused, of which Envoy takes what it likes. */
  readonly doubts = new LeanMap<string, Held>();
  /** Responses whose answer is overdue; only clusters have any. The newest is last. */
  readonly overdue: Flight[] = [];
  flight: Flight | undefined;
  subscribed = false;
  /** True when something was sent on this stream, or Envoy brought something. */
  begun = false;
  /** True when Envoy brought something from an earlier stream. */
  brought = false;
  #wildcard = false;
  /** A subscription to everything must be answered, also with nothing: Envoy waits for it when it starts. */
  #owesAnswer = false;
  readonly #names = new LeanMap<string, true>();
  /** To be sent whatever Envoy has, as soon as there is something to send: it asked again, or what it had is of no use to the cluster that it warms now. */
  readonly #owed = new LeanMap<string, true>();
  readonly #suspects: Map<string, Pending>[] = [];
  readonly #refused = new LeanMap<string, string>();

  constructor(
    readonly typeUrl: string,
    /** Envoy names what it wants of this type, and must not be told that a name is gone: silence keeps what it has. */
    readonly byName: boolean,
    readonly sets: readonly ResourceSet[],
    readonly hold: (resource: XdsResource) => Held,
  ) {}

  /** What Envoy should have of this name. */
  wanted(name: string): XdsResource | undefined {
    return resourceOf(this.sets, this.typeUrl, name);
  }

  /** True when Envoy wants to hear of this name. */
  covers(name: string): boolean {
    return this.subscribed && (this.#wildcard || this.#names.has(name));
  }

  /** What Envoy asked for by name. */
  get names(): ReadonlyMap<string, true> {
    return this.#names;
  }

  /** True when nothing is to be sent. */
  get isQuiet(): boolean {
    return this.pending.size === 0 && this.#suspects.length === 0;
  }

  /**
   * Takes what a request says about names.
   * @returns the names that Envoy must be sent whether it had them or not, and whether everything must be compared.
   */
  subscribe(request: Subscription): { readonly again: readonly string[]; readonly compare: boolean } {
    const first = !this.subscribed;
    const everything = request.wildcard === true && !this.#wildcard;
    this.subscribed = true;
    if (everything) {
      this.#wildcard = true;
      this.#owesAnswer = Object.keys(request.initial).length === 0;
    }
    if (first) this.#bring(request.initial);
    for (const name of request.unsubscribe) this.#forget(name);
    const again: string[] = [];
    for (const name of request.subscribe) {
      this.#names.set(name, true);
      if (!first || !this.held.has(name)) again.push(name);
    }
    if (request.wildcard === false && this.#wildcard) {
      this.#wildcard = false;
      for (const name of [...this.held.keys(), ...this.pending.keys()]) if (!this.#names.has(name)) this.#forget(name);
    }
    return { again, compare: first || everything };
  }

  /** The name may differ from what Envoy has: looks, and keeps it to be sent. False when what is wanted was refused before. */
  mark(name: string, pending: Pending): boolean {
    if (!this.covers(name)) return true;
    if (pending.again) this.#owed.set(name, true);
    const wanted = this.wanted(name);
    const known = wanted === undefined ? undefined : this.#refused.get(`${wanted.version} ${name}`);
    this.rejections.delete(name);
    if (wanted !== undefined && known !== undefined) {
      this.pending.delete(name);
      this.#clear(name);
      this.rejections.set(name, { version: wanted.version, message: known });
      return false;
    }
    if (wanted === undefined) this.#clear(name);
    else if (this.suspected(name)) return true;
    const before = this.pending.get(name);
    const again = wanted !== undefined && this.#owed.has(name);
    if (!again && !this.#differs(name, wanted)) this.pending.delete(name);
    else if (before === undefined) this.pending.set(name, { ...pending, again });
    else if (before.again !== again) this.pending.set(name, { ...before, again });
    return true;
  }

  /** All names that could differ, for a comparison of everything. */
  *everyName(wanted: Iterable<string>): Iterable<string> {
    if (!this.#wildcard) {
      yield* this.#names.keys();
      return;
    }
    yield* wanted;
    for (const name of this.held.keys()) if (this.wanted(name) === undefined) yield name;
  }

  /** What is to be sent, sooner or later. */
  *unsent(): Iterable<readonly [string, Pending]> {
    yield* this.pending;
    for (const group of this.#suspects) yield* group;
  }

  /** True when Envoy must be sent this name whatever it has of it: that does not count. */
  owes(name: string): boolean {
    return this.#owed.has(name);
  }

  suspected(name: string): boolean {
    return this.#suspects.some((group) => group.has(name));
  }

  get suspects(): readonly ReadonlyMap<string, Pending>[] {
    return this.#suspects;
  }

  /** The newest unanswered response that has the name. */
  flightOf(name: string): Flight | undefined {
    const has = (flight: Flight) => flight.upserts.has(name) || flight.removed.has(name);
    if (this.flight !== undefined && has(this.flight)) return this.flight;
    return this.overdue.findLast(has);
  }

  /**
   * What can go now: the first suspects that may, or everything pending that may, up to about so many bytes. An empty answer is one that Envoy is owed.
   */
  select(may: (name: string, pending: Pending) => boolean, maxBytes: number): Map<string, Pending> | undefined {
    if (!this.subscribed || this.flight !== undefined) return undefined;
    if (this.isQuiet) return this.#owesAnswer ? new Map() : undefined;
    for (const group of [...this.#suspects]) {
      if (this.byName) for (const name of [...group.keys()]) if (this.wanted(name) === undefined) this.#clear(name);
      const allowed = [...group].filter(([name, pending]) => may(name, pending));
      if (allowed.length === 0) continue;
      for (const [name] of allowed) this.#clear(name);
      return new Map(allowed);
    }
    const selected = new Map<string, Pending>();
    let bytes = 0;
    for (const [name, pending] of this.pending) {
      if (bytes >= maxBytes) break;
      if (!may(name, pending)) continue;
      selected.set(name, pending);
      bytes += this.wanted(name)?.value.length ?? 0;
    }
    if (selected.size > 0) return selected;
    return this.#owesAnswer && this.pending.size === 0 && this.#suspects.length === 0 ? selected : undefined;
  }

  /** Puts a response under way; what was selected is no longer pending. */
  send(flight: Flight): void {
    this.flight = flight;
    this.begun = true;
    this.#owesAnswer = false;
    for (const name of flight.pending.keys()) {
      this.pending.delete(name);
      this.#owed.delete(name);
    }
  }

  /** The answer to the response under way is not waited for any longer: another may be sent. */
  giveUpWaiting(): void {
    if (this.flight === undefined) return;
    this.overdue.push(this.flight);
    this.flight = undefined;
  }

  /** Takes Envoy's answer to a response. Answers come in order, so one that is acknowledged has seen those before it. */
  answer(nonce: string, error: string | undefined): Answer {
    const flights = this.flight === undefined ? this.overdue : [...this.overdue, this.flight];
    const index = flights.findIndex((flight) => flight.nonce === nonce);
    const flight = flights[index];
    if (flight === undefined) return { kind: 'stale' };
    const done = flights.slice(0, index + 1);
    if (flight === this.flight) this.flight = undefined;
    this.overdue.splice(0, index + 1);
    const acknowledged = error === undefined ? done : done.slice(0, -1);
    for (const one of acknowledged) this.#take(one);
    if (error === undefined) return { kind: 'acked', flights: done };
    return this.#refuse(flight, error);
  }

  #refuse(flight: Flight, message: string): Answer {
    const [first] = flight.upserts;
    if (first === undefined) {
      this.#take(flight); // nothing but removals: there is no other way to say it
      const [name] = flight.removed;
      return name === undefined ? { kind: 'stale' } : { kind: 'refused', name, version: '', message };
    }
    for (const name of flight.removed) this.mark(name, flight.pending.get(name) ?? { since: 0, at: flight.at, again: false });
    if (flight.upserts.size === 1) {
      const [name, { version }] = first;
      this.#remember(name, version, message);
      if (flight.pending.get(name)?.again === true) this.#owed.set(name, true);
      if (this.wanted(name)?.version === version) this.rejections.set(name, { version, message });
      return { kind: 'refused', name, version, message };
    }
    for (const [name, held] of flight.upserts) {
      const other = this.doubts.get(name);
      this.doubts.set(name, other === undefined || other === held ? held : { version: '', needs: undefined });
    }
    // Those that went again in the meantime will have an answer of their own.
    const since = (name: string) => flight.pending.get(name) ?? { since: 0, at: flight.at, again: true };
    const open = [...this.doubts.keys()].filter((name) => flight.upserts.has(name) && this.flightOf(name) === undefined);
    for (const name of open) if (this.wanted(name) === undefined) this.mark(name, since(name));
    const suspects = open.filter((name) => this.wanted(name) !== undefined && !this.rejections.has(name));
    for (const group of parts(suspects, message)) {
      for (const name of group) this.pending.delete(name);
      this.#suspects.push(new Map(group.map((name) => [name, since(name)])));
    }
    return { kind: 'suspected' };
  }

  #remember(name: string, version: string, message: string): void {
    this.#refused.set(`${version} ${name}`, message);
    const [oldest] = this.#refused.keys();
    if (this.#refused.size > REFUSALS_KEPT && oldest !== undefined) this.#refused.delete(oldest);
  }

  #take(flight: Flight): void {
    for (const name of flight.pending.keys()) this.doubts.delete(name);
    for (const [name, held] of flight.upserts) if (this.covers(name)) this.held.set(name, held);
    for (const name of flight.removed) this.held.delete(name);
  }

  #bring(initial: Readonly<Record<string, string>>): void {
    for (const [name, version] of Object.entries(initial)) {
      this.begun = true;
      this.brought = true;
      const wanted = this.wanted(name);
      // The texts that all streams share are kept, not those of this request.
      if (wanted?.version === version) this.held.set(wanted.name, this.hold(wanted));
      else this.held.set(wanted?.name ?? name, { version, needs: undefined });
    }
  }

  #forget(name: string): void {
    this.#names.delete(name);
    this.#owed.delete(name);
    this.held.delete(name);
    this.pending.delete(name);
    this.rejections.delete(name);
    this.doubts.delete(name);
    this.#clear(name);
  }

  /** No longer a suspect. */
  #clear(name: string): void {
    for (const group of this.#suspects) group.delete(name);
    for (let i = this.#suspects.length - 1; i >= 0; i--) if (this.#suspects[i]?.size === 0) this.#suspects.splice(i, 1);
  }

  #differs(name: string, wanted: XdsResource | undefined): boolean {
    const flight = this.flightOf(name);
    const had = flight === undefined ? this.held.get(name) : flight.upserts.get(name);
    const doubtful = flight === undefined && this.doubts.has(name);
    if (wanted === undefined) return !this.byName && (had !== undefined || this.doubts.has(name));
    return doubtful || had?.version !== wanted.version;
  }
}
