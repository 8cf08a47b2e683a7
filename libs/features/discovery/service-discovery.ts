import { addressFault, isLoopback, parseInstance } from '#platform/envoy/model/upstream-address.js';
import type { ServiceReference } from '../mapping/service-reference.js';

import { type Endpoint, type Found, resolve, type ServiceList } from './discovery.js';
import { DnsNames } from './dns-names.js';
import { ServicesFile } from './services-file.js';

export interface DiscoveryOptions {
  readonly servicesFile?: string | undefined;
  /** Allows loopback on every gateway, beside those whose settings do. */
  readonly allowLoopback: boolean;
  /** Ports of the product on this machine: never an upstream. */
  readonly ownPorts: ReadonlySet<number>;
  /** What was found for this gateway's services is not what it was. */
  onChange(gateway: string): void;
  /** The sources were read again: `known` may be another, though nothing in use has changed. */
  onReread(gateway: string): void;
  onFileError(error: string): void;
  lookup?(name: string): Promise<string[]>;
  readonly refreshMs?: number;
}

interface Tracked {
  readonly services: ServiceList;
  readonly allowLoopback: boolean;
  readonly references: ReadonlyMap<string, ServiceReference>;
  found: ReadonlyMap<string, Found>;
}

/** Keeps the endpoints of every service that some gateway's mappings name. In memory; the same on each worker. */
export class ServiceDiscovery {
  readonly #options: DiscoveryOptions;
  readonly #tracked = new Map<string, Tracked>();
  readonly #dns: DnsNames;
  readonly #file: ServicesFile | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    const recheck = () => this.#recheck();
    this.#dns = new DnsNames({
      onChange: recheck,
      ...(options.refreshMs === undefined ? {} : { refreshMs: options.refreshMs }),
      ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    });
    this.#file =
      options.servicesFile === undefined
        ? undefined
        : new ServicesFile({ path: options.servicesFile, onChange: recheck, onError: options.onFileError });
  }

  async start(): Promise<void> {
    this.#dns.start();
    await this.#file?.start();
  }

  stop(): void {
    this.#dns.stop();
    this.#file?.stop();
  }

  /** What is wrong with the services file; '' when nothing is. */
  get fileError(): string {
    return this.#file?.error ?? '';
  }

  /** What this gateway needs from now on. Answers what is known of it already; `onChange` is not called for that. */
  track(
    gateway: string,
    wanted: {
      readonly services: Readonly<Record<string, readonly string[]>>;
      readonly allowLoopback: boolean;
      readonly references: Iterable<ServiceReference>;
    },
  ): ReadonlyMap<string, Found> {
    const tracked: Tracked = {
      services: Object.fromEntries(Object.entries(wanted.services).map(([name, instances]) => [name, instances.flatMap(endpointOf)])),
      allowLoopback: wanted.allowLoopback || this.#options.allowLoopback,
      references: new Map([...wanted.references].map((reference) => [reference.key, reference])),
      found: new Map(),
    };
    this.#tracked.set(gateway, tracked);
    tracked.found = this.#find(tracked);
    this.#wantNames();
    return tracked.found;
  }

  forget(gateway: string): void {
    this.#tracked.delete(gateway);
    this.#wantNames();
  }

  /** By ServiceReference.key: what is known now. */
  found(gateway: string): ReadonlyMap<string, Found> {
    return this.#tracked.get(gateway)?.found ?? new Map();
  }

  /** What there is to say about a gateway's services: what its mappings name, by `host:port`, and what the static lists have, as they name it. */
  known(gateway: string): ReadonlyMap<string, Found> {
    const tracked = this.#tracked.get(gateway);
    if (tracked === undefined) return new Map();
    const known = new Map<string, Found>();
    const lists = [['file', this.#file?.list ?? {}] as const, ['settings', tracked.services] as const];
    for (const [source, list] of lists)
      for (const [name, endpoints] of Object.entries(list)) known.set(name, { source, endpoints, error: '' });
    for (const [key, found] of tracked.found) known.set(key.slice(key.indexOf('://') + 3), found);
    return known;
  }

  #find(tracked: Tracked): Map<string, Found> {
    const lists = { settings: tracked.services, file: this.#file?.list ?? {}, dns: (name: string) => this.#dns.answer(name) };
    const refuse = (endpoint: Endpoint): string | undefined => {
      const fault = addressFault(endpoint.address, { allowLoopback: tracked.allowLoopback });
      if (fault !== undefined) return fault.message;
      if (isLoopback(endpoint.address) && this.#options.ownPorts.has(endpoint.port))
        return `Port ${endpoint.port} of this machine belongs to Chancery itself.`;
      return undefined;
    };
    return new Map([...tracked.references].map(([key, reference]) => [key, resolve(reference, lists, refuse)]));
  }

  #wantNames(): void {
    const names = new Set<string>();
    for (const { references, found } of this.#tracked.values()) {
      for (const [key, { source }] of found) if (source === 'dns') names.add(references.get(key)?.name ?? '');
    }
    names.delete('');
    this.#dns.want(names);
  }

  #recheck(): void {
    for (const [gateway, tracked] of this.#tracked) {
      const found = this.#find(tracked);
      const changed = JSON.stringify([...found]) !== JSON.stringify([...tracked.found]);
      tracked.found = found;
      if (changed) this.#options.onChange(gateway);
      else this.#options.onReread(gateway);
    }
    this.#wantNames();
  }
}

function endpointOf(instance: string): Endpoint[] {
  const endpoint = parseInstance(instance);
  return endpoint === undefined ? [] : [endpoint];
}
