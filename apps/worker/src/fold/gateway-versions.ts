import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Found } from '#features/discovery/discovery.js';
import type { ServiceDiscovery } from '#features/discovery/service-discovery.js';
import type { ServiceReference } from '#features/mapping/service-reference.js';
import type { Db } from '#platform/database/database.js';
import { stateAt } from '#platform/eventstore/read-log.js';

import { GatewayFold } from './gateway-fold.js';

/** So many subjects are folded in one turn of the event loop. */
const PAGE = 1_000;

/**
 * Gateways as they were at versions that some of their targets stay at, or come to before the others. Each has the services of its own version followed,
 * so that a list of instances is part of the version that it was written in.
 */
export class GatewayVersions {
  readonly #open = new Map<string, GatewayFold>();
  readonly #opening = new Map<string, Promise<GatewayFold>>();

  constructor(
    readonly db: Db,
    readonly discovery: ServiceDiscovery,
    readonly serviceOf: (text: string) => ServiceReference | undefined,
  ) {}

  /** The version when it is open. */
  of(gateway: string, version: number): GatewayFold | undefined {
    return this.#open.get(versionId(gateway, version));
  }

  /** Those of a gateway that are open. */
  all(gateway: string): GatewayFold[] {
    return [...this.#open].filter(([id]) => versionOf(id)?.gateway === gateway).map(([, fold]) => fold);
  }

  /** Reads a version and follows its services until it is closed. */
  open(gateway: string, version: number): Promise<GatewayFold> {
    const id = versionId(gateway, version);
    const open = this.#open.get(id);
    if (open !== undefined) return Promise.resolve(open);
    const opening = this.#opening.get(id) ?? this.#read(gateway, version).finally(() => this.#opening.delete(id));
    this.#opening.set(id, opening);
    return opening;
  }

  close(gateway: string, version: number): void {
    const id = versionId(gateway, version);
    this.#open.delete(id);
    this.discovery.forget(id);
  }

  found(gateway: string, version: number): ReadonlyMap<string, Found> {
    return this.discovery.found(versionId(gateway, version));
  }

  async #read(gateway: string, version: number): Promise<GatewayFold> {
    const id = versionId(gateway, version);
    const fold = new GatewayFold(gateway);
    const subjects = await stateAt(this.db, `gateway/${gateway}`, version);
    for (let from = 0; from < subjects.length; from += PAGE) {
      fold.load(version, subjects.slice(from, from + PAGE));
      await nextTurn();
    }
    this.discovery.track(id, { services: fold.settings.services, allowLoopback: fold.settings.allowLoopbackUpstreams });
    for (const { state } of fold.mappings.values()) {
      const reference = this.serviceOf(state.service);
      if (reference !== undefined) this.discovery.use(id, reference);
    }
    this.#open.set(id, fold);
    return fold;
  }
}

/** No gateway is called like this. */
function versionId(gateway: string, version: number): string {
  return `${gateway}@${version}`;
}

/** Which version of which gateway the discovery's name stands for; undefined for a gateway at its head. */
export function versionOf(id: string): { readonly gateway: string; readonly version: number } | undefined {
  const [, gateway, version] = /^([^@]+)@(\d+)$/.exec(id) ?? [];
  return gateway === undefined ? undefined : { gateway, version: Number(version) };
}
