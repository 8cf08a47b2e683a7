import { cpus, loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { ApiConnection } from '#platform/kubernetes/api-connection.js';
import { watchEvents } from '#platform/kubernetes/watch-events.js';

import { apisUnderTest } from '../../test/kubernetes/api-under-test.js';
import { ClusterHouse, Instance } from '../../test/kubernetes/cluster-house.js';
import { RealApi } from '../../test/kubernetes/real-api.js';
import { send } from '../../test/support/dev-harness.js';
import { median, quantile } from '../append/statistics.js';

const { values: flags } = parseArgs({ options: { rounds: { type: 'string', default: '60' }, pause: { type: 'string', default: '200' } } });

interface Round {
  /** To a bare watch of this process: what the API server and etcd take. */
  readonly heardMs: number;
  /** To the first right answer on a new connection through Envoy. */
  readonly servedMs: number;
}

/** An EndpointSlice is patched so that the Service is another instance: how long until Envoy asks that one, beside when a bare watch hears of it. */
async function main(): Promise<void> {
  const lacking = RealApi.missing();
  if (lacking !== undefined) throw new Error(lacking);
  const start = apisUnderTest('the bench').at(-1)?.[1];
  if (start === undefined) throw new Error('there is no API server');
  const api = await start();
  const house = await ClusterHouse.start(api);
  const instances = [await Instance.start('one'), await Instance.start('two')];
  let watch: Watch | undefined;
  try {
    await house.objects.service('default/usersvc', { ports: [{ name: 'http', port: 80 }] });
    await house.objects.slice('default/usersvc-1', 'usersvc', sliceOf(instances[0] as Instance));
    await house.map('user', { prefix: '/user/', service: 'usersvc' });
    await house.answers('/user/x', ({ status }) => status === 200);
    watch = await startWatch(new ApiConnection(api.access));
    const rounds: Round[] = [];
    for (let i = 0; i < Number(flags.rounds); i++) {
      rounds.push(await measure(house, instances[(i + 1) % 2] as Instance, watch));
      await sleep(Number(flags.pause));
    }
    report(rounds);
  } finally {
    watch?.stop();
    for (const instance of instances) await instance.kill();
    await house.dispose();
    await api.dispose();
  }
}

async function measure(house: ClusterHouse, to: Instance, watch: Watch): Promise<Round> {
  const startedMs = performance.now();
  const heard = watch.next();
  const patched = house.objects.changeSlice('default/usersvc-1', sliceOf(to));
  let text = '';
  while (!text.startsWith(to.name)) text = (await send(`${house.dev.ready.gateway}/user/x`)).text;
  const servedMs = performance.now() - startedMs;
  const heardMs = (await heard) - startedMs;
  await patched;
  return { heardMs, servedMs };
}

function sliceOf(instance: Instance): object {
  return { ports: [{ name: 'http', port: instance.port }], endpoints: [instance.endpoint()] };
}

interface Watch {
  /** When the next event is heard. */
  next(): Promise<number>;
  stop(): void;
}

async function startWatch(connection: ApiConnection): Promise<Watch> {
  const ending = new AbortController();
  const path = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
  const { metadata } = await connection.json<{ metadata: { resourceVersion: string } }>({ path });
  const query = { watch: true, resourceVersion: metadata.resourceVersion, timeoutSeconds: 3_600 };
  const answer = await connection.open({ path, query, signal: ending.signal });
  let hear: (atMs: number) => void = () => undefined;
  const reading = async () => {
    for await (const _events of watchEvents(answer)) hear(performance.now());
  };
  reading().catch(() => undefined); // it is ended with the bench
  return {
    next: () => new Promise((resolve) => (hear = resolve)),
    stop: () => {
      ending.abort();
      connection.close();
    },
  };
}

function report(rounds: readonly Round[]): void {
  const line = (what: string, of: (round: Round) => number) => {
    const all = rounds.map(of).sort((a, b) => a - b);
    process.stdout.write(`${what.padEnd(44)} p50 ${median(all).toFixed(1)} ms   p90 ${quantile(all, 0.9).toFixed(1)} ms\n`);
  };
  process.stdout.write(`${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}; ${rounds.length} changes of an EndpointSlice\n`);
  line('a bare watch hears of it', ({ heardMs }) => heardMs);
  line('Envoy asks the new instance', ({ servedMs }) => servedMs);
  line('of that, Chancery and Envoy', ({ heardMs, servedMs }) => servedMs - heardMs);
}

await main();
process.exit(0);
