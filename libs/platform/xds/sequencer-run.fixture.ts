import { expect } from '@jest/globals';

import { type Content, EnvoyModel, modelResource } from './envoy-model.fixture.js';
import type { AdsProtocol } from './envoy-session.js';
import { ResourceSet } from './resource-set.js';
import { Sequencer } from './sequencer.js';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  type ResourceKey,
  resourceId,
  SCOPED_ROUTE_TYPE,
  type XdsResource,
} from './xds-resource.js';

const timing = { warmDeadlineMs: 3_000, removalGraceMs: 5_000, warmingIntervalMs: 250, listenerIntervalMs: 10_000 };

/** What a set of the model shall hold. */
export interface Wish {
  readonly clusters: Readonly<Record<string, Content>>;
  readonly endpoints: Readonly<Record<string, string>>;
  readonly scopes: Readonly<Record<string, { readonly rev: string; readonly bad: boolean; readonly needs: readonly string[] }>>;
  readonly filter: { readonly rev: string; readonly bad: boolean };
  readonly listener: string;
}

/** One thing that happens. */
export type Step =
  | { readonly kind: 'change'; readonly wish: Wish }
  | { readonly kind: 'answer'; readonly times: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'reconnect' }
  | { readonly kind: 'stale'; readonly nonce: string };

/** A set as the layout makes them: each cluster has endpoints, scopes name clusters of the set, the filter chooses all scopes and no others. */
function resourcesOf({ clusters, endpoints, scopes, filter, listener }: Wish, may: { beMute: boolean; beBad: boolean }): XdsResource[] {
  const resources = [modelResource(LISTENER_TYPE, 'http', { rev: listener })];
  for (const [name, content] of Object.entries(clusters)) {
    // In the state-of-the-world protocol clusters that Envoy took of a refused response go away while the culprit is looked for: that is not promised there.
    // Without anybody to ask, a cluster that does not warm although its endpoints are there passes for warm.
    resources.push(
      modelResource(CLUSTER_TYPE, name, { ...content, mute: content.mute === true && may.beMute, bad: content.bad === true && may.beBad }),
    );
    const rev = endpoints[name] ?? '0';
    if (rev !== 'none') resources.push(modelResource(ENDPOINT_TYPE, name, { rev }));
  }
  for (const [name, { needs, ...rest }] of Object.entries(scopes)) {
    resources.push(modelResource(SCOPED_ROUTE_TYPE, name, { ...rest, needs: needs.filter((cluster) => cluster in clusters) }));
  }
  resources.push(modelResource(EXTENSION_TYPE, 'filter', { ...filter, chooses: Object.keys(scopes).sort() }));
  return resources;
}

/** One sequencer with its set and its Envoy. */
class Run {
  readonly set = new ResourceSet();
  readonly model: EnvoyModel;
  sequencer: Sequencer;
  now = 1_000_000;
  settled: number[] = [];
  /** On this stream. */
  readonly refused = new Set<string>();

  constructor(
    readonly protocol: AdsProtocol,
    readonly asks: boolean,
    chance: () => boolean,
  ) {
    this.model = new EnvoyModel(protocol, chance);
    this.sequencer = this.connect();
  }

  connect(): Sequencer {
    this.model.connect();
    this.settled = [];
    this.refused.clear();
    this.sequencer = new Sequencer({ sets: [this.set], timing, protocol: this.protocol, asksWarming: this.asks });
    return this.sequencer;
  }

  change(wish: Wish): void {
    const resources = resourcesOf(wish, { beMute: this.asks, beBad: this.protocol === 'delta' });
    const ids = new Set(resources.map(resourceId));
    const removed: ResourceKey[] = [...this.set].filter((resource) => !ids.has(resourceId(resource)));
    this.set.apply({ upserts: resources, removed });
    this.sequencer.setChanged(this.now);
    this.pump();
  }

  /** Delivers the next thing that Envoy says. */
  answer(): boolean {
    const request = this.model.requests.shift();
    if (request === undefined) return false;
    this.model.sent(request);
    this.sequencer.receive(request, this.now);
    for (const { typeUrl, rejections } of Object.values(this.sequencer.types)) {
      for (const [name, { version }] of rejections) this.refused.add(`${resourceId({ typeUrl, name })}@${version}`);
    }
    this.pump();
    return true;
  }

  pump(): void {
    for (let i = 0; ; i++) {
      expect(i).toBeLessThan(100);
      const out = this.sequencer.next(this.now);
      if (out === undefined) break;
      for (const sent of out.resources) expect(this.refused.has(`${resourceId(sent)}@${sent.version}`)).toBe(false);
      this.model.take(out, { mayOverlap: this.mayOverlap() });
    }
    if (this.sequencer.warmingQuestion(this.now)) {
      this.sequencer.warmingAnswer(new Set(this.model.warming.keys()), this.now);
      this.pump();
      return;
    }
    const effects = this.sequencer.effects(this.now);
    for (const { key, version } of effects.rejected) this.refused.add(`${resourceId(key)}@${version}`);
    if (effects.settled !== undefined) this.settled.push(effects.settled);
  }

  /** Clusters may be sent before those of before are answered when that answer is overdue. */
  mayOverlap(): boolean {
    return this.sequencer.types[CLUSTER_TYPE].overdue.length > 0;
  }

  /** Lets time pass as a timer would: to each moment at which something may change. */
  wait(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const at = this.sequencer.wakeAt(this.now);
      if (at === undefined || at > end) break;
      expect(at).toBeGreaterThan(this.now);
      this.now = at;
      this.pump();
    }
    this.now = end;
    this.pump();
  }

  finish(): void {
    this.model.unmute((name) => this.set.get({ typeUrl: ENDPOINT_TYPE, name }) !== undefined);
    for (let quiet = 0; quiet < 3; ) {
      if (this.answer()) quiet = 0;
      else {
        this.wait(10_000);
        this.model.unmute((name) => this.set.get({ typeUrl: ENDPOINT_TYPE, name }) !== undefined);
        quiet += this.model.requests.length === 0 ? 1 : 0;
      }
    }
  }

  check(): void {
    const refused = (resource: XdsResource) => this.refused.has(`${resourceId(resource)}@${resource.version}`);
    const { heldBack } = this.sequencer;
    expect([...this.model.warming.keys()]).toEqual([]);
    for (const resource of this.set) {
      const has = this.model.of(resource.typeUrl).get(resource.name)?.version;
      if (resource.typeUrl === ENDPOINT_TYPE && !this.model.of(CLUSTER_TYPE).has(resource.name)) continue; // Envoy did not ask for them
      if (resource.typeUrl === CLUSTER_TYPE && this.model.warming.size > 0) continue; // answers are withheld for good
      const { bad } = JSON.parse(resource.value.toString()) as Content;
      if (heldBack.has(resourceId(resource))) expect(this.excused(resource)).toBe(true);
      else if (bad === true) expect([refused(resource), has === resource.version]).toEqual([true, false]);
      else expect([resourceId(resource), has]).toEqual([resourceId(resource), resource.version]);
    }
    for (const [name] of this.model.of(CLUSTER_TYPE)) {
      if (this.set.get({ typeUrl: CLUSTER_TYPE, name }) === undefined) expect(this.anythingHalted()).toBe(true);
    }
    for (const [name] of this.model.of(SCOPED_ROUTE_TYPE)) {
      if (this.set.get({ typeUrl: SCOPED_ROUTE_TYPE, name }) === undefined) expect(this.anythingHalted()).toBe(true);
    }
    expect(this.sequencer.settledRevision).toBe(this.set.revision);
    expect(this.settled).toEqual([...new Set(this.settled)].sort((a, b) => a - b));
  }

  /** Rightly held back in the end: it needs a cluster that Envoy refused or that has no endpoints, or is a filter that would choose scopes that Envoy has not. */
  excused(resource: XdsResource): boolean {
    if (this.model.warming.size > 0) return true; // one that never warms withholds the refusals of others too
    const scopes = (JSON.parse(resource.value.toString()) as Content).chooses ?? [];
    const refused = this.sequencer.types[SCOPED_ROUTE_TYPE].rejections;
    const missing = scopes.some((name) => refused.has(name) || !this.model.has(SCOPED_ROUTE_TYPE, name));
    const rejected = this.sequencer.types[CLUSTER_TYPE].rejections;
    const serves = (name: string) => this.model.of(CLUSTER_TYPE).has(name) && this.set.get({ typeUrl: ENDPOINT_TYPE, name }) !== undefined;
    return missing || resource.needs.some((name) => rejected.has(name) || !serves(name));
  }

  anythingHalted(): boolean {
    return [...this.sequencer.heldBack].length > 0 || Object.values(this.sequencer.types).some(({ rejections }) => rejections.size > 0);
  }
}

function chances(seed: number): () => boolean {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >= 0x8000_0000;
  };
}

/** Plays the steps, and then lets everything come to rest. */
export function play(protocol: AdsProtocol, asks: boolean, seed: number, steps: readonly Step[]): Run {
  const run = new Run(protocol, asks, chances(seed));
  for (const one of steps) {
    if (one.kind === 'change') run.change(one.wish);
    else if (one.kind === 'wait') run.wait(one.ms);
    else if (one.kind === 'reconnect') run.connect();
    else if (one.kind === 'answer') for (let i = 0; i < one.times; i++) run.answer();
    else if (run.sequencer.types[CLUSTER_TYPE].subscribed) {
      const request = { typeUrl: CLUSTER_TYPE, nonce: `stale-${one.nonce}`, error: undefined, subscribe: [], unsubscribe: [], initial: {} };
      run.sequencer.receive(request, run.now);
      run.pump();
    }
  }
  run.finish();
  return run;
}
