import type { V1EndpointSlice, V1Service } from '@kubernetes/client-node';

import { type ApiAccess, ApiConnection } from './api-connection.js';
import { Reflector, type ReflectorTuning } from './reflector.js';
import { pictureOf, type ServicePicture } from './service-picture.js';

export interface ClusterServicesOptions {
  readonly access: ApiAccess;
  /** The namespaces whose Services are watched; none: all of the cluster. */
  readonly namespaces: readonly string[];
  /** These Services (`namespace/name`) are not what they were. */
  onChange(services: ReadonlySet<string>): void;
  onError(error: string, list: string): void;
  readonly tuning?: Partial<ReflectorTuning>;
}

const SERVICE_OF_SLICE = 'kubernetes.io/service-name';

/** What is watched in one namespace, or in all of them. */
interface Watched {
  readonly services: Reflector<V1Service>;
  readonly slices: Reflector<V1EndpointSlice>;
}

/**
 * The Services of a cluster with where they are answered, as the API server last told. When it is away, everything stays as it was; what was known in an
 * earlier life (`recall`) stands in for what was not listed yet.
 */
export class ClusterServices {
  readonly #options: ClusterServicesOptions;
  readonly #connection: ApiConnection;
  /** By namespace; '' watches all. */
  readonly #watched = new Map<string, Watched>();
  readonly #pictures = new Map<string, ServicePicture>();
  /** The slices of each Service, by the Service's key. */
  readonly #slices = new Map<string, Map<string, V1EndpointSlice>>();
  readonly #serviceOfSlice = new Map<string, string>();
  /** Namespaces that are known from their lists. */
  readonly #drawn = new Set<string>();

  constructor(options: ClusterServicesOptions) {
    this.#options = options;
    this.#connection = new ApiConnection(options.access);
    const namespaces = options.namespaces.length === 0 ? [''] : options.namespaces;
    for (const namespace of namespaces) this.#watched.set(namespace, this.#watch(namespace));
  }

  start(): void {
    for (const { services, slices } of this.#watched.values()) {
      services.start();
      slices.start();
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#watched.values()].flatMap(({ services, slices }) => [services.stop(), slices.stop()]));
    this.#connection.close();
  }

  /** Resolves when every list has come at least once; open while the API server is away. */
  async synced(): Promise<void> {
    await Promise.all([...this.#watched.values()].flatMap(({ services, slices }) => [services.firstList, slices.firstList]));
  }

  /** What was known before, by `namespace/name`: for namespaces that have not been listed yet. */
  recall(pictures: ReadonlyMap<string, ServicePicture>): void {
    const changed = new Set<string>();
    for (const [key, picture] of pictures) {
      if (this.#pictures.has(key) || this.isListed(namespaceOf(key)) !== false) continue;
      this.#pictures.set(key, picture);
      changed.add(key);
    }
    if (changed.size > 0) this.#options.onChange(changed);
  }

  picture(key: string): ServicePicture | undefined {
    return this.#pictures.get(key);
  }

  get pictures(): ReadonlyMap<string, ServicePicture> {
    return this.#pictures;
  }

  /** Has this namespace been listed? Undefined: it is not watched. */
  isListed(namespace: string): boolean | undefined {
    const watched = this.#watched.get(namespace) ?? this.#watched.get('');
    return watched === undefined ? undefined : watched.services.isSynced && watched.slices.isSynced;
  }

  /** What stands between us and the API server; '' when nothing does. */
  get error(): string {
    for (const { services, slices } of this.#watched.values()) {
      const error = services.error || slices.error;
      if (error !== '') return error;
    }
    return '';
  }

  /** How often watches were begun again, by what they watch. */
  get restarts(): { readonly services: number; readonly endpointslices: number } {
    const all = [...this.#watched.values()];
    const sum = (of: (watched: Watched) => number) => all.reduce((total, watched) => total + of(watched), 0);
    return { services: sum(({ services }) => services.restarts), endpointslices: sum(({ slices }) => slices.restarts) };
  }

  #watch(namespace: string): Watched {
    const inNamespace = namespace === '' ? '' : `/namespaces/${namespace}`;
    const { onError, tuning = {} } = this.#options;
    const common = (list: string) => ({ connection: this.#connection, tuning, onError: (error: string) => onError(error, list) });
    const [services, slices] = [`/api/v1${inNamespace}/services`, `/apis/discovery.k8s.io/v1${inNamespace}/endpointslices`];
    const watched: Watched = {
      services: new Reflector<V1Service>({ ...common(services), path: services, onChange: (keys) => this.#draw(namespace, keys) }),
      slices: new Reflector<V1EndpointSlice>({
        ...common(slices),
        path: slices,
        onChange: (keys) => this.#draw(namespace, this.#sortSlices(watched.slices, keys)),
      }),
    };
    return watched;
  }

  /** Puts slices that changed with the Services that they belong to now. @returns those Services, and those they belonged to */
  #sortSlices(slices: Watched['slices'], keys: ReadonlySet<string>): Set<string> {
    const touched = new Set<string>();
    for (const key of keys) {
      const before = this.#serviceOfSlice.get(key);
      const slice = slices.objects.get(key);
      const name = slice?.metadata?.labels?.[SERVICE_OF_SLICE];
      const after = name === undefined ? undefined : `${namespaceOf(key)}/${name}`;
      if (before !== undefined) {
        this.#slices.get(before)?.delete(key);
        if (this.#slices.get(before)?.size === 0) this.#slices.delete(before);
        this.#serviceOfSlice.delete(key);
        touched.add(before);
      }
      if (after === undefined || slice === undefined) continue;
      const of = this.#slices.get(after) ?? new Map<string, V1EndpointSlice>();
      this.#slices.set(after, of.set(key, slice));
      this.#serviceOfSlice.set(key, after);
      touched.add(after);
    }
    return touched;
  }

  /** Makes the pictures of these Services anew, once both lists are there; with the second of them, all pictures. */
  #draw(namespace: string, keys: ReadonlySet<string>): void {
    const watched = this.#watched.get(namespace);
    if (watched === undefined || !watched.services.isSynced || !watched.slices.isSynced) return;
    const { objects } = watched.services;
    const isFirst = !this.#drawn.has(namespace);
    this.#drawn.add(namespace);
    const recalled = () => [...this.#pictures.keys()].filter((key) => namespace === '' || namespaceOf(key) === namespace);
    const changed = new Set<string>();
    for (const key of isFirst ? new Set([...recalled(), ...objects.keys()]) : keys) {
      const service = objects.get(key);
      const picture = service === undefined ? undefined : pictureOf(service, this.#slices.get(key)?.values() ?? []);
      if (JSON.stringify(picture) === JSON.stringify(this.#pictures.get(key))) continue;
      if (picture === undefined) this.#pictures.delete(key);
      else this.#pictures.set(key, picture);
      changed.add(key);
    }
    if (changed.size > 0 || isFirst) this.#options.onChange(changed);
  }
}

function namespaceOf(key: string): string {
  return key.slice(0, key.indexOf('/'));
}
