import { addressFault, isLoopback, parseInstance } from '#platform/envoy/model/upstream-address.js';
import type { ServiceReference } from '../mapping/service-reference.js';

import { type ClusterScope, ClusterSource, type ClusterSourceOptions } from './cluster-source.js';
import { type Endpoint, type Found, resolve, type ServiceList } from './discovery.js';
import { DnsNames } from './dns-names.js';
import { ServicesFile } from './services-file.js';

export interface DiscoveryOptions {
  readonly servicesFile?: string | undefined;
  /** Kubernetes, where there is one, and where its Services are kept beyond this process. */
  readonly cluster?: (ClusterScope & Pick<ClusterSourceOptions, 'recall' | 'remember' | 'onError'>) | undefined;
  /** Allows loopback on every gateway, beside those whose settings do. */
  readonly allowLoopback: boolean;
  /** Ports of the product on this machine: never an upstream. */
  readonly ownPorts: ReadonlySet<number>;
  /** What was found for these of the gateway's services (ServiceReference.key) is not what it was. */
  onChange(gateway: string, keys: ReadonlySet<string>): void;
  /** The sources were read again: `known` may be another, though nothing in use has changed. */
  onReread(gateway: string): void;
  onFileError(error: string): void;
  lookup?(name: string): Promise<string[]>;
  readonly refreshMs?: number;
}

interface Tracked {
  services: ServiceList;
  allowLoopback: boolean;
  /** By ServiceReference.key, with the number of mappings that name it. */
  readonly references: Map<string, { readonly reference: ServiceReference; users: number }>;
  readonly found: Map<string, Found>;
}

/**
 * Keeps the endpoints of every service that some gateway's mappings name. In memory; the same on each worker. What one mapping more or less
 * costs does not depend on how many there are.
 */
export class ServiceDiscovery {
  readonly #options: DiscoveryOptions;
  readonly #tracked = new Map<string, Tracked>();
  readonly #dns: DnsNames;
  readonly #file: ServicesFile | undefined;
  readonly #cluster: ClusterSource | undefined;

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
    this.#cluster =
      options.cluster === undefined
        ? undefined
        : new ClusterSource({ ...options.cluster, onChange: (services) => this.#recheck(services) });
  }

  async start(): Promise<void> {
    this.#dns.start();
    await Promise.all([this.#file?.start(), this.#cluster?.start()]);
  }

  async stop(): Promise<void> {
    this.#dns.stop();
    this.#file?.stop();
    await this.#cluster?.stop();
  }

  /** What stands between us and Kubernetes; '' when nothing does. What was known of it stays. */
  get clusterError(): string {
    return this.#cluster?.error ?? '';
  }

  /** How often a watch of Kubernetes was begun again, by what it watches. */
  get clusterRestarts(): Readonly<Record<string, number>> {
    return this.#cluster?.restarts ?? {};
  }

  /** What is wrong with the services file; '' when nothing is. */
  get fileError(): string {
    return this.#file?.error ?? '';
  }

  /** The gateway's own lists and rules from now on. Answers the services in use for which that changes something; `onChange` is not called for it. */
  track(
    gateway: string,
    wanted: { readonly services: Readonly<Record<string, readonly string[]>>; readonly allowLoopback: boolean },
  ): ReadonlySet<string> {
    const services = Object.fromEntries(Object.entries(wanted.services).map(([name, instances]) => [name, instances.flatMap(endpointOf)]));
    const allowLoopback = wanted.allowLoopback || this.#options.allowLoopback;
    const tracked = this.#tracked.get(gateway) ?? { services, allowLoopback, references: new Map(), found: new Map() };
    this.#tracked.set(gateway, tracked);
    tracked.services = services;
    tracked.allowLoopback = allowLoopback;
    return this.#refind(tracked);
  }

  /** One mapping more of a tracked gateway names this service. True when it is the first. */
  use(gateway: string, reference: ServiceReference): boolean {
    const tracked = this.#tracked.get(gateway);
    if (tracked === undefined) throw new Error(`${gateway} is not tracked`);
    const used = tracked.references.get(reference.key);
    if (used !== undefined) {
      used.users += 1;
      return false;
    }
    tracked.references.set(reference.key, { reference, users: 1 });
    this.#set(tracked, reference, this.#find(tracked, reference));
    return true;
  }

  /** One mapping less names this service. True when it was the last: nothing is known of the service any more. */
  drop(gateway: string, { key }: ServiceReference): boolean {
    const tracked = this.#tracked.get(gateway);
    const used = tracked?.references.get(key);
    if (tracked === undefined || used === undefined) return false;
    used.users -= 1;
    if (used.users > 0) return false;
    this.#set(tracked, used.reference, undefined);
    tracked.references.delete(key);
    return true;
  }

  /** Nobody names a service on this gateway any more, and nothing is tracked for it. */
  forget(gateway: string): void {
    const tracked = this.#tracked.get(gateway);
    for (const { reference } of tracked?.references.values() ?? []) if (tracked !== undefined) this.#set(tracked, reference, undefined);
    this.#tracked.delete(gateway);
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

  #find(tracked: Tracked, reference: ServiceReference): Found {
    const lists = {
      settings: tracked.services,
      file: this.#file?.list ?? {},
      cluster: (name: string, port: number) => this.#cluster?.answer(name, port),
      dns: (name: string) => this.#dns.answer(name),
    };
    const refuse = (endpoint: Endpoint): string | undefined => {
      const fault = addressFault(endpoint.address, { allowLoopback: tracked.allowLoopback });
      if (fault !== undefined) return fault.message;
      if (isLoopback(endpoint.address) && this.#options.ownPorts.has(endpoint.port))
        return `Port ${endpoint.port} of this machine belongs to Chancery itself.`;
      return undefined;
    };
    return resolve(reference, lists, refuse);
  }

  /** Finds everything anew, or what may depend on these Services of Kubernetes; answers the keys for which something else was found. */
  #refind(tracked: Tracked, services?: ReadonlySet<string>): Set<string> {
    const changed = new Set<string>();
    for (const [key, { reference }] of tracked.references) {
      if (services !== undefined && !services.has(this.#cluster?.keyOf(reference.name) ?? '')) continue;
      const found = this.#find(tracked, reference);
      if (JSON.stringify(found) === JSON.stringify(tracked.found.get(key))) continue;
      this.#set(tracked, reference, found);
      changed.add(key);
    }
    return changed;
  }

  /** Names are looked up while something that was found, or not found, depends on DNS. */
  #set(tracked: Tracked, { key, name }: ServiceReference, found: Found | undefined): void {
    const before = tracked.found.get(key);
    if (found === undefined) tracked.found.delete(key);
    else tracked.found.set(key, found);
    if (found?.source === 'dns' && before?.source !== 'dns') this.#dns.want(name);
    if (before?.source === 'dns' && found?.source !== 'dns') this.#dns.unwant(name);
  }

  #recheck(services?: ReadonlySet<string>): void {
    for (const [gateway, tracked] of this.#tracked) {
      const changed = this.#refind(tracked, services);
      if (changed.size > 0) this.#options.onChange(gateway, changed);
      else if (services === undefined) this.#options.onReread(gateway);
    }
  }
}

function endpointOf(instance: string): Endpoint[] {
  const endpoint = parseInstance(instance);
  return endpoint === undefined ? [] : [endpoint];
}
