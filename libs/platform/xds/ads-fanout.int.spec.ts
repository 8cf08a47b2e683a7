import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { GrpcServer } from '#platform/grpc/grpc-server.js';
import { createLog } from '#platform/log/log.js';
import { ADS_MESSAGE_BYTES, AdsEndpoint, adsService } from './ads-endpoint.js';
import { listener, scope } from './envoy-messages.fixture.js';
import { AggregatedDiscoveryServiceClient, type DeltaDiscoveryRequest, type DeltaDiscoveryResponse } from './generated/discovery.js';
import { until } from './live-envoy.fixture.js';
import { ResourceSet } from './resource-set.js';
import { CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

jest.setTimeout(120_000);

const CLIENTS = 200;
const SCOPES = 256;

const disposals: (() => unknown)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose();
});

type Manner = 'quick' | 'slow' | 'refuses' | 'half-open';
/** Five of a hundred are slow, one refuses all, one does not read. */
const mannerOf = (i: number): Manner => (i % 100 < 5 ? 'slow' : i % 100 === 5 ? 'refuses' : i % 100 === 6 ? 'half-open' : 'quick');

class Client {
  readonly received: string[] = [];
  readonly #call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

  /** Comes back with all that the set holds, as Envoys do after a restart of the control plane. */
  constructor(
    readonly manner: Manner,
    port: number,
    set: ResourceSet,
  ) {
    const options = { 'grpc.use_local_subchannel_pool': 1 };
    const ads = new AggregatedDiscoveryServiceClient(`127.0.0.1:${port}`, credentials.createInsecure(), options);
    this.#call = ads.deltaAggregatedResources();
    this.#call.on('error', () => undefined);
    disposals.push(() => {
      this.#call.cancel();
      ads.close();
    });
    if (manner !== 'half-open') this.#call.on('data', (response: DeltaDiscoveryResponse) => this.#take(response));
    for (const typeUrl of [CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE]) {
      const initial = Object.fromEntries([...set.ofType(typeUrl).values()].map(({ name, version }) => [name, version]));
      this.#call.write(request(typeUrl, { initialResourceVersions: initial }));
    }
  }

  #take({ typeUrl, nonce, resources }: DeltaDiscoveryResponse): void {
    if (typeUrl === SCOPED_ROUTE_TYPE) this.received.push(...resources.map(({ name, version }) => `${name}@${version}`));
    const errorDetail = this.manner === 'refuses' ? { code: 3, message: 'not this one' } : undefined;
    const answer = () => this.#call.write(request(typeUrl, { responseNonce: nonce, errorDetail }));
    if (this.manner === 'slow') setTimeout(answer, 300);
    else answer();
  }
}

function request(typeUrl: string, more: Partial<DeltaDiscoveryRequest>): DeltaDiscoveryRequest {
  return {
    node: { id: 'node', cluster: 'c' },
    typeUrl,
    resourceNamesSubscribe: [],
    resourceNamesUnsubscribe: [],
    initialResourceVersions: {},
    responseNonce: '',
    errorDetail: undefined,
    ...more,
  };
}

/** About what a shard of 64 routes takes. */
const shard = (i: number, rev: number): XdsResource => scope(`s${i}`, { body: `${rev} ${'x'.repeat(6_000)}` });

async function crowd() {
  const set = ResourceSet.of([listener('http', 1), ...Array.from({ length: SCOPES }, (_, i) => shard(i, 0))]);
  const settled = new Map<object, number>();
  const rejected: string[] = [];
  const endpoint = new AdsEndpoint({
    log: createLog({ process: 'spec', level: 'error' }),
    open: async () => {
      const key = {};
      return {
        sets: [set],
        onRejected: ({ key: { name } }) => void rejected.push(name),
        onHeldBack: () => undefined,
        onSettled: (revision) => void settled.set(key, revision),
        onClosed: () => undefined,
      };
    },
  });
  const methods = adsService(endpoint);
  const server = await GrpcServer.listen({ host: '127.0.0.1', port: 0 }, { methods, maxMessageBytes: ADS_MESSAGE_BYTES });
  disposals.push(() => server.destroy());
  const { port } = server;
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(mannerOf(i), port, set));
  await until('all are known', () => settled.size === CLIENTS && [...settled.values()].every((revision) => revision === 1), 60_000);
  return { set, endpoint, clients, rejected };
}

describe('many Envoys', () => {
  test('who comes back with all is sent nothing; a change goes to each once, and the slow, the refusing and the dead hold up nobody', async () => {
    const { set, endpoint, clients, rejected } = await crowd();
    expect(clients.flatMap(({ received }) => received)).toEqual([]);
    const changes = Array.from({ length: 20 }, (_, i) => shard(7, i + 1));
    const quick = clients.filter(({ manner }) => manner === 'quick');
    for (const change of changes) {
      set.apply({ upserts: [change], removed: [] });
      endpoint.update();
      const wanted = `s7@${change.version}`;
      await until('all who are quick have it', () => quick.every(({ received }) => received.at(-1) === wanted), 20_000);
    }
    for (const { received } of quick) expect(received).toEqual(changes.map(({ version }) => `s7@${version}`));
    const last = `s7@${changes.at(-1)?.version}`;
    const slow = clients.filter(({ manner }) => manner === 'slow');
    await until('the slow have the newest', () => slow.every(({ received }) => received.at(-1) === last));
    for (const { received } of slow) expect(received.length).toBeLessThanOrEqual(changes.length);
    for (const { received } of clients.filter(({ manner }) => manner === 'refuses')) expect(new Set(received).size).toBe(received.length);
    expect(new Set(rejected)).toEqual(new Set(['s7']));
  });
});
