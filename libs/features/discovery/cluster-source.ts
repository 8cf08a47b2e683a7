import { setTimeout as pause } from 'node:timers/promises';

import type { ApiAccess } from '#platform/kubernetes/api-connection.js';
import { ClusterServices } from '#platform/kubernetes/cluster-services.js';
import type { ReflectorTuning } from '#platform/kubernetes/reflector.js';
import type { ServicePicture } from '#platform/kubernetes/service-picture.js';

import { type ClusterAnswer, clusterAnswer, clusterTarget } from './cluster-service.js';
import type { Pictures } from './kubernetes-service.table.js';

/** Which Services of which cluster. */
export interface ClusterScope {
  readonly access: ApiAccess;
  /** Where a name without a namespace is looked for. */
  readonly ownNamespace: string;
  /** The namespaces whose Services may be upstreams; none: all of the cluster. */
  readonly namespaces: readonly string[];
  readonly tuning?: Partial<ReflectorTuning>;
}

export interface ClusterSourceOptions extends ClusterScope {
  /** These services (`namespace/name`) are not what they were. */
  onChange(services: ReadonlySet<string>): void;
  onError(error: string): void;
  /** What was known before this process. */
  recall(): Promise<ReadonlyMap<string, ServicePicture>>;
  /** Keeps it for the next. `isWhole`: there are no others. */
  remember(pictures: Pictures, isWhole: boolean): Promise<void>;
}

/** How long a start waits for the first lists. After that it goes by what was known before: an API server that is away is no reason to serve nothing. */
const FIRST_LISTS_MS = 2_000;
const REMEMBER_AGAIN_MS = 2_000;

/** Kubernetes as a source of services: what it says of a name, kept beyond the life of this process. */
export class ClusterSource {
  readonly #options: ClusterSourceOptions;
  readonly #cluster: ClusterServices;
  readonly #errors = new Map<string, string>();
  readonly #ending = new AbortController();
  #unwritten = new Set<string>();
  /** Whether the whole of it was written, so that what changes is enough. */
  #written: 'before' | 'due' | 'all' = 'before';
  #writing: Promise<void> = Promise.resolve();
  #isWriting = false;

  constructor(options: ClusterSourceOptions) {
    this.#options = options;
    this.#cluster = new ClusterServices({
      access: options.access,
      namespaces: options.namespaces,
      ...(options.tuning === undefined ? {} : { tuning: options.tuning }),
      onChange: (services) => this.#changed(services),
      onError: (error, list) => this.#failed(error, list),
    });
  }

  /** Resolves when there is something to go by: the first lists, or what was known before. */
  async start(): Promise<void> {
    this.#cluster.start();
    const synced = this.#cluster.synced().then(() => {
      this.#written = 'due';
      this.#write();
    });
    const late = pause(FIRST_LISTS_MS, 'late' as const, { ref: false });
    if ((await Promise.race([synced, late])) === 'late') this.#cluster.recall(await this.#options.recall());
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#cluster.stop();
    await this.#writing;
  }

  /** Undefined: the name cannot be a Service's. */
  answer(name: string, port: number): ClusterAnswer | undefined {
    const target = clusterTarget(name, this.#options.ownNamespace);
    if (target === undefined) return undefined;
    const picture = this.#cluster.picture(`${target.namespace}/${target.name}`);
    return clusterAnswer(target, port, { picture, isListed: this.#cluster.isListed(target.namespace) });
  }

  /** The Service that a name would mean, as `onChange` names it. */
  keyOf(name: string): string | undefined {
    const target = clusterTarget(name, this.#options.ownNamespace);
    return target === undefined ? undefined : `${target.namespace}/${target.name}`;
  }

  /** What stands between us and the API server; '' when nothing does. */
  get error(): string {
    return this.#cluster.error;
  }

  get restarts(): Readonly<Record<string, number>> {
    return { ...this.#cluster.restarts };
  }

  #changed(services: ReadonlySet<string>): void {
    this.#options.onChange(services);
    for (const key of services) this.#unwritten.add(key);
    this.#write();
  }

  /** Told once when it begins, and once for all that follows from it: every list of a server that is away fails alike. */
  #failed(error: string, list: string): void {
    const before = [...this.#errors.values()];
    if (error === '') this.#errors.delete(list);
    else this.#errors.set(list, error);
    if (error !== '' && !before.includes(error)) this.#options.onError(`${list}: ${error}`);
    if (error === '' && before.length > 0 && this.#errors.size === 0) this.#options.onError('');
  }

  /** One write at a time, of all that changed meanwhile. Before the first lists nothing is written: it would be what was read. */
  #write(): void {
    if (this.#written !== 'before' && !this.#isWriting) this.#writing = this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    while (!this.#ending.signal.aborted && (this.#written === 'due' || this.#unwritten.size > 0)) {
      const [keys, pictures, isWhole] = [this.#unwritten, this.#cluster.pictures, this.#written === 'due'];
      this.#unwritten = new Set();
      try {
        await this.#options.remember(isWhole ? pictures : new Map([...keys].map((key) => [key, pictures.get(key)])), isWhole);
        if (isWhole) this.#written = 'all';
      } catch {
        for (const key of keys) this.#unwritten.add(key); // the database is away: what it has is a little older meanwhile
        await pause(REMEMBER_AGAIN_MS, undefined, { signal: this.#ending.signal }).catch(() => undefined);
      }
    }
    this.#isWriting = false; // in the same turn as the last look: what changes after it begins anew
  }
}
