import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ClusterScope } from '#features/discovery/cluster-source.js';
import { writeDiscoveredServices } from '#features/discovery/discovered-service.table.js';
import type { Found } from '#features/discovery/discovery.js';
import { type Pictures, readKubernetesServices, writeKubernetesServices } from '#features/discovery/kubernetes-service.table.js';
import { ServiceDiscovery } from '#features/discovery/service-discovery.js';
import { parseService, type ServiceReference } from '#features/mapping/service-reference.js';
import type { Database } from '#platform/database/database.js';
import { type Follower, follow, type LoggedVersion, type Wake } from '#platform/eventstore/follower.js';
import { readSnapshotPages } from '#platform/eventstore/read-log.js';
import type { Log } from '#platform/log/log.js';

import { type FoldChange, type FoldedMapping, GatewayFold } from './gateway-fold.js';
import { GatewayVersions, versionOf } from './gateway-versions.js';

export interface GatewaysOptions {
  readonly database: Database;
  readonly wake: Wake;
  readonly log: Log;
  readonly pollMs: number;
  readonly servicesFile: string | undefined;
  readonly cluster?: ClusterScope | undefined;
  readonly allowLoopback: boolean;
  readonly ownPorts: ReadonlySet<number>;
  lookup?(name: string): Promise<string[]>;
  /** A gateway was read whole: the first that is heard of it. The versions after it wait until this resolves. */
  onLoaded(fold: GatewayFold): Promise<void>;
  /**
   * The gateway, or what was found for these of its services, is not what it was. Called in the moment in which it is known and before anything else
   * is done about it: what an Envoy waits for happens here.
   */
  onApplied(fold: GatewayFold, change: FoldChange, services: ReadonlySet<string>): void;
  /** What was found for these services of an open version of the gateway is not what it was. */
  onVersionFound(gateway: string, version: number, services: ReadonlySet<string>): void;
  /** The same, for whoever looks at the whole of it. */
  onChange(gateway: string): void;
}

/** So many subjects are read and folded in one turn of the event loop: 8 ms. */
const PAGE = 2_000;
const NOTHING: FoldChange = {
  mappings: new Map(),
  settings: false,
  certificates: new Set(),
  principals: false,
  imported: new Set(),
};
const NO_SERVICES: ReadonlySet<string> = new Set();

/** All gateways as they stand: their folds, and where their services are. */
export class Gateways {
  readonly #options: GatewaysOptions;
  readonly #folds = new Map<string, GatewayFold>();
  readonly #generations = new Map<string, number>();
  readonly #discovery: ServiceDiscovery;
  /** Gateways as they were at other versions than their heads. */
  readonly versions: GatewayVersions;
  readonly #written = new Map<string, string>();
  readonly #toWrite = new Set<string>();
  #writing: Promise<void> = Promise.resolve();
  #follower: Follower | undefined;

  constructor(options: GatewaysOptions) {
    this.#options = options;
    this.#discovery = new ServiceDiscovery({
      servicesFile: options.servicesFile,
      allowLoopback: options.allowLoopback,
      ownPorts: options.ownPorts,
      onChange: (gateway, services) => this.#found(gateway, services),
      onReread: (gateway) => this.#writeKnown(gateway),
      onFileError: (error) => options.log.error({ error }, 'the services file cannot be used; the last good one stays'),
      cluster: options.cluster === undefined ? undefined : clusterOf(options.cluster, options),
      ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    });
    this.versions = new GatewayVersions(options.database.db, this.#discovery, serviceOf);
  }

  async start(): Promise<void> {
    await this.#discovery.start();
    this.#follower = follow({
      database: this.#options.database,
      streams: 'gateway/%',
      wake: this.#options.wake,
      pollMs: this.#options.pollMs,
      log: this.#options.log,
      start: (stream) => this.#load(stream),
      apply: async ({ stream, versions }) => {
        this.#apply(stream, versions);
        await nextTurn(); // what was written to agents leaves at the end of this turn: only then the database is asked for more
      },
      onError: (err, stream) => this.#options.log.error({ err, stream }, 'a version could not be applied; it is tried again'),
    });
    await this.#follower.caughtUp();
  }

  async close(): Promise<void> {
    await this.#discovery.stop();
    await this.#follower?.close();
    await this.#writing;
  }

  fold(gateway: string): GatewayFold | undefined {
    return this.#folds.get(gateway);
  }

  names(): string[] {
    return [...this.#folds.keys()];
  }

  /** Counts up with every change of the gateway or of what was found for it, in this process. */
  generation(gateway: string): number {
    return this.#generations.get(gateway) ?? 0;
  }

  found(gateway: string): ReadonlyMap<string, Found> {
    return this.#discovery.found(gateway);
  }

  get servicesFileError(): string {
    return this.#discovery.fileError;
  }

  get clusterError(): string {
    return this.#discovery.clusterError;
  }

  get clusterRestarts(): Readonly<Record<string, number>> {
    return this.#discovery.clusterRestarts;
  }

  /** Loopback is allowed on this gateway by its settings or for the whole process. */
  allowsLoopback(fold: Pick<GatewayFold, 'settings'>): boolean {
    return fold.settings.allowLoopbackUpstreams || this.#options.allowLoopback;
  }

  /** Reads a gateway that is not known yet, a page at a time: with 100,000 mappings that takes a second, and agents must be heard meanwhile. */
  async #load(stream: string): Promise<number> {
    const fold = new GatewayFold(gatewayOf(stream));
    const { db } = this.#options.database;
    const version = await readSnapshotPages(db, stream, PAGE, (page) => fold.load(0, page));
    fold.load(version, []);
    this.#discovery.forget(fold.gateway); // a reading before this one may have failed halfway
    this.#discovery.track(fold.gateway, listsOf(fold));
    let taken = 0;
    for (const { state } of fold.mappings.values()) {
      const reference = serviceOf(state.service);
      if (reference !== undefined) this.#discovery.use(fold.gateway, reference);
      taken += 1;
      if (taken % (2 * PAGE) === 0) await nextTurn();
    }
    this.#folds.set(fold.gateway, fold);
    await this.#options.onLoaded(fold);
    this.#changed(fold.gateway);
    this.#writeKnown(fold.gateway);
    return fold.version;
  }

  #apply(stream: string, versions: readonly LoggedVersion[]): void {
    const fold = this.#folds.get(gatewayOf(stream));
    if (fold === undefined) throw new Error(`${stream} was never begun`);
    const change = fold.apply(versions);
    let moved = false;
    for (const { before, after } of change.mappings.values()) moved = this.#follow(fold.gateway, before, after) || moved;
    const services = change.settings ? this.#discovery.track(fold.gateway, listsOf(fold)) : NO_SERVICES;
    this.#options.onApplied(fold, change, services);
    this.#changed(fold.gateway);
    if (moved || change.settings) this.#writeKnown(fold.gateway);
  }

  /** A mapping names another service than before. True when the set of services in use is another. */
  #follow(gateway: string, before: FoldedMapping | undefined, after: FoldedMapping | undefined): boolean {
    if (before?.state.service === after?.state.service) return false;
    const [old, reference] = [serviceOf(before?.state.service ?? ''), serviceOf(after?.state.service ?? '')];
    const isNew = reference !== undefined && this.#discovery.use(gateway, reference);
    return (old !== undefined && this.#discovery.drop(gateway, old)) || isNew;
  }

  #found(gateway: string, services: ReadonlySet<string>): void {
    const other = versionOf(gateway);
    if (other !== undefined) {
      this.#options.onVersionFound(other.gateway, other.version, services);
      return;
    }
    const fold = this.#folds.get(gateway);
    if (fold !== undefined) this.#options.onApplied(fold, NOTHING, services);
    this.#changed(gateway);
    this.#writeKnown(gateway);
  }

  /** Writes what is known of the services, for the warnings of the API; nothing when it was written so before. One write at a time. */
  #writeKnown(gateway: string): void {
    if (this.#toWrite.has(gateway) || versionOf(gateway) !== undefined) return; // the write that is planned sees what is known then
    this.#toWrite.add(gateway);
    this.#writing = this.#writing.then(async () => {
      await nextTurn(); // what an Envoy waits for goes first
      this.#toWrite.delete(gateway);
      const services = this.#discovery.known(gateway);
      const text = JSON.stringify([...services]);
      if (this.#written.get(gateway) === text) return;
      try {
        await writeDiscoveredServices(this.#options.database.db, gateway, services);
        this.#written.set(gateway, text);
      } catch (err) {
        this.#options.log.warn({ err, gateway }, 'what discovery found could not be written; the next change writes it');
      }
    });
  }

  #changed(gateway: string): void {
    this.#generations.set(gateway, this.generation(gateway) + 1);
    this.#options.onChange(gateway);
  }
}

/** Kubernetes as a source of services, kept in the database. */
function clusterOf(scope: ClusterScope, { database: { db }, log }: Pick<GatewaysOptions, 'database' | 'log'>) {
  const { namespaces, ownNamespace } = scope;
  return {
    ...scope,
    recall: () => readKubernetesServices(db, namespaces),
    remember: (pictures: Pictures, isWhole: boolean) =>
      writeKubernetesServices(db, pictures, { ownNamespace, whole: isWhole ? namespaces : undefined }),
    onError: (error: string) => {
      if (error === '') log.info('Kubernetes is heard again');
      else log.warn({ error }, 'Kubernetes cannot be heard; what was known of it stays');
    },
  };
}

function gatewayOf(stream: string): string {
  return stream.slice('gateway/'.length);
}

function listsOf({ settings }: GatewayFold) {
  return { services: settings.services, allowLoopback: settings.allowLoopbackUpstreams };
}

/** Most mappings share their service with others: each text is parsed once. */
const mostParsed = 20_000;
const parsed = new Map<string, ServiceReference | undefined>();

/** The service of a mapping; undefined for a text that means none: the compiler says why, on that mapping. */
export function serviceOf(text: string): ServiceReference | undefined {
  if (parsed.has(text)) return parsed.get(text);
  if (parsed.size >= mostParsed) parsed.clear();
  const reference = parseOrNot(text);
  parsed.set(text, reference);
  return reference;
}

function parseOrNot(text: string): ServiceReference | undefined {
  try {
    return parseService(text);
  } catch {
    return undefined;
  }
}
