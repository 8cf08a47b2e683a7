import { expect } from '@jest/globals';

import { sha256Hex } from '#platform/kernel/digest.js';
import type { AdsProtocol } from './envoy-session.js';
import type { Outgoing } from './flight.js';
import type { SequencerRequest } from './requests.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, EXTENSION_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

/** What a resource of the model says. */
export interface Content {
  readonly rev: string;
  /** Envoy refuses it. */
  readonly bad?: boolean;
  /** A cluster that does not warm although its endpoints are there. */
  readonly mute?: boolean;
  /** Clusters that a scope names. */
  readonly needs?: readonly string[];
  /** Scopes that a filter chooses. */
  readonly chooses?: readonly string[];
}

export function modelResource(typeUrl: string, name: string, content: Content): XdsResource {
  const value = Buffer.from(JSON.stringify(content));
  return { typeUrl, name, value, version: sha256Hex(value).slice(0, 8), needs: content.needs ?? [] };
}

interface Applied {
  readonly version: string;
  readonly content: Content;
}

const TYPES = [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, EXTENSION_TYPE];

/**
 * Envoy as far as order goes, as the real one was seen to behave: it withholds the acknowledgement of clusters while one is warming, takes an arbitrary part
 * of a response that it refuses, and asks for the endpoints of its clusters. It fails the test when it is sent what would lose requests.
 */
export class EnvoyModel {
  readonly state = new Map<string, Map<string, Applied>>(TYPES.map((type) => [type, new Map()]));
  readonly warming = new Map<string, Applied>();
  /** What Envoy says next, in this order. */
  requests: SequencerRequest[] = [];
  readonly log: string[] = [];
  readonly #unanswered = new Map<string, number>();
  /**
   * Taken from a response that was refused, with the version that was in force before: the control plane cannot know that it is there. In the
   * state-of-the-world protocol it goes away again while the culprit is looked for, since a response can only repeat what was acknowledged.
   */
  readonly #provisional = new Map<string, string | undefined>();
  #withheld: SequencerRequest[] = [];
  #asked = new Set<string>();
  /** Warming when the stream was opened, with its version: Envoy says that it holds them, and not that they do not serve. */
  #brought = new Map<string, string>();
  /** Warming, and sent endpoints since. */
  readonly #fed = new Set<string>();
  /** From here on mute clusters warm. */
  unmuted = false;

  constructor(
    readonly protocol: AdsProtocol,
    /** Chooses how much of a refused response is taken, and whether the message names the culprit. */
    readonly chance: () => boolean,
  ) {}

  of(typeUrl: string): Map<string, Applied> {
    return this.state.get(typeUrl) ?? new Map();
  }

  /** True when it is there, as the control plane can know. */
  has(typeUrl: string, name: string): boolean {
    return this.of(typeUrl).has(name) && !this.#isUnknown(`${typeUrl}/${name}`);
  }

  /** Opens a stream: what was not answered is forgotten, what is held is said. */
  connect(): void {
    this.requests = [];
    this.#withheld = [];
    this.#unanswered.clear();
    for (const typeUrl of TYPES) {
      const held = [...this.of(typeUrl)].map(([name, { version }]) => [name, version] as const);
      const warming = typeUrl === CLUSTER_TYPE ? [...this.warming].map(([name, { version }]) => [name, version] as const) : [];
      const initial = this.protocol === 'delta' ? Object.fromEntries([...held, ...warming]) : {};
      const names = typeUrl === ENDPOINT_TYPE ? [...this.#asked] : typeUrl === EXTENSION_TYPE ? ['filter'] : [];
      if (typeUrl === ENDPOINT_TYPE && names.length === 0) continue;
      this.requests.push({ ...request(typeUrl), wildcard: names.length === 0, subscribe: names, initial });
    }
    this.#brought = new Map([...this.warming].map(([name, { version }]) => [name, version]));
  }

  take(out: Outgoing, options: { readonly mayOverlap: boolean }): void {
    const { typeUrl, nonce } = out;
    this.log.push(
      `${typeUrl.split('.').at(-1)} ${nonce}: ${out.resources.map(({ name, version }) => `${name}@${version}`)} -${out.removed}`,
    );
    const unanswered = (this.#unanswered.get(typeUrl) ?? 0) + 1;
    this.#unanswered.set(typeUrl, unanswered);
    if (!(options.mayOverlap && typeUrl === CLUSTER_TYPE)) expect(unanswered).toBe(1);
    const contents = out.resources.map((resource) => ({ ...resource, content: JSON.parse(resource.value.toString()) as Content }));
    const bad = contents.filter(({ name, version, content }) => content.bad === true && this.of(typeUrl).get(name)?.version !== version);
    const taken = bad.length === 0 ? contents : contents.filter(({ content }) => content.bad !== true && this.chance());
    const removed = this.#removed(out);
    for (const { name, version, content } of taken) {
      const id = `${typeUrl}/${name}`;
      const before = this.#provisional.has(id) ? this.#provisional.get(id) : this.of(typeUrl).get(name)?.version;
      this.#put(typeUrl, name, { version, content });
      if (bad.length === 0) this.#provisional.delete(id);
      else this.#provisional.set(id, before);
    }
    if (bad.length === 0 || this.chance()) for (const name of removed) this.#remove(typeUrl, name);
    const error = bad.length === 0 ? undefined : this.chance() ? `refused: ${bad[0]?.name}` : 'refused';
    const answer = { ...request(typeUrl), nonce, error };
    if (typeUrl === CLUSTER_TYPE) this.#withheld.push(answer);
    else this.requests.push(answer);
    this.#askForEndpoints();
    this.#letGo();
  }

  /** The request that Envoy sends now is answered as far as it is concerned. */
  sent(sent: SequencerRequest): void {
    if (sent.nonce !== '') this.#unanswered.set(sent.typeUrl, (this.#unanswered.get(sent.typeUrl) ?? 1) - 1);
  }

  /**
   * Mute clusters warm; one without endpoints becomes active and empty, as Envoy does it 15 seconds after it asked. One whose endpoints were lost with an
   * earlier stream takes those of the definition before it: Envoy does so on a living stream too, but there it must not have to.
   */
  unmute(hasEndpoints: (name: string) => boolean): void {
    this.unmuted = true;
    for (const [name, applied] of [...this.warming]) {
      const lost = this.#brought.get(name) === applied.version;
      if ((lost || this.#fed.has(name)) && this.of(ENDPOINT_TYPE).has(name)) this.#warm(name);
      else if (!hasEndpoints(name)) {
        this.warming.delete(name);
        this.of(CLUSTER_TYPE).set(name, applied);
      }
    }
    this.#letGo();
  }

  #removed(out: Outgoing): string[] {
    if (this.protocol === 'delta' || out.typeUrl === ENDPOINT_TYPE || out.typeUrl === EXTENSION_TYPE) return [...out.removed];
    const names = new Set(out.resources.map(({ name }) => name));
    const warming = out.typeUrl === CLUSTER_TYPE ? this.warming.keys() : [];
    return [...this.of(out.typeUrl).keys(), ...warming].filter((name) => !names.has(name));
  }

  #put(typeUrl: string, name: string, applied: Applied): void {
    if (typeUrl === CLUSTER_TYPE) {
      const newest = this.warming.get(name) ?? this.of(CLUSTER_TYPE).get(name);
      if (newest?.version === applied.version) return;
      this.warming.set(name, applied); // until its endpoints come (again)
      this.#fed.delete(name);
      return;
    }
    if (this.of(typeUrl).get(name)?.version === applied.version && typeUrl !== ENDPOINT_TYPE) return;
    if (typeUrl === SCOPED_ROUTE_TYPE) this.#checkScope(name, applied);
    if (typeUrl === EXTENSION_TYPE && this.of(EXTENSION_TYPE).size > 0) {
      for (const scope of applied.content.chooses ?? []) expect([...this.of(SCOPED_ROUTE_TYPE).keys()]).toContain(scope);
    }
    this.of(typeUrl).set(name, applied);
    if (typeUrl !== ENDPOINT_TYPE) return;
    this.#fed.add(name);
    this.#warm(name);
  }

  /**
   * Routes that replace others must not meet a cluster that does not serve; new ones, and those that were in force already, at least none that is unknown,
   * or they are refused.
   */
  #checkScope(name: string, { version, content }: Applied): void {
    const id = `${SCOPED_ROUTE_TYPE}/${name}`;
    const returns = this.protocol === 'sotw' && this.#provisional.get(id) === version;
    const replaces = this.of(SCOPED_ROUTE_TYPE).has(name) && !this.#isUnknown(id) && !returns;
    for (const cluster of content.needs ?? []) {
      const known = [...this.of(CLUSTER_TYPE).keys(), ...this.#brought.keys(), ...(replaces ? [] : this.warming.keys())];
      expect(known).toContain(cluster);
    }
  }

  #remove(typeUrl: string, name: string): void {
    const known = !this.#isUnknown(`${typeUrl}/${name}`);
    this.#provisional.delete(`${typeUrl}/${name}`);
    if (typeUrl === CLUSTER_TYPE) {
      if (known) for (const scope of this.of(SCOPED_ROUTE_TYPE).values()) expect(scope.content.needs ?? []).not.toContain(name);
      this.warming.delete(name);
      this.of(ENDPOINT_TYPE).delete(name);
    }
    if (typeUrl === SCOPED_ROUTE_TYPE && known) {
      for (const filter of this.of(EXTENSION_TYPE).values()) expect(filter.content.chooses ?? []).not.toContain(name);
    }
    this.of(typeUrl).delete(name);
  }

  /** The control plane cannot know that anything of this name is there. */
  #isUnknown(id: string): boolean {
    return this.#provisional.has(id) && this.#provisional.get(id) === undefined;
  }

  #warm(name: string): void {
    const warming = this.warming.get(name);
    if (warming === undefined || (warming.content.mute === true && !this.unmuted)) return;
    if (!this.of(ENDPOINT_TYPE).has(name)) return;
    this.warming.delete(name);
    this.of(CLUSTER_TYPE).set(name, warming);
  }

  #letGo(): void {
    if (this.warming.size > 0) return;
    this.requests.push(...this.#withheld);
    this.#withheld = [];
  }

  #askForEndpoints(): void {
    const clusters = new Set([...this.of(CLUSTER_TYPE).keys(), ...this.warming.keys()]);
    const subscribe = [...clusters].filter((name) => !this.#asked.has(name));
    const unsubscribe = [...this.#asked].filter((name) => !clusters.has(name));
    if (subscribe.length === 0 && unsubscribe.length === 0) return;
    this.#asked = clusters;
    this.requests.push({ ...request(ENDPOINT_TYPE), subscribe, unsubscribe });
  }
}

function request(typeUrl: string): SequencerRequest {
  return { typeUrl, nonce: '', error: undefined, subscribe: [], unsubscribe: [], initial: {} };
}
