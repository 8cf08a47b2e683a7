import { parentPort, workerData } from 'node:worker_threads';

import { type LoadResult, type RunningLoad, startLoad } from '../../test/load/load-client.js';
import type { Lane } from './lanes.js';

/** A thread of raw-socket clients: each path at an equal share of the rate, half on new connections and half on busy kept ones. */
export interface ThreadOrder {
  readonly host: string;
  readonly port: number;
  /** Requests a second of the whole thread. */
  readonly rate: number;
  readonly lanes: readonly Lane[];
  /** Where lanes over TLS go, the name that they ask for, and the authority (PEM) that must have signed its certificate. */
  readonly tls?: { readonly port: number; readonly serverName: string; readonly authority: string };
}

const { host, port, rate, lanes, tls } = workerData as ThreadOrder;

function start({ path, right, secure }: Lane): RunningLoad {
  const pattern = new RegExp(right);
  return startLoad({
    ...{ host, port, path, headers: { host: 'bench.test' }, lanes: ['new', 'busy'], rate: rate / lanes.length / 2 },
    ...(secure === undefined || tls === undefined ? {} : { port: tls.port, tls }),
    expect: (status, body) => (status !== 200 ? 'wrong status' : pattern.test(body) ? 'ok' : 'wrong body'),
  });
}

const running = lanes.map(start);
parentPort?.on('message', async (message: 'stop' | 'counts') => {
  if (message === 'counts') {
    const ok = running.reduce((sum, load) => sum + Object.values(load.counts()).reduce((total, count) => total + count, 0), 0);
    return parentPort?.postMessage({ answered: ok });
  }
  const results: LoadResult[] = await Promise.all(running.map((load) => load.stop()));
  parentPort?.postMessage({ results });
  parentPort?.close();
});
