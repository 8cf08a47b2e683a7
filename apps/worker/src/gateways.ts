import { writeDiscoveredServices } from '#features/discovery/discovered-service.table.js';
import type { Found } from '#features/discovery/discovery.js';
import { ServiceDiscovery } from '#features/discovery/service-discovery.js';
import { parseService, type ServiceReference } from '#features/mapping/service-reference.js';
import type { Database } from '#platform/database/database.js';
import { type Follower, follow, type Wake } from '#platform/eventstore/follower.js';
import { readSnapshot } from '#platform/eventstore/read-log.js';
import type { Log } from '#platform/log/log.js';

import { GatewayFold } from './gateway-fold.js';

export interface GatewaysOptions {
  readonly database: Database;
  readonly wake: Wake;
  readonly log: Log;
  readonly pollMs: number;
  readonly servicesFile: string | undefined;
  readonly allowLoopback: boolean;
  readonly ownPorts: ReadonlySet<number>;
  lookup?(name: string): Promise<string[]>;
  /** The gateway, or what was found for its services, is not what it was. */
  onChange(gateway: string): void;
}

/** All gateways as they stand: their folds, and where their services are. */
export class Gateways {
  readonly #options: GatewaysOptions;
  readonly #folds = new Map<string, GatewayFold>();
  readonly #generations = new Map<string, number>();
  readonly #discovery: ServiceDiscovery;
  readonly #written = new Map<string, string>();
  #writing: Promise<void> = Promise.resolve();
  #follower: Follower | undefined;

  constructor(options: GatewaysOptions) {
    this.#options = options;
    this.#discovery = new ServiceDiscovery({
      servicesFile: options.servicesFile,
      allowLoopback: options.allowLoopback,
      ownPorts: options.ownPorts,
      onChange: (gateway) => this.#changed(gateway),
      onReread: (gateway) => this.#writeKnown(gateway),
      onFileError: (error) => options.log.error({ error }, 'the services file cannot be used; the last good one stays'),
      ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    });
  }

  async start(): Promise<void> {
    await this.#discovery.start();
    this.#follower = follow({
      database: this.#options.database,
      streams: 'gateway/%',
      wake: this.#options.wake,
      pollMs: this.#options.pollMs,
      log: this.#options.log,
      start: async (stream) => {
        const fold = new GatewayFold(gatewayOf(stream), await readSnapshot(this.#options.database.db, stream));
        this.#folds.set(fold.gateway, fold);
        this.#track(fold);
        this.#changed(fold.gateway);
        return fold.version;
      },
      apply: async ({ stream, versions }) => {
        const fold = this.#folds.get(gatewayOf(stream));
        if (fold === undefined) throw new Error(`${stream} was never begun`);
        for (const version of versions) fold.apply(version);
        this.#track(fold);
        this.#changed(fold.gateway);
      },
      onError: (err, stream) => this.#options.log.error({ err, stream }, 'a version could not be applied; it is tried again'),
    });
    await this.#follower.caughtUp();
  }

  async close(): Promise<void> {
    this.#discovery.stop();
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

  /** Loopback is allowed on this gateway by its settings or for the whole process. */
  allowsLoopback(fold: GatewayFold): boolean {
    return fold.settings.allowLoopbackUpstreams || this.#options.allowLoopback;
  }

  /** Writes what is known of the services, for the warnings of the API; nothing when it was written so before. One write at a time. */
  #writeKnown(gateway: string): void {
    this.#writing = this.#writing.then(async () => {
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

  #track(fold: GatewayFold): void {
    this.#discovery.track(fold.gateway, {
      services: fold.settings.services,
      allowLoopback: fold.settings.allowLoopbackUpstreams,
      references: referencesOf(fold),
    });
  }

  #changed(gateway: string): void {
    this.#generations.set(gateway, this.generation(gateway) + 1);
    this.#writeKnown(gateway);
    this.#options.onChange(gateway);
  }
}

function gatewayOf(stream: string): string {
  return stream.slice('gateway/'.length);
}

function* referencesOf(fold: GatewayFold): Iterable<ServiceReference> {
  for (const { state } of fold.mappings.values()) {
    const reference = serviceOf(state.service);
    if (reference !== undefined) yield reference;
  }
}

/** The service of a mapping; undefined for a text that means none: `compile` says why, on that mapping. */
export function serviceOf(text: string): ServiceReference | undefined {
  try {
    return parseService(text);
  } catch {
    return undefined;
  }
}
