import { type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';

import {
  AggregatedDiscoveryServiceClient,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '#platform/xds/generated/discovery.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE } from '#platform/xds/xds-resource.js';

/** As Envoy's: what it asks for first, and again after each reconnect. */
const TYPES = [CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE] as const;

/** What many of them are like; a real Envoy costs 60 MB, and a herd is made of hundreds. */
export interface SimulatedEnvoyOptions {
  readonly name: string;
  readonly port: () => number;
  readonly token: string;
  /** How long it waits before it dials again. */
  readonly againMs: number;
  /** Scopes that hold what it will not have: the response is refused as a whole. */
  readonly refuses?: (scope: Buffer) => boolean;
}

/** A client of delta ADS that acknowledges everything, keeps what it has, and dials again with it, as a stock Envoy does. */
export class SimulatedEnvoy {
  readonly #options: SimulatedEnvoyOptions;
  readonly #held = new Map<string, Map<string, { version: string; bytes: Buffer }>>();
  #client: AggregatedDiscoveryServiceClient | undefined;
  #stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> | undefined;
  #isClosed = false;
  /** How often it dialled, and how many resources and bytes it was sent. */
  dials = 0;
  resources = 0;
  refusals = 0;

  constructor(options: SimulatedEnvoyOptions) {
    this.#options = options;
    this.#dial();
  }

  /** Does any route of it hold this text? */
  holds(text: string): boolean {
    return [...(this.#held.get(SCOPED_ROUTE_TYPE)?.values() ?? [])].some(({ bytes }) => bytes.includes(text));
  }

  close(): void {
    this.#isClosed = true;
    this.#stream?.cancel();
    this.#client?.close();
  }

  #dial(): void {
    if (this.#isClosed) return;
    this.dials += 1;
    this.#client?.close();
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${this.#options.token}`);
    this.#client = new AggregatedDiscoveryServiceClient(`127.0.0.1:${this.#options.port()}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1, // a connection of its own
    });
    const stream = this.#client.deltaAggregatedResources(metadata);
    this.#stream = stream;
    let ended = false;
    const end = () => {
      if (ended || this.#isClosed) return;
      ended = true;
      setTimeout(() => this.#dial(), this.#options.againMs); // its back-off, spread by its number
    };
    stream.on('data', (response: DeltaDiscoveryResponse) => this.#take(response));
    stream.on('error', end);
    stream.on('end', end);
    for (const typeUrl of TYPES) this.#ask(typeUrl);
  }

  #ask(typeUrl: string): void {
    const held = this.#held.get(typeUrl) ?? new Map();
    const versions = Object.fromEntries([...held].map(([name, { version }]) => [name, version]));
    this.#send({ typeUrl, initialResourceVersions: versions });
  }

  #send(part: Partial<DeltaDiscoveryRequest>): void {
    const { name } = this.#options;
    this.#stream?.write({
      node: { id: name, cluster: 'default' } as DeltaDiscoveryRequest['node'],
      typeUrl: '',
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: [],
      initialResourceVersions: {},
      responseNonce: '',
      errorDetail: undefined,
      ...part,
    });
  }

  #take({ typeUrl, resources, removedResources, nonce }: DeltaDiscoveryResponse): void {
    const held = this.#held.get(typeUrl) ?? new Map<string, { version: string; bytes: Buffer }>();
    this.#held.set(typeUrl, held);
    const fresh: string[] = [];
    if (typeUrl === SCOPED_ROUTE_TYPE && resources.some(({ resource }) => this.#options.refuses?.(resource?.value ?? Buffer.alloc(0)))) {
      this.refusals += 1;
      this.#send({ typeUrl, responseNonce: nonce, errorDetail: { code: 3, message: 'not this one' } });
      return;
    }
    for (const { name, version, resource } of resources) {
      if (typeUrl === CLUSTER_TYPE && !held.has(name)) fresh.push(name);
      held.set(name, { version, bytes: Buffer.from(resource?.value ?? []) });
      this.resources += 1;
    }
    for (const name of removedResources) held.delete(name);
    this.#send({ typeUrl, responseNonce: nonce });
    if (fresh.length > 0) this.#send({ typeUrl: ENDPOINT_TYPE, resourceNamesSubscribe: fresh });
  }
}
